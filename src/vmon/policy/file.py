"""A policy is one YAML file: a mode and rules, the first that fits decides. What is wrong is said with its line.

    mode: enforce                     # or observe, the default: tell what would be refused
    rules:
      - title: nobody but passwd touches the shadow file
        event: file.open              # or a list of events
        path: /etc/shadow             # a whole path, or a pattern with one * or one **; or a list of them
        unless_exe: /usr/bin/passwd
        do: deny                      # allow, log, deny, kill, ask
        errno: EACCES

Pure: text in, rules out. The fields of a rule are those of vmon.core.rules.Rule; `write: true` stands for the flags of
an open that may write, `container` for the cgroup of a container, which only an attached guest can tell.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import yaml

from vmon.core.errors import UsageError
from vmon.core.rules import WRITING, Action, Fallback, Rule, errno_of

MAX_BYTES = 1 << 20

Mode = Literal["observe", "enforce"]
Words = str | list[str]


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """One rule, complete but for what has to be asked of a guest."""

    rule: Rule
    title: str
    place: str
    """FILE:LINE, for errors that are found later."""
    container: str | None


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy that was read."""

    mode: Mode
    drafts: list[Draft]


class _Written(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A rule as it stands in the file."""

    event: Words
    title: str = ""
    do: Action = "deny"
    errno: str | int = "EPERM"
    observe: bool = False
    timeout_ms: int = 1000
    fallback: Fallback = "deny"
    path: Words | None = None
    path_prefix: str | None = None
    path_suffix: str | None = None
    write: bool = False
    port: int | None = None
    address: str | None = None
    flags: int | None = None
    exe: str | None = None
    name: str | None = None
    uid: int | None = None
    key: str | None = None
    tree: str | None = None
    container: str | None = None
    unless_exe: str | None = None
    unless_name: str | None = None
    unless_uid: int | None = None
    unless_tree: str | None = None


SAME = tuple(
    name
    for name in Rule.__struct_fields__
    if name in _Written.__struct_fields__ and name not in ("errno", "path", "flags")
)
"""Fields that mean in the file what they mean in a rule."""


def read_policy(text: str, file: str) -> Policy:
    """The policy that a file holds. UsageError with the file and the line of what is wrong."""
    if len(text) > MAX_BYTES:
        raise UsageError(f"{file}: a policy of {len(text):,} characters")
    top = _Node.parse(text, file)
    top.refuse_others({"mode", "rules"})
    mode = top.values.get("mode", "observe")
    if mode not in ("observe", "enforce"):
        raise UsageError(f"{top.place('mode')}: mode is observe or enforce, not {mode!r}")
    drafts = []
    for item in top.items("rules"):
        drafts += _drafts(item)
    if not drafts:
        raise UsageError(f"{file}: no rules in it", hint="rules: is a list, an item a rule")
    return Policy(mode=mode, drafts=drafts)


class _Node:
    """A mapping of the file, with the lines of its keys."""

    def __init__(self, node: yaml.MappingNode, values: dict[str, Any], file: str) -> None:
        self.values = values
        self._node = node
        self._file = file
        self._lines: dict[str, int] = {}
        for key, _ in node.value:
            name = str(key.value)
            if name in self._lines:
                raise UsageError(f"{file}:{key.start_mark.line + 1}: a second {name!r}")
            self._lines[name] = key.start_mark.line + 1

    @classmethod
    def parse(cls, text: str, file: str) -> _Node:
        """The whole file."""
        try:
            loader = yaml.SafeLoader(text)
            node = loader.get_single_node()
            values = loader.construct_document(node) if node is not None else None
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise UsageError(f"{file}:{line}: {error.problem}") from error
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise UsageError(f"{file}: this is no YAML: {type(error).__name__}") from error
        if not isinstance(node, yaml.MappingNode) or not isinstance(values, dict):
            raise UsageError(f"{file}: a policy has rules:, and mode: if it is to enforce them")
        return cls(node, values, file)

    def items(self, name: str) -> list[_Node]:
        """Mappings of a list in it."""
        found = next((value for key, value in self._node.value if key.value == name), None)
        if found is None:
            return []
        if not isinstance(found, yaml.SequenceNode):
            raise UsageError(f"{self.place(name)}: {name}: is a list")
        nodes = []
        for node, values in zip(found.value, self.values[name], strict=True):
            if not isinstance(node, yaml.MappingNode):
                raise UsageError(f"{self._file}:{node.start_mark.line + 1}: a rule is fields with values")
            nodes.append(_Node(node, values, self._file))
        return nodes

    def place(self, name: str = "") -> str:
        """FILE:LINE of a key, or of the mapping."""
        return f"{self._file}:{self._lines.get(name, self._node.start_mark.line + 1)}"

    def refuse_others(self, names: set[str]) -> None:
        """UsageError for a key that is none of these."""
        for name in self.values:
            if name not in names:
                raise UsageError(
                    f"{self.place(str(name))}: unknown field {name!r}",
                    hint=f"there are {', '.join(sorted(names))}",
                )


def _drafts(node: _Node) -> list[Draft]:
    """The rules of one item: one for each path that it lists."""
    node.refuse_others({field.name for field in msgspec.structs.fields(_Written)})
    try:
        written = msgspec.convert(node.values, _Written)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        name = where.rstrip("`").partition("[")[0]
        raise UsageError(f"{node.place(name)}: {name + ': ' if name else ''}{what}") from error
    fields: dict[str, Any] = {name: getattr(written, name) for name in SAME}
    fields["events"] = (written.event,) if isinstance(written.event, str) else tuple(written.event)
    fields["action"] = written.do
    fields["errno"] = _errno(written.errno, node)
    if written.write and written.flags is not None:
        raise UsageError(f"{node.place('write')}: a rule has one of write and flags")
    fields["flags"] = WRITING if written.write else written.flags
    listed = [written.path] if isinstance(written.path, str) else written.path
    paths: list[str | None] = [None] if listed is None else [*listed]
    return [
        Draft(
            rule=Rule(**(fields | path_fields(path))),
            title=written.title,
            place=node.place(),
            container=written.container,
        )
        for path in paths
    ]


def path_fields(path: str | None) -> dict[str, str]:
    """A path as people write it: a whole one, or a pattern."""
    if path is None:
        return {}
    return {"path_glob" if "*" in path else "path": path}


def _errno(value: str | int, node: _Node) -> int:
    number = value if isinstance(value, int) else errno_of(value)
    if number is None:
        raise UsageError(f"{node.place('errno')}: {value!r} is no errno", hint="EPERM, EACCES, ENOENT...")
    return number
