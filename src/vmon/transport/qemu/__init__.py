"""A stock QEMU that is already running: its monitor and its memory, nothing patched, nothing paused by reading.

Reads the QMP socket and /proc of the host; changes code when told to, in a pause that `guardian` bounds. `attach_qemu`
takes a socket, `attach_pid` a process.
"""

from vmon.transport.qemu.guest import QemuGuest, attach_pid, attach_qemu

__all__ = ["QemuGuest", "attach_pid", "attach_qemu"]
