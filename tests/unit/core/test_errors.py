from __future__ import annotations

from vmon.core.errors import BadStructure, GuestDataError, NotMapped, PhysReadError, UsageError


def test_an_error_carries_its_sentence_and_a_hint() -> None:
    error = UsageError("not so", hint="but so")
    assert (str(error), error.message, error.hint, error.exit_code) == ("not so", "not so", "but so", 2)
    assert UsageError("x").hint == ""


def test_errors_of_guest_data_name_field_and_address() -> None:
    error = BadStructure("too many", field="task_struct.tasks", address=0xFFFF_8880_0000_1000)
    assert str(error) == "too many (task_struct.tasks at 0xffff888000001000)"
    assert (error.message, error.field, error.address) == (
        str(error),
        "task_struct.tasks",
        0xFFFF_8880_0000_1000,
    )
    assert str(NotMapped("no page", address=0x10)) == "no page (at 0x10)"
    assert str(GuestDataError("odd")) == "odd"


def test_a_failed_read_says_how_much_of_what() -> None:
    error = PhysReadError(0x1000, 8)
    assert str(error) == "8 bytes at guest-physical 0x1000 are not all RAM"
    assert (error.address, error.size_bytes, error.exit_code) == (0x1000, 8, 20)
    assert isinstance(error, GuestDataError)
