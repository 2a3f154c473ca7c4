// Elements are made from names and values, never from markup: there is no way from a guest's text to HTML here.
//
// Children that are strings become text nodes. Text of a guest goes through guestText of text.js first.

/** An element: h("p", {class: "muted", onclick: f}, "text", child, [more], null). */
export function h(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
        if (value === null || value === undefined || value === false) continue;
        if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
        else if (name === "value" || name === "checked" || name === "disabled" || name === "htmlFor") element[name] = value;
        else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...flat(children));
    return element;
}

/** Children as replaceChildren takes them: lists opened, what is absent left out. */
export function flat(children) {
    return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** Replace what is in an element. */
export function fill(element, ...children) {
    element.replaceChildren(...flat(children));
    return element;
}

/** A button. `why` disables it and says the reason, to those too who don't see a tooltip. */
export function button(label, onclick, { kind = "", why = "", ...attributes } = {}) {
    const element = h("button", { type: "button", class: `button ${kind}`, onclick, ...attributes }, label);
    setDisabled(element, why);
    return element;
}

/** Disable a button for a reason, or enable it. It stays in the tab order, so that the reason can be read. */
export function setDisabled(element, why) {
    if (why) {
        element.setAttribute("aria-disabled", "true");
        element.title = why;
        element.setAttribute("aria-description", why);
    } else {
        element.removeAttribute("aria-disabled");
        element.removeAttribute("aria-description");
        element.removeAttribute("title");
    }
}

document.addEventListener(
    "click",
    (event) => {
        if (event.target.closest?.("[aria-disabled=true]")) {
            event.preventDefault();
            event.stopImmediatePropagation();
        }
    },
    true,
);

let nextId = 0;

/** An id that no other element has. */
export function freshId(prefix) {
    nextId += 1;
    return `${prefix}-${nextId}`;
}

/** A value that is worked out at most once a frame, however often it is asked for. */
export function oncePerFrame(work) {
    let asked = false;
    return () => {
        if (asked) return;
        asked = true;
        requestAnimationFrame(() => {
            asked = false;
            work();
        });
    };
}
