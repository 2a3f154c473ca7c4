// The frame of the page: who is signed in, which view is shown, light or dark, keys that work everywhere.
//
// Views are made anew when the address names another VM or tab, and end what they began (streams, timers) when they go.

import * as client from "./client.js";
import * as dialog from "./dialog.js";
import { fill, h } from "./dom.js";
import { help } from "./help.js";
import * as link from "./link.js";
import * as route from "./route.js";
import * as settings from "./settings.js";
import { signInView } from "./signin.js";
import { printable } from "./text.js";
import * as toast from "./toast.js";
import { vmView } from "./vm.js";
import { vmsView } from "./vms.js";

const role = h("span", { class: "tag" });
const out = h("button", { type: "button", class: "button slim", onclick: signOut }, "Sign out");
const themeButton = h("button", { type: "button", class: "button slim", onclick: nextTheme });
const main = h("main", { id: "main", tabindex: "-1" });
let shown = { end() {}, key: null };

function mark() {
    const NS = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(NS, "svg");
    const set = { viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", "stroke-width": "2", "aria-hidden": "true" };
    for (const [name, value] of Object.entries(set)) svg.setAttribute(name, value);
    const path = document.createElementNS(NS, "path");
    path.setAttribute("d", "M4.5 4h15a2 2 0 0 1 2 2v9a2 2 0 0 1-2 2h-15a2 2 0 0 1-2-2V6a2 2 0 0 1 2-2zM8 20.5h8M6 11.5l3 2 3-6 3 4h3");
    svg.append(path);
    return svg;
}

function mount() {
    settings.applyTheme();
    document.body.append(
        h("a", { class: "skip", href: "#main", onclick: skip }, "Skip to the content"),
        h(
            "header",
            { class: "bar" },
            h("a", { class: "brand", href: "#/", "aria-label": "vmon: all virtual machines" }, mark(), "vmon"),
            h("div", { class: "spacer" }),
            link.element,
            role,
            themeButton,
            h(
                "button",
                { type: "button", class: "icon-button", title: "Help and keys (?)", "aria-label": "Help and keys", onclick: help },
                "?",
            ),
            out,
        ),
        main,
    );
    toast.mount();
    sayTheme();
}

function skip(event) {
    event.preventDefault();
    main.focus();
}

const THEMES = { auto: "light", light: "dark", dark: "auto" };
const THEME_WORDS = { auto: "Auto", light: "Light", dark: "Dark" };

function nextTheme() {
    settings.setTheme(THEMES[settings.theme()]);
    sayTheme();
}

function sayTheme() {
    const now = settings.theme();
    fill(themeButton, THEME_WORDS[now]);
    themeButton.setAttribute("aria-label", `Colours: ${THEME_WORDS[now].toLowerCase()}. Change`);
    themeButton.title = now === "auto" ? "Light or dark as the system has it" : `Always ${now}`;
}

async function signOut() {
    try {
        await client.signOut();
    } catch (error) {
        toast.sayError(error, "Not signed out");
        return;
    }
    show();
}

function sayWho() {
    const me = client.who();
    role.hidden = out.hidden = me.role === null;
    if (me.role === null) return;
    fill(role, me.readOnly ? `${me.role}, read only` : me.role);
    role.className = me.role === "operator" && !me.readOnly ? "tag accent role" : "tag role";
    role.title = client.mayNot() || "You may change guests.";
}

function show() {
    sayWho();
    if (client.who().role === null) {
        replace("signin", () => signInView({ done: show }));
        document.title = "Sign in · vmon";
        return;
    }
    const here = route.parse(location.hash);
    if (here.view === "vm") {
        document.title = `${printable(here.vm)} · ${here.tab} · vmon`;
        const view = replace(`vm/${here.vm}`, () => vmView(here.vm));
        view.go(here);
    } else {
        document.title = "Virtual machines · vmon";
        replace("vms", () => vmsView());
    }
}

function replace(key, make) {
    if (shown.key === key) return shown;
    shown.end();
    link.forget();
    shown = { ...make(), key };
    fill(main, shown.elements);
    return shown;
}

function inField(target) {
    return target.closest?.("input, select, textarea, [contenteditable]") !== null;
}

function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || dialog.isOpen()) return;
    if (event.key === "Escape") {
        const menu = document.querySelector("details[open].menu");
        if (menu) {
            menu.open = false;
            menu.querySelector("summary").focus();
        } else if (!shown.escape?.(event.target)) return;
        event.preventDefault();
        return;
    }
    if (inField(event.target) || settings.get("keys", "on") !== "on") return;
    if (event.key === "/") {
        const field = document.querySelector("main input[type=search]");
        if (!field) return;
        field.focus();
        field.select();
    } else if (event.key === "?") help();
    else return;
    event.preventDefault();
}

async function begin() {
    mount();
    client.onUnknown((problem) => {
        toast.say("You are no longer signed in.", { kind: "info", more: problem.message });
        show();
    });
    addEventListener("hashchange", show);
    document.addEventListener("keydown", key);
    document.addEventListener("click", (event) => {
        for (const menu of document.querySelectorAll("details[open].menu")) {
            if (!menu.contains(event.target)) menu.open = false;
        }
    });
    for (;;) {
        try {
            await client.look();
            break;
        } catch (error) {
            fill(
                main,
                h(
                    "div",
                    { class: "page" },
                    h("div", { class: "note danger", role: "alert" }, h("p", {}, error.message), h("p", { class: "muted" }, error.hint)),
                    h("p", { class: "muted" }, "Trying again every two seconds."),
                ),
            );
            await new Promise((resolve) => setTimeout(resolve, 2000));
        }
    }
    show();
}

begin();
