// Who a process is: program, arguments, place in the tree, users, rights, namespaces. Pure: a record in, elements out.

import { h } from "./dom.js";
import { bytes, commandLine, dateAndClock, duration, guestText, hex, STATES } from "./text.js";

const SECCOMP = ["none", "strict", "filter"];
const ALL_CAPABILITIES_BITS = 41;

/** The elements. */
export function overview(record) {
    return [
        part("Command line", h("div", { class: "block" }, line(record))),
        facts("Program", [
            ["Executable", record.exe ? [guestText(record.exe, "mono"), record.exe_deleted ? h("span", { class: "tag warn" }, "deleted") : null] : none(record)],
            ["Folder", record.cwd ? guestText(record.cwd, "mono") : none(record)],
            record.root && record.root !== "/" ? ["Root", guestText(record.root, "mono")] : null,
            ["State", STATES[record.state] ?? record.state],
            ["Started", record.start_time ? `${dateAndClock(record.start_time)}, ${duration(Date.now() / 1000 - record.start_time)} ago` : "not known"],
            ["CPU time", `${record.user_time.toFixed(2)} s user, ${record.system_time.toFixed(2)} s system; last on CPU ${record.cpu}`],
            ["Memory", record.resident_size === null ? "none of its own" : `${bytes(record.resident_size)} in RAM, ${bytes(record.total_size ?? 0)} of addresses`],
            ["Threads", String(record.threads)],
            ["Nice", String(record.nice)],
        ]),
        facts("Place", [
            ["Parent", record.parent_key ? h("span", { class: "mono" }, record.parent_key) : String(record.ppid)],
            ["Group, session", `${record.pgid ?? "?"}, ${record.sid ?? "?"}`],
            ["Terminal", record.tty ? guestText(record.tty, "mono") : "none"],
            ["Container", record.container_id ? guestText(record.container_id, "mono") : "none"],
            ["Cgroup", record.cgroup_path ? guestText(record.cgroup_path, "mono") : "not known"],
            record.ns_pids.length > 1 ? ["pid inside", record.ns_pids.slice(1).join(", ")] : null,
        ]),
        facts("Rights", [
            ["User", ids(record.uid, record.euid, record.suid, record.fsuid)],
            ["Group", ids(record.gid, record.egid, record.sgid, record.fsgid)],
            ["Other groups", record.groups?.length ? record.groups.join(" ") : "none"],
            ["Capabilities", capabilities(record.cap_effective)],
            ["Seccomp", record.seccomp === null ? "not known" : (SECCOMP[record.seccomp] ?? String(record.seccomp))],
            ["New rights", record.no_new_privs === null ? "not known" : record.no_new_privs ? "none by exec (no_new_privs)" : "by exec, as programs have them"],
        ]),
        facts("Namespaces", [["", h("span", { class: "mono" }, namespaces(record))]]),
    ];
}

function part(title, ...content) {
    return h("section", {}, h("h3", { class: "section" }, title), content);
}

function facts(title, rows) {
    return part(
        title,
        h("dl", { class: "facts" }, rows.filter(Boolean).map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)])),
    );
}

function none(record) {
    return record.kernel_thread ? "none: a thread of the kernel" : "not known";
}

function line(record) {
    if (record.kernel_thread) return h("span", { class: "muted" }, "a thread of the kernel has none");
    if (record.cmdline === null) return h("span", { class: "muted" }, "not in the guest's memory");
    return record.cmdline.length ? guestText(commandLine(record.cmdline)) : h("span", { class: "muted" }, "empty");
}

function ids(real, effective, saved, filesystem) {
    if (real === null) return "not known";
    if (real === effective && real === saved && real === filesystem) return String(real);
    return `${real}, acts as ${effective}, saved ${saved}, for files ${filesystem}`;
}

function capabilities(mask) {
    if (mask === null) return "not known";
    if (!mask) return "none";
    const all = 2 ** ALL_CAPABILITIES_BITS - 1;
    return mask === all ? "all" : h("span", { class: "mono" }, hex(mask));
}

function namespaces(record) {
    return ["pid", "mnt", "net", "user", "uts", "ipc", "cgroup"]
        .map((kind) => `${kind} ${record[`${kind}_namespace`] ?? "?"}`)
        .join("  ");
}
