// Requests to the server that this page came from: a cookie says who asks, the session's word goes with every change.
//
// The cookie can't be read here, and no token is kept. An error carries the server's own message and hint; a server that
// does not answer is an error of its own kind, so that "gone" is never taken for "nothing there".

const API = "/api/v1";
const TIMEOUT_MS = 30_000;

/** What the server said was wrong: `title` is its name (NoSuchProcess), `status` of HTTP; 0 where nobody answered. */
export class Problem extends Error {
    constructor({ title, status, detail, hint = "" }) {
        super(detail);
        this.title = title;
        this.status = status;
        this.hint = hint;
    }

    /** Whether nobody answered: the server is gone, or the network. */
    get gone() {
        return this.status === 0;
    }
}

const me = { role: null, csrf: null, readOnly: false, version: "" };
let unknown = () => {};

/** Who is signed in: {role, readOnly, version}; role is null for nobody. */
export function who() {
    return me;
}

/** `handler` is called when the server no longer knows us. */
export function onUnknown(handler) {
    unknown = handler;
}

/** Why this person may not change a guest; empty when they may. */
export function mayNot() {
    if (me.readOnly) return "This server changes no guest: it was started with --read-only.";
    if (me.role !== "operator") return "You are signed in as a viewer. Changing a guest needs an operator's token.";
    return "";
}

/** The problem in an answer that is not one of success. */
export async function problemOf(response) {
    let said = {};
    try {
        said = await response.json();
    } catch {
        // Not from vmon: a proxy, or a server that broke off.
    }
    const wait = response.headers.get("retry-after");
    return new Problem({
        title: said.title ?? "Unexpected",
        status: response.status,
        detail: said.detail ?? `the server answered ${response.status} without saying why`,
        hint: said.hint ?? (wait ? `Try again in ${wait} s.` : ""),
    });
}

const GONE = {
    title: "ServerGone",
    status: 0,
    detail: "the vmon server does not answer",
    hint: "Is `vmon serve` still running, and can this machine reach it?",
};

async function send(method, path, body, signal, quiet = false) {
    const headers = {};
    if (body !== undefined) headers["content-type"] = "application/json";
    if (method !== "GET" && me.csrf) headers["x-csrf-token"] = me.csrf;
    const limit = AbortSignal.timeout(TIMEOUT_MS);
    let response;
    try {
        response = await fetch(path, {
            method,
            headers,
            body: body === undefined ? undefined : JSON.stringify(body),
            signal: signal ? AbortSignal.any([signal, limit]) : limit,
            credentials: "same-origin",
            redirect: "error",
        });
    } catch (error) {
        if (signal?.aborted) throw error;
        if (limit.aborted) throw new Problem({ ...GONE, detail: "the vmon server did not answer in time" });
        throw new Problem(GONE);
    }
    if (response.ok) return response.status === 204 ? null : parse(await response.text());
    const problem = await problemOf(response);
    if (path !== "/session" && !quiet) judge(problem);
    throw problem;
}

/** Whether a problem means that the server does not know us any more; then the page asks for a token. */
export function judge(problem) {
    if (problem.status !== 401 || me.role === null) return;
    me.role = null;
    unknown(problem);
}

// Addresses of a kernel do not fit into a double: those are kept as BigInt where the browser lets us.
function exact(_, value, context) {
    if (typeof value !== "number" || Number.isSafeInteger(value) || !Number.isInteger(value)) return value;
    return context?.source && /^-?\d+$/.test(context.source) ? BigInt(context.source) : value;
}

function parse(text) {
    return /\d{16}/.test(text) ? JSON.parse(text, exact) : JSON.parse(text);
}

/** What a path below /api/v1 answers. `signal` gives it up. */
export function get(path, signal) {
    return send("GET", API + path, undefined, signal);
}

/** Change something. */
export function change(method, path, body = {}) {
    return send(method, API + path, body);
}

/** The address of a stream. */
export function address(path) {
    return API + path;
}

/** Ask the server who we are; role is null where it does not know. */
export async function look() {
    try {
        const said = await send("GET", `${API}/whoami`, undefined, undefined, true);
        Object.assign(me, { role: said.role, csrf: said.csrf, readOnly: said.read_only, version: said.version });
    } catch (error) {
        if (error.status !== 401) throw error;
        me.role = null;
    }
    return me;
}

/** Show a token, once: the server answers with a cookie. */
export async function signIn(token) {
    await send("POST", "/session", { token });
    return look();
}

/** End the session: its cookie opens nothing from now on. */
export async function signOut() {
    await send("DELETE", "/session");
    Object.assign(me, { role: null, csrf: null });
}

/** The path of a VM, below /api/v1. */
export function vmPath(vm, rest = "") {
    return `/vms/${encodeURIComponent(vm)}${rest}`;
}
