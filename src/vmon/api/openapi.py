"""The OpenAPI page: made from the rows and the types of records, so it can't say another thing than the server does.

Pure. OpenAPI 3.1; schemas are those of msgspec, which are JSON Schema 2020-12 as OpenAPI 3.1 wants them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from vmon.api import signin
from vmon.api.asks import AnswerBody, AskCounts, DoneRecord
from vmon.api.content import MISSING, Download
from vmon.api.problems import Problem
from vmon.api.records import HealthRecord, VmRecord, WhoamiRecord
from vmon.api.sessions import COOKIE
from vmon.api.streams import EventsQuery
from vmon.api.table import PREFIX, VM, NoQuery, Row
from vmon.api.tokens import Role
from vmon.core.coverage import GapRecord

REF = "#/components/schemas/{name}"
Doc = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation, as the page needs it."""

    name: str
    method: str
    path: str
    said: str
    role: Role | None
    """None: anybody."""
    returns: type | None = None
    many: bool = False
    body: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] = NoQuery
    media: str = "application/json"
    status: str = "200"
    headers: dict[str, str] = field(default_factory=dict)


STREAM = "text/event-stream"
OTHERS = (
    Route(
        name="guests",
        method="GET",
        path=f"{PREFIX}/guests",
        said="Every guest that this server answers for.",
        role="viewer",
        returns=VmRecord,
        many=True,
    ),
    Route(
        name="whoami",
        method="GET",
        path=f"{PREFIX}/whoami",
        said="Who asks, as the server sees it.",
        role="viewer",
        returns=WhoamiRecord,
    ),
    Route(
        name="processes_stream",
        method="GET",
        path=f"{VM}/processes/stream",
        said="All processes, then what becomes of them: snapshot, changes.",
        role="viewer",
        media=STREAM,
    ),
    Route(
        name="events",
        method="GET",
        path=f"{VM}/events",
        said="Events as they happen: event, lost, notice, end. Needs the probe.",
        role="viewer",
        query=EventsQuery,
        media=STREAM,
    ),
    Route(
        name="asks",
        method="GET",
        path=f"{VM}/asks",
        said="Calls of the guest that wait for a word: ask, done. Needs the probe.",
        role="operator",
        media=STREAM,
    ),
    Route(
        name="ask_counts",
        method="GET",
        path=f"{VM}/asks/counts",
        said="How many asks there were.",
        role="viewer",
        returns=AskCounts,
    ),
    Route(
        name="answer",
        method="POST",
        path=f"{VM}/asks/{{id}}",
        said="The word on an ask; 410 when it is too late.",
        role="operator",
        returns=DoneRecord,
        body=AnswerBody,
    ),
    Route(
        name="sign_in",
        method="POST",
        path="/session",
        said="A session for a token: sets a cookie.",
        role=None,
        returns=signin.SignedIn,
        body=signin.SignIn,
    ),
    Route(
        name="sign_out",
        method="DELETE",
        path="/session",
        said="The session is over.",
        role=None,
        status="204",
    ),
    Route(
        name="healthz",
        method="GET",
        path="/healthz",
        said="Whether the server answers.",
        role=None,
        returns=HealthRecord,
    ),
    Route(
        name="metrics",
        method="GET",
        path="/metrics",
        said="What the server counts, for Prometheus.",
        role="viewer",
        media="text/plain",
    ),
)


def of_row(row: Row) -> Route:
    """A row as an operation."""
    return Route(
        name=row.name,
        method=row.method,
        path=row.path,
        said=row.said,
        role=row.role,
        returns=row.returns,
        many=row.many,
        body=row.body,
        query=row.query,
    )


def of_download(row: Download) -> Route:
    """A download as an operation."""
    return Route(
        name=row.name,
        method="GET",
        path=row.path,
        said=row.said,
        role="operator",
        query=row.query,
        media="application/octet-stream",
        headers={MISSING: "Pages that are not in memory, and are zeros here."},
    )


def make_openapi(rows: Iterable[Row], downloads: Iterable[Download], version: str) -> Doc:
    """The whole page."""
    routes = [*map(of_row, rows), *map(of_download, downloads), *OTHERS]
    types: list[type] = [GapRecord, Problem]
    for route in routes:
        types += [kind for kind in (route.returns, route.body) if kind is not None and kind not in types]
    queries = {route.query for route in routes}
    _, schemas = msgspec.json.schema_components(types, ref_template=REF)
    _, of_queries = msgspec.json.schema_components(list(queries), ref_template=REF)
    paths: Doc = {}
    for route in routes:
        operation = _operation(route, of_queries)
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "vmon",
            "version": version,
            "description": "Processes of virtual machines, seen and controlled from outside.",
        },
        "paths": paths,
        "security": [{"token": []}, {"session": []}],
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
            },
        },
    }


def _operation(route: Route, queries: Doc) -> Doc:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": NUMBER if name in NUMBERED else TEXT}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    schema = queries.get(route.query.__name__, {})
    for name, of in schema.get("properties", {}).items():
        required = name in schema.get("required", ())
        parameters.append({"name": name, "in": "query", "required": required, "schema": _plain(of)})
    operation: Doc = {
        "operationId": route.name,
        "summary": route.said,
        "parameters": parameters,
        "responses": {route.status: _answer(route), "default": PROBLEM},
        "x-role": route.role or "anybody",
    }
    if route.role is None:
        operation["security"] = []
    if route.body is not None:
        ref = {"$ref": REF.format(name=route.body.__name__)}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": ref}}}
    return operation


NUMBERED = ("pid", "number", "fd")
NUMBER: Doc = {"type": "integer", "minimum": 0, "maximum": 1 << 22}
TEXT: Doc = {"type": "string", "minLength": 1}
PROBLEM: Doc = {
    "description": "What went wrong.",
    "content": {"application/problem+json": {"schema": {"$ref": REF.format(name="Problem")}}},
}


def _plain(schema: Doc) -> Doc:
    """A parameter is text: that it may be null means that it may be left out."""
    if "anyOf" in schema:
        kinds = [kind for kind in schema["anyOf"] if kind != {"type": "null"}]
        return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    return schema


def _answer(route: Route) -> Doc:
    answer: Doc = {"description": "As asked."}
    if route.status == "204":
        return answer
    if route.headers:
        answer["headers"] = {
            name: {"description": said, "schema": {"type": "string"}} for name, said in route.headers.items()
        }
    answer["content"] = {route.media: {"schema": _schema(route)} if route.returns else {}}
    return answer


def _schema(route: Route) -> Doc:
    assert route.returns is not None
    ref = {"$ref": REF.format(name=route.returns.__name__)}
    if not route.many:
        return ref
    if route.name == "processes":
        # With ?fields= a part of each.
        ref = {"type": "object"}
    gap = {"$ref": REF.format(name="GapRecord")}
    return {
        "type": "object",
        "required": ["coverage", "records"],
        "properties": {
            "coverage": {"type": "array", "items": gap},
            "records": {"type": "array", "items": ref},
        },
    }
