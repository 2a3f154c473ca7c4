"""The folders of src/vmon are the layers of the import contract: a new folder is a new layer, decided there."""

from __future__ import annotations

import re
import tomllib

from tests.house.sources import MODULES, ROOT, SOURCE, Module

VAGUE = {
    "util",
    "utils",
    "common",
    "helper",
    "helpers",
    "manager",
    "managers",
    "misc",
    "base",
    "shared",
    "tools",
}


def layers() -> dict[str, bool]:
    """Layers of the contract, and whether each must have a folder already."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    (contract,) = [contract for contract in contracts if contract["type"] == "layers"]
    assert contract["containers"] == ["vmon"]
    assert contract["exhaustive"] is True
    words = [word.strip() for line in contract["layers"] for word in re.split(r"[|:]", line)]
    return {word.strip("()"): not word.startswith("(") for word in words}


def test_folders_are_layers() -> None:
    folders = {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    known = layers()
    assert folders <= known.keys()
    assert {name for name, needed in known.items() if needed} <= folders


def test_nothing_but_the_front_door_lies_beside_the_folders() -> None:
    files = {path.name for path in SOURCE.iterdir() if path.is_file()}
    assert files <= {"__init__.py", "__main__.py", "py.typed"}


def test_no_module_is_named_for_being_useful() -> None:
    def words(module: Module) -> set[str]:
        return set(re.split(r"[/_.]", str(module)))

    assert not [str(module) for module in MODULES if words(module) & VAGUE]


def test_what_reads_is_handed_no_way_to_write() -> None:
    """The ports that change a guest are named by those that act, nowhere else."""
    readers = ("arch", "kernel", "linux", "policy", "export", "lab", "cli")
    writing = re.compile(r"\b(WritePhys|PatchCode|apply_patches)\b")
    assert not [str(m) for m in MODULES if str(m).split("/")[0] in readers and writing.search(m.text)]
