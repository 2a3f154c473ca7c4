"""Writes docs/reference.md and man/ from the commands, errors and records themselves; house tests keep them fresh.

Run it with `./dev docs`. Reads nothing but vmon's own modules.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
from pathlib import Path

import click
import msgspec

from docs import api
from vmon.check.kinds import KINDS
from vmon.cli import COMMANDS, cli
from vmon.cli.man import pages
from vmon.core import coverage, errors, records
from vmon.export import schemas
from vmon.export.schemas import TYPES, made

PAGE = Path(__file__).with_name("reference.md")
SCHEMAS = Path(schemas.__file__).with_name("schema")
CHECKS = Path(__file__).with_name("checks.md")
MAN = PAGE.parent.parent / "man"
TABLE = "<!-- written by ./dev docs from vmon.check.kinds -->\n"


def reference() -> str:
    """The whole page."""
    parts = [
        "# Reference\n\nWritten by `./dev docs` from the program itself; do not edit.\n\n## Commands\n",
        "TARGET is a lab guest's NAME, `qmp:SOCKET-PATH`, `pid:QEMU-PID` or `dump:FILE`.\n",
    ]
    context = click.Context(cli, info_name="vmon", **cli.context_settings)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        parts.extend(describe(command, name, context))
    parts.append("## Exit codes\n\n| code | error | meaning |\n|---|---|---|")
    parts.append("| 0 | | done |\n| 1 | | a fault of vmon itself |\n| 130 | | interrupted |")
    for error in sorted(all_errors(errors.VmonError), key=lambda kind: (kind.exit_code, kind.__name__)):
        parts.append(f"| {error.exit_code} | `{error.__name__}` | {first_line(error)} |")
    parts.append("\n## Records\n\nWhat `-o json` writes and the Python calls return.")
    parts.append("Bytes that are not UTF-8 stand as \\xNN in json.\n")
    for record in record_types():
        more = [base.__name__ for base in record.__bases__ if base is not msgspec.Struct]
        above = f"All fields of {' and '.join(more)}, and:\n\n" if more else ""
        parts.append(
            f"### {record.__name__}\n\n{first_line(record)}\n\n{above}| field | type | meaning |\n|---|---|---|"
        )
        notes = field_notes(record)
        for field in msgspec.structs.fields(record):
            if field.name not in record.__annotations__:
                continue  # told with the record that this one adds to
            kind = record.__annotations__[field.name].replace("|", "or")
            parts.append(f"| `{field.encode_name}` | {kind} | {notes.get(field.name, '')} |")
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def describe(command: click.Command, name: str, above: click.Context) -> list[str]:
    """One command, and those below it."""
    context = click.Context(command, info_name=name, parent=above)
    parts = [f"### `{context.command_path}`\n"]
    if command.help:
        parts.append(inspect.cleandoc(command.help) + "\n")
    if isinstance(command, click.Group):
        for below_name in command.list_commands(context):
            below = command.get_command(context, below_name)
            assert below is not None
            parts.extend(describe(below, below_name, context))
        return parts
    usage = command.get_usage(context).removeprefix("Usage: ")
    parts.append(f"    {' '.join(usage.split())}\n")
    rows = [parameter.get_help_record(context) for parameter in command.params]
    told = [
        (option.replace("|", " or "), text.replace("|", "or")) for option, text in filter(None, rows) if text
    ]
    if told:
        parts.append("| option | meaning |\n|---|---|")
        parts.extend(f"| `{option}` | {text} |" for option, text in told)
        parts.append("")
    return parts


def all_errors(error: type[errors.VmonError]) -> list[type[errors.VmonError]]:
    """An error and its children."""
    below = [found for child in error.__subclasses__() for found in all_errors(child)]
    return [kind for kind in [error, *below] if kind.__module__ == errors.__name__]


def record_types() -> list[type[msgspec.Struct]]:
    """The records, a module after another, in the order of each."""
    names = sorted(module.name for module in pkgutil.iter_modules(records.__path__))
    modules = [coverage, *(importlib.import_module(f"{records.__name__}.{name}") for name in names)]
    return [
        item
        for module in modules
        for item in vars(module).values()
        if inspect.isclass(item) and item.__module__ == module.__name__ and issubclass(item, msgspec.Struct)
    ]


def field_notes(record: type[msgspec.Struct]) -> dict[str, str]:
    """The string that follows a field in the source is its meaning."""
    pattern = re.compile(r'^    (\w+): [^\n]+\n    """(.+?)"""', re.M | re.S)
    return {name: " ".join(text.split()) for name, text in pattern.findall(inspect.getsource(record))}


def first_line(item: object) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(item) or "").split("\n")[0]


def checks() -> str:
    """docs/checks.md with its table anew: what stands before it is written by people."""
    before = CHECKS.read_text().split(TABLE)[0]
    rows = [
        f"| `{name}` | {kind.severity} | {' '.join(kind.attack)} | {kind.said.format('...')} | {kind.could_be} |"
        for name, kind in KINDS.items()
    ]
    head = "| check | severity | ATT&CK | what is found | what it could also be |\n|---|---|---|---|---|"
    return before + TABLE + "\n" + "\n".join([head, *rows]) + "\n"


def manual() -> dict[str, str]:
    """The manual pages, by the names of their files."""
    return pages(click.Context(cli, info_name="vmon", **cli.context_settings))


if __name__ == "__main__":
    schemas_of_lines = ((SCHEMAS / f"{name}.schema.json", made(name)) for name in TYPES)
    for page, text in ((PAGE, reference()), (CHECKS, checks()), (api.PAGE, api.api()), *schemas_of_lines):
        page.write_text(text)
        sys.stdout.write(f"wrote {page.name}\n")
    MAN.mkdir(exist_ok=True)
    written = manual()
    for old in MAN.glob("*.1"):
        if old.name not in written:
            old.unlink()
    for name, text in written.items():
        (MAN / name).write_text(text)
    sys.stdout.write(f"wrote {len(written)} pages of man/\n")
