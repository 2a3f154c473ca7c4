"""tests/unit mirrors src/vmon: the test of a file is found without searching."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house.sources import ROOT, SOURCE

UNIT = ROOT / "tests" / "unit"
TESTS = sorted(UNIT.rglob("test_*.py"))
# Modules that have no test file of their own, each for a reason.
CHECKS = ("processes", "credentials", "modules", "sockets", "pointers", "executable", "habits", "run")
WITHOUT = {
    "core/address.py": "types alone",
    "api/records.py": "types alone",
    "api/table.py": "types alone; every test of a row goes through it",
    "api/hosts.py": "holds what the tests of feeds, asks and streams go through",
    "api/streams.py": "endpoints of feed.py, changes.py and asks.py; their tests go through them",
    "api/gate.py": "test_attacks.py goes through it from end to end",
    "api/server.py": "the guest tests start it as a process and end it by SIGTERM",
    "cli/serve.py": "tests/unit/api/test_door.py goes through it",
    "core/events.py": "types alone",
    "core/told.py": "types alone",
    "sinks/writer.py": "types alone",
    "monitor/origin.py": "every test that names a machine goes through it; the guest tests compare it",
    "core/rules.py": "types alone",
    "probe/install.py": "the guest tests install into real kernels; the parts have tests of their own",
    "monitor/stream.py": "the guest tests go through it from end to end",
    "monitor/acts.py": "the guest tests go through it from end to end",
    "monitor/reacting.py": "the guest tests go through it from end to end",
    "monitor/views/__init__.py": "joins the subjects",
    "monitor/views/subject.py": "types alone",
    "monitor/views/wants.py": "joins what the readers want",
    "monitor/views/deferred.py": "the guest tests go through it from end to end",
    "monitor/views/machine.py": "the guest tests go through it from end to end",
    "monitor/views/programs.py": "tests/unit/monitor/test_drgn.py goes through it",
    "monitor/views/kernel.py": "the guest tests go through it from end to end",
    "monitor/views/findings.py": "the guest tests go through it from end to end",
    **dict.fromkeys(
        (f"check/{name}.py" for name in CHECKS),
        "the guest tests plant what it looks for; what it reads by has tests of its own",
    ),
    "monitor/views/containers.py": "the guest tests go through it from end to end",
    "monitor/views/logins.py": "the guest tests go through it from end to end",
    "monitor/views/filesystems.py": "the guest tests go through it from end to end",
    "monitor/views/network.py": "the guest tests go through it from end to end",
    "monitor/views/content.py": "the guest tests go through it from end to end",
    "arch/x86_64/__init__.py": "a docstring alone",
    "monitor/views/memory.py": "the guest tests go through it from end to end",
    "tui/source.py": "types alone",
    "tui/choosing.py": "tests/unit/tui/test_app.py presses its keys",
    "tui/live.py": "the guest tests go through it from end to end",
    "cli/groups.py": "data; test_init.py looks at it",
    "cli/auxv.py": "a table of records that the guest tests ask for",
    "cli/core.py": "the guest tests write core files and gdb reads them",
    "cli/scan.py": "a table of records that the guest tests ask for; monitor/scanning.py is tested",
    "cli/stack.py": "words for records that the guest tests ask for",
    "cli/strings.py": "a table of records that the guest tests ask for",
    "monitor/views/symbol_file.py": "the guest tests write the file and Volatility reads it",
    "export/variables.py": "data alone; the test of isf.py goes through it",
    "cli/isf.py": "the guest tests write with it",
    "cli/attached.py": "every test of a command goes through it",
    "cli/bpf.py": "the guest tests ask for its records; cli/output.py is tested",
    "cli/deferred.py": "the guest tests ask for its records; cli/output.py is tested",
    "cli/dmesg.py": "the guest tests ask for its records; cli/output.py is tested",
    "cli/dump.py": "the guest tests write and read dumps of real guests; tests/unit/transport writes fake ones",
    "cli/guests.py": "shows what transport/guests.py finds, tested there",
    "cli/kernel.py": "tables of records that the guest tests ask for; cli/listing.py is tested",
    "cli/keys.py": "the guest tests ask for its records; cli/output.py is tested",
    "cli/containers.py": "tables of records that the guest tests ask for",
    "cli/locks.py": "a table of records that the guest tests ask for",
    "cli/who.py": "a table of records that the guest tests ask for",
    "cli/mounts.py": "a table of records that the guest tests ask for",
    "cli/network.py": "tables of records that the guest tests ask for",
    "cli/namespaces.py": "an option alone",
    "cli/lab.py": "the guest tests boot with it",
    "cli/lab_host.py": "the guest tests boot with it",
    "cli/sysctl.py": "the guest tests ask for its records; cli/output.py is tested",
    "cli/machine.py": "tables of records that the guest tests ask for; cli/listing.py is tested",
    "monitor/guests.py": "names what transport/guests.py finds, tested there",
}
LAYERS = (
    "core",
    "arch",
    "kernel",
    "linux",
    "probe",
    "control",
    "check",
    "export",
    "sinks",
    "monitor",
    "tui",
    "api",
    "cli",
)
ACROSS = {"api/test_attacks.py": "what somebody may try against the server as a whole"}
"""Test files of no single module, each for a reason."""


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(UNIT)))
def test_a_test_file_stands_where_its_module_stands(path: Path) -> None:
    relative = path.relative_to(UNIT)
    name = relative.name.removeprefix("test_").removesuffix(".py")
    folder = SOURCE / relative.parent
    # A layer whose folders are thin (transport) may test them in one: the module lies somewhere below.
    modules = {found.stem for found in folder.rglob("*.py")} | {found.name for found in folder.rglob("*/")}
    known = (
        str(relative) in ACROSS or name in modules or any(module.startswith(f"{name}_") for module in modules)
    )
    assert known or (name == "init" and (folder / "__init__.py").is_file()), (
        f"{folder.relative_to(ROOT)} has no {name}"
    )


def test_every_module_of_these_layers_has_its_test_file() -> None:
    bare = []
    for layer in LAYERS:
        for path in sorted((SOURCE / layer).rglob("*.py")):
            relative = path.relative_to(SOURCE)
            name = "init" if path.name == "__init__.py" else path.stem
            only_words = path.name == "__init__.py" and "\nimport" not in path.read_text()
            if (
                only_words
                or str(relative) in WITHOUT
                or (UNIT / relative.parent / f"test_{name}.py").is_file()
                # The records, a module a subject, are tested as one.
                or (UNIT / relative.parent.parent / f"test_{relative.parent.name}.py").is_file()
            ):
                continue
            bare.append(str(relative))
    assert not bare
    assert not [name for name in WITHOUT if not (SOURCE / name).is_file()], (
        "exceptions for files that are gone"
    )


def test_folders_of_tests_are_packages() -> None:
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    assert not [str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").is_file()]
