// One VM: a line that says who it is, tabs, and the view of the tab; what several of them need is kept here.
//
// The state that is shared (identity, probe, rules) is asked for every few seconds and after each act.

import { aboutView } from "./about.js";
import { asksView } from "./asks.js";
import * as client from "./client.js";
import { fill, h } from "./dom.js";
import { eventsView } from "./events.js";
import { findingsView } from "./findings.js";
import * as findings from "./lastcheck.js";
import * as link from "./link.js";
import { processesView } from "./processes.js";
import * as route from "./route.js";
import { isQuarantine, rulesView } from "./rules.js";
import { bytes, duration, guestText, printable } from "./text.js";
import * as toast from "./toast.js";
import { probe as probeWords } from "./vms.js";

const REFRESH_MS = 4000;
const TABS = [
    ["processes", "Processes", processesView],
    ["events", "Events", eventsView],
    ["rules", "Rules", rulesView],
    ["asks", "Asks", asksView],
    ["findings", "Findings", findingsView],
    ["about", "About", aboutView],
];

/** What the views of one VM share. */
class Shared extends EventTarget {
    constructor(vm) {
        super();
        this.vm = vm;
        this.detail = null;
        this.problem = null;
        this.rules = null;
        this.rulesProblem = null;
        this.asks = 0;
    }

    /** The path of something of this VM. */
    path(rest = "") {
        return client.vmPath(this.vm, rest);
    }

    /** Why nothing can be changed here; empty when it can. */
    mayNot() {
        const why = client.mayNot();
        if (why) return why;
        if (this.detail && !this.detail.live) return "This is a dump: nothing in it can be changed.";
        return "";
    }

    get probe() {
        return this.detail?.probe ?? null;
    }

    /** Keys of processes that are in quarantine. */
    quarantined() {
        return new Set((this.rules ?? []).filter((record) => isQuarantine(record.rule)).map((record) => record.rule.tree));
    }

    /** Ask again for identity, probe and rules. */
    async refresh() {
        try {
            this.detail = await client.get(this.path());
            this.problem = null;
            this.rules = this.detail.probe.active ? (await client.get(this.path("/rules"))).records : [];
            this.rulesProblem = null;
        } catch (error) {
            this.problem = error;
        }
        this.tell();
    }

    tell() {
        this.dispatchEvent(new Event("change"));
    }

    /** Put the probe into the guest; resolves true when it is in. */
    async putProbe() {
        try {
            const record = await client.change("PUT", this.path("/probe"));
            toast.say(
                record.installed ? `The probe is in: the guest stood still for ${record.paused_ms} ms.` : "The probe was in already.",
                { more: record.installed ? `${record.sites} of its instructions lead through it now.` : "" },
            );
        } catch (error) {
            toast.sayError(error, "The probe is not in");
            return false;
        }
        await this.refresh();
        return true;
    }
}

/** The view of one VM: {elements, go, end, escape}. */
export function vmView(vm) {
    const shared = new Shared(vm);
    const identity = h("div", { class: "identity" }, up(), h("h1", {}, guestText(vm)));
    const banner = h("div", { class: "banner danger", role: "status", hidden: true });
    const badges = new Map();
    const links = new Map();
    const tabs = h(
        "nav",
        { class: "tabs", "aria-label": `Views of ${printable(vm)}` },
        TABS.map(([name, title]) => {
            const badge = h("span", { class: "badge", hidden: true });
            const a = h("a", { href: route.to(vm, name) }, title, badge);
            badges.set(name, badge);
            links.set(name, a);
            return a;
        }),
    );
    const place = h("div", { class: "work" });
    const views = new Map();
    let current = null;
    let timer;

    function go({ tab, rest }) {
        if (!views.has(tab)) views.set(tab, TABS.find(([name]) => name === tab)[2](shared));
        const next = views.get(tab);
        if (next !== current) {
            current?.leave();
            current = next;
            fill(place, next.element);
            for (const [name, a] of links) {
                if (name === tab) a.setAttribute("aria-current", "page");
                else a.removeAttribute("aria-current");
            }
            next.enter();
        }
        next.go?.(rest);
    }

    function draw() {
        fill(identity, up(), h("h1", {}, guestText(vm)), shared.detail ? facts(shared.detail) : null);
        banner.hidden = !shared.problem || shared.problem.gone;
        if (shared.problem) {
            fill(banner, h("p", {}, h("strong", {}, guestText(shared.problem.message))), h("p", { class: "muted" }, guestText(shared.problem.hint)));
        }
        badge("rules", shared.rules?.length ?? 0, "");
        badge("asks", shared.asks, "danger");
        const last = findings.of(vm);
        badge("findings", last?.records.length ?? 0, last ? findings.KIND[findings.worst(last.records)] : "");
    }

    function badge(name, number, kind) {
        const element = badges.get(name);
        element.hidden = !number;
        element.className = `badge ${kind}`;
        if (element.textContent !== String(number)) fill(element, String(number));
    }

    async function loop() {
        if (!document.hidden) await shared.refresh();
        timer = setTimeout(loop, REFRESH_MS);
    }

    shared.addEventListener("change", draw);
    loop();
    return {
        elements: [identity, tabs, link.banner, banner, place],
        go,
        escape: (target) => current?.escape?.(target) ?? false,
        end() {
            clearTimeout(timer);
            current?.leave();
            for (const view of views.values()) view.end?.();
        },
    };
}

function up() {
    return h("a", { class: "up", href: "#/" }, "Virtual machines /");
}

function facts({ guest, live, probe, reboots }) {
    const up = guest.boot_time ? `up ${duration(Date.now() / 1000 - guest.boot_time)}` : "";
    return [
        h("span", {}, "Linux ", guestText(guest.release)),
        h("span", { class: "extra" }, "host name ", guestText(guest.hostname)),
        h("span", { class: "extra muted" }, [guest.hypervisor, bytes(guest.ram_size), live ? up : "a dump"].filter(Boolean).join(" · ")),
        reboots ? h("span", { class: "tag warn" }, reboots === 1 ? "rebooted once" : `rebooted ${reboots} times`) : null,
        h("span", {}, h("span", { class: "muted" }, "probe "), probeWords(probe)),
    ];
}
