// What happens in a VM as it happens, with filters, a pause, and what was lost said in numbers.
//
// The last 5,000 are kept here. Who reads further down, or pauses, is not disturbed: what comes meanwhile waits, and is
// counted. Kinds, pid and verdict are filtered by the server, the text here.

import { factsOf, GROUP_WORDS, GROUPS, objectOf } from "./deeds.js";
import { button, fill, freshId, h, oncePerFrame } from "./dom.js";
import * as client from "./client.js";
import { EventList } from "./eventlist.js";
import { ProbedStream } from "./probed.js";
import * as route from "./route.js";
import { count, guestText } from "./text.js";

const KEEP = 5000;
const COUNTS_MS = 1000;
const TEXT_MS = 300;

/** The view. */
export function eventsView(shared) {
    let entries = [];
    let shown = [];
    let waiting = 0;
    let heard = 0;
    let lost = 0;
    let unknownLoss = false;
    let dropped = 0;
    let paused = false;
    let lastId = "";
    let stream = null;
    let selected = null;
    let totals = null;
    let timer;
    let typing;
    let live = false;

    const kinds = new Set();
    const text = h("input", {
        type: "search",
        class: "search",
        placeholder: "Search process, path, address",
        "aria-label": "Search events",
        spellcheck: "false",
        oninput: () => {
            clearTimeout(typing);
            typing = setTimeout(filter, TEXT_MS / 3);
        },
    });
    const pid = h("input", {
        type: "text",
        inputmode: "numeric",
        class: "pid",
        placeholder: "pid",
        "aria-label": "Only of the process with this pid",
        oninput: () => {
            clearTimeout(typing);
            typing = setTimeout(ask, TEXT_MS);
        },
    });
    const denied = h("input", { type: "checkbox", onchange: () => ask() });
    const pause = button("Pause", () => setPaused(!paused), { kind: "slim", "aria-pressed": "false" });
    const newer = button("", () => catchUp(), { kind: "slim primary", hidden: true });
    const status = h("p", { class: "status" });
    const note = h("div", { class: "page", hidden: true });
    const kindsWord = h("span", {}, "All kinds");
    const menu = h("details", { class: "menu" }, h("summary", { class: "button slim" }, kindsWord, " ▾"), h("div", { class: "menu-box" }, h("div", { class: "menu-columns" }, groups())));
    const list = new EventList({ opened });
    const empty = h("p", { class: "muted nothing" }, "Nothing yet. What happens in the guest appears here at once.");
    const section = h(
        "section",
        { class: "list events", "aria-label": "Events" },
        h("div", { class: "tools" }, text, menu, pid, h("label", { class: "check" }, denied, "Only refused"), pause, newer, status),
        note,
        empty,
        list.box,
    );
    const element = h("div", { class: "work" }, section);
    const draw = oncePerFrame(() => {
        const quiet = paused || list.held;
        if (!quiet) {
            list.update(shown.slice());
            waiting = 0;
        }
        newer.hidden = waiting === 0;
        if (waiting) fill(newer, `Show ${count(waiting)} newer`);
        empty.hidden = shown.length > 0 || !note.hidden;
        sayStatus();
    });

    function groups() {
        return [...GROUPS].map(([name, members]) =>
            h(
                "fieldset",
                { class: "menu-group" },
                h("legend", {}, GROUP_WORDS[name] ?? name),
                members.map((kind) =>
                    h(
                        "label",
                        { class: "check" },
                        h("input", {
                            type: "checkbox",
                            value: kind,
                            onchange: (event) => {
                                if (event.target.checked) kinds.add(kind);
                                else kinds.delete(kind);
                                fill(kindsWord, kinds.size ? `${kinds.size} kind${kinds.size > 1 ? "s" : ""}` : "All kinds");
                                ask();
                            },
                        }),
                        kind,
                    ),
                ),
            ),
        );
    }

    function query() {
        const words = [];
        if (kinds.size) words.push(`on=${[...kinds].join(",")}`);
        if (/^\d+$/.test(pid.value.trim())) words.push(`pid=${pid.value.trim()}`);
        if (denied.checked) words.push("denied=true");
        words.push(`since=${lastId || "first"}`);
        return `?${words.join("&")}`;
    }

    // Another question: what was shown no longer answers it.
    function ask() {
        entries = [];
        shown = [];
        lastId = "";
        waiting = 0;
        list.top();
        list.update([]);
        draw();
        stream?.again();
    }

    function fits(entry) {
        const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
        if (!words.length) return true;
        if (entry.search === undefined) {
            const { event, notice } = entry;
            entry.search = (notice ? notice.said : `${event.event} ${event.name} ${event.pid} ${objectOf(event)} ${event.exe ?? ""} ${event.verdict ?? ""}`).toLowerCase();
        }
        return words.every((word) => entry.search.includes(word));
    }

    function filter() {
        shown = entries.filter(fits);
        list.top();
        list.update(shown.slice());
        waiting = 0;
        draw();
    }

    function add(entry) {
        entries.push(entry);
        if (fits(entry)) {
            shown.push(entry);
            waiting += 1;
        }
        if (entries.length > KEEP + 500) {
            dropped += entries.length - KEEP;
            entries = entries.slice(-KEEP);
            const first = entries[0];
            const at = shown.findIndex((each) => each.number >= first.number);
            shown = at < 0 ? [] : shown.slice(at);
        }
        draw();
    }

    function catchUp() {
        list.top();
        if (paused) setPaused(false);
        else draw();
    }

    function setPaused(on) {
        paused = on;
        pause.setAttribute("aria-pressed", String(on));
        fill(pause, on ? "Go on" : "Pause");
        draw();
    }

    function sayStatus() {
        const words = [`${count(heard)} heard`];
        if (shown.length !== heard) words.push(`${count(shown.length)} shown`);
        words.push(lost || unknownLoss ? `${unknownLoss ? "more than " : ""}${count(lost)} lost on the way` : "none lost");
        if (dropped) words.push(`${count(dropped)} older not kept here`);
        if (totals) words.push(`since the guest's boot ${count(totals.seen)} seen, ${count(totals.denied)} refused, ${totals.lost ? count(totals.lost) : "none"} lost`);
        const whole = words.join(" · ");
        if (status.textContent !== whole) fill(status, whole);
        status.classList.toggle("lossy", lost > 0 || unknownLoss || (totals?.lost ?? 0) > 0);
    }

    async function askCounts() {
        try {
            const { records } = live ? await client.get(shared.path("/counts")) : { records: [] };
            totals = records.reduce(
                (sum, each) => ({ seen: sum.seen + each.seen, denied: sum.denied + each.denied, lost: sum.lost + each.lost }),
                { seen: 0, denied: 0, lost: 0 },
            );
            sayStatus();
        } catch {
            totals = null; // without the probe there are none, and the stream says why
        }
        if (stream) timer = setTimeout(askCounts, COUNTS_MS);
    }

    function state({ kind, note: words }) {
        live = kind === "live"; // totals are kept while somebody follows
        note.hidden = !words;
        list.box.hidden = words !== null;
        fill(note, words);
        draw();
    }

    function opened(entry, byKey) {
        selected?.remove();
        const id = freshId("event-details");
        const { event } = entry;
        list.selected = entry;
        list.list.update(list.entries.length);
        const title = h("h2", { id, tabindex: "-1" }, event.event, h("span", { class: "muted" }, ` of ${event.pid}`));
        selected = h(
            "aside",
            { class: "details", "aria-labelledby": id },
            h(
                "div",
                { class: "details-head" },
                h(
                    "div",
                    { class: "details-title" },
                    title,
                    h("button", { type: "button", class: "icon-button", "aria-label": "Close the details", onclick: () => closeDetails() }, "×"),
                ),
                h("p", {}, h("a", { href: route.to(shared.vm, "processes", event.key) }, "Show its process: ", guestText(event.name), ` (${event.pid})`)),
            ),
            h("div", { class: "details-body", tabindex: "0" }, factsOf(event)),
        );
        element.append(selected);
        element.classList.add("with-details");
        if (byKey) title.focus({ preventScroll: true });
    }

    function closeDetails() {
        selected.remove();
        selected = null;
        list.selected = null;
        element.classList.remove("with-details");
        list.list.update(list.entries.length);
        list.box.focus({ preventScroll: true });
    }

    let number = 0;
    const handlers = {
        event: (event, id) => {
            lastId = id || lastId;
            heard += 1;
            add({ event, number: (number += 1) });
        },
        notice: (notice) => {
            add({ notice, number: (number += 1) });
            shared.refresh();
        },
        lost: ({ count: many }) => {
            if (many === null) unknownLoss = true;
            else lost += many;
            draw();
        },
        end: ({ why }) => add({ notice: { event: "vmon.end", said: why }, number: (number += 1) }),
    };

    return {
        element,
        enter() {
            stream = new ProbedStream(shared, "events", () => shared.path(`/events${query()}`), handlers, state);
            askCounts();
        },
        leave() {
            stream?.close();
            stream = null;
            clearTimeout(timer);
        },
        escape(target) {
            if (target === text && text.value) {
                text.value = "";
                filter();
                return true;
            }
            if (selected) {
                closeDetails();
                return true;
            }
            if (target === text || list.held) {
                list.top();
                list.box.focus({ preventScroll: true });
                draw();
                return true;
            }
            return false;
        },
        end() {
            list.list.end();
        },
    };
}
