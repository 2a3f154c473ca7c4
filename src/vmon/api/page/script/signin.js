// Signing in: the token is shown to the server once, which answers with a cookie that no script can read.

import * as client from "./client.js";
import { fill, h } from "./dom.js";

/** The view for somebody the server does not know; `done` is called once it does. */
export function signInView({ done }) {
    const said = h("p", { class: "error-text", role: "alert", id: "signin-error" });
    const field = h("input", {
        type: "password",
        id: "token",
        autocomplete: "current-password",
        spellcheck: "false",
        required: true,
        "aria-describedby": "signin-error",
    });
    const go = h("button", { type: "submit", class: "button primary" }, "Sign in");

    async function submit(event) {
        event.preventDefault();
        fill(said);
        if (!field.value.trim()) {
            fill(said, "A token is needed: it stands in the server's token file.");
            field.focus();
            return;
        }
        go.disabled = true;
        try {
            await client.signIn(field.value.trim());
            field.value = "";
            done();
        } catch (error) {
            fill(said, error.message, error.hint ? ` ${error.hint}` : "");
            field.select();
        } finally {
            go.disabled = false;
        }
    }

    const view = h(
        "div",
        { class: "page" },
        h(
            "div",
            { class: "signin card" },
            h("h1", {}, "Sign in to vmon"),
            h(
                "p",
                { class: "muted" },
                "This server shows processes of its virtual machines, and lets operators stop them. It wants a token of its token file.",
            ),
            h(
                "form",
                { onsubmit: submit, novalidate: true },
                h("div", { class: "field" }, h("label", { for: "token" }, "Token"), field),
                said,
                go,
            ),
            h(
                "p",
                { class: "muted small" },
                "No token? ",
                h("code", {}, "vmon serve --help"),
                " on the server's machine tells where they are. A viewer's token looks, an operator's also acts.",
            ),
        ),
    );
    setTimeout(() => field.focus());
    return { elements: [view], end() {} };
}
