from __future__ import annotations

import pytest

from tests.unit.tui.fake import ROWS, row
from vmon.tui.dialogs import QUESTIONS, help_lines, question, question_of_events
from vmon.tui.keys import KEYS


@pytest.mark.parametrize("verb", list(QUESTIONS))
def test_a_question_names_pid_name_key_and_guest(verb: str) -> None:
    lines = question(verb, ROWS[2], "web1", "www-data", probe_is_in=True)  # type: ignore[arg-type]
    text = "\n".join("".join(span for span, _ in line) for line in lines)
    for word in ("20 httpd", "web1", ROWS[2].key, "www-data", "/usr/sbin/httpd -f", "+20.0s"):
        assert word in text
    assert "probe" not in text


def test_texts_of_the_guest_are_escaped_and_the_probe_is_told_of() -> None:
    lines = question("kill", row(9, "\x1b]0;x", command="a\nb"), "h\x1b", "\x1b", probe_is_in=False)
    text = "\n".join("".join(span for span, _ in line) for line in lines)
    assert "\x1b" not in text
    assert "a\\nb" in text
    assert "puts a probe into the guest" in text
    assert "puts a probe" in str(question_of_events("web1"))
    assert "puts a probe" not in str(question("release", ROWS[2], "web1", "0", probe_is_in=False))


def test_help_has_every_key() -> None:
    assert len(help_lines()) == 1 + sum(2 + len(keys) for keys in KEYS.values())
