// The process tree as a treegrid: one tab stop, arrows move, left and right fold, Enter opens.
//
// The active row is named by aria-activedescendant, as rows come and go from the document. What a row shows is written
// only where it changed. Names and arguments are the guest's: they go through text.js.

import { h, freshId } from "./dom.js";
import { fillGuestText, printable } from "./text.js";
import { VirtualList } from "./virtual.js";

const DEEPEST_INDENT = 12;
const FRESH_MS = 4000;

/** A treegrid in a box that it fills. */
export class TreeGrid {
    /**
     * `columns`: {name, title, label, order, text(node), classes(node)}; the first is the tree's own. `opened(key)` is
     * told of Enter and clicks, `fold(key, open)` of folding, `sort(order)` of a click on a head.
     */
    constructor({ label, columns, opened, fold, sort }) {
        this.columns = columns;
        this.rows = [];
        this.selected = null;
        this.active = null;
        this.tagged = new Map();
        this._opened = opened;
        this._fold = fold;
        this._heads = columns.map((column) => this._head(column, sort));
        this.box = h(
            "div",
            { class: "grid", role: "treegrid", tabindex: "0", "aria-label": label, "aria-readonly": "true" },
            h("div", { role: "rowgroup", class: "grid-head" }, h("div", { class: "grid-row", role: "row" }, this._heads)),
        );
        this._id = freshId("row");
        this.list = new VirtualList(
            this.box,
            () => this._make(),
            (element, index) => this._show(element, index),
        );
        this.box.addEventListener("keydown", (event) => this._key(event));
        this.box.addEventListener("click", (event) => this._click(event));
        // Not for a click: to scroll between its press and its release would take the row away from under it.
        this.box.addEventListener("focus", () => {
            if (this.box.matches(":focus-visible")) this._activate(this._activeIndex());
        });
    }

    _head(column, sort) {
        const cell = h("div", { class: `cell c-${column.name}`, role: "columnheader", title: column.label });
        if (!column.order) cell.textContent = column.title;
        else {
            cell.append(
                h(
                    "button",
                    { type: "button", class: "sort", tabindex: "-1", onclick: () => sort(column.order) },
                    column.title,
                ),
            );
        }
        return cell;
    }

    /** Say by which order the rows are sorted. */
    showOrder(order) {
        this.columns.forEach((column, at) => {
            if (column.order !== order) this._heads[at].removeAttribute("aria-sort");
            else this._heads[at].setAttribute("aria-sort", column.descending ? "descending" : "ascending");
        });
    }

    /** Show these rows of a Forest. */
    update(rows) {
        this.rows = rows;
        this.box.setAttribute("aria-rowcount", String(rows.length + 1));
        this.list.update(rows.length);
    }

    /** Mark a process as the one whose details are shown. */
    select(key) {
        this.selected = key;
        if (key) this.active = key;
        this.list.update(this.rows.length);
    }

    /** Scroll to a process, if it is shown. */
    reveal(key) {
        const index = this.rows.findIndex((row) => row.node.key === key);
        if (index >= 0) this.list.reveal(index);
        return index >= 0;
    }

    focus() {
        this.box.focus({ preventScroll: true });
    }

    _make() {
        const cells = this.columns.map((column) => {
            const cell = h("div", { class: `cell c-${column.name}`, role: "gridcell" });
            cell.append(h("bdi"));
            return cell;
        });
        const twist = h("span", { class: "twist", "aria-hidden": "true" });
        const tags = h("span", { class: "tags" });
        cells[0].prepend(twist);
        cells[0].append(tags);
        const element = h("div", { class: "grid-row virtual-row", role: "row", id: freshId(this._id) }, cells);
        element.cells = cells;
        element.texts = cells.map((cell) => cell.querySelector("bdi"));
        element.twist = twist;
        element.tags = tags;
        element.shown = {};
        return element;
    }

    _show(element, index) {
        const { node, depth, open, match, place, siblings } = this.rows[index];
        const shown = element.shown;
        if (shown.node !== node || shown.version !== node.version) {
            this.columns.forEach((column, at) => {
                const text = column.text(node);
                if (element.texts[at].said !== text) {
                    fillGuestText(element.texts[at], text);
                    element.texts[at].said = text;
                }
            });
            element.setAttribute("aria-label", this._spoken(node));
        }
        const tag = this.tagged.get(node.key) ?? "";
        const fresh = node.fresh && performance.now() - node.fresh < FRESH_MS;
        const classes =
            "grid-row virtual-row" +
            (node.key === this.selected ? " selected" : "") +
            (node.key === this.active ? " active" : "") +
            (match ? "" : " beside") +
            (node.record.kernel_thread ? " kernel" : "") +
            (node.record.state === "T" || node.record.state === "t" ? " stopped" : "") +
            (node.record.state === "Z" ? " zombie" : "") +
            (fresh ? " fresh" : "");
        if (shown.classes !== classes) {
            element.className = classes;
            shown.classes = classes;
        }
        if (shown.tag !== tag) {
            element.tags.replaceChildren(...(tag ? [h("span", { class: "tag danger" }, tag)] : []));
            shown.tag = tag;
        }
        if (shown.open !== open) {
            element.twist.className = open === null ? "twist" : open ? "twist open" : "twist folded";
            if (open === null) element.removeAttribute("aria-expanded");
            else element.setAttribute("aria-expanded", String(open));
            shown.open = open;
        }
        if (shown.depth !== depth) {
            element.style.setProperty("--depth", String(Math.min(depth, DEEPEST_INDENT)));
            element.setAttribute("aria-level", String(depth + 1));
            shown.depth = depth;
        }
        const where = `${place}/${siblings}/${index}`;
        if (shown.where !== where) {
            element.setAttribute("aria-posinset", String(place + 1));
            element.setAttribute("aria-setsize", String(siblings));
            element.setAttribute("aria-rowindex", String(index + 2));
            shown.where = where;
        }
        const selected = String(node.key === this.selected);
        if (shown.selected !== selected) {
            element.setAttribute("aria-selected", selected);
            shown.selected = selected;
        }
        shown.node = node;
        shown.version = node.version;
        if (node.key === this.active && this.box.getAttribute("aria-activedescendant") !== element.id)
            this.box.setAttribute("aria-activedescendant", element.id);
    }

    _spoken(node) {
        const { name, pid } = node.record;
        return `${printable(name)}, pid ${pid}`;
    }

    _activeIndex() {
        const index = this.rows.findIndex((row) => row.node.key === this.active);
        return index < 0 ? 0 : index;
    }

    _activate(index) {
        if (!this.rows.length) return;
        const at = Math.max(0, Math.min(index, this.rows.length - 1));
        this.active = this.rows[at].node.key;
        this.list.reveal(at);
        this.list.update(this.rows.length);
        this.list.render();
    }

    _key(event) {
        if (event.ctrlKey || event.altKey || event.metaKey || !this.rows.length || event.target !== this.box) return;
        const index = this._activeIndex();
        const row = this.rows[index];
        const moves = {
            ArrowDown: index + 1,
            ArrowUp: index - 1,
            PageDown: index + this.list.page,
            PageUp: index - this.list.page,
            Home: 0,
            End: this.rows.length - 1,
        };
        if (event.key in moves) this._activate(moves[event.key]);
        else if (event.key === "ArrowRight" && row.open === false) this._fold(row.node.key, true);
        else if (event.key === "ArrowRight" && row.open) this._activate(index + 1);
        else if (event.key === "ArrowLeft" && row.open) this._fold(row.node.key, false);
        else if (event.key === "ArrowLeft" && row.node.parent) {
            this._activate(this.rows.findIndex((other) => other.node === row.node.parent));
        } else if (event.key === "Enter" || event.key === " ") this._opened(row.node.key, true);
        else return;
        event.preventDefault();
    }

    _click(event) {
        const index = this.list.indexOf(event.target);
        if (index < 0) return;
        const row = this.rows[index];
        this.active = row.node.key;
        if (event.target.closest(".twist") && row.open !== null) this._fold(row.node.key, !row.open);
        else this._opened(row.node.key, false);
    }
}
