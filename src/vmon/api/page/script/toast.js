// What came of an act, said in words at the edge of the page and to a screen reader: errors stay until they are closed.

import { h, fill } from "./dom.js";

const STAYS_MS = 5000;
const MOST = 4;
const box = h("div", { class: "toasts", role: "region", "aria-label": "Results" });
const polite = h("div", { class: "unseen", role: "status", "aria-live": "polite" });
const assertive = h("div", { class: "unseen", role: "alert", "aria-live": "assertive" });

/** Put the places for messages into the page, once. */
export function mount() {
    document.body.append(box, polite, assertive);
}

/** Say something: `kind` is ok, info or error. `more` is a second line, such as a hint. */
export function say(text, { kind = "ok", more = "" } = {}) {
    fill(kind === "error" ? assertive : polite, h("p", {}, text, more ? ` ${more}` : ""));
    const close = () => {
        toast.remove();
    };
    const toast = h(
        "div",
        { class: `toast ${kind}` },
        h("div", { class: "toast-text" }, h("p", {}, text), more ? h("p", { class: "muted" }, more) : null),
        h("button", { type: "button", class: "icon-button", "aria-label": "Close this message", onclick: close }, "×"),
    );
    box.append(toast);
    while (box.children.length > MOST) box.firstElementChild.remove();
    if (kind !== "error") setTimeout(close, STAYS_MS);
}

/** Say an error of the server, with its hint. */
export function sayError(error, what = "") {
    say(what ? `${what}: ${error.message}` : error.message, { kind: "error", more: error.hint ?? "" });
}

/** Tell a screen reader alone: what everybody else sees anyway. */
export function whisper(text) {
    fill(polite, text);
}
