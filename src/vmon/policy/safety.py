"""Rules that a guest would not survive: those that refuse everything to everybody, init too.

Pure, and no more than a guard against slips: a guest can be locked in ways that no look at one rule tells.
"""

from __future__ import annotations

from vmon.core.rules import Rule

VITAL = ("file.open", "file.mmap_exec", "process.exec")
"""Without these nothing goes on."""
EVERYTHING = ("", "/", "/**", "**")


def refuses_everything(rule: Rule) -> bool:
    """Whether it refuses something vital to init, whatever it is about."""
    if rule.action in ("allow", "log") or rule.observe or not set(rule.events) & set(VITAL):
        return False
    if rule.action == "ask" and rule.fallback == "allow":
        return False
    return _fits_init(rule) and _fits_anything(rule)


def _fits_init(rule: Rule) -> bool:
    return (
        rule.uid in (None, 0)
        and rule.unless_uid != 0
        and rule.exe is None
        and rule.name is None
        and rule.cgroup_id is None
        and all(key is None or key.startswith("1@") for key in (rule.key, rule.tree))
        and not (rule.unless_tree or "").startswith("1@")
    )


def _fits_anything(rule: Rule) -> bool:
    narrow = (rule.path, rule.port, rule.address, rule.flags)
    wide = (rule.path_prefix, rule.path_suffix, rule.path_glob)
    return all(value is None for value in narrow) and all(
        value is None or value in EVERYTHING for value in wide
    )
