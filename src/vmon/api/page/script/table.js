// A table of records: some hundred rows at once, the rest when asked for, so that a process with 50,000 maps is shown too.

import { button, fill, h } from "./dom.js";
import { count, guestText } from "./text.js";

const AT_ONCE = 300;

/**
 * `columns`: {title, cell(record) -> text or element, kind: "number" | "tight" | "mono" | "", guest}. A text of a column
 * that is marked `guest` is the guest's.
 */
export function table(columns, records, { label, empty }) {
    if (!records.length) return h("p", { class: "muted" }, empty);
    const body = h("tbody");
    const more = h("p");
    let shown = 0;

    function grow(by) {
        const until = Math.min(records.length, shown + by);
        for (; shown < until; shown += 1) body.append(row(columns, records[shown]));
        const left = records.length - shown;
        fill(more, left ? button(`Show the other ${count(left)}`, () => grow(Infinity), { kind: "slim" }) : null);
    }

    grow(AT_ONCE);
    return [
        h(
            "table",
            { "aria-label": label },
            h("thead", {}, h("tr", {}, columns.map((column) => h("th", { scope: "col", class: column.kind ?? "" }, column.title)))),
            body,
        ),
        more,
    ];
}

function row(columns, record) {
    return h(
        "tr",
        {},
        columns.map((column) => {
            const value = column.cell(record);
            const absent = value === null || value === undefined || value === "";
            return h(
                "td",
                { class: column.kind ?? "" },
                absent ? h("span", { class: "muted" }, "–") : column.guest ? guestText(value) : value,
            );
        }),
    );
}
