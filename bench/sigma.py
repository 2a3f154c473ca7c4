"""What judging a guest's events by Sigma rules costs the host: 300 rules, events as a busy machine makes them.

Needs no guest: rules and events are made here, in the proportions of the rules for Linux that people share. Most name a
program and words of a command line, a fourth words alone, some a parent or an expression. Nearly no event fits a rule.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench.series import Results
from vmon.core.events import Event
from vmon.monitor.known import Known
from vmon.monitor.sigma.detecting import Detector
from vmon.monitor.sigma.reading import read_sigma
from vmon.monitor.sigma.sieve import Sieve

RULES = 300
EVENTS = 1000
TARGET_MS = 50.0
"""For 1,000 execs: 20,000 events a second on one core, with nothing else to do."""
PROGRAMS = (
    "curl",
    "wget",
    "nc",
    "python3",
    "perl",
    "bash",
    "crontab",
    "chmod",
    "base64",
    "ssh",
    "tar",
    "systemctl",
)
BUSY = (
    "/usr/bin/sed",
    "/usr/bin/gcc",
    "/usr/bin/python3",
    "/bin/sh",
    "/usr/bin/bash",
    "/usr/bin/git",
    "/bin/ls",
)
WORDS = tuple(
    f"--{a}{b}" for a in ("in", "out", "to", "with", "no") for b in ("put", "file", "server", "check")
)
HEAD = "title: made {n}\nlevel: medium\nlogsource: {{product: linux, category: {category}}}\ndetection:\n"


def made_rule(n: int, chance: random.Random) -> str:
    odd = [f"odd{chance.randrange(10**6)}" for _ in range(chance.randint(1, 8))]
    kind = chance.random()
    if kind < 0.25:
        place = f"s: {{TargetFilename|startswith: [/etc/{odd[0]}/, /var/lib/{odd[0]}/]}}\n  condition: s\n"
        return HEAD.format(n=n, category="file_event") + f"  {place}"
    image = f"Image|endswith: [{', '.join('/' + name for name in chance.sample(PROGRAMS, 2))}]"
    line = f"CommandLine|contains: [{', '.join(odd)}]"
    body = {
        0: f"s: {{{image}, {line}}}\n  condition: s\n",
        1: f"s: {{{line}}}\n  f: {{{image}}}\n  condition: s and not f\n",
        2: f"p: {{ParentImage|endswith: /{odd[0]}}}\n  s: {{{image}}}\n  condition: p and s\n",
        3: f"s: {{CommandLine|re: '{odd[0]}.*-[a-z]*e'}}\n  condition: s\n",
    }[0 if kind < 0.7 else 1 if kind < 0.9 else 2 if kind < 0.96 else 3]
    return HEAD.format(n=n, category="process_creation") + f"  {body}"


def made_event(name: str, chance: random.Random, **more: Any) -> Event:
    pid = chance.randint(300, 30_000)
    who = {
        "sequence": 0,
        "time_ns": 1,
        "key": f"{pid}@1",
        "pid": pid,
        "tid": pid,
        "ppid": 1,
        "name": "x",
        "cpu": 0,
    }
    return Event(event=name, uid=0, euid=0, gid=0, cgroup_id=1, **(who | more))


def made_exec(chance: random.Random) -> Event:
    exe = chance.choice(BUSY)
    line = [exe, *chance.sample(WORDS, 4), f"/home/user/project/src/file{chance.randrange(1000)}.c"]
    return made_event("process.exec", chance, exe=exe, path=exe, cmdline=line)


def made_open(chance: random.Random, flags: int) -> Event:
    path = f"/usr/lib/x86_64-linux-gnu/lib{chance.randrange(1000)}.so"
    return made_event("file.open", chance, exe=chance.choice(BUSY), path=path, flags=flags)


def known_init() -> Known:
    """Of a machine on which init alone runs, and starts everything."""
    row = SimpleNamespace(text=b"/sbin/init")
    lists = {"pid": [1], "exe": [row], "cmdline": [[b"/sbin/init"]], "name": [b"init"], "parent_key": [None]}
    found = Known(lambda: SimpleNamespace(**lists, containers={}, key=lambda _: "1@1"))  # type: ignore[arg-type,return-value]
    found.look_closely()
    return found


def measure_sigma(results: Results, *, quick: bool) -> None:
    rounds = 5 if quick else 20
    chance = random.Random(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for n in range(RULES):
            (folder / f"{n:03}.yml").write_text(made_rule(n, chance))
        reading = [timed(lambda: read_sigma(folder)) for _ in range(max(2, rounds // 5))]
        rules = read_sigma(folder)
    assert rules.count("in force") == RULES
    results.add("sigma read", "ms", "host", reading, note=f"{RULES} rules, a file each")
    kinds = {
        "execs": [made_exec(chance) for _ in range(EVENTS)],
        "opens for reading": [made_open(chance, 0) for _ in range(EVENTS)],
        "opens for writing": [made_open(chance, 0o101) for _ in range(EVENTS)],
    }
    sieve = Sieve(rules.rules)
    for kind, events in kinds.items():
        detector = Detector(sieve)
        detector.known = known_init()
        judge(detector, events)
        taken = [
            timed(lambda events=events, detector=detector: judge(detector, events)) for _ in range(rounds)
        ]
        rate = EVENTS / min(taken) * 1000
        note = f"{EVENTS:,} events, {RULES} rules; at best {rate:,.0f} a second"
        results.add(f"sigma {kind}", "ms", "host", taken, target=TARGET_MS, note=note)


def judge(detector: Detector, events: list[Event]) -> None:
    for event in events:
        detector(event)


def timed(work: Callable[[], object]) -> float:
    """CPU time: on a machine that others use too, that is what judging costs."""
    begin = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - begin) / 1e6
