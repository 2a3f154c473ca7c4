"""The command line: thin, one file a command. What a command can do, a program can do through `vmon.attach`.

Commands are imported when they are called: the time to start is part of the product.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

import click

from vmon.cli import groups
from vmon.core.errors import LabError, PolicyError, VmonError
from vmon.core.text import printable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMPLETING = "_VMON_COMPLETE"
COMMANDS = {
    "guests": (
        "vmon.cli.guests",
        "guests",
        "List the QEMU guests of this host and what can be done to each.",
    ),
    "info": ("vmon.cli.info", "info", "Which kernel runs in a guest, and how vmon knows."),
    "ps": ("vmon.cli.ps", "ps", "List the processes of a guest."),
    "top": ("vmon.cli.top", "top", "Watch the processes of a guest on the terminal."),
    "tree": ("vmon.cli.tree", "tree", "Show the processes of a guest as a tree."),
    "files": ("vmon.cli.files", "files", "List the open files of a process."),
    "sockets": ("vmon.cli.sockets", "sockets", "List the sockets of a guest or of one process."),
    "interfaces": (
        "vmon.cli.network",
        "interfaces",
        "List the network interfaces of a guest and their addresses.",
    ),
    "routes": ("vmon.cli.network", "routes", "List the routes of a guest."),
    "neighbours": ("vmon.cli.network", "neighbours", "List the neighbours of a guest (ARP, NDP)."),
    "ports": ("vmon.cli.network", "ports", "List the ports that something in a guest listens at."),
    "maps": ("vmon.cli.maps", "maps", "List the memory areas of a process."),
    "cat": ("vmon.cli.content", "cat", "Write a file of a guest, as far as it has it in memory."),
    "exe": ("vmon.cli.content", "exe", "Write the executable of a process of a guest to a file."),
    "env": ("vmon.cli.env", "env", "Show the environment of a process."),
    "check": (
        "vmon.cli.check",
        "check",
        "Compare views of a guest that should agree, and say where they don't.",
    ),
    "mounts": ("vmon.cli.mounts", "mounts", "List what is mounted where in a guest."),
    "cgroups": ("vmon.cli.containers", "cgroups", "List the cgroups of a guest and what they may use."),
    "containers": ("vmon.cli.containers", "containers", "List the containers of a guest."),
    "locks": ("vmon.cli.locks", "locks", "List the locks on files in a guest, and who waits."),
    "who": ("vmon.cli.who", "who", "List who sits at a terminal of a guest."),
    "memory": ("vmon.cli.memory", "memory", "Show bytes of a process's memory, or write them to a file."),
    "core": ("vmon.cli.core", "core", "Write a core file of a process, for gdb."),
    "auxv": ("vmon.cli.auxv", "auxv", "Show the auxiliary vector of a process."),
    "stack": (
        "vmon.cli.stack",
        "stack",
        "Show where the threads of a process are: registers and kernel stack.",
    ),
    "strings": ("vmon.cli.strings", "strings", "Print the texts in the memory of a process."),
    "scan": ("vmon.cli.scan", "scan", "Search memory by YARA rules."),
    "modules": ("vmon.cli.kernel", "modules", "List the modules loaded into a guest's kernel."),
    "dmesg": ("vmon.cli.dmesg", "dmesg", "Show the log of a guest's kernel."),
    "sysctl": ("vmon.cli.sysctl", "sysctl", "Show the settings of a guest's kernel."),
    "lsm": ("vmon.cli.kernel", "lsm", "List the security modules of a guest's kernel."),
    "bpf": ("vmon.cli.bpf", "bpf", "List the BPF programs in a guest's kernel, or its maps."),
    "hooks": ("vmon.cli.kernel", "hooks", "List what hooks a guest's kernel: kprobes and ftrace."),
    "keys": ("vmon.cli.keys", "keys", "List the keys that a guest's kernel keeps."),
    "timers": ("vmon.cli.deferred", "timers", "List the timers that are set in a guest's kernel."),
    "workqueues": ("vmon.cli.deferred", "workqueues", "List a guest's workqueues, or their workers."),
    "meminfo": ("vmon.cli.machine", "meminfo", "Show where a guest's memory is, as its kernel counts it."),
    "cpus": ("vmon.cli.machine", "cpus", "List a guest's CPUs and where their time went."),
    "doctor": ("vmon.cli.doctor", "doctor", "What vmon could do to a guest, and what keeps it from that."),
    "watch": ("vmon.cli.watch", "watch", "Show what happens in a guest as it happens."),
    "sigma": (
        "vmon.cli.sigma",
        "sigma",
        "Say which Sigma rules of a folder can be put in force, and why not.",
    ),
    "kill": ("vmon.cli.kill", "kill", "End a process of a guest, or send it another signal."),
    "suspend": ("vmon.cli.kill", "suspend", "Stop a process of a guest."),
    "resume": ("vmon.cli.kill", "resume", "Let a suspended process go on."),
    "quarantine": ("vmon.cli.quarantine", "quarantine", "Let a process compute, and nothing else."),
    "release": ("vmon.cli.quarantine", "release", "Let a process out of its quarantine."),
    "deny": ("vmon.cli.deny", "deny", "Refuse something in a guest before it happens."),
    "policy": ("vmon.cli.policy", "policy", "Check policies for guard, show the ready ones."),
    "guard": ("vmon.cli.guard", "guard", "Put a policy in force in a guest, and show what it decides."),
    "rules": ("vmon.cli.rules", "rules", "List the rules in force in a guest."),
    "remove": ("vmon.cli.rules", "remove", "Take the probe out of a guest."),
    "journal": ("vmon.cli.journal", "journal", "Verify and show journals of what was watched."),
    "schema": ("vmon.cli.schema", "schema", "Print the JSON schemas of what -o jsonl writes."),
    "isf": ("vmon.cli.isf", "isf", "Write a symbol file of a guest's kernel for Volatility 3."),
    "drgn": (
        "vmon.cli.drgn",
        "drgn_command",
        "Look at a guest's kernel with drgn, without debug information.",
    ),
    "serve": ("vmon.cli.serve", "serve", "Answer over HTTP for the guests of this host, with a web page."),
    "dump": ("vmon.cli.dump", "dump", "Write a guest's RAM to a file."),
    "help": ("vmon.cli.help", "help_command", "Show the help of a command, or exit-codes."),
    "completion": ("vmon.cli.completion", "completion", "Print the script that completes vmon's commands."),
    "man": ("vmon.cli.man", "man", "Write the manual pages to a folder."),
    "lab": ("vmon.cli.lab", "lab", "Guests to try vmon on: stock Debian kernels in QEMU."),
}


class LazyGroup(click.Group):
    """A group that imports a command when it is called; help texts are listed here so that --help imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        from vmon.cli import examples  # noqa: PLC0415 - the list of commands has none

        examples.teach(command, cmd_name)
        if COMPLETING in os.environ:
            from vmon.cli import completion  # noqa: PLC0415 - only for a shell

            completion.teach(command, cmd_name)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands by their one-line texts, and the options of vmon itself."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        from click.shell_completion import CompletionItem  # noqa: PLC0415

        named = [(name, text) for name, (_, _, text) in COMMANDS.items() if name.startswith(incomplete)]
        return [CompletionItem(name, help=text) for name, text in named]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under their headings, from their one-line texts."""
        for heading, names in groups.grouped(list(COMMANDS)).items():
            with formatter.section(heading):
                formatter.write_dl([(name, COMMANDS[name][2]) for name in names], col_max=12)


EPILOG = "`vmon COMMAND --help` has examples. `vmon help exit-codes` tells what scripts can rely on."


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.version_option(package_name="vmon", message="vmon %(version)s")
def cli() -> None:
    """See the processes of a virtual machine from outside it.

    TARGET is a lab guest's NAME, qmp:SOCKET-PATH, pid:QEMU-PID or dump:FILE.
    """


def main() -> None:
    """Entry point of `vmon`: errors become one line with a hint, and an exit code of their own."""
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        code = 130
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.exceptions.Exit as error:
        code = error.exit_code
    except PolicyError as error:
        for problem in error.problems:
            click.echo(f"vmon: {printable(problem)}", err=True)
        code = error.exit_code
    except VmonError as error:
        from vmon.cli.hints import hint_of  # noqa: PLC0415 - mostly there is nothing to say

        click.echo(f"vmon: {printable(error.message)}", err=True)
        for line in error.log if isinstance(error, LabError) else ():
            click.echo(f"    | {printable(line)}", err=True)
        click.echo(f"      {printable(hint_of(error))}", err=True)
        code = error.exit_code
    sys.exit(code if isinstance(code, int) else 0)
