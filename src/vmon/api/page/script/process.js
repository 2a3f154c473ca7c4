// One process: who it is, what can be done to it, and what it holds, a tab each, read when the tab is opened.
//
// It is named by its key; when that process has ended its details stay to be read, and nothing can be done any more.

import { actsFor, act, kindOf, labelOf, whyNot } from "./acts.js";
import * as client from "./client.js";
import { button, fill, freshId, h, setDisabled } from "./dom.js";
import { HOLDINGS } from "./holdings.js";
import { overview } from "./overview.js";
import { table } from "./table.js";
import { clock, coverageWords, guestText, plural } from "./text.js";
import { timelineTab } from "./timeline.js";

const REFRESH_MS = 5000;

/** The panel of a process. */
export function processPanel(shared, key, close) {
    const id = freshId("process");
    const pid = Number(key.split("@")[0]);
    const abort = new AbortController();
    const title = h("h2", { id: `${id}-title`, tabindex: "-1" }, `Process ${pid}`);
    const state = h("p", { class: "small", role: "status" });
    const buttons = h("div", { class: "acts", role: "group", "aria-label": "What can be done to it" });
    const body = h("div", { class: "details-body", role: "tabpanel", tabindex: "0", id: `${id}-body` });
    const tabs = new Map();
    let node;
    let record;
    let missing;
    let current;
    let timeline;
    let timer;
    let actsShown = "";
    let overviewShown;

    const NAMES = [["overview", "Overview"], ["timeline", "Timeline"], ...HOLDINGS.map(({ name, title: words }) => [name, words])];
    const bar = h(
        "div",
        { class: "subtabs", role: "tablist", "aria-label": "Details", onkeydown: arrows },
        NAMES.map(([name, words]) => {
            const tab = h("button", { type: "button", role: "tab", id: `${id}-${name}`, "aria-controls": `${id}-body`, onclick: () => open(name) }, words);
            tabs.set(name, tab);
            return tab;
        }),
    );
    const element = h(
        "aside",
        { class: "details", "aria-labelledby": `${id}-title` },
        h(
            "div",
            { class: "details-head" },
            h(
                "div",
                { class: "details-title" },
                title,
                h("button", { type: "button", class: "icon-button", "aria-label": "Close the details", title: "Close (Esc)", onclick: close }, "×"),
            ),
            state,
            buttons,
        ),
        bar,
        body,
    );

    function arrows(event) {
        const order = NAMES.map(([name]) => name);
        const at = order.indexOf(current);
        const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: order.length - 1 }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        const name = order[(to + order.length) % order.length];
        open(name);
        tabs.get(name).focus();
    }

    /** The process as the tree has it now; undefined when it is not there. */
    function update(now) {
        const ended = now === undefined && node !== undefined;
        if (now !== undefined) {
            node = now;
            record = now.record;
            missing = false;
        } else if (ended) missing = true;
        drawHead();
        if (current === "overview" && record && overviewShown !== `${node?.version}/${missing}`) {
            overviewShown = `${node?.version}/${missing}`;
            fill(body, overview(record));
        }
    }

    function drawHead() {
        if (!record) {
            fill(state, "This process is not there: it ended, or its details are still being read.");
            return;
        }
        fill(title, guestText(record.name), h("span", { class: "muted" }, ` ${record.pid}`));
        fill(
            state,
            missing ? h("span", { class: "tag danger" }, "ended") : null,
            missing ? " What stands here was last read while it ran." : h("span", { class: "muted mono" }, `key ${record.key}`),
        );
        const quarantined = shared.quarantined().has(record.key);
        const why = missing ? "It has ended." : whyNot(shared, record);
        const acts = actsFor(record, quarantined);
        if (actsShown !== acts.join()) {
            // Buttons stay the same elements while they say the same: the focus on them is not lost.
            const focused = buttons.contains(document.activeElement) ? [...buttons.children].indexOf(document.activeElement) : -1;
            fill(
                buttons,
                acts.map((name) => button(labelOf(name), () => act(shared, name, record), { kind: `slim ${kindOf(name)}`, "data-act": name })),
            );
            buttons.children[focused]?.focus();
            actsShown = acts.join();
        }
        for (const each of buttons.children) setDisabled(each, why);
    }

    function open(name = "overview") {
        const wanted = tabs.has(name) ? name : "overview";
        if (wanted === current) return;
        current = wanted;
        for (const [each, tab] of tabs) {
            tab.setAttribute("aria-selected", String(each === wanted));
            tab.tabIndex = each === wanted ? 0 : -1;
        }
        body.setAttribute("aria-labelledby", `${id}-${wanted}`);
        body.scrollTop = 0;
        clearTimeout(timer);
        timeline?.end();
        timeline = null;
        overviewShown = undefined;
        fill(body, h("p", { class: "muted" }, "Reading…"));
        if (wanted === "overview") update(node);
        else if (wanted === "timeline") {
            timeline = timelineTab(shared, key, () => record);
            fill(body, timeline.element);
        } else load(HOLDINGS.find((holding) => holding.name === wanted));
    }

    async function load(holding) {
        if (current !== holding.name) return;
        if (missing) {
            fill(body, h("p", { class: "muted" }, "It has ended: what it held can't be read any more."));
            return;
        }
        if (holding.operator && client.who().role !== "operator") {
            fill(body, h("div", { class: "note" }, h("p", {}, "The environment may hold secrets: it is shown to operators only.")));
            return;
        }
        let content;
        try {
            const answer = await client.get(shared.path(`/processes/${pid}/${holding.path}`), abort.signal);
            const lacks = coverageWords(answer.coverage);
            content = [
                h(
                    "div",
                    { class: "sub-status" },
                    `${plural(answer.records.length, holding.one, holding.many)}, as of ${clock(Date.now() / 1000)}`,
                    button("Read again", () => load(holding), { kind: "slim" }),
                ),
                lacks ? h("p", { class: "small muted" }, lacks) : null,
                table(holding.columns, answer.records, { label: holding.title, empty: holding.empty }),
            ];
        } catch (error) {
            if (abort.signal.aborted) return;
            content = h("div", { class: "note danger", role: "alert" }, h("p", {}, guestText(error.message)), error.hint ? h("p", { class: "muted" }, error.hint) : null);
        }
        if (current !== holding.name) return;
        const focused = body.contains(document.activeElement) && document.activeElement !== body;
        if (!focused || document.activeElement.tagName === "BUTTON") fill(body, content);
        clearTimeout(timer);
        timer = setTimeout(() => again(holding), REFRESH_MS);
    }

    // Not while somebody reads further down: rows would move under the eyes.
    function again(holding) {
        if (current !== holding.name || missing) return;
        if (document.hidden || body.scrollTop > 0 || document.activeElement?.closest?.(".details-body") === body || getSelection().type === "Range") {
            timer = setTimeout(() => again(holding), REFRESH_MS);
        } else load(holding);
    }

    async function find() {
        try {
            const found = await client.get(shared.path(`/processes/${pid}`), abort.signal);
            if (record || found.key !== key) return;
            record = found;
            drawHead();
            if (current === "overview") fill(body, overview(record));
        } catch (error) {
            if (!abort.signal.aborted && !record && current === "overview") {
                fill(body, h("div", { class: "note" }, h("p", {}, `Process ${pid} is not there: ${error.message}`)));
            }
        }
    }

    setTimeout(() => {
        if (!record && !abort.signal.aborted) find();
    }, 1500);

    return {
        key,
        element,
        update,
        open,
        focus: () => title.focus({ preventScroll: true }),
        end() {
            abort.abort();
            clearTimeout(timer);
            timeline?.end();
        },
    };
}
