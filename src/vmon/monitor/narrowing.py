"""Keywords narrow a rule: what people write beside an event, turned into the rules that a guest's probe judges.

Reads the guest where a keyword names something in it: a pid, a tree, a container. A path with a star is a pattern, and
of a list of paths each becomes a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypedDict

from vmon.core.errors import UsageError
from vmon.core.rules import WRITING, Rule, RuleRecord, errno_of
from vmon.policy.file import path_fields
from vmon.policy.safety import refuses_everything

if TYPE_CHECKING:
    from vmon.monitor.acts import Acts
    from vmon.monitor.process import Process


class Narrow(TypedDict, total=False):
    """What an event must have to be meant; all that are given must hold."""

    path: str | Sequence[str]
    """The object's whole path in the guest, or a pattern with one * (no slash) or one ** (anything); or several."""
    path_prefix: str
    path_suffix: str
    write: bool
    """Only an open that may write."""
    flags: int
    """Any of these bits of the event's flags."""
    port: int
    address: str
    """An address, or a network as 10.0.0.0/8."""
    exe: str
    """Only of processes that run this program."""
    name: str
    """Only of processes of this comm."""
    uid: int
    pid: int
    """Only of this process."""
    tree: int | str | Process
    """Only of this process (its pid, its key or itself) and whatever it starts from now on."""
    container: str
    """Only of this container; the beginning of its id is enough."""
    cgroup_id: int
    unless_exe: str
    unless_name: str
    unless_uid: int
    unless_tree: int | str | Process


class RulesInForce(list[RuleRecord]):
    """The rules that a call has put into force, with their numbers; `with` drops them at its end."""

    def __init__(self, records: Sequence[RuleRecord], drop: Callable[[Sequence[RuleRecord]], None]) -> None:
        super().__init__(records)
        self._drop = drop

    @property
    def numbers(self) -> list[int]:
        """Each stays with its rule while that is in force."""
        return [record.number for record in self]

    def drop(self) -> None:
        """Take them out of force; those that are gone already are no error."""
        self._drop(list(self))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drop()


def make_rules(vm: Acts, events: Sequence[str], how: Rule, narrow: Narrow, *, force: bool) -> list[Rule]:
    """One rule for each path, with action and errno of `how`. UsageError for what makes no sense, NoSuchProcess."""
    if not events:
        raise UsageError(
            "a rule is about some event", hint='such as "file.open"; `vmon doctor TARGET` lists them'
        )
    words: dict[str, Any] = dict(narrow)
    if unknown := set(words) - set(Narrow.__annotations__):
        raise UsageError(
            f"{', '.join(sorted(unknown))}: nothing that narrows a rule",
            hint=f"there are {', '.join(Narrow.__annotations__)}",
        )
    if words.pop("write", False):
        words["flags"] = words.get("flags", 0) | WRITING
    if (pid := words.pop("pid", None)) is not None:
        words["key"] = vm.process(pid).key
    if (container := words.pop("container", None)) is not None:
        words["cgroup_id"] = vm.cgroup_of(container)
    for name in ("tree", "unless_tree"):
        if name in words:
            words[name] = _key_of(vm, words[name])
    listed = words.pop("path", None)
    paths = [listed] if listed is None or isinstance(listed, str) else list(listed)
    given: dict[str, Any] = {
        name: getattr(how, name) for name in ("action", "errno", "observe", "timeout_ms", "fallback")
    }
    rules = [Rule(events=tuple(events), **(given | path_fields(path) | words)) for path in paths]
    if not force and any(map(refuses_everything, rules)):
        raise UsageError(
            f"this refuses {events[0]} to every process, init too: the guest may not survive it",
            hint="narrow it (path=, exe=, uid=...), try it with observe=True, or force=True",
        )
    return rules


def number_of(error: str | int) -> int:
    """An errno by its name or number. UsageError."""
    found = error if isinstance(error, int) else errno_of(error)
    if found is None:
        raise UsageError(f"{error!r} is no errno", hint="EPERM, EACCES, ENOENT, ECONNREFUSED...")
    return found


def _key_of(vm: Acts, who: int | str | Process) -> str:
    if isinstance(who, str):
        return who
    return vm.process(who).key if isinstance(who, int) else who.key
