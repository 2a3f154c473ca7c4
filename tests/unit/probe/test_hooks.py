from __future__ import annotations

from typing import get_args

from vmon.probe.hooks import ARGUMENT_KINDS, EVENTS, FUNCTIONS, TICKS, WANTS, Context


def test_events_have_names_of_their_own() -> None:
    names = [event.name for event in (*EVENTS, *TICKS)]
    assert len(names) == len(set(names))
    assert len(EVENTS) == 25
    assert all(name.count(".") == 1 and name == name.lower() for name in names)


def test_a_function_stands_in_one_place() -> None:
    names = [function.name for function in FUNCTIONS]
    assert len(names) == len(set(names))
    assert set(names) < set(WANTS.symbols)
    assert {"_stext", "_etext"} < set(WANTS.symbols)
    assert len(WANTS.symbols) == len(set(WANTS.symbols))


def test_arguments_are_of_known_kinds_and_fit_the_registers() -> None:
    for function in FUNCTIONS:
        kinds = [kind for _, kind in function.argument_kinds]
        assert len(kinds) <= 6
        assert set(kinds) <= {*ARGUMENT_KINDS, "number"}, function.name
        assert function.context in get_args(Context)


def test_only_security_hooks_can_deny() -> None:
    assert all(function.deny == function.name.startswith("security_") for function in FUNCTIONS)
    assert {event.name for event in EVENTS if not event.deny} == {"process.fork", "process.exit"}
    assert not any(event.deny for event in TICKS)


def test_stand_ins_can_do_what_the_first_choice_can() -> None:
    for event in (*EVENTS, *TICKS):
        assert not event.parts[0].optional
        for part in event.parts:
            assert len({choice.deny for choice in part.choices}) == 1


def test_ticks_are_in_interrupts_and_nothing_else_is() -> None:
    contexts = {function.name: function.context for function in FUNCTIONS}
    inside = {name for name, context in contexts.items() if context == "interrupt"}
    assert inside == {choice.name for tick in TICKS for part in tick.parts for choice in part.choices}
