"""A row says all of one route: path, who may, what it takes, what it gives, and the call behind it.

Pure. Routes, checks of requests, and the OpenAPI page are made from rows alone, so none of them can say another thing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from vmon.api.pool import Served
from vmon.api.tokens import Role
from vmon.core.coverage import Answer
from vmon.monitor.machine import VirtualMachine

PREFIX = "/api/v1"
VM = f"{PREFIX}/vms/{{vm}}"
PROCESS = f"{VM}/processes/{{pid}}"


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A route that takes no parameters."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, as a call sees it: all of it checked."""

    vm: VirtualMachine
    served: Served
    path: dict[str, int | str]
    query: Any
    body: Any

    @property
    def pid(self) -> int:
        """Of the path."""
        return int(self.path["pid"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One route on one guest."""

    name: str
    """Of the operation, as OpenAPI calls it."""
    path: str
    call: Callable[[Asked], Any]
    """Runs on the guest's thread."""
    returns: type
    many: bool = False
    """Whether the answer is a list, with what could not be seen of it."""
    said: str
    """In a sentence."""
    method: Literal["GET", "POST", "PUT", "DELETE"] = "GET"
    query: type[msgspec.Struct] = NoQuery
    body: type[msgspec.Struct] | None = None
    role: Role = "viewer"
    covers: tuple[str, ...] = ()
    """Calls of the Python API that it stands for: VirtualMachine.modules, Process.files."""

    only_reads: bool = False
    """A POST that changes no guest."""

    @property
    def changes(self) -> bool:
        """Whether it may change a guest: refused by a server that only reads."""
        return self.method != "GET" and not self.only_reads


def listed(found: list[Any] | None) -> dict[str, object]:
    """A list as it is answered; of an Answer, what it lacks stands beside it."""
    records = list(found or ())
    coverage = found.coverage if isinstance(found, Answer) else []
    return {"coverage": coverage, "records": records}
