from __future__ import annotations

import msgspec
import pycef
import pytest
from hypothesis import given, settings

from tests.unit.export.told import DETECTIONS, ORIGIN, RECORDS, event, hostile_events, hostile_origins, named
from vmon.core.ecs import Origin
from vmon.core.events import Event
from vmon.core.text import printable
from vmon.core.told import Told
from vmon.export.cef import encode, extension, header


def parse(data: bytes) -> dict[str, str]:
    """By a parser of others, which leaves backslashes where they are but before an equals sign or a bar."""
    found: dict[str, str] = pycef.parse(data.decode())
    return found


@pytest.mark.parametrize("record", RECORDS, ids=named)
def test_each_record_is_read_back(record: Told) -> None:
    found = parse(encode(record, ORIGIN))
    assert (found["DeviceVendor"], found["DeviceProduct"]) == ("vmon", "vmon")
    assert found["dvchost"] == "lab:web1"
    assert 0 <= int(found["DeviceSeverity"]) <= 10
    assert found["externalId"].startswith("lab:web1/")


def split(text: str, by: str) -> list[str]:
    """Parts between separators that no backslash stands before, as the format's document has it."""
    parts, escaped = [""], False
    for char in text:
        if escaped or char == "\\":
            parts[-1] += char
            escaped = not escaped and char == "\\"
        elif char == by:
            parts.append("")
        else:
            parts[-1] += char
    return parts


@settings(deadline=None, max_examples=300)
@given(record=hostile_events, origin=hostile_origins)
def test_text_of_a_guest_adds_no_field(record: Event, origin: Origin) -> None:
    head = split(encode(record, origin).decode(), "|")
    head[7:] = ["|".join(head[7:])]  # a bar has no meaning behind the head
    plain = split(encode(event(record.event, cmdline=None), ORIGIN).decode(), "|")
    keys = lambda text: [part.rpartition(" ")[2] for part in split(text, "=")[:-1]]  # noqa: E731
    own = keys(head[7])
    assert len(own) == len(set(own))
    assert {"act", "outcome", "spid"} <= set(own)
    assert plain[:4] == head[:4]
    values = split(head[7], "=")
    assert values[own.index("act") + 1].startswith(("allowed", "denied"))


def test_a_title_of_a_rule_ends_no_field_of_the_head() -> None:
    """The parser of others fails at an escaped bar, which the format allows: this is judged by its document."""
    rule = msgspec.structs.replace(DETECTIONS[0].rule, id="", title="a|b=c\\d")
    head = split(encode(msgspec.structs.replace(DETECTIONS[0], rule=rule), ORIGIN).decode(), "|")
    assert head[4:7] == ["a\\|b=c\\\\d", "a\\|b=c\\\\d", "8"]


def test_escapes() -> None:
    assert header("a|b\\c\nd=e") == "a\\|b\\\\c\\\\nd=e"
    assert extension("a|b\\c\nd=e") == "a|b\\\\c\\\\nd\\=e"
    assert extension(printable("\x1b[m")) == "\\\\x1b[m"
    assert extension(7) == "7"


def test_a_rename_names_both() -> None:
    found = parse(encode(event("file.rename"), ORIGIN))
    assert (found["oldFilePath"], found["filePath"]) == ("/srv/www/index.html", "/srv/www/old.html")


def test_a_detection_names_its_rule() -> None:
    found = parse(encode(DETECTIONS[0], ORIGIN))
    assert found["DeviceEventClassID"] == "6f3ae1b0-0000-4000-8000-000000000001"
    assert (found["act"], found["DeviceSeverity"], found["attack"]) == (
        "kill done",
        "8",
        "T1059.004 T1190 TA0002",
    )
