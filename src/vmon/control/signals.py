"""A signal reaches the process that was meant or none: its pid and its start time are looked up where it is sent.

Writes a request into the probe's mailbox; the guest's kernel sends the signal with its own kill_pid(), between two
instructions of nobody. Source: kernel/signal.c.
"""

from __future__ import annotations

import errno
import os

from vmon.core.errors import UsageError
from vmon.core.records.probe import ActRecord
from vmon.core.records.process import ProcessRecord
from vmon.probe.install import Probe

INIT = 1


def send_signal(probe: Probe, process: ProcessRecord, signal: int, *, force: bool = False) -> ActRecord:
    """Send one signal. 1 to 10 ms.

    UsageError for a thread of the kernel and for init, unless forced; NotSupported when the guest does not answer.
    """
    refuse_protected(process, force=force)
    if process.state == "Z":
        return _act(process, signal, "gone already", done=False, took_ns=0)
    answer = probe.mailbox.ask("SIGNAL", pid=process.pid, start_ns=process.start_boottime_ns, signal=signal)
    if answer.result == -errno.ESRCH:
        outcome = "gone already"
    elif answer.result:
        outcome = f"refused: {os.strerror(-answer.result)}"
    else:
        outcome = "sent"
    return _act(process, signal, outcome, done=answer.result == 0, took_ns=answer.took_ns)


def refuse_protected(process: ProcessRecord, *, force: bool) -> None:
    """UsageError for a thread of the kernel and for init, unless forced."""
    if not force and process.kernel_thread:
        raise UsageError(
            f"process {process.pid} is a thread of the kernel", hint="--force does it all the same"
        )
    if not force and process.pid == INIT:
        raise UsageError(
            "process 1 is the guest's init: without it the guest ends", hint="--force does it all the same"
        )


def _act(process: ProcessRecord, signal: int, outcome: str, *, done: bool, took_ns: int) -> ActRecord:
    return ActRecord(
        key=process.key,
        pid=process.pid,
        name=process.name,
        signal=signal,
        done=done,
        outcome=outcome,
        took_ms=round(took_ns / 1e6, 3),
    )
