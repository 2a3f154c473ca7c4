from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.unit.api.fakes import Client
from vmon.core.errors import NoSuchFile

VM = "/api/v1/vms/lab:web1"


def content(*, holes: bool) -> Any:
    pieces = [np.frombuffer(b"\x7fELF", np.uint8), np.zeros(4, np.uint8)]
    return SimpleNamespace(
        path="/bin/x",
        size=8,
        holes=["hole"] if holes else [],
        missing_pages=int(holes),
        chunks=lambda: iter(pieces),
    )


def test_a_file_is_sent_to_be_saved_and_what_lacks_is_counted(client: Client) -> None:
    client.vm.read_exe = lambda pid: content(holes=True)  # type: ignore[method-assign]
    reply = client.get(f"{VM}/processes/42/exe")
    assert (reply.status, reply.body) == (200, b"\x7fELF\0\0\0\0")
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["content-disposition"].startswith("attachment")
    assert reply.headers["x-vmon-missing-pages"] == "1"
    assert reply.headers["content-length"] == "8"
    assert client.get(f"{VM}/processes/42/exe?holes=fail").json["title"] == "NotResident"


def test_a_file_by_its_path_in_the_guest(client: Client) -> None:
    seen: list[Any] = []

    def read(where: str, pid: int) -> Any:
        seen.append((where, pid))
        if where == "/none":
            raise NoSuchFile("no file /none")
        return content(holes=False)

    client.vm.read_file = read  # type: ignore[method-assign, assignment]
    assert client.get(f"{VM}/file?where=/etc/passwd&pid=42").status == 200
    assert seen == [("/etc/passwd", 42)]
    assert client.get(f"{VM}/file?where=/none").status == 404
    assert client.get(f"{VM}/file").status == 400


def test_memory_a_core_and_types(client: Client) -> None:
    client.vm.isf = lambda: b"{}"  # type: ignore[method-assign]
    client.vm.core = lambda pid, file: (file.write_bytes(b"core" * 9), SimpleNamespace(size=36))[1]  # type: ignore[method-assign, assignment, union-attr]
    assert client.get(f"{VM}/isf").body == b"{}"
    assert client.get(f"{VM}/processes/42/core").body == b"core" * 9
    assert client.get(f"{VM}/processes/42/memory?address=0&size=16").json["title"] == "NotMapped"
    assert client.get(f"{VM}/processes/42/memory?address=0&size=-1").status in (400, 404)
    assert client.get(f"{VM}/processes/42/memory?address=0").status == 400
