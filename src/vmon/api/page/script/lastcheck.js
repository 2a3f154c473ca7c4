// The last check of each VM that this page has asked for. Pure memory; it goes when the page is closed.

export const SEVERITIES = ["critical", "high", "medium", "low", "info"];
export const KIND = { critical: "danger", high: "danger", medium: "warn", low: "", info: "" };

const last = new Map();

/** {records, coverage, at, tookMs} of a VM; undefined when it was not checked. */
export function of(vm) {
    return last.get(vm);
}

/** Remember a check. */
export function keep(vm, found) {
    last.set(vm, found);
}

/** The worst severity among findings. */
export function worst(records) {
    return SEVERITIES.find((severity) => records.some((record) => record.severity === severity)) ?? "info";
}
