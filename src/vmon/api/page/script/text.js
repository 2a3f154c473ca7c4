// Text of a guest is hostile: control and reordering characters are shown as escapes, and it never becomes markup.
//
// The same characters as in vmon.core.text; what is escaped is marked, so that it differs from a backslash that the
// guest wrote. Numbers and times are written here too, so that they look alike everywhere. Pure, but for guestText.

const UNSAFE =
    /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]|\p{Surrogate}/gu;
const SHORT = { "\n": "\\n", "\t": "\\t", "\r": "\\r" };

/** One unsafe character as an escape: \n, \x1b, \u202e. */
export function escaped(char) {
    if (SHORT[char]) return SHORT[char];
    const code = char.codePointAt(0);
    const hex = (digits) => code.toString(16).padStart(digits, "0");
    if (code < 0x100) return `\\x${hex(2)}`;
    return code > 0xffff ? `\\U${hex(8)}` : `\\u${hex(4)}`;
}

/** The text with everything unsafe written as an escape, for places that hold plain text (titles, labels). */
export function printable(text) {
    return String(text).replace(UNSAFE, escaped);
}

/** Put text of the guest into an element that isolates its direction; what is escaped is marked. */
export function fillGuestText(element, text) {
    const whole = String(text);
    if (whole.search(UNSAFE) < 0) {
        element.textContent = whole;
        return element;
    }
    const parts = [];
    let from = 0;
    for (const match of whole.matchAll(UNSAFE)) {
        if (match.index > from) parts.push(whole.slice(from, match.index));
        const mark = document.createElement("span");
        mark.className = "escape";
        mark.textContent = escaped(match[0]);
        parts.push(mark);
        from = match.index + match[0].length;
    }
    if (from < whole.length) parts.push(whole.slice(from));
    element.replaceChildren(...parts);
    return element;
}

/** A <bdi> with text of the guest. */
export function guestText(text, className = "") {
    const element = document.createElement("bdi");
    if (className) element.className = className;
    return fillGuestText(element, text);
}

/** Arguments as one line; one that is empty or has a blank in it is quoted, so that it can be told from two. */
export function commandLine(words) {
    return words.map((word) => (word === "" || /[\s"'\\]/.test(word) ? JSON.stringify(word) : word)).join(" ");
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** 1536 -> 1.5 KiB. */
export function bytes(count) {
    let unit = 0;
    let value = count;
    while (value >= 1024 && unit < UNITS.length - 1) {
        value /= 1024;
        unit += 1;
    }
    return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

/** 12345 -> 12,345. */
export function count(number) {
    return Number(number).toLocaleString("en-US");
}

/** "1 process", "2 processes". */
export function plural(number, one, many = `${one}s`) {
    return `${count(number)} ${number === 1 ? one : many}`;
}

/** Seconds as a person says them: 0.4 s, 12 s, 3 min, 5 h, 2 d. */
export function duration(seconds) {
    const value = Math.max(0, seconds);
    if (value < 10) return `${value.toFixed(1)} s`;
    if (value < 120) return `${Math.round(value)} s`;
    if (value < 7200) return `${Math.round(value / 60)} min`;
    if (value < 172800) return `${Math.round(value / 3600)} h`;
    return `${Math.round(value / 86400)} d`;
}

/** Seconds since the epoch as 14:03:22, by this browser's clock and zone. */
export function clock(seconds) {
    return new Date(seconds * 1000).toLocaleTimeString("en-GB");
}

/** Seconds since the epoch as 2026-11-24 14:03:22. */
export function dateAndClock(seconds) {
    const date = new Date(seconds * 1000);
    return `${date.toLocaleDateString("sv-SE")} ${date.toLocaleTimeString("en-GB")}`;
}

/** Nanoseconds since boot as 12.345. */
export function sinceBoot(nanoseconds) {
    return (nanoseconds / 1e9).toFixed(3);
}

/** A number as 0x...; BigInt too. */
export function hex(number) {
    return `0x${number.toString(16)}`;
}

export const STATES = {
    R: "running",
    S: "sleeping",
    D: "waiting for a device",
    T: "stopped",
    t: "traced",
    Z: "zombie",
    X: "dead",
    I: "idle",
    P: "parked",
};

/** An address with its port, as [::1]:80 where needed. */
export function endpoint(address, port) {
    if (address === null || address === undefined || address === "") return port ? `:${port}` : "";
    if (port === null || port === undefined) return address;
    return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** What an answer lacks, in words; empty when it lacks nothing. */
export function coverageWords(coverage) {
    if (!coverage?.length) return "";
    const words = coverage.map(({ what, reason, count: times, detail }) => {
        const often = times > 1 ? ` in ${count(times)}` : "";
        return `${what} ${reason}${often}${detail ? ` (${detail})` : ""}`;
    });
    return `Not seen: ${words.join("; ")}.`;
}
