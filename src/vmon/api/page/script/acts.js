// What can be done to a process: asked first, with pid, name and key; done by key, so that no other process is met.
//
// The result is said in words, and only the server's answer counts as one.

import * as client from "./client.js";
import { confirm } from "./dialog.js";
import { h } from "./dom.js";
import { guestText, printable } from "./text.js";
import * as toast from "./toast.js";

const ACTS = {
    suspend: {
        label: "Suspend",
        verb: "Suspend it",
        kind: "",
        means: "It stops where it is (SIGSTOP) and can be resumed.",
        done: "suspended",
    },
    resume: { label: "Resume", verb: "Resume it", kind: "", means: "It goes on (SIGCONT).", done: "resumed" },
    kill: {
        label: "Kill",
        verb: "Kill it",
        kind: "danger",
        means: "The guest's own kernel ends it (SIGKILL). It can't refuse, and what it has not saved is lost.",
        done: "killed",
    },
    quarantine: {
        label: "Quarantine",
        verb: "Quarantine it",
        kind: "danger",
        means:
            "From now on it and whatever it starts may compute and read, and do nothing else: no program, no change of a file, no connection. What it has open stays open.",
        done: "in quarantine",
    },
    release: { label: "Release", verb: "Release it", kind: "", means: "The rules of its quarantine go.", done: "released" },
};

/** Names of the acts that make sense for a process, in the order of their buttons. */
export function actsFor(record, quarantined) {
    const stopped = record.state === "T";
    return [stopped ? "resume" : "suspend", "kill", quarantined ? "release" : "quarantine"];
}

/** What a button says. */
export function labelOf(act) {
    return ACTS[act].label;
}

/** Whether a button is one of danger. */
export function kindOf(act) {
    return ACTS[act].kind;
}

/** Why an act can't be done to this process; empty when it can. */
export function whyNot(shared, record) {
    const why = shared.mayNot();
    if (why) return why;
    if (record.kernel_thread) return "A thread of the kernel: ending or stopping it would break the guest.";
    if (record.pid === 1) return "The guest's init: without it the guest ends. `vmon kill --force` does it all the same.";
    if (record.state === "Z") return "It has ended already; its parent has not looked yet.";
    return "";
}

/** Ask, and do it. Resolves true when it was done. */
export async function act(shared, name, record) {
    const { verb, kind, means, done } = ACTS[name];
    const needsProbe = shared.probe && !shared.probe.active;
    const agreed = await confirm({
        title: `${ACTS[name].label} process ${record.pid}?`,
        verb,
        kind,
        body: [
            h(
                "dl",
                { class: "facts" },
                h("dt", {}, "Process"),
                h("dd", {}, h("strong", {}, guestText(record.name))),
                h("dt", {}, "pid"),
                h("dd", {}, String(record.pid)),
                h("dt", {}, "Key"),
                h("dd", { class: "mono" }, record.key),
                h("dt", {}, "Program"),
                h("dd", {}, record.exe ? guestText(record.exe, "mono") : "not known"),
                h("dt", {}, "In"),
                h("dd", {}, guestText(shared.vm)),
            ),
            h("p", {}, means),
            needsProbe
                ? h("p", { class: "muted" }, "The probe is not in this guest yet: it is put in first, and the guest stands still for some milliseconds.")
                : null,
        ],
    });
    if (!agreed) return false;
    const who = `${printable(record.name)} (${record.pid})`;
    try {
        const answer = await client.change("POST", shared.path(`/processes/${record.pid}/${name}`), { key: record.key });
        if (answer && answer.done === false) {
            toast.say(`${who} was not ${done}: ${answer.outcome}`, { kind: "error" });
            return false;
        }
        toast.say(`${who} is ${done}.`, { more: answer?.took_ms ? `The guest's kernel took ${answer.took_ms} ms.` : "" });
    } catch (error) {
        toast.sayError(error, `${who} is not ${done}`);
        return false;
    } finally {
        shared.refresh();
    }
    return true;
}
