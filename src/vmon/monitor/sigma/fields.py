"""An event's fields as Sigma's rules ask for them: those of its process, its parent and its user too.

Pure, but for what Known has learned. What a user is called is the guest's word: its /etc/passwd.
"""

from __future__ import annotations

from collections.abc import Mapping

from vmon.core import ecs
from vmon.core.events import Event
from vmon.monitor.described import with_others
from vmon.monitor.known import Known

MAX_USERS = 10_000


def asked_for(event: Event, known: Known, users: Mapping[int, str]) -> ecs.Fields:
    """The fields of `with_others`, and the name of the user. A file that is renamed or linked is the old path alone:
    Sigma has names of its own for either."""
    found = with_others(event, known)
    if event.event != "process.exec" and (life := known.life(event.key)) is not None and life.cmdline:
        found["process.command_line"] = " ".join(life.cmdline)
    if event.uid in users:
        found["user.name"] = users[event.uid]
    return found


def users_of(passwd: str) -> dict[int, str]:
    """Names by uid of the text of an /etc/passwd; of several of one uid the first. Root is root whatever it says."""
    found = {0: "root"}
    for line in passwd.splitlines()[:MAX_USERS]:
        name, *words = line.split(":")
        if name and len(words) >= 2 and words[1].isascii() and words[1].isdigit() and len(words[1]) <= 10:
            found.setdefault(int(words[1]), name)
    return found
