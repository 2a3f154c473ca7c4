"""A stock QEMU that is already running: its monitor and its memory, nothing patched and nothing paused.

Reads the QMP socket and /proc of the host. `attach_qemu` takes a socket, `attach_pid` a process.
"""

from vmon.transport.qemu.guest import QemuGuest, attach_pid, attach_qemu

__all__ = ["QemuGuest", "attach_pid", "attach_qemu"]
