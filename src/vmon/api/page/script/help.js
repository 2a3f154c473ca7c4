// Help: keys, what the marks mean, and a switch for single keys, which some ways of typing press by accident.

import * as dialog from "./dialog.js";
import { h } from "./dom.js";
import { who } from "./client.js";
import * as settings from "./settings.js";

const KEYS = [
    [["/"], "Search"],
    [["↑", "↓", "Page Up", "Page Down", "Home", "End"], "Move in a list"],
    [["→", "←"], "Unfold a process's children, or go in; fold them, or go to the parent"],
    [["Enter"], "Show a process or an event, and go to it"],
    [["Tab"], "To the next button or list"],
    [["Esc"], "Close: a question, a menu, the details; leave the search"],
    [["?"], "This help"],
];

/** Open the help. */
export function help() {
    const keys = h(
        "dl",
        { class: "keys" },
        KEYS.map(([names, what]) => [h("dt", {}, names.map((name, at) => [at ? " " : "", h("kbd", {}, name)])), h("dd", {}, what)]),
    );
    const single = h("input", {
        type: "checkbox",
        checked: settings.get("keys", "on") === "on",
        onchange: (event) => settings.put("keys", event.target.checked ? "on" : "off"),
    });
    const body = [
        keys,
        h("label", { class: "check" }, single, "Single keys ( / and ? ) work outside of fields"),
        h("h3", {}, "What is shown"),
        h(
            "p",
            { class: "small" },
            "All of it was read from the virtual machine's memory, from outside. Names, arguments and paths are what the guest wrote: ",
            h("span", { class: "escape" }, "\\u202e"),
            " marks a character that would have hidden or reordered text. A process is named by its key, pid@start: the same one for ever, also when its pid is another's by now.",
        ),
        h(
            "p",
            { class: "small" },
            "What an answer could not see is said below it. Times are the guest's. The user is a number, as the guest's kernel has it; an arrow shows one that acts as another.",
        ),
        h("p", { class: "small muted" }, `vmon ${who().version}`),
    ];
    dialog.show("Keys and marks", body, "wide");
}
