"""Commands stand under headings, in --help and in the manual: here is which stands where. Pure data."""

GROUPS: dict[str, tuple[str, ...]] = {
    "Find and read": ("guests", "info", "doctor", "check", "dump"),
    "Processes": (
        "ps", "top", "tree", "files", "sockets", "maps", "env", "auxv", "stack", "memory", "strings", "core",
        "containers", "cgroups", "locks", "who",
    ),
    "Kernel": (
        "modules", "dmesg", "sysctl", "lsm", "bpf", "hooks", "keys", "timers", "workqueues", "meminfo", "cpus",
        "mounts",
    ),
    "Network": ("ports", "interfaces", "routes", "neighbours"),
    "Content": ("cat", "exe", "scan"),
    "Watch and control": (
        "watch", "guard", "policy", "sigma", "deny", "rules", "kill", "suspend", "resume", "quarantine", "release",
        "remove", "serve",
    ),
    "Bridges": ("drgn", "isf", "journal", "schema"),
    "Lab": ("lab",),
    "Help": ("help", "completion", "man"),
}  # fmt: skip
REST = "Others"
"""Where a command stands that nobody has put anywhere."""


def grouped(names: list[str]) -> dict[str, list[str]]:
    """These commands by heading, in the order of GROUPS; those of no group come last."""
    found = {heading: [name for name in members if name in names] for heading, members in GROUPS.items()}
    placed = {name for members in GROUPS.values() for name in members}
    found[REST] = [name for name in names if name not in placed]
    return {heading: members for heading, members in found.items() if members}
