// An event in words: who did what to which object, and what became of it. What the guest wrote stays its own text.

import { h } from "./dom.js";
import { commandLine, endpoint, guestText, hex } from "./text.js";

const KINDS = {
    "process.fork": "forked",
    "process.exec": "started",
    "process.exit": "ended",
    "process.setuid": "became another user",
    "process.signal": "sent a signal",
    "process.ptrace": "traced",
    "file.open": "opened",
    "file.create": "created",
    "file.symlink": "made a symbolic link",
    "file.unlink": "removed",
    "file.rename": "renamed",
    "file.link": "linked",
    "file.mkdir": "made a folder",
    "file.rmdir": "removed a folder",
    "file.chmod": "changed the mode of",
    "file.chown": "changed the owner of",
    "file.truncate": "truncated",
    "file.mmap_exec": "mapped as code",
    "file.mount": "mounted",
    "net.connect": "connected to",
    "net.bind": "bound",
    "net.listen": "listened at",
    "net.accept": "accepted from",
    "module.load": "loaded a module",
    "bpf.load": "loaded BPF",
};
/** Every kind of event, in groups, for the filter. */
export const GROUPS = Map.groupBy
    ? Map.groupBy(Object.keys(KINDS), (name) => name.split(".")[0])
    : new Map([["all", Object.keys(KINDS)]]);
export const GROUP_WORDS = { process: "Processes", file: "Files", net: "Network", module: "Kernel modules", bpf: "BPF" };

const SIGNALS = {
    1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 6: "ABRT", 8: "FPE", 9: "KILL", 10: "USR1", 11: "SEGV", 12: "USR2",
    13: "PIPE", 14: "ALRM", 15: "TERM", 17: "CHLD", 18: "CONT", 19: "STOP", 20: "TSTP",
};
const ACCESS = ["read", "write", "read and write", "no access"];
const O_CREAT = 0o100;
const O_TRUNC = 0o1000;

/** A signal by its name. */
export function signalName(number) {
    return SIGNALS[number] ?? String(number);
}

/** How a kind is said of a process. */
export function saidOf(kind) {
    return KINDS[kind] ?? kind;
}

/** Whether it was kept from happening, or would have been. */
export function wasRefused(event) {
    return event.verdict !== undefined && event.verdict !== "allowed" && event.verdict !== "asked";
}

/** The verdict in a word and how grave it is. */
export function verdictOf(event) {
    const verdict = event.verdict ?? "allowed";
    const kind = { denied: "danger", killed: "danger", asked: "warn" }[verdict] ?? (verdict.startsWith("would") ? "warn" : "");
    return { verdict, kind };
}

/** The object of an event as plain text, for rows and for searching. */
export function objectOf(event) {
    const words = [];
    if (event.cmdline?.length) words.push(commandLine(event.cmdline));
    else if (event.path !== undefined && event.path !== null) words.push(event.path);
    if (event.new_path) words.push(`→ ${event.new_path}`);
    if (event.address) words.push(`${event.protocol ?? ""} ${endpoint(event.address, event.port)}`.trim());
    if (event.signal !== undefined && event.signal !== null) words.push(`SIG${signalName(event.signal)}`);
    if (event.target_pid !== undefined && event.target_pid !== null) {
        words.push(event.event === "process.fork" ? `child ${event.target_pid}` : `to pid ${event.target_pid}`);
    }
    if (event.event === "process.exit") words.push(exit(event.exit_code ?? 0));
    if (event.event === "process.setuid") words.push(`uid ${event.new_uid}, acts as ${event.new_euid}`);
    if (event.event === "file.open" && event.flags) words.push(access(event.flags));
    if (event.event === "file.chown") words.push(`uid ${event.new_uid} gid ${event.new_gid}`);
    if (event.cut) words.push("(cut short)");
    return words.join(" ");
}

function exit(code) {
    const signal = code & 0x7f;
    return signal ? `by SIG${signalName(signal)}` : `with status ${code >> 8}`;
}

function access(flags) {
    const words = ACCESS[flags & 3];
    const more = [flags & O_CREAT ? "create" : "", flags & O_TRUNC ? "truncate" : ""].filter(Boolean);
    return words === "read" && !more.length ? "" : `(${[words, ...more].join(", ")})`;
}

/** All that an event carries, as a list of terms. */
export function factsOf(event) {
    const hexed = new Set(["flags", "mode"]);
    return h(
        "dl",
        { class: "facts" },
        Object.entries(event)
            .filter(([, value]) => value !== null && value !== undefined)
            .map(([name, value]) => [
                h("dt", {}, name),
                h("dd", { class: "mono" }, guestText(Array.isArray(value) ? commandLine(value) : hexed.has(name) ? hex(value) : value)),
            ]),
    );
}
