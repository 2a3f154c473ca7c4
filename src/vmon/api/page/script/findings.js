// A check of a VM: views that should agree, compared, and each difference with its evidence and what else it could be.
//
// It only reads, takes some seconds, and is run when somebody asks. Evidence holds the guest's text.

import * as client from "./client.js";
import { button, fill, h } from "./dom.js";
import * as last from "./lastcheck.js";
import * as route from "./route.js";
import { clock, coverageWords, duration, guestText, plural } from "./text.js";
import * as toast from "./toast.js";

/** The view. */
export function findingsView(shared) {
    let running = false;
    let least = "info";
    const status = h("p", { class: "status", role: "status" });
    const run = button("Check now", () => check(), { kind: "primary slim" });
    const list = h("div", { class: "cards measure" });
    const lacks = h("p", { class: "small muted measure" });
    const filter = h(
        "select",
        { "aria-label": "Show findings of this severity or worse", onchange: () => ((least = filter.value), draw()) },
        last.SEVERITIES.toReversed().map((name) => h("option", { value: name }, name === "info" ? "All severities" : name === "critical" ? "critical" : `${name} or worse`)),
    );
    const element = h(
        "div",
        { class: "page" },
        h("div", { class: "head measure" }, h("h2", {}, "Findings"), status, filter, run),
        lacks,
        list,
    );

    function draw() {
        const found = last.of(shared.vm);
        filter.hidden = !found?.records.length;
        if (!found) {
            if (!running) fill(status, "Not checked since this page was opened");
            fill(
                list,
                h(
                    "div",
                    { class: "note" },
                    h("p", {}, "A check reads one thing several ways and compares: process lists, credentials, modules, sockets, system calls, the kernel's code."),
                    h("p", { class: "muted" }, "It only reads. It takes some seconds, and the guest goes on meanwhile. What it can't see is told in docs/checks.md."),
                ),
            );
            return;
        }
        const worst = last.SEVERITIES.indexOf(least);
        const shown = found.records.filter((record) => last.SEVERITIES.indexOf(record.severity) <= worst);
        shown.sort((a, b) => last.SEVERITIES.indexOf(a.severity) - last.SEVERITIES.indexOf(b.severity));
        if (!running) {
            fill(status, `${plural(found.records.length, "finding")}, checked at ${clock(found.at)} in ${duration(found.tookMs / 1000)}`);
        }
        fill(lacks, coverageWords(found.coverage));
        fill(
            list,
            shown.length
                ? shown.map(card)
                : h("div", { class: "note" }, h("p", {}, found.records.length ? "No finding is as grave as that." : "Nothing differs: the views that were compared agree.")),
        );
    }

    function card(finding) {
        return h(
            "article",
            { class: `card ${finding.severity}` },
            h(
                "div",
                { class: "card-head" },
                h("span", { class: `tag ${last.KIND[finding.severity]}` }, finding.severity),
                h("h3", {}, guestText(finding.subject)),
                h("span", { class: "muted mono" }, finding.check),
                h("span", { class: "spacer" }),
                finding.pid ? h("a", { class: "small", href: route.to(shared.vm, "processes", String(finding.pid)) }, `Process ${finding.pid}`) : null,
            ),
            h("p", {}, guestText(finding.said)),
            finding.evidence.length ? h("ul", { class: "evidence", "aria-label": "Evidence" }, finding.evidence.map((each) => h("li", {}, guestText(each)))) : null,
            finding.could_be ? h("p", { class: "small" }, h("span", { class: "muted" }, "It could also be: "), guestText(finding.could_be)) : null,
            finding.attack.length
                ? h("p", { class: "small muted" }, "MITRE ATT&CK: ", finding.attack.map((id, at) => [at ? ", " : "", h("span", { class: "mono", title: address(id) }, id)]), `  (${address(finding.attack[0])})`)
                : null,
        );
    }

    async function check() {
        if (running) return;
        running = true;
        run.setAttribute("aria-busy", "true");
        fill(run, "Checking…");
        fill(status, "Checking: this takes some seconds");
        const from = performance.now();
        try {
            const answer = await client.get(shared.path("/check"));
            last.keep(shared.vm, { ...answer, at: Date.now() / 1000, tookMs: performance.now() - from });
        } catch (error) {
            toast.sayError(error, "Not checked");
            fill(status, "Not checked: ", error.message);
        }
        running = false;
        run.removeAttribute("aria-busy");
        fill(run, "Check now");
        draw();
        shared.tell();
    }

    return { element, enter: draw, leave() {} };
}

function address(id) {
    const [technique, sub] = id.split(".");
    const kind = technique.startsWith("TA") ? "tactics" : "techniques";
    return `attack.mitre.org/${kind}/${technique}${sub ? `/${sub}` : ""}`;
}
