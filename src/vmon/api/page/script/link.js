// Whether the page still hears from the server: a dot with a word, and a banner when it does not.
//
// Each stream of a view reports here; the worst of them is shown.

import { fill, h } from "./dom.js";
import { duration } from "./text.js";
import { whisper } from "./toast.js";

const WORDS = { live: "Live", opening: "Connecting", waiting: "Reconnecting", refused: "Stopped", paused: "Paused" };
const RANK = ["live", "paused", "opening", "refused", "waiting"];
const CLASSES = { live: "live", waiting: "down", refused: "waiting", opening: "waiting", paused: "" };

/** Stands in the bar of the page. */
export const element = h("span", { class: "link", hidden: true });
/** Stands above a view: what a person should know when nothing comes any more. */
export const banner = h("div", { class: "banner danger", role: "status", hidden: true });

const states = new Map();
let before = null;

/** What a stream of this name is doing now. */
export function report(name, state) {
    states.set(name, state);
    draw();
}

/** The stream is closed on purpose. */
export function drop(name) {
    states.delete(name);
    draw();
}

/** Another view begins. */
export function forget() {
    states.clear();
    before = null;
    draw();
}

function draw() {
    const worst = [...states.values()].sort((a, b) => RANK.indexOf(b.kind) - RANK.indexOf(a.kind))[0];
    element.hidden = worst === undefined;
    if (!worst) {
        banner.hidden = true;
        return;
    }
    element.className = `link ${CLASSES[worst.kind]}`;
    fill(element, WORDS[worst.kind]);
    const lost = worst.kind === "waiting";
    banner.hidden = !lost;
    if (lost) {
        const why = worst.problem ? worst.problem.message : "the server ended the stream";
        fill(
            banner,
            h("p", {}, h("strong", {}, "No longer live: "), `${why}. What is shown is what was last heard.`),
            h("p", { class: "muted" }, `Trying again in ${duration(worst.waitMs / 1000)}.`),
        );
    }
    if (lost !== before && before !== null) whisper(lost ? "The server does not answer." : "The server answers again.");
    before = lost;
}
