from __future__ import annotations

from pathlib import Path

import pytest

from vmon.api.tokens import parse_tokens, read_tokens, write_tokens
from vmon.core.errors import UsageError

GOOD = "a" * 40


def test_new_tokens_are_read_back_and_differ(tmp_path: Path) -> None:
    write_tokens(tmp_path / "t")
    lines = dict(line.split(":") for line in (tmp_path / "t").read_text().splitlines())
    found = read_tokens(tmp_path / "t")
    assert {role: found.role_of(token) for role, token in lines.items()} == {
        "operator": "operator",
        "viewer": "viewer",
    }
    with pytest.raises(UsageError):
        write_tokens(tmp_path / "t")


def test_comments_and_empty_lines_mean_nothing_and_one_role_is_enough() -> None:
    found = parse_tokens(f"# mine\n\nviewer:{GOOD}\n".encode(), "f")
    assert found.role_of(GOOD) == "viewer"
    assert found.role_of("") is None
    assert found.role_of("\udcff") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no token"),
        ("root:" + GOOD, "f:1: no role 'root'"),
        ("operator:short", "f:1: a token is at least"),
        (f"operator:{GOOD} x", "f:1: a token is at least"),
        (f"operator:{GOOD}\noperator:{GOOD}b", "f:2: a second token"),
        (f"operator:{GOOD}\nviewer:{GOOD}", "both roles"),
        ("operator:" + "é" * 40, "f:1: a token is at least"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_tokens(text.encode(), "f")


def test_a_file_that_is_not_there_or_too_large(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_tokens(tmp_path / "none")
    large = tmp_path / "large"
    large.write_bytes(b"#" * 5000)
    large.chmod(0o600)
    with pytest.raises(UsageError, match="more than"):
        read_tokens(large)
