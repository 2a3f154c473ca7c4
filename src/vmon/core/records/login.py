"""Who sits at a terminal of the guest. Pure data."""

from __future__ import annotations

import msgspec


class LoginRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One session that has a terminal: a login, a shell in a terminal window, `docker exec -it`..."""

    tty: str
    """Under /dev: pts/3, ttyS0, tty1."""
    device: int
    """As st_rdev and tty_nr have it."""
    sid: int
    """Pid of the session's leader; 0 for none."""
    process: str | None
    """Name of the leader; None when it has ended."""
    key: str | None
    """Of the leader."""
    uid: int | None
    """Real user of the leader. The name is in the guest's files, not in its kernel."""
    login_uid: int | None
    """Who logged in (loginuid), which su and sudo do not change; None for nobody, and without audit."""
    start_boottime_ns: int | None
    """Start of the leader, nanoseconds since the guest booted."""
    start_time: float | None
    """The same, seconds since the epoch, by the guest's clock."""
    idle: int | None
    """Seconds since something was typed, as `w` has it, to about 8 s; None where nobody has the terminal open."""
    foreground_pgid: int | None
    """Process group that gets what is typed (tpgid); None for none."""
    foreground_pids: list[int]
    foreground_command: list[str] | None
    """Arguments of the first of them; None where they are not in memory or nobody is there."""
    processes: int
    """Processes of the session that have this terminal."""
