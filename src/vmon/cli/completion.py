"""`vmon completion`: scripts for bash, zsh and fish, and what TAB offers: guests, pids, events.

TAB asks the host which guests run, and, where a PID is wanted, the guest which processes it has: by reading, like any
other command. What a guest calls its processes reaches a shell, so only letters, digits and dashes of it do.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

from vmon.core.ecs import KINDS
from vmon.core.errors import VmonError

VARIABLE = "_VMON_COMPLETE"
WHOLE_WORDS = "# pid:123 and qmp:/run/x are words of their own.\nCOMP_WORDBREAKS=${COMP_WORDBREAKS//:}"
SHELLS = ("bash", "zsh", "fish")
UNSAFE = re.compile(r"[^A-Za-z0-9.:/_@-]+")
TARGET_KINDS = ("qmp:", "pid:", "dump:")
PIDS = ("pid", "pids", "tree_pid")
MOST = 500
Offer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes vmon's commands in SHELL.

    TAB completes commands, options, guests, pids of a guest, and names of events.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    root = context.find_root()
    if shell == "bash":
        click.echo(WHOLE_WORDS)
    click.echo(kind(root.command, {}, "vmon", VARIABLE).source(), nl=False)


def teach(command: click.Command, path: str) -> None:
    """Tell the parameters of a command, and of those below it, what they can offer."""
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            teach(below, f"{path} {name}")
    for parameter in command.params:
        offer = _offer_of(parameter.name or "", path)
        if offer is not None:
            parameter._custom_shell_complete = offer


def _offer_of(name: str, path: str) -> Offer | None:
    if name in ("target", "targets"):
        return targets
    if name in PIDS:
        return pids
    if (path, name) in (("watch", "events"), ("deny", "event")):
        return events
    if (path, name) in (("lab down", "name"), ("lab run", "name")):
        return lab_guests
    return None


def plain(text: str) -> str:
    """What of a text may reach a shell."""
    return UNSAFE.sub(" ", text[:200]).strip()


def items(found: dict[str, str], incomplete: str) -> list[CompletionItem]:
    """Those that begin like what was typed, each with a word about it."""
    fitting = [(value, text) for value, text in found.items() if value.startswith(incomplete)]
    return [CompletionItem(plain(value), help=plain(text) or None) for value, text in fitting[:MOST]]


def targets(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Guests of this host; the kinds of targets where nothing is typed yet."""
    from vmon.transport.qemu import host_processes  # noqa: PLC0415

    kind, colon, path = incomplete.partition(":")
    if colon and kind in ("qmp", "dump"):
        return paths(f"{kind}:", path)
    found = {value.value: value.help or "" for value in lab_guests(context, parameter, incomplete)}
    lab = set(_lab().values())
    for pid in host_processes.iter_qemus():
        if str(pid) not in lab:
            found[f"pid:{pid}"] = "a QEMU of this host"
    found |= {kind: "" for kind in TARGET_KINDS if incomplete and kind.startswith(incomplete)}
    return items(found, incomplete)


def paths(prefix: str, begun: str) -> list[CompletionItem]:
    """Files that begin so, as a target names them; those with characters that a shell would read are left out."""
    folder, slash, begin = begun.rpartition("/")
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for path in sorted(Path(folder or ("/" if slash else ".")).iterdir())[:MOST]:
            if path.name.startswith(begin) and not UNSAFE.search(path.name):
                found[f"{prefix}{folder}{slash}{path.name}{'/' if path.is_dir() else ''}"] = ""
    return items(found, "")


def _lab() -> dict[str, str]:
    from vmon.lab import state  # noqa: PLC0415

    return {record.name: str(record.pid) for _, record in state.running()}


def lab_guests(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Lab guests that run."""
    return items(dict.fromkeys(_lab(), "lab guest"), incomplete)


def pids(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Processes of the guest that was named before; none where it can't be read."""
    target = context.params.get("target")
    found: dict[str, str] = {}
    if not isinstance(target, str):
        return []
    from vmon.monitor.attach import attach  # noqa: PLC0415

    with contextlib.suppress(VmonError, OSError), attach(target) as vm:
        found = {str(process.pid): process.name for process in vm.processes() if not process.kernel_thread}
    return items(found, incomplete)


def events(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of events; of several, with a comma between them, the last."""
    before, comma, last = incomplete.rpartition(",")
    return [CompletionItem(f"{before}{comma}{name}") for name in KINDS if name.startswith(last)]
