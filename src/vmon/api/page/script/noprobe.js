// Without the probe nothing tells what happens in a guest: that is said, with the button that puts it in.

import { button, h } from "./dom.js";
import { guestText } from "./text.js";

/** A note about a stream or list that was refused; `then` is called when the probe is in. */
export function probeNote(shared, problem, then) {
    const without = problem.title === "NotSupported" && shared.probe?.active !== true;
    if (!without) {
        return h(
            "div",
            { class: "note danger", role: "alert" },
            h("p", {}, guestText(problem.message)),
            problem.hint ? h("p", { class: "muted" }, guestText(problem.hint)) : null,
            button("Try again", then, { kind: "slim" }),
        );
    }
    return h(
        "div",
        { class: "note" },
        h("p", {}, h("strong", {}, "No probe is in this guest. "), "vmon reads its processes without one, but sees neither opens nor connections as they happen, and can refuse nothing."),
        h("p", { class: "muted" }, "Putting it in changes some fifty instructions of the guest's kernel; the guest stands still for a few milliseconds. Taking it out makes every one as it was."),
        problem.hint ? h("p", { class: "muted" }, guestText(problem.hint)) : null,
        putButton(shared, then),
    );
}

/** The button that puts the probe in. */
export function putButton(shared, then) {
    const put = button(
        "Put the probe in",
        async () => {
            put.setAttribute("aria-busy", "true");
            const done = await shared.putProbe();
            put.removeAttribute("aria-busy");
            if (done) then();
        },
        { kind: "primary slim", why: shared.mayNot() },
    );
    return put;
}
