// A long list has elements for the rows in sight alone: 2,000 processes or 5,000 events scroll as 40 do.
//
// A row's element is used again for the row a pool's length further, so that scrolling by one row touches one element.
// Reads the size of its box when that changes, and writes positions once a frame.

import { h, oncePerFrame } from "./dom.js";

const OVERSCAN = 8;

/** A scrolled list of rows of equal height. The box must have a height of its own. */
export class VirtualList {
    /**
     * `box` is the element that scrolls; `make()` gives an empty row, `fill(element, index)` puts a row's content in.
     * The height of a row is the CSS variable --row of the box, in pixels.
     */
    constructor(box, make, fill) {
        this.box = box;
        this.body = h("div", { class: "virtual-body", role: "rowgroup" });
        box.append(this.body);
        this.count = 0;
        this.kept = -1;
        this._make = make;
        this._fill = fill;
        this._pool = [];
        this._at = [];
        this._top = -1;
        this._height = -1;
        this.schedule = oncePerFrame(() => this.render());
        box.addEventListener("scroll", this.schedule, { passive: true });
        this._observer = new ResizeObserver(() => this._measure());
        this._observer.observe(box);
    }

    /** Give up: no more work for this list. */
    end() {
        this._observer.disconnect();
    }

    _measure() {
        const row = parseFloat(getComputedStyle(this.box).getPropertyValue("--row")) || 28;
        if (row !== this.row) {
            this.row = row;
            this._at.fill(-1);
        }
        this._view = this.box.clientHeight;
        this._grow();
        this.render();
    }

    _grow() {
        const needed = Math.ceil(this._view / this.row) + 2 * OVERSCAN + 1;
        while (this._pool.length < needed) {
            const element = this._make();
            element.hidden = true;
            this._pool.push(element);
            this._at.push(-1);
            this.body.append(element);
        }
        this._at.fill(-1);
    }

    /** So many rows, any of which may have changed; `fill` decides what of an element it touches. */
    update(count) {
        this.count = count;
        this._dirty = true;
        this.schedule();
    }

    /** Draw now. */
    render() {
        if (!this._view || !this._pool.length) return;
        const height = this.count * this.row;
        if (height !== this._height) {
            this.body.style.height = `${height}px`;
            this._height = height;
        }
        const size = this._pool.length;
        const first = Math.max(0, Math.min(Math.floor(this.box.scrollTop / this.row) - OVERSCAN, this.count - size));
        const last = Math.min(this.count, first + size);
        for (let index = first; index < last; index += 1) {
            const slot = index % size;
            if (this._at[slot] !== index || this._dirty) this._place(slot, index);
        }
        for (let slot = 0; slot < size; slot += 1) {
            const index = this._at[slot];
            const out = index < first || index >= last;
            if (out && !this._pool[slot].hidden) {
                this._pool[slot].hidden = true;
                this._at[slot] = -1;
            }
        }
        this._dirty = false;
    }

    _place(slot, index) {
        const element = this._pool[slot];
        if (this._at[slot] !== index) {
            element.style.top = `${index * this.row}px`;
            element.hidden = false;
            this._at[slot] = index;
        }
        this._fill(element, index);
    }

    /** The element that shows a row now, if one does. */
    elementOf(index) {
        const slot = this._pool.length ? index % this._pool.length : 0;
        return this._at[slot] === index ? this._pool[slot] : null;
    }

    /** The row that an element within a row's element shows; -1 for none. */
    indexOf(element) {
        const row = element.closest?.(".virtual-row");
        const slot = this._pool.indexOf(row);
        return slot < 0 ? -1 : this._at[slot];
    }

    /** How many rows are in sight. */
    get page() {
        return Math.max(1, Math.floor((this._view - this._head()) / this.row) - 1);
    }

    _head() {
        return this.body.offsetTop;
    }

    /** Scroll as little as needed to see a row. */
    reveal(index) {
        const head = this._head();
        const top = index * this.row;
        const seen = this._view - head;
        if (top < this.box.scrollTop) this.box.scrollTop = top;
        else if (top + this.row > this.box.scrollTop + seen) this.box.scrollTop = top + this.row - seen;
        this.render();
    }
}
