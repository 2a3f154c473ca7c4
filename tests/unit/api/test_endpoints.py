from __future__ import annotations

import pytest
from starlette.datastructures import QueryParams

from tests.unit.api.fakes import Client
from vmon.api.endpoints import query_of
from vmon.api.views import SocketsQuery
from vmon.core.errors import UsageError


def test_parameters_are_of_their_types() -> None:
    assert query_of(QueryParams("all=true&namespace=7"), SocketsQuery) == SocketsQuery(all=True, namespace=7)
    assert query_of(QueryParams(""), SocketsQuery) == SocketsQuery()
    for wrong in ("all=perhaps", "namespace=seven", "more=1", "all=true&all=true", f"namespace={'9' * 30}"):
        with pytest.raises(UsageError):
            query_of(QueryParams(wrong), SocketsQuery)


def test_a_body_is_json_of_its_type(client: Client) -> None:
    path = "/api/v1/vms/lab:web1/enforcing"
    assert (
        client.ask("PUT", path, b'{"on": true}', {"content-type": "application/json; charset=utf-8"}).status
        == 409
    )
    assert client.ask("PUT", path, b'{"on": 1}').json["title"] == "UsageError"
    assert client.ask("PUT", path).status == 415


def test_numbers_of_a_path_are_bounded(client: Client) -> None:
    for pid, status in (("42", 200), ("4194305", 404), ("-1", 404), ("٤", 404)):
        assert client.get(f"/api/v1/vms/lab:web1/processes/{pid}").status == status
