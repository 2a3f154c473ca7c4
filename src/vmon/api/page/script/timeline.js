// What a process did, newest first: what the server still remembers, and from now on what happens.
//
// The same deed again is counted, not repeated, so that a loop of opens does not push out the start.

import { factsOf, objectOf, saidOf, verdictOf, wasRefused } from "./deeds.js";
import { fill, h, oncePerFrame } from "./dom.js";
import { ProbedStream } from "./probed.js";
import { count, guestText, plural, sinceBoot } from "./text.js";
import { show } from "./dialog.js";

const MOST = 400;

/** The tab: {element, end}. `record()` is the process as last known. */
export function timelineTab(shared, key, record) {
    const pid = Number(key.split("@")[0]);
    let entries = [];
    let heard = 0;
    let lost = 0;
    const status = h("p", { class: "sub-status", role: "status" }, "Looking for what it did…");
    const note = h("div");
    const list = h("ol", { class: "timeline" });
    const plain = h("input", { type: "checkbox", checked: true, onchange: () => draw() });
    const element = h(
        "div",
        { class: "cards" },
        note,
        h("div", { class: "sub-status" }, status, h("label", { class: "check" }, plain, "Hide what was only read")),
        list,
    );
    const draw = oncePerFrame(() => {
        const shown = entries.filter((entry) => !plain.checked || !onlyRead(entry.event));
        const items = shown.slice(-MOST).reverse().map(item);
        const start = record();
        if (start) items.push(started(start));
        fill(list, items);
        const words = [plural(heard, "event"), shown.length > MOST ? `the last ${count(MOST)} are shown` : "", lost ? `${count(lost)} lost` : ""];
        fill(status, heard ? `${words.filter(Boolean).join(", ")}; at seconds since boot` : "Nothing else is known yet: what it does from now on appears here.");
    });

    function add(event) {
        if (event.key !== key && event.target_key !== key) return;
        heard += 1;
        const last = entries.at(-1);
        if (last && same(last.event, event)) last.times += 1;
        else entries.push({ event, times: 1 });
        last && (last.event = same(last.event, event) ? event : last.event);
        if (entries.length > 4 * MOST) entries = entries.slice(-2 * MOST);
        draw();
    }

    function item({ event, times }) {
        const { verdict, kind } = verdictOf(event);
        const classes = [wasRefused(event) ? "refused" : "", event.event === "process.exec" ? "start" : ""].join(" ");
        const received = event.key !== key;
        return h(
            "li",
            { class: classes },
            h("span", { class: "at" }, sinceBoot(event.time_ns)),
            h(
                "div",
                { class: "deed" },
                received ? [guestText(event.name), ` (${event.pid}) `] : null,
                event.event === "process.signal" && !received ? "sent" : saidOf(event.event),
                " ",
                guestText(objectOf(event), "mono"),
                verdict === "allowed" ? null : [" ", h("span", { class: `tag ${kind}` }, event.rule ? `${verdict}, rule ${event.rule}` : verdict)],
                times > 1 ? h("span", { class: "muted" }, ` ×${count(times)}`) : null,
                " ",
                h("button", { type: "button", class: "link-button", "aria-label": "All of this event", onclick: () => show(saidOf(event.event), factsOf(event), "wide") }, "…"),
            ),
        );
    }

    const stream = new ProbedStream(
        shared,
        "timeline",
        () => shared.path(`/events?pid=${pid}&since=first`),
        {
            event: add,
            lost: ({ count: many }) => {
                lost += many ?? 0;
                draw();
            },
        },
        ({ kind, note: words }) => {
            if (kind === "opening") {
                entries = [];
                heard = 0;
            }
            fill(note, words);
        },
    );
    draw();
    return {
        element,
        end() {
            stream.close();
        },
    };
}

function same(a, b) {
    return a.event === b.event && a.verdict === b.verdict && a.key === b.key && objectOf(a) === objectOf(b);
}

function onlyRead(event) {
    if (wasRefused(event)) return false;
    return event.event === "file.mmap_exec" || (event.event === "file.open" && !((event.flags ?? 0) & 3));
}

function started(record) {
    return h(
        "li",
        { class: "start" },
        h("span", { class: "at" }, sinceBoot(record.start_boottime_ns)),
        h("div", { class: "deed" }, `began, as a child of ${record.parent_key ? record.parent_key.split("@")[0] : record.ppid}`),
    );
}
