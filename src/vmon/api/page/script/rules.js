// The rules in force in a VM with how often each fitted, the switch between observing and enforcing, and a new refusal.
//
// A field that a rule leaves out has its default: refuse, with EPERM, now. Paths in rules may be the guest's own text.

import * as client from "./client.js";
import { confirm } from "./dialog.js";
import { button, fill, h, setDisabled } from "./dom.js";
import { putButton } from "./noprobe.js";
import { ruleForm } from "./ruleform.js";
import { count, guestText, plural } from "./text.js";
import * as toast from "./toast.js";

const REFRESH_MS = 1500;
const ERRNOS = { 1: "EPERM", 2: "ENOENT", 5: "EIO", 13: "EACCES", 16: "EBUSY", 22: "EINVAL", 30: "EROFS", 111: "ECONNREFUSED" };
const HOW = new Set(["events", "action", "errno", "observe", "timeout_ms", "fallback"]);
const QUARANTINE_KINDS = 15;
const WORDS = {
    path: "path is",
    path_prefix: "path begins with",
    path_suffix: "path ends with",
    path_glob: "path fits",
    port: "port is",
    address: "address in",
    flags: "flags any of",
    exe: "program is",
    name: "name is",
    uid: "user is",
    key: "process is",
    tree: "process and what it starts:",
    cgroup_id: "cgroup is",
    unless_exe: "unless program is",
    unless_name: "unless name is",
    unless_uid: "unless user is",
    unless_tree: "unless started by",
};

/** Whether a rule is one of those that hold a process in quarantine. */
export function isQuarantine(rule) {
    return Boolean(rule.tree) && (rule.action ?? "deny") === "deny" && rule.events.length > QUARANTINE_KINDS;
}

/** The view. */
export function rulesView(shared) {
    const mode = h("div", { class: "card measure" });
    const list = h("div", { class: "vms stacking measure" });
    const adding = h("div", { class: "measure" });
    const status = h("p", { class: "status", role: "status" });
    let timer;
    let shownRules = "";
    let shownMode = "";
    let form = null;

    const element = h(
        "div",
        { class: "page" },
        h("div", { class: "head measure" }, h("h2", {}, "Rules"), status),
        mode,
        list,
        adding,
    );

    function draw() {
        const { probe, rules } = shared;
        if (!probe) return;
        const state = JSON.stringify([probe.active, probe.enforcing, rules?.length, shared.mayNot()]);
        if (state !== shownMode) {
            shownMode = state;
            fill(mode, modeOf(probe));
        }
        const now = JSON.stringify([rules, shared.mayNot()]);
        if (now !== shownRules) {
            shownRules = now;
            const at = document.activeElement?.dataset?.rule;
            fill(list, rules?.length ? tableOf(rules) : h("p", { class: "nothing muted" }, "No rule is in force: nothing is refused."));
            if (at) list.querySelector(`[data-rule="${CSS.escape(at)}"]`)?.focus();
        }
        fill(status, rules ? plural(rules.length, "rule") + " in force" : "");
        if (!form && probe) {
            form = ruleForm(shared);
            fill(adding, form.element);
        }
        form?.update();
    }

    function modeOf(probe) {
        if (!probe.active) {
            return [
                h("h3", {}, "No probe is in this guest"),
                h("p", { class: "muted" }, "Rules are judged inside the guest, before the act, by the probe. The first rule puts it in."),
                h("div", { class: "acts" }, putButton(shared, () => shared.refresh())),
            ];
        }
        if (!shared.rules?.length) {
            return [
                h("h3", {}, "The probe is in, and no rule is in force"),
                h("p", { class: "muted" }, "The first rule is enforced as soon as it is added; later ones as those before them."),
            ];
        }
        const on = probe.enforcing;
        const change = button(on ? "Switch to observing" : "Switch to enforcing", () => switchTo(!on), {
            kind: `slim ${on ? "" : "danger"}`,
            why: shared.mayNot(),
        });
        return [
            h(
                "div",
                { class: "card-head" },
                h("span", { class: `tag ${on ? "accent" : "warn"}` }, on ? "Enforcing" : "Observing"),
                h("h3", {}, on ? "What rules forbid is refused before it happens" : "Nothing is refused: it is told what would have been"),
                h("span", { class: "spacer" }),
                change,
            ),
        ];
    }

    async function switchTo(on) {
        const rules = plural(shared.rules.length, "rule");
        const agreed = await confirm({
            title: on ? "Enforce the rules?" : "Only observe?",
            verb: on ? "Enforce them" : "Observe only",
            kind: "danger",
            body: [
                h("p", {}, on ? `From now on ${rules} are carried out in ` : `From now on ${rules} refuse nothing in `, guestText(shared.vm), on ? ": calls fail and processes end, as they say." : ": it is told what they would have done. Quarantine does not hold either."),
            ],
        });
        if (!agreed) return;
        try {
            await client.change("PUT", shared.path("/enforcing"), { on });
            toast.say(on ? "The rules are enforced." : "The rules are only observed.");
        } catch (error) {
            toast.sayError(error, "The mode is as it was");
        }
        await shared.refresh();
    }

    function tableOf(rules) {
        return h(
            "table",
            {},
            h("thead", {}, h("tr", {}, ["Rule", "What it does", "To", "Where", "Fitted", ""].map((name, at) => h("th", { scope: "col", class: at === 4 ? "number" : "" }, name || h("span", { class: "unseen" }, "Drop"))))),
            h("tbody", {}, rules.map(row)),
        );
    }

    function row(record) {
        const { number, hits, rule } = record;
        const drop = button("Drop", () => dropRule(record), { kind: "slim danger", "aria-label": `Drop rule ${number}`, "data-rule": String(number) });
        setDisabled(drop, shared.mayNot());
        const cell = (label, content, className = "") => h("td", { "data-label": label, class: className }, h("div", {}, content));
        return h(
            "tr",
            {},
            cell("Rule", String(number), "tight"),
            cell("Does", actionOf(rule)),
            cell("To", eventsOf(rule)),
            cell("Where", conditionsOf(rule)),
            cell("Fitted", `${count(hits)}×`, "number"),
            cell("", drop, "tight whole"),
        );
    }

    async function dropRule({ number, rule }) {
        const agreed = await confirm({
            title: `Drop rule ${number}?`,
            verb: "Drop it",
            body: [h("p", {}, actionOf(rule), " ", eventsOf(rule)), h("p", {}, conditionsOf(rule)), h("p", { class: "muted" }, "It goes out of force at once.")],
        });
        if (!agreed) return;
        try {
            await client.change("DELETE", shared.path(`/rules/${number}`));
            toast.say(`Rule ${number} is out of force.`);
        } catch (error) {
            toast.sayError(error, `Rule ${number} is still in force`);
        }
        await shared.refresh();
    }

    async function loop() {
        if (!document.hidden) await shared.refresh();
        timer = setTimeout(loop, REFRESH_MS);
    }

    return {
        element,
        enter() {
            shared.addEventListener("change", draw);
            draw();
            loop();
        },
        leave() {
            shared.removeEventListener("change", draw);
            clearTimeout(timer);
        },
    };
}

/** What a rule does, as a tag. */
export function actionOf(rule) {
    const action = rule.action ?? "deny";
    const kind = { deny: "danger", kill: "danger", ask: "warn", allow: "good", log: "" }[action];
    const words = {
        deny: `deny with ${ERRNOS[rule.errno ?? 1] ?? `errno ${rule.errno}`}`,
        kill: "kill",
        ask: `ask, else ${rule.fallback ?? "deny"} after ${(rule.timeout_ms ?? 1000) / 1000} s`,
        allow: "allow",
        log: "record",
    }[action];
    return [h("span", { class: `tag ${kind}` }, rule.observe ? `would ${words}` : words)];
}

function eventsOf(rule) {
    if (isQuarantine(rule)) return "Quarantine: everything but computing and reading";
    return h("span", { class: "mono" }, rule.events.join(", "));
}

function conditionsOf(rule) {
    const found = Object.entries(rule).filter(([name, value]) => !HOW.has(name) && value !== null);
    if (!found.length) return "anything";
    return found.map(([name, value], at) => [
        at ? h("br") : null,
        h("span", { class: "muted" }, `${WORDS[name] ?? name} `),
        guestText(name === "flags" ? `0${Number(value).toString(8)}` : value, "mono"),
    ]);
}
