"""What TAB offers, asked through real shells: what they get is what vmon prints for them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from vmon.cli import COMMANDS, cli
from vmon.cli.completion import SHELLS, events, items, lab_guests, paths, pids, plain, targets
from vmon.core.errors import TargetNotFound

BIN = Path(sys.executable).parent
BASH = """
eval "$(vmon completion bash)"
compopt() { :; }
try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _vmon_completion vmon; echo "${COMPREPLY[*]}"; }
"""


def shell(name: str, script: str, tmp_path: Path) -> str:
    if shutil.which(name) is None or not (BIN / "vmon").exists():
        pytest.skip(f"{name} or an installed vmon is not here")
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "VMON_RUN_DIR": str(tmp_path / "run")}
    command = [name, "-c", script] if name != "bash" else ["bash", "--norc", "--noprofile", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_bash(tmp_path: Path) -> None:
    script = (
        BASH
        + "try vmon q; try vmon watch x --on file.o; try vmon ps x --user; try vmon lab d; echo $COMP_WORDBREAKS"
    )
    commands, names, options, below, breaks = shell("bash", script, tmp_path).splitlines()[-5:]
    assert commands == "quarantine"
    assert names == "file.open"
    assert options == "--user-only"
    assert below == "down"
    assert ":" not in breaks


def test_zsh_takes_its_script(tmp_path: Path) -> None:
    said = shell(
        "zsh",
        'autoload -Uz compinit; compinit -u -D; eval "$(vmon completion zsh)"; print $_comps[vmon]',
        tmp_path,
    )
    assert said.strip() == "_vmon_completion"


def test_fish(tmp_path: Path) -> None:
    said = shell(
        "fish",
        "vmon completion fish | source; complete -C 'vmon qua'; complete -C 'vmon deny x net.c'",
        tmp_path,
    )
    assert "quarantine\t" in said
    assert "net.connect" in said


def test_every_shell_gets_a_script() -> None:
    for name in SHELLS:
        done = CliRunner().invoke(cli, ["completion", name])
        assert done.exit_code == 0
        assert "_VMON_COMPLETE" in done.output


def test_commands_are_offered_without_importing_any() -> None:
    code = (
        "import sys, click; from vmon.cli import cli;"
        "found = cli.shell_complete(click.Context(cli), '');"
        "print(len(found), [m for m in sys.modules if m in ('numpy', 'vmon.cli.ps')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{len(COMMANDS)} []\n"
    named = {item.value for item in cli.shell_complete(click.Context(cli), "--")}
    assert {"--help", "--version"} <= named


PARAMETER = click.Argument(["x"])
CONTEXT = click.Context(cli)


def values(found: list[click.shell_completion.CompletionItem]) -> list[str]:
    return [item.value for item in found]


def test_guests_of_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    running = [
        (Path("x"), SimpleNamespace(name="web1", pid=7)),
        (Path("y"), SimpleNamespace(name="web2", pid=8)),
    ]
    monkeypatch.setattr("vmon.lab.state.running", lambda: running)
    monkeypatch.setattr("vmon.transport.qemu.host_processes.iter_qemus", lambda: iter([7, 8, 99]))
    assert values(targets(CONTEXT, PARAMETER, "")) == ["web1", "web2", "pid:99"]
    assert values(targets(CONTEXT, PARAMETER, "web")) == ["web1", "web2"]
    assert values(targets(CONTEXT, PARAMETER, "q")) == ["qmp:"]
    assert values(targets(CONTEXT, PARAMETER, "pid:")) == ["pid:99", "pid:"]
    assert values(lab_guests(CONTEXT, PARAMETER, "")) == ["web1", "web2"]


def test_files_of_a_target(tmp_path: Path) -> None:
    for name in ("a.elf", "ab c", "b$(x)"):
        (tmp_path / name).write_text("")
    (tmp_path / "aa").mkdir()
    assert values(targets(CONTEXT, PARAMETER, f"dump:{tmp_path}/a")) == [
        f"dump:{tmp_path}/a.elf",
        f"dump:{tmp_path}/aa/",
    ]
    assert values(paths("qmp:", f"{tmp_path}/nowhere/x")) == []


def test_pids_of_the_guest_that_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Vm:
        def processes(self) -> list[SimpleNamespace]:
            return [
                SimpleNamespace(pid=1, name="init", kernel_thread=False),
                SimpleNamespace(pid=2, name="kthreadd", kernel_thread=True),
                SimpleNamespace(pid=13, name="$(reboot)\n\x1b[2J;rm", kernel_thread=False),
            ]

    @contextmanager
    def attach(target: str) -> Iterator[Vm]:
        if target != "web1":
            raise TargetNotFound("no")
        yield Vm()

    monkeypatch.setattr("vmon.monitor.attach.attach", attach)
    context = click.Context(cli)
    assert pids(context, PARAMETER, "") == []
    context.params["target"] = "other"
    assert pids(context, PARAMETER, "") == []
    context.params["target"] = "web1"
    found = pids(context, PARAMETER, "1")
    assert values(found) == ["1", "13"]
    assert found[1].help == "reboot 2J rm"


def test_events_and_the_last_of_several() -> None:
    assert values(events(CONTEXT, PARAMETER, "file.op")) == ["file.open"]
    assert values(events(CONTEXT, PARAMETER, "file.open,process.ex")) == [
        "file.open,process.exec", "file.open,process.exit",
    ]  # fmt: skip


def test_nothing_that_a_shell_would_read_is_offered() -> None:
    assert plain("a`b`$(c)\n\x1b[0m'\"\\;|&<>*?[]{}~!#") == "a b c 0m"
    assert len(items({str(n): "" for n in range(10**4)}, "")) <= 500
