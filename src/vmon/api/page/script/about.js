// Who a VM is, how that is known, and what can't be seen of it; what the probe does there, and the button to take it out.

import * as client from "./client.js";
import { confirm } from "./dialog.js";
import { button, fill, h } from "./dom.js";
import { putButton } from "./noprobe.js";
import { bytes, count, dateAndClock, duration, guestText, hex } from "./text.js";
import * as toast from "./toast.js";

/** The view. */
export function aboutView(shared) {
    const element = h("div", { class: "page" });
    let shown = "";

    function draw() {
        if (!shared.detail) {
            fill(element, h("p", { class: "muted" }, shared.problem ? guestText(shared.problem.message) : "Reading…"));
            return;
        }
        const now = JSON.stringify([shared.detail, shared.mayNot()], (_, value) => (typeof value === "bigint" ? String(value) : value));
        if (now === shown) return;
        shown = now;
        const { guest, live, probe, reboots } = shared.detail;
        fill(
            element,
            h("h2", { class: "unseen" }, "About this virtual machine"),
            card("Not seen", guest.coverage.length ? h("ul", { class: "plain" }, guest.coverage.map((each) => h("li", {}, guestText(each)))) : h("p", {}, "Nothing is known to be out of sight. What a single answer lacks is said below that answer.")),
            card("Probe", probePart(probe)),
            card("Identity", facts(identity(guest, live, reboots))),
            card("How it is known", evidence(guest)),
        );
    }

    function probePart(probe) {
        if (!probe.active) return [h("p", {}, guestText(probe.why || "No probe is in this guest.")), h("div", { class: "acts" }, putButton(shared, () => shared.refresh()))];
        const words = [
            probe.enforcing ? "Rules are enforced." : "Rules are only observed.",
            `${count(probe.rules)} in force.`,
            probe.by_server ? "This server put it in, and takes it out when it ends, unless rules are in force." : "It was in before this server came.",
            probe.watched ? "Its events are followed here." : "",
        ];
        return [
            h("p", {}, words.filter(Boolean).join(" ")),
            h("div", { class: "acts" }, button("Take the probe out", () => remove(), { kind: "danger slim", why: shared.mayNot() })),
        ];
    }

    async function remove() {
        const agreed = await confirm({
            title: "Take the probe out?",
            verb: "Take it out",
            body: [h("p", {}, "Every instruction of the guest that was changed becomes as it was. No rule is in force any more, also none of a quarantine, and no event is seen."), h("p", {}, "In ", guestText(shared.vm))],
        });
        if (!agreed) return;
        try {
            const answer = await client.change("DELETE", shared.path("/probe"));
            toast.say("The probe is out.", { more: answer?.left ? `Its page-table entry stays: ${answer.left}` : "" });
        } catch (error) {
            toast.sayError(error, "The probe is still in");
        }
        await shared.refresh();
    }

    return {
        element,
        enter() {
            shared.addEventListener("change", draw);
            draw();
        },
        leave() {
            shared.removeEventListener("change", draw);
        },
    };
}

function card(title, ...content) {
    return h("section", { class: "card measure" }, h("h3", {}, title), content);
}

function facts(rows) {
    return h("dl", { class: "facts" }, rows.filter(Boolean).map(([term, value]) => [h("dt", {}, term), h("dd", {}, value ?? "not known")]));
}

function identity(guest, live, reboots) {
    return [
        ["Target", guestText(guest.target, "mono")],
        ["Host name", guestText(guest.hostname)],
        ["Kernel", [guestText(`${guest.os} ${guest.release}`)]],
        ["Version", guestText(guest.version)],
        ["Build id", h("span", { class: "mono" }, guestText(guest.build_id))],
        ["Machine", `${guest.architecture}, ${guest.hypervisor}, ${guest.cpus_online ?? "?"} CPUs online`],
        ["Memory", `${bytes(guest.ram_size)} of RAM, read as ${guest.ram_access}${guest.memory_total ? `; its kernel manages ${bytes(guest.memory_total)}` : ""}`],
        ["Booted", guest.boot_time ? `${dateAndClock(guest.boot_time)}${live ? `, ${duration(Date.now() / 1000 - guest.boot_time)} ago` : ""}, by the guest's clock` : null],
        reboots ? ["Reboots", `${count(reboots)} since it was attached`] : null,
        ["Modules", guest.modules === null ? null : count(guest.modules)],
        ["Command line", guest.command_line ? guestText(guest.command_line, "mono") : null],
        ["Paging", `${guest.paging_levels} levels, slide ${hex(guest.kaslr_slide)}`],
        ["Profile", `${count(guest.symbols)} symbols, ${count(guest.types)} types, ${guest.profile_from_cache ? "known from before" : "learnt now"}, in ${guest.identified_ms.toFixed(1)} ms`],
    ];
}

function evidence(guest) {
    return h(
        "dl",
        { class: "facts" },
        guest.evidence.map(({ check, passed, detail }) => [
            h("dt", {}, h("span", { class: `tag ${passed ? "good" : "danger"}` }, passed ? "yes" : "no"), ` ${check}`),
            h("dd", {}, guestText(detail)),
        ]),
    );
}
