// Where we are stands behind the # of the address, so that a view can be linked to, and Back goes back.
//
// #/ is the list of VMs, #/vm/NAME/TAB/REST a tab of one. Nothing secret is ever in it.

const TABS = ["processes", "events", "rules", "asks", "findings", "about"];

/** What an address names: {view: "vms"} or {view: "vm", vm, tab, rest: [..]}. */
export function parse(hash) {
    const parts = hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decode);
    if (parts[0] !== "vm" || !parts[1]) return { view: "vms" };
    const tab = TABS.includes(parts[2]) ? parts[2] : "processes";
    return { view: "vm", vm: parts[1], tab, rest: parts.slice(3) };
}

function decode(part) {
    try {
        return decodeURIComponent(part);
    } catch {
        return part;
    }
}

/** The address of a tab of a VM. */
export function to(vm, tab = "processes", ...rest) {
    return `#/${["vm", vm, tab, ...rest].map(encodeURIComponent).join("/")}`;
}

/** Go there; `replace` leaves no step for Back. */
export function go(hash, { replace = false } = {}) {
    if (!replace) location.hash = hash;
    else {
        history.replaceState(null, "", hash);
        dispatchEvent(new HashChangeEvent("hashchange"));
    }
}
