from __future__ import annotations

from tests.unit.export.told import DETECTIONS, NOTICES, event
from vmon.export.sentence import MAX_CHARS, sentence


def test_of_each() -> None:
    assert sentence(event()) == "file.open by httpd (pid 113, uid 33) /srv/www/index.html"
    assert sentence(event("file.rename")).endswith("/srv/www/index.html -> /srv/www/old.html")
    assert sentence(event("process.exit")).endswith("status 7")
    assert sentence(event("process.exit", exit_code=9)).endswith("by signal 9")
    assert sentence(event("process.signal")).endswith("signal 9 pid 200")
    assert sentence(event("net.bind", verdict="denied")).endswith("udp [2001:db8::1]:53: denied")
    assert sentence(DETECTIONS[0]).startswith("A server starts a shell (kill: done): process.exec")
    assert sentence(NOTICES[0]) == "the probe is gone"


def test_text_of_a_guest_is_made_printable_and_cut() -> None:
    assert "a\\nb\\x1b" in sentence(event(path="a\nb\x1b"))
    assert len(sentence(event(path="x" * 5000))) == MAX_CHARS
