"""Sigma rules on real kernels: deeds in a guest give exactly the detections that they should, a quiet moment none."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import vmon
from tests.guest.conftest import say
from vmon.core.detection import Detection
from vmon.lab.guest import LabGuest
from vmon.monitor.sigma.detecting import SigmaWatch
from vmon.monitor.sigma.reading import read_sigma
from vmon.monitor.stream import EventStream

KERNELS = ("6.1", "7.2")
"""How a rule is judged does not depend on the kernel: one of the old, one of the new."""
PATIENCE_S = 60
pytest.importorskip("sigma")

PROGRAM = "from vmon.cli import main; main()"

RULES = {
    "parent": ("process_creation", "high", "s: {ParentImage|endswith: /sg/sh, Image: '*/SG/tru?'}"),
    "parent line": (
        "process_creation",
        "high",
        "s: {ParentCommandLine|contains: one.sh, Image|endswith: /sg/tree}",
    ),
    "words": (
        "process_creation",
        "low",
        r"s: {CommandLine|re: '^[a-z]+ sg-(one|two)$', CommandLine|contains|all: [SG, ONE]}",
    ),
    "by alice": ("process_creation", "medium", "s: {User: Alice, CommandLine|contains: sg-of-alice}"),
    "ecs": ("process_creation", "medium", "s: {process.executable|endswith: /sg/sh, user.id: 0}"),
    "not": (
        "process_creation",
        "low",
        "s: {Image|startswith: /tmp/sg/}\n  f: {Image|endswith: [/sh, /true]}",
    ),
    "written": ("file_event", "critical", "s: {TargetFilename|startswith: /tmp/sg/etc/}"),
    "removed": ("file_delete", "low", "s: {TargetFilename|startswith: /tmp/sg/etc/}"),
    "moved": ("file_rename", "low", "s: {SourceFilename: /tmp/sg/etc/a}"),
    "connected": (
        "network_connection",
        "high",
        "s: {DestinationIp|cidr: 127.0.0.0/8, Initiated: 'true', Protocol: tcp}\n  f: {DestinationPort: 4998}",
    ),
    "end": ("file_event", "informational", "s: {TargetFilename: /tmp/sg/end}"),
    "nowhere": ("process_creation", "low", "s: {CurrentDirectory: /tmp}"),
}
"""Title: category, level, detection; s and not f, where there is f."""
DEEDS = """
mkdir -p /tmp/sg/etc
cp /bin/busybox /tmp/sg/sh; cp /bin/busybox /tmp/sg/true; cp /bin/busybox /tmp/sg/tree
echo '/tmp/sg/true x; /tmp/sg/tree /tmp/sg/etc >/dev/null; :' >/tmp/sg/one.sh
/tmp/sg/sh /tmp/sg/one.sh
/tmp/sg/true y
true sg-one
echo sg-one >/dev/null
/bin/echo sg-one >/dev/null
/bin/echo sg-two >/dev/null
su alice -c '/bin/echo sg-of-alice' >/dev/null
echo x >/tmp/sg/etc/a
echo y >>/tmp/sg/etc/a
cat /tmp/sg/etc/a >/dev/null
mkfifo /tmp/sg/etc/p
ln -s a /tmp/sg/etc/s
echo z >/tmp/sg/b
mv /tmp/sg/b /tmp/sg/etc/b
mv /tmp/sg/etc/a /tmp/sg/a
rm /tmp/sg/etc/b
nc -w 1 127.0.0.1 4999 </dev/null 2>/dev/null
nc -w 1 127.0.0.1 4998 </dev/null 2>/dev/null
nc -w 1 local:/tmp/sg/none </dev/null 2>/dev/null
echo >/tmp/sg/end
"""
# In the order of the deeds; of one event in the order of the files.
EXPECTED = [
    ("ecs", "/tmp/sg/sh /tmp/sg/one.sh"),
    ("parent", "/tmp/sg/true x"),
    ("not", "/tmp/sg/tree /tmp/sg/etc"),
    ("parent line", "/tmp/sg/tree /tmp/sg/etc"),
    ("by alice", "sh -c /bin/echo sg-of-alice"),
    ("by alice", "/bin/echo sg-of-alice"),
    ("written", "/tmp/sg/etc/a"),
    ("written", "/tmp/sg/etc/a"),
    ("written", "/tmp/sg/etc/p"),
    ("written", "/tmp/sg/etc/s"),
    ("written", "/tmp/sg/etc/b"),
    ("moved", "/tmp/sg/etc/a"),
    ("removed", "/tmp/sg/etc/b"),
    ("connected", "127.0.0.1:4999"),
    ("end", "/tmp/sg/end"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for title, (category, level, detection) in RULES.items():
        condition = "s and not f" if "\n" in detection else "s"
        (tmp_path / f"{title.replace(' ', '_')}.yml").write_text(
            f"title: {title}\nlevel: {level}\ntags: [attack.t1059]\n"
            f"logsource: {{product: linux, category: {category}}}\n"
            f"detection:\n  {detection}\n  condition: {condition}\n"
        )
    (tmp_path / "broken.yml").write_text("title: [\n")
    return tmp_path


@pytest.fixture
def prepared(guest: LabGuest) -> Iterator[LabGuest]:
    """The deeds lie in a file: what starts them has not their words in its own command line."""
    say(guest, f"cat >/tmp/sg.sh <<'EOF'\n{DEEDS}\nEOF")
    yield guest
    say(guest, "rm -rf /tmp/sg /tmp/sg.sh")


def until_the_end(stream: EventStream, watch: SigmaWatch) -> list[Detection]:
    found: list[Detection] = []
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for event in stream.take():
            found += watch.detections(event)
        if found and found[-1].rule.title == "end":
            return found
        time.sleep(0.01)
    raise AssertionError(f"the last deed was not seen: {found}")


def what(found: Detection) -> str:
    event = found.event
    if event.address is not None:
        return f"{event.address}:{event.port}"
    if event.event == "file.rename" and found.rule.title == "written":
        return str(event.new_path)
    return str(event.path) if event.event != "process.exec" else " ".join(event.cmdline or [])


@pytest.mark.parametrize("guest", KERNELS, indirect=True)
def test_deeds_give_what_they_should_and_nothing_else(
    vm: vmon.VirtualMachine, prepared: LabGuest, folder: Path
) -> None:
    rules = read_sigma(folder)
    assert {record.title for record in rules.records if record.state == "unsupported"} == {"nowhere"}
    assert rules.count("unreadable") == 1
    watch = SigmaWatch(vm, rules)
    stream = watch.stream()
    stream.start()
    try:
        say(prepared, "ls / >/dev/null; cat /etc/passwd >/dev/null; echo quiet >/dev/null")
        assert stream.take() == []
        prepared.run("sh /tmp/sg.sh", timeout_s=PATIENCE_S)
        found = until_the_end(stream, watch)
        say(prepared, "true")
        assert stream.take() == []
    finally:
        stream.stop()
        vm.remove_probe()
    assert [(one.rule.title, what(one)) for one in found] == EXPECTED
    assert all(one.rule.severity == RULES[one.rule.title][1] for one in found)
    assert {one.rule.attack for one in found} == {("T1059",)}


@pytest.mark.parametrize("guest", KERNELS[:1], indirect=True)
def test_the_command_tells_of_the_rules_and_of_what_they_find(prepared: LabGuest, folder: Path) -> None:
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        "watch",
        prepared.name,
        "--sigma",
        str(folder),
        "--sigma-level",
        "high",
    ]
    with subprocess.Popen(
        [*command, "-o", "jsonl"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stderr is not None and watching.stdout is not None
        said = [watching.stderr.readline() for _ in range(4)]
        deadline = time.monotonic() + PATIENCE_S
        while prepared.run("test -e /tmp/sg/seen").status and time.monotonic() < deadline:
            # Its stream begins a moment after the probe is in.
            prepared.run("sh /tmp/sg.sh; rm -rf /tmp/sg/etc", timeout_s=PATIENCE_S)
            if select.select([watching.stdout], [], [], 1)[0]:
                say(prepared, "touch /tmp/sg/seen")
        watching.send_signal(signal.SIGINT)
        out, _ = watching.communicate(timeout=PATIENCE_S)
    assert said[0] == "sigma: 13 rules, 4 in force, 1 unsupported, 7 below the level, 1 unreadable\n"
    assert sorted(line.split(": ")[1].removeprefix(f"{folder}/") for line in said[1:3]) == [
        "broken.yml:2",
        "nowhere.yml:1",
    ]
    assert said[3].startswith("probe: ")
    found = [json.loads(line) for line in out.splitlines()]
    assert {one["rule"]["title"] for one in found} <= {"parent", "parent line", "written", "connected"}
    assert found and all(one["event"]["pid"] and one["verb"] == "log" for one in found)
