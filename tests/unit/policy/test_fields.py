from __future__ import annotations

from vmon.core import ecs
from vmon.policy.fields import ARGUMENTS, EVERY, FIELDS, NEVER_ASKED, NEVER_REFUSED, WHO
from vmon.probe.hooks import ASKABLE, EVENTS


def test_every_field_is_one_of_an_event() -> None:
    assert set(FIELDS) <= ecs.NAMES
    assert set(FIELDS) >= WHO | ARGUMENTS
    assert all(set(field.events) <= set(EVERY) and field.means for field in FIELDS.values())


def test_what_the_kernel_asks_about_is_what_the_probe_says() -> None:
    assert set(NEVER_ASKED) == {event.name for event in EVENTS} - set(ASKABLE)
    assert set(NEVER_REFUSED) == {event.name for event in EVENTS if not event.deny}
