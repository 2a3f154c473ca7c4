// Calls of the guest that wait for a word: each with the time that is left, and three answers.
//
// Following the asks changes the guest: calls wait up to their rule's time-out. So it is begun by a click, goes on while
// this VM is shown, in whichever tab, and ends with another. Without anybody here the rule's fallback decides at once.

import * as client from "./client.js";
import { objectOf, saidOf } from "./deeds.js";
import { button, fill, h } from "./dom.js";
import { ProbedStream } from "./probed.js";
import * as route from "./route.js";
import { count, guestText, plural, printable } from "./text.js";
import * as toast from "./toast.js";

const TICK_MS = 100;
const KEEP_DONE = 30;
const ANSWERS = [
    ["allow", "Allow", ""],
    ["deny", "Deny", "danger"],
    ["kill", "Kill the process", "danger"],
];
const DONE_WORDS = { allow: "allowed", deny: "denied", kill: "killed", late: "too late: the fallback decided" };

/** The view. */
export function asksView(shared) {
    const pending = new Map();
    const done = [];
    let stream = null;
    let ticker;

    const control = h("div", { class: "card measure" });
    const note = h("div", { class: "measure" });
    const list = h("div", { class: "cards measure", role: "list", "aria-label": "Calls that wait" });
    const empty = h("p", { class: "muted" });
    const past = h("section", { class: "measure", hidden: true });
    const element = h(
        "div",
        { class: "page" },
        h("div", { class: "head measure" }, h("h2", {}, "Asks"), h("p", { class: "status" }, "Calls of the guest that a rule asks about")),
        control,
        note,
        empty,
        list,
        past,
    );

    function drawControl() {
        const following = stream !== null;
        const asking = (shared.rules ?? []).filter((record) => record.rule.action === "ask").length;
        const why = client.who().role === "operator" ? shared.mayNot() : "You are signed in as a viewer. Answering is for operators.";
        fill(
            control,
            h(
                "div",
                { class: "card-head" },
                h("span", { class: `tag ${following ? "accent" : ""}` }, following ? "Answering here" : "Not answering here"),
                h("h3", {}, following ? "Calls wait for you, up to their rule's time-out" : "Who asks is answered by its rule's fallback, unless somebody else listens"),
                h("span", { class: "spacer" }),
                button(following ? "Stop answering" : "Answer asks here", () => (following ? stop() : start()), { kind: `slim ${following ? "" : "primary"}`, why: following ? "" : why }),
            ),
            h("p", { class: "muted small" }, `${asking ? plural(asking, "rule asks", "rules ask") : "No rule in force asks"}. A rule asks where its action is "ask", as in a policy file.`),
        );
        fill(empty, following && !pending.size ? "Nothing waits now." : "");
    }

    function start() {
        stream = new ProbedStream(shared, "asks", () => shared.path("/asks"), { ask: asked, done: answered }, state, { hidden: true });
        ticker = setInterval(tick, TICK_MS);
        drawControl();
    }

    function stop() {
        stream?.close();
        stream = null;
        clearInterval(ticker);
        for (const { card } of pending.values()) card.remove();
        pending.clear();
        sayNumber();
        fill(note);
        drawControl();
    }

    function state({ kind, note: words }) {
        fill(note, words);
        if (kind !== "live") {
            // Whatever waits now is told anew when the stream is back.
            for (const { card } of pending.values()) card.remove();
            pending.clear();
            sayNumber();
        }
    }

    function asked({ id, event, fallback, timeout_ms: timeout, waits_ms: left }) {
        const ends = performance.now() + left;
        const bar = h("div");
        const time = h("span", { class: "small" });
        const buttons = ANSWERS.map(([answer, words, kind]) => button(words, () => say(id, answer), { kind, "data-answer": answer }));
        const card = h(
            "article",
            { class: "card ask", role: "listitem" },
            h(
                "div",
                { class: "card-head" },
                h("h3", {}, guestText(event.name), ` (${event.pid}) wants: `, h("span", { class: "mono" }, event.event)),
                h("span", { class: "spacer" }),
                h("a", { class: "small", href: route.to(shared.vm, "processes", event.key) }, "Show the process"),
            ),
            h("div", { class: "block" }, guestText(objectOf(event) || "–")),
            h("p", { class: "small muted" }, "key ", h("span", { class: "mono" }, event.key), `, user ${event.uid}, rule ${event.rule}`, event.exe ? [", program ", guestText(event.exe, "mono")] : null),
            h("div", { class: "left", "aria-hidden": "true" }, bar),
            h("div", { class: "card-head" }, buttons, h("span", { class: "spacer" }), time),
        );
        pending.set(id, { card, bar, time, ends, whole: timeout, fallback, event, buttons });
        list.append(card);
        sayNumber();
        toast.whisper(`${printable(event.name)}, ${event.pid}, waits for an answer: ${saidOf(event.event)} ${printable(objectOf(event))}`);
        tick();
        drawControl();
    }

    async function say(id, answer) {
        const entry = pending.get(id);
        for (const each of entry.buttons) each.setAttribute("aria-disabled", "true");
        try {
            await client.change("POST", shared.path(`/asks/${encodeURIComponent(id)}`), { answer });
        } catch (error) {
            if (error.status === 410) toast.say("Too late: the rule's fallback has decided.", { kind: "info" });
            else {
                toast.sayError(error, "Not answered");
                for (const each of entry.buttons) each.removeAttribute("aria-disabled");
            }
        }
    }

    function answered({ id, answer }) {
        const entry = pending.get(id);
        if (!entry) return;
        const focused = entry.card.contains(document.activeElement);
        entry.card.remove();
        pending.delete(id);
        done.unshift({ event: entry.event, answer, fallback: entry.fallback });
        done.length = Math.min(done.length, KEEP_DONE);
        if (focused) list.querySelector("button")?.focus();
        drawPast();
        sayNumber();
        drawControl();
    }

    function drawPast() {
        past.hidden = done.length === 0;
        fill(
            past,
            h("h3", { class: "section" }, "Answered while this page was open"),
            h(
                "ul",
                { class: "past" },
                done.map(({ event, answer, fallback }) =>
                    h(
                        "li",
                        {},
                        h("span", { class: `tag ${answer === "allow" ? "good" : answer === "late" ? "warn" : "danger"}` }, answer === "late" ? `${DONE_WORDS.late}: ${fallback}` : (DONE_WORDS[answer] ?? answer)),
                        " ",
                        guestText(event.name),
                        ` (${event.pid}) `,
                        h("span", { class: "mono" }, event.event, " ", guestText(objectOf(event))),
                    ),
                ),
            ),
        );
    }

    function tick() {
        const now = performance.now();
        for (const entry of pending.values()) {
            const left = Math.max(0, entry.ends - now);
            entry.bar.style.transform = `scaleX(${(left / entry.whole).toFixed(3)})`;
            fill(entry.time, left ? `${(left / 1000).toFixed(1)} s left, then ${entry.fallback}` : `time is over: ${entry.fallback}`);
        }
    }

    function sayNumber() {
        if (shared.asks === pending.size) return;
        shared.asks = pending.size;
        shared.tell();
        const base = document.title.replace(/^\([\d,]+\) /, "");
        document.title = pending.size ? `(${count(pending.size)}) ${base}` : base;
    }

    shared.addEventListener("change", drawControl);
    return {
        element,
        enter: drawControl,
        leave() {},
        end() {
            shared.removeEventListener("change", drawControl);
            stop();
        },
    };
}
