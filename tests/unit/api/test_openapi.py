"""The page is one that tools accept, and what the server does is what it says: schemathesis tries to find otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import hypothesis
import jsonschema
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck
from schemathesis.generation import GenerationMode

from tests.unit.api.fakes import HOST, OPERATOR, Client
from vmon.api import content
from vmon.api.app import ROWS
from vmon.api.openapi import make_openapi

EXAMPLES = 4
PAGE = make_openapi(ROWS, content.DOWNLOADS, "0")
LASTING = ("/stream", "/events", "/asks")
"""Streams go on for ever: they have tests of their own."""


def test_every_row_is_described_and_every_reference_leads_somewhere() -> None:
    described = {(method.upper(), path) for path, methods in PAGE["paths"].items() for method in methods}
    assert {(row.method, row.path) for row in ROWS} <= described
    text = json.dumps(PAGE)
    names = set(PAGE["components"]["schemas"])
    assert {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]} <= names
    operations = [operation for methods in PAGE["paths"].values() for operation in methods.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert all(operation["summary"] for operation in operations)


@pytest.mark.parametrize("name", sorted(PAGE["components"]["schemas"]))
def test_every_schema_is_one(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(PAGE["components"]["schemas"][name])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VMON_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        client = Client()
        client.app._requests._burst = client.app.failures._burst = 1e9
        yield client
        client.close()


SCHEMA = schemathesis.openapi.from_dict(PAGE)
OPERATIONS = [
    found.ok()
    for found in SCHEMA.get_all_operations()
    if not found.ok().path.endswith(LASTING) and "/metrics" not in found.ok().path
]


GOOD, BAD = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
TRIED = [(each, GOOD) for each in OPERATIONS] + [(each, BAD) for each in OPERATIONS if each.body]


@pytest.mark.parametrize(
    ("operation", "mode"), TRIED, ids=[f"{each.method} {each.path} {mode.value}" for each, mode in TRIED]
)
def test_what_is_made_up_is_answered_as_the_page_says(
    server: Client, operation: Any, mode: GenerationMode
) -> None:
    @hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def run(case: Any) -> None:
        if "vm" in (case.path_parameters or {}):
            case.path_parameters["vm"] = "lab:web1"
        if "pid" in (case.path_parameters or {}):
            case.path_parameters["pid"] = 42
        reply = ask(server, case)
        assert reply.status < 500 or reply.json["title"] in ("BadStructure", "GuestDataError"), reply.body
        check(operation, reply)

    run()


def ask(server: Client, case: Any) -> Any:
    sent = requests.Request(**case.as_transport_kwargs(base_url=f"http://{HOST}")).prepare()
    path = sent.path_url
    where, mark, query = path.partition("?")
    body = sent.body.encode() if isinstance(sent.body, str) else sent.body
    headers = {"authorization": f"Bearer {OPERATOR}"}
    if kind := sent.headers.get("content-type"):
        headers["content-type"] = kind
    return server.ask(sent.method or "GET", unquote(where) + mark + query, body, headers)


def check(operation: Any, reply: Any) -> None:
    """What came back against the schema of it."""
    described = PAGE["paths"][operation.path][operation.method.lower()]["responses"]
    answer = described.get(str(reply.status), described["default"])
    if "content" not in answer:
        assert reply.body == b""
        return
    ((media, of),) = answer["content"].items()
    assert reply.headers["content-type"].partition(";")[0] == media, reply.body
    if of.get("schema"):
        schema = {**of["schema"], "components": PAGE["components"]}
        jsonschema.Draft202012Validator(schema).validate(reply.json)
