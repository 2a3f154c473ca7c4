from __future__ import annotations

import pytest

from vmon.check.defences import HELPERS, Expectation, parse_expectation
from vmon.core.errors import UsageError


@pytest.mark.parametrize(
    ("name", "usual", "unusual"),
    [
        (
            "modprobe_path",
            ["/sbin/modprobe", "/usr/sbin/modprobe", ""],
            ["/tmp/modprobe", "/sbin/modprobe x", "/home/a/x"],
        ),
        ("poweroff_cmd", ["/sbin/poweroff"], ["/tmp/x"]),
        (
            "core_pattern",
            ["core", "/var/crash/core.%p", "|/usr/lib/systemd/systemd-coredump %P", ""],
            ["|/tmp/x %P", "|/dev/shm/x"],
        ),
    ],
)
def test_helpers_that_are_usual(name: str, usual: list[str], unusual: list[str]) -> None:
    assert all(HELPERS[name].fullmatch(text) for text in usual)
    assert not any(HELPERS[name].fullmatch(text) for text in unusual)


def test_expectations() -> None:
    assert parse_expectation("process=auditd") == Expectation("process", "auditd")
    assert parse_expectation("seccomp=/usr/sbin/*") == Expectation("seccomp", "/usr/sbin/*")
    assert parse_expectation("lsm=apparmor").kind == "lsm"
    for text in ("auditd", "process=", "agent=x", "=x"):
        with pytest.raises(UsageError) as caught:
            parse_expectation(text)
        assert "process=NAME" in caught.value.hint
