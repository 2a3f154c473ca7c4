from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vmon.core.errors import NotSupported, RulesError, UsageError
from vmon.monitor import yara
from vmon.monitor.yara import compile_rules

RULE = """
rule %s : one two {
    meta: a = "x" b = 5 c = true
    strings: $s = "needle" $x = "hidden" xor
    condition: any of them
}
"""


def test_rules_of_several_files(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / f"{name}.yar").write_text(RULE % "same")
    rules = compile_rules([tmp_path / "first.yar", str(tmp_path / "second.yar")])
    hits = rules.scan(b"..needle..needle" + bytes(byte ^ 0x21 for byte in b"hidden"))
    assert hits is not None
    assert [(hit.rule, hit.namespace) for hit in hits] == [("same", "first"), ("same", "second")]
    assert (hits[0].tags, hits[0].meta, hits[0].cut) == (["one", "two"], {"a": "x", "b": 5, "c": True}, False)
    assert hits[0].matches == [("$s", 2, 6, None), ("$s", 10, 6, None), ("$x", 16, 6, 0x21)]
    assert rules.scan(b"nothing") == []


def test_more_matches_than_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yara, "MAX_MATCHES", 3)
    (tmp_path / "r.yar").write_text(RULE % "many")
    hits = compile_rules([tmp_path / "r.yar"]).scan(b"needle" * 10)
    assert hits is not None
    assert (len(hits[0].matches), hits[0].cut) == (3, True)


def test_a_rule_that_makes_no_sense_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "r.yar"
    file.write_text("rule a {\n  condition: $missing\n}\nrule b { condition: pe.nothing }\n")
    with pytest.raises(RulesError) as caught:
        compile_rules([file])
    assert caught.value.message.startswith(f"{file}:2:14: unknown pattern `$missing`")
    assert caught.value.hint
    assert caught.value.exit_code == 25
    file.write_text("rule a {")
    with pytest.raises(RulesError, match=r"r\.yar:1:\d+: syntax error"):
        compile_rules([file])


def test_files_that_are_no_rules(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        compile_rules([tmp_path / "none.yar"])
    (tmp_path / "binary.yar").write_bytes(b"\xff\xfe\0")
    with pytest.raises(UsageError, match="not UTF-8"):
        compile_rules([tmp_path / "binary.yar"])


def test_without_yara_x_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yara_x", None)
    with pytest.raises(NotSupported) as caught:
        compile_rules([tmp_path / "r.yar"])
    assert "vmon[yara]" in caught.value.hint


def test_a_scan_that_yara_gives_up_is_none(tmp_path: Path) -> None:
    class Slow:
        def scan(self, data: bytes) -> None:
            raise TimeoutError

    assert yara.Rules(Slow(), TimeoutError, ValueError).scan(b"x") is None


def test_a_rule_brings_in_another_file_only_where_it_may(tmp_path: Path) -> None:
    (tmp_path / "other.yar").write_text("rule other { condition: true }")
    file = tmp_path / "r.yar"
    file.write_text(f'include "{tmp_path / "other.yar"}"\nrule r {{ condition: true }}')
    compile_rules([file])
    with pytest.raises(RulesError, match="include"):
        compile_rules([file], includes=False)
