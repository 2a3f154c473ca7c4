// What a person chose for this page, kept in this browser: light or dark, single keys, columns. No token is kept here.

const NAME = "vmon.";

/** A setting, or what it is without one. A browser that keeps nothing answers the latter. */
export function get(name, otherwise) {
    try {
        return localStorage.getItem(NAME + name) ?? otherwise;
    } catch {
        return otherwise;
    }
}

/** Keep a setting. */
export function put(name, value) {
    try {
        localStorage.setItem(NAME + name, value);
    } catch {
        // A browser that keeps nothing: the choice lasts as long as the page.
    }
}

const THEMES = ["auto", "light", "dark"];

/** Which of auto, light, dark is chosen. */
export function theme() {
    const chosen = get("theme", "auto");
    return THEMES.includes(chosen) ? chosen : "auto";
}

/** Choose light or dark, or auto: as the system has it. */
export function setTheme(chosen) {
    put("theme", chosen);
    applyTheme();
}

/** Make the page look as chosen. */
export function applyTheme() {
    document.documentElement.dataset.theme = theme();
}
