"""The host is a lab guest itself: Debian's own kernel and QEMU in TCG's emulated AMD SVM, with kvm-amd loaded.

    with KvmHost.up() as host:
        status = host.run(["vmon", "lab", "up", "try"])

Guests in it run under a stock KVM. The cache of kernels (read-only) and the host's own run folder are shared into it
by 9p; it needs no network. The checkout is copied in. A command's output comes through files in the shared run folder,
so it is seen as it is written.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from vmon.core.errors import LabError, TargetGone, TargetNotFound
from vmon.core.folders import cache_folder
from vmon.lab import guest, state
from vmon.lab.guest import LabGuest
from vmon.lab.host import checkout
from vmon.lab.host.image import host_image
from vmon.lab.host.vmlinux import unpacked
from vmon.lab.kernels import fetch
from vmon.lab.lock import file_lock
from vmon.lab.matrix import HOST

NAME = "kvm-host"
INSIDE = Path(__file__).parent / "inside"
RAM_BYTES = 6 << 30
"""Of which this machine gives only what is used."""
CPUS = 2
WORDS = "mitigations=off rcupdate.rcu_expedited=0"
BOOT_TIMEOUT_S = 240.0
POLL_S = 0.05
JOBS = "jobs"
RUN_IN_HOST = "/run/vmon-host"
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Share:
    """A folder of this machine that the host sees."""

    path: Path
    inside: str
    """Where it is in the host."""
    writable: bool = False


class KvmHost:
    """A running host. Made by `up` and `find`; there is one a run folder."""

    def __init__(self, guest_: LabGuest) -> None:
        self.guest = guest_

    @classmethod
    def up(cls) -> Self:
        """Boot the host and wait until it takes commands.

        The first time makes its root file system: some minutes, root, network. LabError where it does not come up.
        """
        kernel = fetch(HOST)
        image = host_image()
        shares = _shares()
        with tempfile.TemporaryDirectory(prefix="vmon-host-") as temporary:
            _write_overlay(Path(temporary), shares)
            booted = LabGuest.up(
                NAME,
                kernel=str(unpacked(kernel)),
                ram_bytes=RAM_BYTES,
                cpus=CPUS,
                cpu=HOST.tcg_cpu,
                machine="q35",
                ram_backend="anon",
                append=WORDS,
                accel="tcg",
                overlay=Path(temporary),
                root_image=image,
                qemu_args=_share_args(shares),
                boot_timeout_s=BOOT_TIMEOUT_S,
            )
        try:
            if booted.run("test -c /dev/kvm").status:
                raise LabError("the host came up without /dev/kvm", hint="its dmesg tells why")
            (booted.folder / JOBS).mkdir()
            cls(booted).bring_checkout()
        except BaseException:
            booted.down()
            raise
        return cls(booted)

    @classmethod
    def find(cls) -> Self:
        """The running host; TargetNotFound where there is none."""
        try:
            return cls(LabGuest.find(NAME))
        except TargetNotFound:
            raise TargetNotFound("no KVM host is running", hint="`vmon lab host up` boots one") from None

    def run(
        self, command: str | Sequence[str], out: BinaryIO | None = None, err: BinaryIO | None = None
    ) -> int:
        """Run a command in the host to its end; its exit status. Several may run at a time.

        Its output is copied to `out` and `err` (this process's own by default) as it comes. When this call is
        interrupted, the command is ended.
        """
        self.bring_checkout()
        line = command if isinstance(command, str) else shlex.join(command)
        folder = Path(tempfile.mkdtemp(dir=self.guest.folder / JOBS))
        inside = f"{RUN_IN_HOST}/{JOBS}/{folder.name}"
        try:
            (folder / "command").write_bytes(os.fsencode(line) + b"\n")
            self.guest.run(f"setsid sh /lab/job {inside} >/dev/null 2>&1 </dev/null &", check=True)
            try:
                return self._follow(folder, out or sys.stdout.buffer, err or sys.stderr.buffer)
            except BaseException as error:
                if not isinstance(error, TargetGone):
                    self._end_job(inside)
                raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def bring_checkout(self) -> None:
        """Make the host's copy of the checkout like the one here."""
        folder = self.guest.folder
        with file_lock(folder / "checkout.lock", "waiting for the checkout to be copied"):
            changed = checkout.changes(folder / "checkout.json")
            if changed is None:
                return
            archive, gone = changed
            (folder / "checkout.tar").write_bytes(archive)
            rest = f" && rm -f -- {shlex.join(gone)}" if gone else ""
            place = checkout.INSIDE
            self.guest.run(
                f"mkdir -p {place} && cd {place} && tar xf {RUN_IN_HOST}/checkout.tar{rest}", check=True
            )

    def _follow(self, folder: Path, out: BinaryIO, err: BinaryIO) -> int:
        streams = [_Follower(folder / "out", out), _Follower(folder / "err", err)]
        status = folder / "status"
        while True:
            # Looked at before the streams: what was written until then is copied below.
            ended = status.is_file()
            alive = self.guest.is_running()
            came = [stream.copy() for stream in streams]
            if ended:
                return int(status.read_text())
            if not alive:
                raise TargetGone("the KVM host ended")
            if not any(came):
                time.sleep(POLL_S)

    def _end_job(self, inside: str) -> None:
        with contextlib.suppress(LabError, TargetGone):
            self.guest.run(f"read -r pid <{inside}/pid && kill -TERM -$pid; sleep 1; kill -KILL -$pid")

    def down(self) -> None:
        """End the host and whatever runs in it."""
        self.guest.down()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()


def down() -> bool:
    """End the host, also one half made; False where there was none."""
    return guest.down(NAME)


class _Follower:
    """Copies a file that grows."""

    def __init__(self, path: Path, to: BinaryIO) -> None:
        self._path = path
        self._to = to
        self._at = 0

    def copy(self) -> bool:
        """Copy what came since the last time; whether anything did."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                start = self._at
                while data := file.read(CHUNK_BYTES):
                    self._to.write(data)
                    self._at += len(data)
        except FileNotFoundError:
            return False
        if self._at > start:
            self._to.flush()
        return self._at > start


def _shares() -> list[Share]:
    kernels = cache_folder() / "kernels"
    kernels.mkdir(parents=True, exist_ok=True)
    return [
        Share(kernels, "/var/cache/vmon/kernels"),
        Share(state.guest_folder(NAME), RUN_IN_HOST, writable=True),
    ]


def _share_args(shares: Sequence[Share]) -> list[str]:
    words = []
    for number, share in enumerate(shares):
        path = str(share.path).replace(",", ",,")
        mode = "" if share.writable else ",readonly=on"
        words += [
            "-virtfs",
            f"local,path={path},mount_tag=share{number},security_model=none,multidevs=remap{mode}",
        ]
    return words


def _write_overlay(folder: Path, shares: Sequence[Share]) -> None:
    lab = folder / "lab"
    shutil.copytree(INSIDE, lab)
    (lab / "rc").chmod(0o755)
    (lab / "shares").write_text(
        "".join(
            f"share{number} {'rw' if share.writable else 'ro,cache=loose'} {share.inside}\n"
            for number, share in enumerate(shares)
        )
    )
    # What `pip install` would leave: the version that vmon tells comes from there.
    own = importlib.metadata.distribution("vmon")
    info = lab / "site" / f"vmon-{own.version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(own.read_text("METADATA") or "")
