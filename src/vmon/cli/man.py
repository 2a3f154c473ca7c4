"""`vmon man`: a manual page for each command, written from what the commands say of themselves.

Pure but for the files that it writes. roff's own characters in texts are escaped.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import click

from vmon.cli.examples import EXAMPLES
from vmon.cli.groups import grouped
from vmon.cli.help import exit_codes
from vmon.core.errors import UsageError

SECTION = "1"
HELP = ("-h, --help", "Show a help text and exit.")
ENVIRONMENT = (
    ("NO_COLOR", "If set to anything, nothing is shown in colour or bold."),
    ("VMON_CACHE_DIR", "Where profiles of kernels that were met are kept."),
    ("VMON_RUN_DIR", "Where lab guests keep their sockets."),
)
TARGETS = (
    ("NAME, lab:NAME", "A guest that vmon lab up has started."),
    ("qmp:PATH", "The QMP socket of a QEMU; nobody else may hold it."),
    ("pid:N", "The QEMU of this process id, by a QMP socket of its own."),
    ("dump:FILE", "A file of a guest's memory: raw, ELF core or LiME."),
)


@click.command()
@click.option(
    "-o",
    "--output",
    "folder",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write to.",
)
@click.pass_context
def man(context: click.Context, folder: Path) -> None:
    """Write the manual pages, vmon.1 and one for each command, to a folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = pages(context.find_root())
        for name, text in written.items():
            (folder / name).write_text(text)
    except OSError as error:
        raise UsageError(
            f"{folder}: {error.strerror}", hint="name a folder that can be written to"
        ) from error
    click.echo(f"{len(written)} pages in {folder}")


def pages(root: click.Context) -> dict[str, str]:
    """Every page by the name of its file."""
    found = {"vmon.1": _first_page(root)}
    group = root.command
    assert isinstance(group, click.Group)
    for name in group.list_commands(root):
        command = group.get_command(root, name)
        assert command is not None
        _add(found, click.Context(command, info_name=name, parent=root))
    return found


def _add(found: dict[str, str], context: click.Context) -> None:
    """The page of a command; those below it stand on pages of their own."""
    found[f"{context.command_path.replace(' ', '-')}.{SECTION}"] = _page(context)
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            below = context.command.get_command(context, name)
            assert below is not None
            _add(found, click.Context(below, info_name=name, parent=context))


def _first_page(root: click.Context) -> str:
    group = root.command
    assert isinstance(group, click.Group)
    lines = [*_head("vmon", "see the processes of a virtual machine from outside it"), ".B vmon"]
    lines.append("COMMAND TARGET ...")
    lines += [".SH DESCRIPTION", *_paragraphs(group.help or "")]
    lines += [".SH TARGETS", *_list(TARGETS)]
    lines.append(".SH COMMANDS")
    for heading, names in grouped(group.list_commands(root)).items():
        lines.append(f".SS {escape(heading)}")
        for name in names:
            command = group.get_command(root, name)
            assert command is not None
            lines += [".TP", f".BR vmon\\-{escape(name)} (1)", escape(_short(command))]
    lines += [".SH EXIT STATUS", *_list([(str(code), meaning) for code, meaning in exit_codes()])]
    lines += [".SH ENVIRONMENT", *_list(ENVIRONMENT)]
    return "\n".join(lines) + "\n"


def _page(context: click.Context) -> str:
    command, path = context.command, context.command_path
    usage = command.collect_usage_pieces(context)
    lines = [
        *_head(path, _short(command).rstrip(".")),
        f".B {escape(path)}",
        *(escape(piece) for piece in usage),
    ]
    lines += [".SH DESCRIPTION", *_paragraphs(command.help or "")]
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            page = f"{path} {name}".replace(" ", "-")
            lines += [".TP", f".BR {escape(page)} (1)", escape(_short(below))]
    # click makes the option for help when it is first asked for, and keeps it.
    records = [param.get_help_record(context) for param in command.params]
    told = [*(record for record in records if record and record[1]), HELP]
    lines += [".SH OPTIONS", *_list(told)]
    examples = EXAMPLES.get(path.removeprefix("vmon "))
    if examples:
        lines.append(".SH EXAMPLES")
        for line, text in examples:
            lines += [".TP", f".B {escape(line)}", escape(text[0].upper() + text[1:] + ".")]
    lines += [".SH SEE ALSO", ".BR vmon (1)"]
    return "\n".join(lines) + "\n"


def _head(path: str, what: str) -> list[str]:
    name = path.replace(" ", "-")
    title = f'.TH "{escape(name.upper())}" "{SECTION}" "" "vmon" "vmon manual"'
    return [title, ".SH NAME", f"{escape(name)} \\- {escape(what[0].lower() + what[1:])}", ".SH SYNOPSIS"]


def _short(command: click.Command) -> str:
    return " ".join(inspect.cleandoc(command.help or "").split("\n\n")[0].split())


def _paragraphs(text: str) -> list[str]:
    """Paragraphs; those that are not to be broken anew stay as they are."""
    lines: list[str] = []
    for at, paragraph in enumerate(inspect.cleandoc(text).split("\n\n")):
        if at:
            lines.append(".PP")
        if paragraph.startswith("\b"):
            lines += [".nf", *(escape(line) for line in paragraph.split("\n")[1:]), ".fi"]
        else:
            lines.append(escape(" ".join(paragraph.split())))
    return lines


def _list(rows: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> list[str]:
    return [line for name, text in rows for line in (".TP", f".B {escape(name)}", escape(text))]


def escape(text: str) -> str:
    """Text that roff shows as it is: no command, no escape, minus signs that can be copied."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    text = re.sub(r"`([^`]*)`", r"\\fI\1\\fR", text)
    return f"\\&{text}" if text.startswith(".") else text
