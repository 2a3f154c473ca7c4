// The processes of a VM as a live tree, with search, and the details of one beside it.

import { fill, h } from "./dom.js";
import { Forest } from "./forest.js";
import * as link from "./link.js";
import { processPanel } from "./process.js";
import * as route from "./route.js";
import * as settings from "./settings.js";
import { Stream } from "./stream.js";
import { bytes, count, coverageWords, guestText, plural, STATES } from "./text.js";
import { TreeGrid } from "./treegrid.js";

const FRESH_MS = 4200;
const IDLE_MS = 1500;

const COLUMNS = [
    { name: "name", title: "Process", label: "Name (comm), as the process set it", order: "name", text: (node) => node.record.name },
    { name: "pid", title: "pid", label: "Process id in the guest's first namespace", order: "pid", text: (node) => String(node.record.pid) },
    { name: "user", title: "User", label: "User id; 1000→0: acts as another", order: "user", text: (node) => user(node.record) },
    {
        name: "memory",
        title: "Memory",
        label: "Bytes in RAM (resident)",
        order: "memory",
        descending: true,
        text: (node) => (node.record.resident_size === null ? "" : bytes(node.record.resident_size)),
    },
    { name: "cpu", title: "CPU", label: "Percent of one CPU since the last look", order: "cpu", descending: true, text: (node) => percent(node.cpu) },
    { name: "state", title: "State", label: "What it is doing", text: (node) => STATES[node.record.state] ?? node.record.state },
    { name: "threads", title: "Thr", label: "Threads", text: (node) => String(node.record.threads) },
    { name: "container", title: "Container", label: "Beginning of the container's id", text: (node) => (node.record.container_id ?? "").slice(0, 12) },
    { name: "line", title: "Command line", label: "Arguments, as they are in memory", text: (node) => node.line },
];

function user({ uid, euid }) {
    if (uid === null) return "?";
    return euid === null || euid === uid ? String(uid) : `${uid}→${euid}`;
}

function percent(cpu) {
    if (cpu < 0.5) return "";
    return `${Math.round(cpu)} %`;
}

/** The view. */
export function processesView(shared) {
    const forest = new Forest();
    const folded = new Set();
    const view = { text: "", kernel: false, tree: true, order: settings.get("order", "start") };
    let stream = null;
    let panel = null;
    let coverage = [];
    let heard = 0;
    let freshTimer;
    let idleTimer;
    let focusNext = false;

    const search = h("input", {
        type: "search",
        class: "search",
        placeholder: "Name, arguments, pid, uid:0",
        "aria-label": "Search processes",
        spellcheck: "false",
        oninput: () => {
            view.text = search.value;
            draw();
        },
        onkeydown: (event) => {
            if (event.key === "ArrowDown" || event.key === "Enter") {
                event.preventDefault();
                grid.active = grid.rows.find((row) => row.match)?.node.key ?? grid.active;
                grid.focus();
            }
        },
    });
    const kernel = h("input", { type: "checkbox", onchange: () => ((view.kernel = kernel.checked), draw()) });
    const flat = h("input", { type: "checkbox", onchange: () => ((view.tree = !flat.checked), draw()) });
    const status = h("p", { class: "status", role: "status" }, "Looking…");
    const gaps = h("p", { class: "coverage", hidden: true });
    const empty = h("div", { class: "page", hidden: true });
    const trouble = h("div", { class: "banner", role: "status", hidden: true });
    const grid = new TreeGrid({
        label: "Processes",
        columns: COLUMNS,
        opened: (key, byKey) => {
            if (panel?.key === key) {
                if (byKey) panel.focus();
                return;
            }
            focusNext = byKey;
            route.go(route.to(shared.vm, "processes", key), { replace: panel !== null });
        },
        fold: (key, open) => {
            if (open) folded.delete(key);
            else folded.add(key);
            draw();
        },
        sort: (order) => {
            view.order = order === view.order ? "start" : order;
            settings.put("order", view.order);
            draw();
        },
    });
    const list = h(
        "section",
        { class: "list processes", "aria-label": "Processes" },
        h(
            "div",
            { class: "tools" },
            search,
            h("label", { class: "check" }, flat, "No tree"),
            h("label", { class: "check" }, kernel, "Kernel threads"),
            status,
        ),
        trouble,
        empty,
        grid.box,
        gaps,
    );
    const element = h("div", { class: "work" }, list);

    function draw() {
        const rows = forest.rows({ ...view, folded });
        grid.showOrder(view.order);
        grid.update(rows);
        sayStatus(rows);
        panel?.update(forest.get(panel.key));
    }

    function sayStatus(rows) {
        if (!heard) return;
        const user = forest.size - forest.kernelThreads;
        const found = view.text ? `${plural(rows.filter((row) => row.match).length, "match", "matches")} of ` : "";
        const kernelWords = forest.kernelThreads ? ` + ${count(forest.kernelThreads)} of the kernel` : "";
        const words = `${found}${plural(user, "process", "processes")}${kernelWords}`;
        if (status.textContent !== words) fill(status, words);
    }

    function sayGaps() {
        const words = coverageWords(coverage);
        gaps.hidden = !words;
        if (gaps.textContent !== words) fill(gaps, words);
    }

    function snapshot({ records, coverage: lacks }) {
        heard = performance.now();
        trouble.hidden = true;
        forest.replace(records, heard);
        coverage = lacks;
        sayGaps();
        draw();
    }

    function changes({ started, changed, ended, interval_s: seconds }) {
        const now = performance.now();
        heard = now;
        forest.change([...started, ...changed], ended, now, seconds);
        trouble.hidden = true;
        draw();
        clearTimeout(idleTimer);
        idleTimer = setTimeout(() => forest.idle() && draw(), IDLE_MS);
        if (started.length) {
            clearTimeout(freshTimer);
            freshTimer = setTimeout(draw, FRESH_MS);
        }
    }

    function troubled(words, hint = "") {
        trouble.hidden = false;
        fill(trouble, h("p", {}, h("strong", {}, "Not seen now: "), guestText(words), ". What is shown is what was last read."), hint ? h("p", { class: "muted" }, guestText(hint)) : null);
    }

    function state(what) {
        link.report("processes", what);
        const refused = what.kind === "refused";
        empty.hidden = !refused;
        grid.box.hidden = refused;
        if (refused) {
            fill(
                empty,
                h("div", { class: "note danger", role: "alert" }, h("p", {}, what.problem.message), h("p", { class: "muted" }, what.problem.hint),
                    h("button", { type: "button", class: "button slim", onclick: () => stream.again() }, "Try again")),
            );
        }
    }

    function mark() {
        grid.tagged = new Map([...shared.quarantined()].map((key) => [key, "quarantine"]));
        grid.update(grid.rows);
        panel?.update(forest.get(panel.key));
    }

    shared.addEventListener("change", mark);

    function close() {
        route.go(route.to(shared.vm, "processes"), { replace: true });
        grid.focus();
    }

    return {
        element,
        enter() {
            stream = new Stream(() => shared.path("/processes/stream"), { snapshot, changes, problem: ({ detail, hint }) => troubled(detail, hint), end: ({ why }) => troubled(why) }, state);
        },
        leave() {
            stream?.close();
            stream = null;
            link.drop("processes");
        },
        go([key, tab]) {
            if (!key) {
                panel?.end();
                panel?.element.remove();
                panel = null;
                element.classList.remove("with-details");
                grid.select(null);
                return;
            }
            if (panel?.key !== key) {
                panel?.end();
                panel?.element.remove();
                panel = processPanel(shared, key, close);
                element.append(panel.element);
                element.classList.add("with-details");
                panel.update(forest.get(key));
                grid.select(key);
                if (focusNext) panel.focus();
                focusNext = false;
                requestAnimationFrame(() => grid.reveal(key));
            }
            panel.open(tab);
        },
        escape(target) {
            if (target === search && search.value) {
                search.value = "";
                view.text = "";
                draw();
                return true;
            }
            if (target === search) {
                grid.focus();
                return true;
            }
            if (!panel) return false;
            close();
            return true;
        },
        end() {
            shared.removeEventListener("change", mark);
            panel?.end();
            grid.list.end();
        },
    };
}
