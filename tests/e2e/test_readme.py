"""The README's own session, line by line, in the order a newcomer would type it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
VMON = Path(sys.executable).with_name("vmon")
EXAMPLES = {"113": "httpd", "116": "sleep"}


def session_lines() -> list[str]:
    """Commands of the session block, comments and what follows a pipe cut off."""
    readme = (TOP / "README.md").read_text()
    lines = re.findall(r"^    \$ (.+)$", readme, re.M)
    return [line.split("  #")[0].split(" | ")[0].strip() for line in lines]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = Path(f"/tmp/vmon-e{os.getpid()}")
    environment = {**os.environ, "VMON_RUN_DIR": str(folder)}
    yield environment
    subprocess.run([VMON, "lab", "down", "--all"], env=environment, check=True)
    shutil.rmtree(folder, ignore_errors=True)


def test_session(run_folder: dict[str, str], tmp_path: Path) -> None:
    lines = session_lines()
    assert len(lines) >= 12
    printed = {}
    for line in lines:
        words = shlex.split(line)
        program = VMON.with_name(words[0].removeprefix(".venv/bin/"))
        assert program.name in ("vmon", "vol"), line
        # The pids in the README are examples: they are others each time.
        words = [pid_of(EXAMPLES[word], run_folder) if word in EXAMPLES else word for word in words[1:]]
        words = [str(TOP / word) if word.startswith("examples/") else word for word in words]
        busy = (
            subprocess.Popen([VMON, "lab", "run", words[1], "--", "sleep", "1"], env=run_folder)
            if words[0] == "watch"
            else None
        )
        done = subprocess.run(
            [program, *words], env=run_folder, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert not busy or busy.wait() == 0
        assert done.returncode == 0, (line, done.stderr)
        assert done.stdout.strip() or done.stderr.strip(), line
        printed[line] = done.stdout
    assert any("httpd" in text for line, text in printed.items() if " ps " in line)
    by_others = [text for line, text in printed.items() if "pslist" in line or " scan " in line]
    assert len(by_others) == 2 and all("httpd" in text for text in by_others)
    assert any("TARGET" in text and "web1" in text for text in printed.values())
    assert (tmp_path / "web1.elf").stat().st_size > 500 << 20
    for line, text in printed.items():
        if "-o jsonl" in line:
            assert all("exe" in json.loads(item) for item in text.splitlines())


def pid_of(name: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [VMON, "ps", "web1", "-o", "json"], env=environment, capture_output=True, check=True
    )
    return str(next(record["pid"] for record in json.loads(done.stdout)["records"] if record["name"] == name))


def test_python_session(run_folder: dict[str, str]) -> None:
    readme = (TOP / "README.md").read_text()
    block = re.search(r"^    import vmon\n.+?(?=\n\n[^ \n])", readme, re.M | re.S)
    assert block is not None
    program = "\n".join(line[4:] for line in block.group().split("\n"))
    subprocess.run([VMON, "lab", "up", "web1"], env=run_folder, check=True, capture_output=True)
    program = program.replace("113", pid_of("httpd", run_folder))
    done = subprocess.run(
        [sys.executable, "-c", program], env=run_folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "/bin/busybox" in done.stdout
    assert "local_port=80" in done.stdout


def test_demo(run_folder: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, TOP / "examples" / "demo.py"],
        env=run_folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = ("ok  cr3", "httpd -p 80", "syslogd", "nc -l -p 4444", "it is on tcp", "Try next:")
    refused = (
        "/tmp/secret  DENIED by rule 1",
        "asked:   may /bin/busybox run /tmp/miner? no",
        "signal 9 sent",
    )
    inside = ("can't open '/tmp/secret': Operation not permitted", "/tmp/miner: Permission denied")
    for promised in (*seen, *refused, *inside, "judged and recorded", "the probe is out again"):
        assert promised in done.stdout, promised
    listed = subprocess.run([VMON, "lab", "list"], env=run_folder, capture_output=True, text=True, check=True)
    assert "demo-" not in listed.stdout
