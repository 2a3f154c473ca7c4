from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from vmon.core.errors import UsageError


def test_a_line_of_python_before_or_behind_the_target(run: Run) -> None:
    code = "import sys; print(prog['init_task'].comm.string_().decode(), sys.argv)"
    assert run("drgn", "-c", code, "web", "x").stdout == "swapper/0 ['-c', 'x']\n"
    assert run("drgn", "web", "-c", code, "-c", "x").stdout == "swapper/0 ['-c', '-c', 'x']\n"
    with pytest.raises(UsageError, match="needs"):
        run("drgn", "web", "-c")


def test_a_script_gets_its_arguments_and_its_neighbours(run: Run, tmp_path: Path) -> None:
    (tmp_path / "beside_it.py").write_text("WORD = 'beside'\n")
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, beside_it\nprint(beside_it.WORD, sys.argv[1:], prog['init_task'].pid.value_())\n"
    )
    assert run("drgn", "web", str(script), "--all", "-c").stdout == "beside ['--all', '-c'] 0\n"
    with pytest.raises(UsageError, match="no script") as error:
        run("drgn", "web", str(tmp_path / "other.py"))
    assert "-c" in error.value.hint


def test_it_ends_as_python_ends(run: Run) -> None:
    assert run("drgn", "web", "-c", "raise SystemExit(7)").exit_code == 7
    done = run("drgn", "web", "-c", "def f(): raise ValueError('mine')\nf()")
    assert done.exit_code == 1
    lines = done.stderr.splitlines()
    assert lines[:2] == ["Traceback (most recent call last):", '  File "<string>", line 2, in <module>']
    assert lines[-1] == "ValueError: mine"
    assert run("drgn", "web", "-c", "raise KeyboardInterrupt").exit_code == 130
    broken = run("drgn", "web", "-c", "what is")
    assert broken.exit_code == 1 and "SyntaxError" in broken.stderr


def test_standard_input_is_a_script_too(run: Run) -> None:
    # Of the test runner it is empty, and no terminal.
    assert run("drgn", "web").exit_code == 0
    assert run("drgn", "web", "-", "x").exit_code == 0
