"""`vmon top`: the processes of a guest on a terminal, from outside it.

The door to Textual, the optional extra `tui`: it is imported when a screen is asked for, and a missing one is said.
What is shown comes through `vmon.tui.source.Source`, which a live guest has and a test can have too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vmon.core.errors import NotSupported

if TYPE_CHECKING:
    from vmon.core.events import Event
    from vmon.tui.arrange import View
    from vmon.tui.source import Source


def show(
    source: Source,
    view: View,
    *,
    interval_s: float,
    read_only: bool,
    events: bool,
    say: Callable[[Event], str],
) -> None:
    """Show a guest until the user ends it. `say` gives the object of an event in words; `events` asks for them at once.

    NotSupported where Textual is not installed. What is left in the guest is for `source.close` to say.
    """
    try:
        from vmon.tui.app import Top  # noqa: PLC0415 - the door
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("textual", "rich"):
            raise
        raise NotSupported(
            "vmon top needs the package textual, which is not installed", hint="pip install 'vmon[tui]'"
        ) from None
    app = Top(source, view, interval_s=interval_s, read_only=read_only, events=events, say=say)
    app.run()
    if app.return_code:
        raise SystemExit(app.return_code)  # a fault of ours, which Textual has told
