// What a process holds, a table each: how it is asked for, and which of its fields are worth a column.

import { bytes, count, endpoint, hex, sinceBoot, STATES } from "./text.js";

const place = (record) =>
    record.family === "inet" || record.family === "inet6"
        ? endpoint(record.local_address, record.local_port)
        : record.path || (record.portid ? `port id ${record.portid}` : "");

const peer = (record) => {
    if (record.remote_address) return endpoint(record.remote_address, record.remote_port);
    return record.peer_pid ? `${record.peer_process ?? "?"} (${record.peer_pid})` : "";
};

/** The tabs of a process that are tables. */
export const HOLDINGS = [
    {
        name: "files",
        title: "Files",
        path: "files",
        one: "open file",
        empty: "It has no file open.",
        columns: [
            { title: "fd", kind: "number", cell: (file) => String(file.fd) },
            { title: "Access", kind: "tight", cell: (file) => file.mode },
            { title: "Path", kind: "mono", guest: true, cell: (file) => (file.path ?? "") + (file.deleted ? " (deleted)" : "") },
            { title: "Type", kind: "tight", cell: (file) => file.type },
            { title: "Position", kind: "number", cell: (file) => (file.position ? count(file.position) : "") },
        ],
    },
    {
        name: "sockets",
        title: "Sockets",
        path: "sockets",
        one: "socket",
        empty: "It has no socket open.",
        columns: [
            { title: "fd", kind: "number", cell: (socket) => String(socket.fd) },
            { title: "Kind", kind: "tight", cell: (socket) => socket.protocol || `${socket.family} ${socket.type}` },
            { title: "Local", kind: "mono", guest: true, cell: place },
            { title: "Remote", kind: "mono", guest: true, cell: peer },
            { title: "State", kind: "tight", cell: (socket) => socket.state },
        ],
    },
    {
        name: "maps",
        title: "Maps",
        path: "maps",
        one: "memory area",
        empty: "It has no memory of its own: a thread of the kernel.",
        columns: [
            { title: "Start", kind: "mono tight", cell: (area) => hex(area.start) },
            { title: "Size", kind: "number", cell: (area) => bytes(area.end - area.start) },
            { title: "Access", kind: "mono tight", cell: (area) => area.permissions },
            { title: "What", kind: "mono", guest: true, cell: (area) => area.path + (area.deleted ? " (deleted)" : "") },
        ],
    },
    {
        name: "threads",
        title: "Threads",
        path: "threads",
        one: "thread",
        empty: "No thread was found.",
        columns: [
            { title: "tid", kind: "number", cell: (thread) => String(thread.tid) },
            { title: "Name", guest: true, cell: (thread) => thread.name },
            { title: "State", kind: "tight", cell: (thread) => STATES[thread.state] ?? thread.state },
            { title: "CPU time", kind: "number", cell: (thread) => `${(thread.user_time + thread.system_time).toFixed(2)} s` },
            { title: "On CPU", kind: "number", cell: (thread) => String(thread.cpu) },
            { title: "Started", kind: "number", cell: (thread) => sinceBoot(thread.start_boottime_ns) },
        ],
    },
    {
        name: "environ",
        title: "Environment",
        path: "environ",
        one: "variable",
        empty: "No variable was found.",
        operator: true,
        columns: [
            { title: "Name", kind: "mono", guest: true, cell: (variable) => variable.name },
            { title: "Value", kind: "mono", guest: true, cell: (variable) => variable.value },
        ],
    },
];
