// The processes of a guest as a tree: snapshots and changes go in, the rows to show come out.
//
// Pure: no element, no request. A hostile guest can claim to be its own ancestor: who is not reached from a root becomes
// one, so that every process is shown once.

import { commandLine } from "./text.js";

/** Columns by which siblings, or all, can be sorted. */
export const ORDERS = {
    start: (a, b) => a.record.start_boottime_ns - b.record.start_boottime_ns || a.record.pid - b.record.pid,
    pid: (a, b) => a.record.pid - b.record.pid,
    name: (a, b) => (a.record.name < b.record.name ? -1 : a.record.name > b.record.name ? 1 : a.record.pid - b.record.pid),
    user: (a, b) => (a.record.uid ?? -1) - (b.record.uid ?? -1) || a.record.pid - b.record.pid,
    memory: (a, b) => (b.record.resident_size ?? -1) - (a.record.resident_size ?? -1) || a.record.pid - b.record.pid,
    cpu: (a, b) => b.cpu - a.cpu || a.record.pid - b.record.pid,
};

class Node {
    constructor(record) {
        this.key = record.key;
        this.children = [];
        this.parent = null;
        this.cpu = 0;
        this.version = 0;
        this.fresh = 0;
        this.set(record);
    }

    set(record) {
        this.record = record;
        this.line = record.cmdline && record.cmdline.length ? commandLine(record.cmdline) : "";
        this.search = [record.pid, record.name, this.line, record.exe ?? "", record.container_id ?? "", `uid:${record.uid}`]
            .join("\n")
            .toLowerCase();
        this.version += 1;
    }
}

/** All processes of one guest. */
export class Forest {
    constructor() {
        this.nodes = new Map();
        this.roots = [];
        this.kernelThreads = 0;
        this.containers = 0;
        this._stale = true;
        this._first = true;
        this._busy = new Set();
    }

    get size() {
        return this.nodes.size;
    }

    get(key) {
        return this.nodes.get(key);
    }

    /** The process that has this pid now. */
    byPid(pid) {
        for (const node of this.nodes.values()) if (node.record.pid === pid) return node;
        return undefined;
    }

    /** A whole list: what is not in it is gone. `now` is in milliseconds. */
    replace(records, now) {
        const keys = new Set(records.map((record) => record.key));
        const gone = [...this.nodes.keys()].filter((key) => !keys.has(key));
        this.change(records, gone, now, 0);
    }

    /** What changed in so many seconds. Returns whether the shape of the tree did. */
    change(records, gone, now, seconds) {
        for (const key of gone) if (this.nodes.delete(key)) this._stale = true;
        const busy = new Set();
        for (const record of records) {
            const node = this.nodes.get(record.key);
            if (node === undefined) {
                const added = new Node(record);
                added.fresh = this._first ? 0 : now;
                this.nodes.set(record.key, added);
                this._stale = true;
                continue;
            }
            if (node.record.parent_key !== record.parent_key) this._stale = true;
            const used = record.user_time + record.system_time - node.record.user_time - node.record.system_time;
            if (seconds > 0 && used > 0) {
                node.cpu = (100 * used) / seconds;
                busy.add(node);
            }
            node.set(record);
        }
        this._rest(busy);
        this._first = false;
        return this._stale;
    }

    _rest(busy) {
        for (const node of this._busy) {
            if (busy.has(node)) continue;
            node.cpu = 0;
            node.version += 1;
        }
        this._busy = busy;
    }

    /** Nothing was heard for a while: nobody used a CPU. Returns whether anybody had. */
    idle() {
        const any = this._busy.size > 0;
        this._rest(new Set());
        return any;
    }

    _link() {
        this.roots = [];
        this.kernelThreads = 0;
        const containers = new Set();
        for (const node of this.nodes.values()) {
            node.children = [];
            node.parent = null;
            if (node.record.kernel_thread) this.kernelThreads += 1;
            if (node.record.container_id) containers.add(node.record.container_id);
        }
        this.containers = containers.size;
        for (const node of this.nodes.values()) {
            const parent = this.nodes.get(node.record.parent_key);
            if (parent === undefined || parent === node) this.roots.push(node);
            else {
                node.parent = parent;
                parent.children.push(node);
            }
        }
        this._breakCycles();
        this._stale = false;
    }

    _breakCycles() {
        const seen = new Set();
        const waiting = [...this.roots];
        const visit = () => {
            while (waiting.length) {
                const node = waiting.pop();
                if (seen.has(node)) continue;
                seen.add(node);
                waiting.push(...node.children);
            }
        };
        visit();
        if (seen.size === this.nodes.size) return;
        for (const node of this.nodes.values()) {
            if (seen.has(node)) continue;
            node.parent.children = node.parent.children.filter((child) => child !== node);
            node.parent = null;
            this.roots.push(node);
            waiting.push(node);
            visit();
        }
    }

    /**
     * The rows to show, in order: {node, depth, open, match}. `open` is null for one without children.
     * Options: text, kernel (threads of the kernel too), tree, order, folded (a set of keys).
     */
    rows({ text = "", kernel = false, tree = true, order = "start", folded = new Set() } = {}) {
        if (this._stale) this._link();
        const words = text.toLowerCase().split(/\s+/).filter(Boolean);
        const fits = (node) => words.every((word) => node.search.includes(word));
        const shown = (node) => kernel || !node.record.kernel_thread;
        const by = ORDERS[order];
        if (!tree) {
            const found = [...this.nodes.values()].filter((node) => shown(node) && fits(node)).sort(by);
            return found.map((node) => ({ node, depth: 0, open: null, match: true, place: 0, siblings: found.length }));
        }
        let kept = null;
        if (words.length) {
            kept = new Set();
            for (const node of this.nodes.values()) {
                if (!shown(node) || !fits(node)) continue;
                for (let above = node; above && !kept.has(above); above = above.parent) kept.add(above);
            }
        }
        const rows = [];
        // No recursion: a guest may nest processes as deep as it likes.
        const family = (nodes) => nodes.filter((node) => shown(node) && (!kept || kept.has(node))).sort(by);
        const levels = [{ nodes: family(this.roots), place: 0 }];
        while (levels.length) {
            const level = levels.at(-1);
            if (level.place === level.nodes.length) {
                levels.pop();
                continue;
            }
            const node = level.nodes[level.place];
            const children = family(node.children);
            // While searching nothing that fits is hidden.
            const open = children.length ? kept !== null || !folded.has(node.key) : null;
            rows.push({
                node,
                depth: levels.length - 1,
                open,
                match: !kept || fits(node),
                place: level.place,
                siblings: level.nodes.length,
            });
            level.place += 1;
            if (open) levels.push({ nodes: children, place: 0 });
        }
        return rows;
    }
}
