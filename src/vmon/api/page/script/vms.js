// The VMs of this host, each with what is known of it; one that can't be read says why in its own row.
//
// The list costs the guests nothing. Details of each (kernel, processes, probe) are asked for after it, one by one.

import * as client from "./client.js";
import { fill, h } from "./dom.js";
import * as findings from "./lastcheck.js";
import * as route from "./route.js";
import { bytes, count, guestText, plural } from "./text.js";

const LIST_MS = 5000;
const DETAIL_MS = 15_000;
const COLUMNS = ["Virtual machine", "Kernel", "State", "Processes", "Probe", "Findings", "Memory"];

/** The view: {elements, end}. */
export function vmsView() {
    const known = new Map();
    const body = h("tbody");
    const note = h("div", { hidden: true });
    const status = h("p", { class: "status", role: "status" }, "Looking for virtual machines…");
    const table = h(
        "div",
        { class: "vms stacking measure", hidden: true },
        h("table", {}, h("thead", {}, h("tr", {}, COLUMNS.map((name) => h("th", { scope: "col" }, name)))), body),
    );
    const abort = new AbortController();
    let records = [];
    let timer;

    function draw() {
        table.hidden = records.length === 0;
        fill(body, records.map((record) => row(record, known.get(record.vm))));
    }

    async function load() {
        try {
            const answer = await client.get("/guests", abort.signal);
            records = answer.records;
            note.hidden = records.length > 0;
            fill(status, plural(records.length, "virtual machine"), " that this server answers for");
            if (!records.length) fill(note, nothing());
        } catch (error) {
            if (abort.signal.aborted) return;
            note.hidden = false;
            fill(
                note,
                h("div", { class: "note danger", role: "alert" }, h("p", {}, error.message), error.hint ? h("p", { class: "muted" }, error.hint) : null),
            );
            fill(status, records.length ? "What is shown is what was last heard." : "Trying again every five seconds.");
        }
        draw();
        for (const record of records) if (record.readable) await detail(record);
        timer = setTimeout(load, LIST_MS);
    }

    async function detail(record) {
        const before = known.get(record.vm);
        if (before && Date.now() - before.at < DETAIL_MS) return;
        const found = { at: Date.now() };
        try {
            found.vm = await client.get(client.vmPath(record.vm), abort.signal);
            const list = await client.get(client.vmPath(record.vm, "/processes?fields=kernel_thread"), abort.signal);
            found.processes = list.records.length;
            found.kernelThreads = list.records.filter((each) => each.kernel_thread).length;
        } catch (error) {
            if (abort.signal.aborted) return;
            found.problem = error;
        }
        known.set(record.vm, found);
        draw();
    }

    load();
    return {
        elements: [
            h(
                "div",
                { class: "page" },
                h("div", { class: "head measure" }, h("h1", {}, "Virtual machines"), status),
                note,
                table,
            ),
        ],
        end() {
            abort.abort();
            clearTimeout(timer);
        },
    };
}

function nothing() {
    return h(
        "div",
        { class: "note" },
        h("p", {}, "No virtual machine is running here that vmon can see."),
        h("p", { class: "muted" }, "vmon finds QEMU processes of this host that its user may read. To try one: ", h("code", {}, "vmon lab up web1")),
    );
}

function cell(label, content, className = "") {
    return h("td", { "data-label": label, class: className }, h("div", {}, content));
}

function row(record, more) {
    const problem = more?.problem?.message ?? record.problem;
    const guest = more?.vm?.guest;
    const readable = record.readable && !more?.problem;
    const name = readable || record.readable
        ? h("a", { class: "vm-name", href: route.to(record.vm) }, guestText(record.vm))
        : h("span", { class: "vm-name" }, guestText(record.vm));
    return h(
        "tr",
        {},
        h(
            "td",
            { class: "whole" },
            name,
            h("div", { class: "muted small" }, [record.accel || "hypervisor unknown", record.pid ? ` · pid ${record.pid}` : ""]),
            problem
                ? h("span", { class: "problem" }, guestText(problem), more?.problem?.hint ? [" ", guestText(more.problem.hint)] : null)
                : null,
        ),
        cell("Kernel", guest ? [guestText(guest.release), h("div", { class: "muted small" }, guestText(guest.hostname))] : unknown(record, readable)),
        cell("State", state(record, more)),
        cell("Processes", more?.processes !== undefined ? processes(more) : "–"),
        cell("Probe", more?.vm ? probe(more.vm.probe) : "–"),
        cell("Findings", findingsOf(record.vm)),
        cell("Memory", record.ram_size ? bytes(record.ram_size) : "–", "tight"),
    );
}

function unknown(record, readable) {
    return record.release ? guestText(record.release) : h("span", { class: "muted" }, readable ? "being looked at…" : "not known");
}

function state(record, more) {
    if (!record.readable) return h("span", { class: "tag warn" }, "not readable");
    if (more?.problem) return h("span", { class: "tag danger" }, more.problem.title === "TargetGone" ? "gone" : "not seen");
    if (!more) return h("span", { class: "muted" }, "…");
    return h("span", { class: more.vm.live ? "tag good" : "tag" }, more.vm.live ? "running" : "a dump");
}

function processes(more) {
    return [count(more.processes - more.kernelThreads), h("span", { class: "muted small" }, ` + ${count(more.kernelThreads)} kernel`)];
}

/** The probe in a word, with what it does. */
export function probe(state) {
    if (!state.active) return h("span", { class: "tag", title: state.why }, "not in");
    const mode = state.rules ? (state.enforcing ? "enforcing" : "observing") : "no rules";
    return [h("span", { class: "tag accent" }, "in"), h("span", { class: "muted small" }, ` ${mode}`)];
}

function findingsOf(vm) {
    const last = findings.of(vm);
    if (!last) return h("a", { href: route.to(vm, "findings"), class: "small" }, "not checked");
    if (!last.records.length) return h("span", { class: "tag good" }, "none");
    const worst = findings.worst(last.records);
    return h(
        "a",
        { href: route.to(vm, "findings") },
        h("span", { class: `tag ${findings.KIND[worst]}` }, `${plural(last.records.length, "finding")}, ${worst}`),
    );
}
