from __future__ import annotations

import json

import pytest

from vmon.api.problems import STATUS, Refused, problem_of, respond, status_of
from vmon.core import errors


def tree(kind: type[errors.VmonError]) -> list[type[errors.VmonError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in tree(child))]


@pytest.mark.parametrize("kind", tree(errors.VmonError), ids=lambda kind: kind.__name__)
def test_every_error_of_the_tree_has_a_status(kind: type[errors.VmonError]) -> None:
    assert 400 <= status_of(kind) < 600


def test_the_table_has_no_error_that_is_gone() -> None:
    assert set(STATUS) <= set(tree(errors.VmonError))


def test_an_error_is_answered_with_its_name_its_message_and_its_hint() -> None:
    problem = problem_of(errors.NoSuchProcess("no process 9", hint="look"))
    reply = respond(problem)
    assert reply.status_code == 404
    assert reply.headers["content-type"] == "application/problem+json"
    said = json.loads(bytes(reply.body))
    assert said == {"title": "NoSuchProcess", "status": 404, "detail": "no process 9", "hint": "look"}


def test_a_refusal_keeps_its_headers() -> None:
    reply = Refused(429, "TooMany", "wait", headers={"retry-after": "3"}).response()
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "3")
