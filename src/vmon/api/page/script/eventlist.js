// The rows of the event stream, newest first, a grid with one tab stop: arrows move, Enter shows all of an event.

import { objectOf, saidOf, verdictOf, wasRefused } from "./deeds.js";
import { freshId, h } from "./dom.js";
import { fillGuestText, printable, sinceBoot } from "./text.js";
import { VirtualList } from "./virtual.js";

const COLUMNS = [
    ["time", "Since boot, s"],
    ["who", "Process"],
    ["kind", "Event"],
    ["what", "What"],
    ["verdict", "Unless allowed"],
];

/** A grid of entries: {event, id} or {notice}. */
export class EventList {
    /** `opened(entry, byKey)` is told of Enter and clicks. */
    constructor({ opened }) {
        this.entries = [];
        this.active = null;
        this.selected = null;
        this._opened = opened;
        this._id = freshId("event");
        this.box = h(
            "div",
            { class: "grid", role: "grid", tabindex: "0", "aria-label": "Events, newest first", "aria-readonly": "true" },
            h(
                "div",
                { role: "rowgroup", class: "grid-head" },
                h("div", { class: "grid-row", role: "row" }, COLUMNS.map(([name, title]) => h("div", { class: `cell c-${name}`, role: "columnheader" }, title))),
            ),
        );
        this.list = new VirtualList(
            this.box,
            () => this._make(),
            (element, index) => this._show(element, this._at(index), index),
        );
        this.box.addEventListener("keydown", (event) => this._key(event));
        this.box.addEventListener("click", (event) => {
            const index = this.list.indexOf(event.target);
            if (index >= 0) this._choose(index, false);
        });
    }

    _at(index) {
        return this.entries[this.entries.length - 1 - index];
    }

    /** Show these entries, oldest first in the array. */
    update(entries) {
        this.entries = entries;
        this.box.setAttribute("aria-rowcount", String(entries.length + 1));
        this.list.update(entries.length);
    }

    /** Whether somebody reads here: new rows should not push away what is read. */
    get held() {
        return this.box.scrollTop > 0 || this.active !== null;
    }

    /** Back to the newest. */
    top() {
        this.active = null;
        this.box.removeAttribute("aria-activedescendant");
        this.box.scrollTop = 0;
    }

    _make() {
        const cells = COLUMNS.map(([name]) => h("div", { class: `cell c-${name}`, role: "gridcell" }));
        const who = h("bdi");
        const pid = h("span", { class: "muted" });
        cells[1].append(who, " ", pid);
        const what = h("bdi");
        cells[3].append(what);
        const tag = h("span");
        cells[4].append(tag);
        const element = h("div", { class: "grid-row virtual-row", role: "row", id: freshId(this._id) }, cells);
        Object.assign(element, { cells, who, pid, what, tag });
        return element;
    }

    _show(element, entry, index) {
        const classes = this._classes(entry);
        if (element.className !== classes) element.className = classes;
        element.setAttribute("aria-rowindex", String(index + 2));
        if (entry === this.active) this.box.setAttribute("aria-activedescendant", element.id);
        element.setAttribute("aria-selected", String(entry === this.selected));
        if (element.entry === entry) return;
        element.entry = entry;
        const { cells, who, pid, what, tag } = element;
        if (entry.notice) {
            cells[0].textContent = "";
            cells[2].textContent = entry.notice.event.replace("vmon.", "");
            who.textContent = "vmon";
            pid.textContent = "";
            tag.hidden = false;
            tag.className = "tag warn";
            tag.textContent = "notice";
            fillGuestText(what, entry.notice.said);
            element.setAttribute("aria-label", printable(entry.notice.said));
            return;
        }
        const { event } = entry;
        const { verdict, kind } = verdictOf(event);
        cells[0].textContent = sinceBoot(event.time_ns);
        tag.className = `tag ${kind}`;
        tag.hidden = verdict === "allowed";
        tag.textContent = event.rule ? `${verdict}, rule ${event.rule}` : verdict;
        cells[2].textContent = event.event;
        fillGuestText(who, event.name);
        pid.textContent = event.pid;
        fillGuestText(what, objectOf(event));
        element.setAttribute("aria-label", `${printable(event.name)} ${event.pid} ${saidOf(event.event)} ${printable(objectOf(event))}, ${verdict}`);
    }

    _classes(entry) {
        return (
            "grid-row virtual-row" +
            (entry.notice ? " notice" : wasRefused(entry.event) ? " refused" : "") +
            (entry === this.selected ? " selected" : "") +
            (entry === this.active ? " active" : "")
        );
    }

    _choose(index, byKey) {
        this.active = this._at(index);
        this.list.update(this.entries.length);
        if (this.active.event) this._opened(this.active, byKey);
    }

    _key(event) {
        if (event.ctrlKey || event.altKey || event.metaKey || !this.entries.length || event.target !== this.box) return;
        const at = this.active === null ? -1 : this.entries.length - 1 - this.entries.indexOf(this.active);
        const last = this.entries.length - 1;
        const moves = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + this.list.page, PageUp: at - this.list.page, Home: 0, End: last };
        if (event.key in moves) {
            const to = Math.max(0, Math.min(moves[event.key], last));
            this.active = this._at(to);
            this.list.reveal(to);
            this.list.update(this.entries.length);
            this.list.render();
        } else if (event.key === "Enter" && this.active) this._choose(at, true);
        else return;
        event.preventDefault();
    }
}
