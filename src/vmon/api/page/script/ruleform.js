// A simple refusal: one kind of event, which object, of which programs. What it will say is shown before it is added.

import * as client from "./client.js";
import { confirm } from "./dialog.js";
import { button, fill, freshId, h, setDisabled } from "./dom.js";
import { guestText } from "./text.js";
import * as toast from "./toast.js";

const EVENTS = [
    ["file.open", "opening a file"],
    ["process.exec", "starting a program"],
    ["net.connect", "a connection out"],
    ["net.listen", "listening at a port"],
    ["file.create", "making a file"],
    ["file.unlink", "removing a file"],
    ["file.rename", "renaming a file"],
    ["file.mmap_exec", "mapping a file as code"],
    ["process.ptrace", "tracing a process"],
    ["module.load", "loading a kernel module"],
    ["bpf.load", "loading BPF"],
];
const PATHS = [
    ["path", "is"],
    ["path_prefix", "begins with"],
    ["path_suffix", "ends with"],
    ["path_glob", "fits (* or **)"],
];
const WRITING = 0o1 | 0o2 | 0o100 | 0o1000;

/** The form: {element, update}. */
export function ruleForm(shared) {
    const fields = {
        event: select(EVENTS.map(([name, words]) => [name, `${words} (${name})`])),
        how: select(PATHS, "How the path is compared"),
        path: input("/etc/shadow"),
        port: input("any", "numeric"),
        address: input("any, or 10.0.0.0/8"),
        unlessExe: input("none, or /usr/bin/passwd"),
        uid: input("any", "numeric"),
        writing: h("input", { type: "checkbox" }),
        observe: h("input", { type: "checkbox" }),
    };
    const said = h("p", { class: "error-text", role: "alert" });
    const submit = button("Add this rule…", () => add(), { kind: "primary" });
    const pathField = field("Path", h("div", { class: "pair" }, fields.how, fields.path), fields.path);
    const portField = field("Port", fields.port);
    const addressField = field("Address or network", fields.address);
    const writingField = h("label", { class: "check" }, fields.writing, "Only to write");
    fields.event.addEventListener("change", shape);
    const element = h(
        "form",
        {
            class: "card",
            "aria-label": "A new rule that denies",
            novalidate: true,
            onsubmit: (event) => {
                event.preventDefault();
                add();
            },
        },
        h("h3", {}, "Deny something"),
        h(
            "div",
            { class: "form" },
            field("Deny", fields.event),
            pathField,
            addressField,
            portField,
            field("Except by the program", fields.unlessExe),
            field("Only of the user id", fields.uid),
        ),
        h("div", { class: "checks" }, writingField, h("label", { class: "check" }, fields.observe, "Only tell, refuse nothing")),
        said,
        h("div", { class: "acts" }, submit),
    );

    function shape() {
        const kind = fields.event.value;
        const net = kind.startsWith("net.");
        addressField.hidden = portField.hidden = !net;
        pathField.hidden = net || !(kind.startsWith("file.") || kind === "process.exec");
        writingField.hidden = kind !== "file.open";
    }

    function update() {
        setDisabled(submit, shared.mayNot());
    }

    /** The rule as the server takes it; throws a sentence about what is missing. */
    function rule() {
        const kind = fields.event.value;
        const found = { events: [kind], action: "deny" };
        const text = (name) => fields[name].value.trim();
        if (!pathField.hidden && text("path")) {
            if (!text("path").startsWith("/") && fields.how.value !== "path_suffix" && fields.how.value !== "path_glob") throw new Error("A path begins with a slash.");
            found[fields.how.value] = text("path");
        }
        if (!portField.hidden) {
            if (text("port")) found.port = number(text("port"), 65535, "A port");
            if (text("address")) found.address = text("address");
        }
        if (!writingField.hidden && fields.writing.checked) found.flags = WRITING;
        if (text("unlessExe")) found.unless_exe = text("unlessExe");
        if (text("uid")) found.uid = number(text("uid"), 2 ** 32 - 2, "A user id");
        if (fields.observe.checked) found.observe = true;
        const narrow = Object.keys(found).some((name) => !["events", "action", "observe", "unless_exe", "flags"].includes(name));
        if (!narrow && (!pathField.hidden || !portField.hidden)) {
            throw new Error("Say which: a path, an address, a port or a user. Without any of them everything of the kind would be denied.");
        }
        return found;
    }

    async function add() {
        if (shared.mayNot()) return;
        fill(said);
        let wanted;
        try {
            wanted = rule();
        } catch (error) {
            fill(said, error.message);
            return;
        }
        const agreed = await confirm({
            title: wanted.observe ? "Add a rule that only tells?" : "Add a rule that denies?",
            verb: "Add it",
            body: [
                h(
                    "dl",
                    { class: "facts" },
                    Object.entries(wanted).map(([name, value]) => [h("dt", {}, name), h("dd", { class: "mono" }, guestText(Array.isArray(value) ? value.join(", ") : value))]),
                    h("dt", {}, "In"),
                    h("dd", {}, guestText(shared.vm)),
                ),
                h("p", {}, wanted.observe ? "It refuses nothing: what it would have refused is told." : "From now on such calls fail with EPERM, before they happen. It stays in force when this page is closed."),
                shared.probe?.active ? null : h("p", { class: "muted" }, "The probe is put in first: the guest stands still for some milliseconds."),
            ],
        });
        if (!agreed) return;
        try {
            const answer = await client.change("POST", shared.path("/rules"), { rules: [wanted] });
            const numbers = answer.records.map((record) => record.number).join(", ");
            toast.say(`Rule ${numbers} is in force.`);
            fields.path.value = fields.port.value = fields.address.value = fields.unlessExe.value = fields.uid.value = "";
        } catch (error) {
            fill(said, error.message, error.hint ? ` ${error.hint}` : "");
        }
        await shared.refresh();
    }

    shape();
    return { element, update };
}

function number(text, most, what) {
    if (!/^\d+$/.test(text) || Number(text) > most) throw new Error(`${what} is a number from 0 to ${most}.`);
    return Number(text);
}

function input(placeholder, inputmode = "text") {
    return h("input", { type: "text", id: freshId("field"), placeholder, inputmode, spellcheck: "false", autocapitalize: "off", autocomplete: "off" });
}

function select(choices, label) {
    return h("select", { id: freshId("field"), "aria-label": label }, choices.map(([value, words]) => h("option", { value }, words)));
}

function field(label, control, labelled = control) {
    return h("div", { class: "field" }, h("label", { for: labelled.id }, label), control);
}
