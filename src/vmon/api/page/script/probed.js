// A stream that only the probe can fill: opened once the probe is in, closed with words while it is not.

import * as link from "./link.js";
import { probeNote } from "./noprobe.js";
import { Stream } from "./stream.js";

const NO_PROBE = { title: "NotSupported", message: "no probe is active in this guest", hint: "" };

/** A stream under a name; `path`, `on` and `options` are those of Stream. */
export class ProbedStream {
    /** `told({kind, note})` is called with each change of state; `note` is an element while the stream can't be had. */
    constructor(shared, name, path, on, told, options) {
        this._shared = shared;
        this._name = name;
        this._open = () =>
            new Stream(
                path,
                on,
                (state) => {
                    if (state.kind === "refused") link.drop(name);
                    else link.report(name, state);
                    this._refused = state.kind === "refused";
                    told({ kind: state.kind, note: this._refused ? probeNote(shared, state.problem, () => this.again()) : null });
                },
                options,
            );
        this._told = told;
        this._stream = null;
        this._look = () => this._begin();
        shared.addEventListener("change", this._look);
        this._begin();
    }

    _begin() {
        const probe = this._shared.probe;
        if (!probe) return;
        if (!this._stream && probe.active) this._stream = this._open();
        else if (!this._stream && !this._said) {
            this._told({ kind: "refused", note: probeNote(this._shared, NO_PROBE, () => this._begin()) });
            this._said = true;
        } else if (this._refused && probe.active && !this._wasActive) this.again();
        this._wasActive = probe.active;
    }

    /** Ask anew. */
    again() {
        if (this._stream) this._stream.again();
        else this._begin();
    }

    close() {
        this._shared.removeEventListener("change", this._look);
        this._stream?.close();
        link.drop(this._name);
    }
}
