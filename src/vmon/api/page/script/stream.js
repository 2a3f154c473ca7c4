// A stream of server-sent events that comes back: read by fetch, so that a refusal is told from a server that is gone.
//
// Between tries it waits half a second, then twice as long each time, up to 15 s. A server says something every few
// seconds, so silence means that it is gone. While the page is hidden nothing is asked for.

import { address, judge, problemOf, Problem } from "./client.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
const SILENCE_MS = 35_000;
const LONGEST_LINE = 64 << 20;

/** Splits what comes into events: feed(text) calls `each({event, data, id})`. */
export class EventParser {
    constructor(each) {
        this._each = each;
        this._rest = "";
        this._clear();
    }

    _clear() {
        this._event = "message";
        this._data = [];
        this._id = "";
    }

    feed(text) {
        const lines = (this._rest + text).split(/\r\n|\n|\r(?!$)/);
        this._rest = lines.pop();
        if (this._rest.length > LONGEST_LINE) throw new Error("a line without an end");
        for (const line of lines) this._line(line);
    }

    _line(line) {
        if (line === "") {
            if (this._data.length) this._each({ event: this._event, data: this._data.join("\n"), id: this._id });
            this._clear();
            return;
        }
        if (line.startsWith(":")) return;
        const at = line.indexOf(":");
        const name = at < 0 ? line : line.slice(0, at);
        const value = at < 0 ? "" : line.slice(at + 1).replace(/^ /, "");
        if (name === "event") this._event = value;
        else if (name === "data") this._data.push(value);
        else if (name === "id") this._id = value;
    }
}

/** One stream, open until close() is called. */
export class Stream {
    /**
     * `path()` gives the path below /api/v1, asked anew for each try; `on` is {NAME: f(data, id)} for each kind of
     * message; `state({kind, problem, waitMs})` is told: opening, live, waiting, refused, paused. With `hidden` it goes on
     * while the page is hidden.
     */
    constructor(path, on, state = () => {}, { hidden = false } = {}) {
        this._evenHidden = hidden;
        this._path = path;
        this._on = on;
        this._state = state;
        this._wait = FIRST_WAIT_MS;
        this._closed = false;
        this._shown = () => this._visibility();
        document.addEventListener("visibilitychange", this._shown);
        // Later, so that who makes a stream has it before it hears of it.
        queueMicrotask(() => this._run());
    }

    /** Ask again at once, with what path() says now. */
    again() {
        this._wait = FIRST_WAIT_MS;
        this._stop();
        this._run();
    }

    close() {
        this._closed = true;
        document.removeEventListener("visibilitychange", this._shown);
        this._stop();
    }

    _stop() {
        clearTimeout(this._timer);
        this._abort?.abort();
        this._abort = null;
    }

    _visibility() {
        if (this._evenHidden) return;
        if (document.hidden) {
            this._stop();
            this._state({ kind: "paused" });
        } else if (!this._abort) this.again();
    }

    async _run() {
        if (this._closed || (document.hidden && !this._evenHidden)) return;
        const abort = new AbortController();
        this._abort = abort;
        this._state({ kind: "opening" });
        let problem;
        try {
            problem = await this._read(abort);
        } catch (error) {
            if (abort.signal.aborted && abort.signal.reason !== "silence") return;
            problem =
                error instanceof Problem
                    ? error
                    : new Problem({ title: "ServerGone", status: 0, detail: "the vmon server does not answer" });
        }
        if (this._abort !== abort) return;
        this._abort = null;
        if (problem && problem.status >= 400 && problem.status < 500 && problem.status !== 429) {
            this._state({ kind: "refused", problem });
            judge(problem);
            return;
        }
        this._state({ kind: "waiting", problem, waitMs: this._wait });
        this._timer = setTimeout(() => this._run(), this._wait * (0.8 + 0.4 * Math.random()));
        this._wait = Math.min(2 * this._wait, LONGEST_WAIT_MS);
    }

    async _read(abort) {
        const response = await fetch(address(this._path()), {
            signal: abort.signal,
            headers: { accept: "text/event-stream" },
            credentials: "same-origin",
            cache: "no-store",
        });
        if (!response.ok) return problemOf(response);
        let silent;
        const heard = () => {
            clearTimeout(silent);
            silent = setTimeout(() => abort.abort("silence"), SILENCE_MS);
        };
        const parser = new EventParser(({ event, data, id }) => this._on[event]?.(JSON.parse(data), id));
        try {
            heard();
            this._state({ kind: "live" });
            const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
            for (;;) {
                const { done, value } = await reader.read();
                if (done) return null;
                heard();
                this._wait = FIRST_WAIT_MS;
                if (abort.signal.aborted) throw abort.signal.reason;
                parser.feed(value);
            }
        } finally {
            clearTimeout(silent);
        }
    }
}
