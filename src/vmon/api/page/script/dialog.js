// Questions before acts: a modal dialog with the focus on Cancel, which Escape and a click beside it choose too.

import { h, freshId } from "./dom.js";

/** Open a dialog with this content; resolves with the returnValue, "" when it was closed by Escape. */
function open(title, body, buttons, className = "") {
    const id = freshId("dialog");
    const dialog = h(
        "dialog",
        { class: className, "aria-labelledby": id, "aria-describedby": `${id}-body` },
        h("h2", { id }, title),
        h("div", { id: `${id}-body`, class: "dialog-body" }, body),
        h("div", { class: "dialog-buttons" }, buttons(() => dialog)),
    );
    const before = document.activeElement;
    document.body.append(dialog);
    dialog.addEventListener("click", (event) => {
        if (event.target === dialog) dialog.close("");
    });
    return new Promise((resolve) => {
        dialog.addEventListener("close", () => {
            dialog.remove();
            if (before?.isConnected) before.focus({ preventScroll: true });
            resolve(dialog.returnValue);
        });
        dialog.showModal();
        dialog.querySelector("[data-first]")?.focus();
    });
}

const closing = (dialog, value, label, attributes) =>
    h("button", { type: "button", onclick: () => dialog().close(value), ...attributes }, label);

/** Ask whether to do something. `verb` is what the button that does it says; resolves true when it was chosen. */
export async function confirm({ title, body, verb, kind = "danger" }) {
    const answer = await open(title, body, (dialog) => [
        closing(dialog, "", "Cancel", { class: "button", "data-first": "" }),
        closing(dialog, "yes", verb, { class: `button filled ${kind}` }),
    ]);
    return answer === "yes";
}

/** Show something that is only read. */
export function show(title, body, className = "") {
    return open(title, body, (dialog) => [closing(dialog, "", "Close", { class: "button", "data-first": "" })], className);
}

/** Whether a dialog is open: single keys do nothing then. */
export function isOpen() {
    return document.querySelector("dialog[open]") !== null;
}
