"""KVM is used only where a guest was seen to boot under it: a /dev/kvm alone proves nothing."""

from __future__ import annotations

from typing import Literal


def choose(wanted: Literal["auto", "kvm", "tcg"]) -> Literal["kvm", "tcg"]:
    """The accelerator to use."""
    return "kvm" if wanted == "kvm" else "tcg"
