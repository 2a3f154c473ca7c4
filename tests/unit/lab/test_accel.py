"""KVM is tried once a boot of the host; here with the trial itself replaced."""

import pytest

from vmon.core.errors import LabError, UsageError
from vmon.lab import accel


@pytest.fixture(autouse=True)
def host(tmp_path, monkeypatch):
    monkeypatch.setenv("VMON_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("VMON_LAB_ACCEL", raising=False)
    monkeypatch.setattr(accel, "why_not_openable", lambda: "")
    monkeypatch.setattr(accel, "trial_key", lambda: "boot 1")


def test_a_trial_is_remembered_until_the_next_boot(monkeypatch, capsys):
    trials: list[bool] = []
    monkeypatch.setattr(accel, "_boots", lambda: bool(trials.append(True)))
    assert accel.choose("auto") == "tcg"
    assert "using TCG" in capsys.readouterr().err
    assert accel.choose("auto") == "tcg"
    assert len(trials) == 1
    monkeypatch.setattr(accel, "trial_key", lambda: "boot 2")
    monkeypatch.setattr(accel, "_boots", lambda: True)
    assert accel.choose("auto") == "kvm"


def test_no_trial_where_it_is_not_asked_for(monkeypatch):
    monkeypatch.setattr(accel, "_boots", lambda: pytest.fail("tried"))
    assert accel.choose("tcg") == "tcg"
    assert accel.choose("kvm") == "kvm"
    monkeypatch.setattr(accel, "why_not_openable", lambda: "there is no /dev/kvm")
    assert accel.choose("auto") == "tcg"
    with pytest.raises(LabError, match="no KVM: there is no"):
        accel.choose("kvm")
    with pytest.raises(UsageError):
        accel.choose("xen")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"key": "boot 0", "works": true}'])
def test_a_broken_or_old_record_means_to_try_again(tmp_path, monkeypatch, text):
    (tmp_path / "kvm.json").write_text(text)
    monkeypatch.setattr(accel, "_boots", lambda: False)
    assert accel.choose("auto") == "tcg"
