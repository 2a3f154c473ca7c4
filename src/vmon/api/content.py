"""Bytes of a guest as downloads, for operators: files of its page cache, executables, memory, its symbol file.

Read piece by piece as the client takes them, on the guest's thread. What is not in memory is sent as zeros, and counted
in a header; a file is never shown by a browser, only saved.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from vmon.api.endpoints import path_of, query_of, require, served_of
from vmon.api.pool import Served
from vmon.api.table import PROCESS, VM, NoQuery
from vmon.core.errors import NotResident
from vmon.monitor.machine import VirtualMachine

if TYPE_CHECKING:
    from vmon.linux.content import FileContent

MISSING = "x-vmon-missing-pages"


class HolesQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is done about parts that are not in memory."""

    holes: Literal["zero", "fail"] = "zero"
    """Send zeros, or answer 409."""


class FileQuery(HolesQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which file."""

    where: str
    """PID:FD, or an absolute path."""
    pid: int = 1
    """A path as this process sees it."""


class MemoryQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which bytes."""

    address: int
    size: int


class Download(msgspec.Struct, frozen=True, kw_only=True):
    """A route that answers with bytes."""

    name: str
    path: str
    open: Callable[[VirtualMachine, dict[str, int | str], Any], tuple[Iterator[bytes], int | None, int]]
    """Runs on the guest's thread: pieces, bytes in all where that is known, pages that are missing."""
    query: type[msgspec.Struct]
    said: str
    covers: tuple[str, ...]


def _pieces(content: FileContent, holes: str) -> tuple[Iterator[bytes], int | None, int]:
    if holes == "fail" and content.holes:
        raise NotResident(f"{content.path}: {content.missing_pages:,} pages are not in memory")
    return (piece.tobytes() for piece in content.chunks()), content.size, content.missing_pages


def _memory(vm: VirtualMachine, pid: int, query: MemoryQuery) -> tuple[Iterator[bytes], int | None, int]:
    process = vm.process(pid)
    if query.size <= MAX_PIECE_BYTES:
        found = process.read_memory(query.address, query.size)
        return iter((found,)), len(found), sum(-(-missing.size // 4096) for missing in found.missing)
    return iter(process.iter_memory(query.address, query.size)), None, 0


def _core(vm: VirtualMachine, pid: int) -> tuple[Iterator[bytes], int | None, int]:
    """Through a file that has no name any more when the first byte is sent."""
    with TemporaryDirectory(prefix="vmon-") as folder:
        path = Path(folder) / "core"
        record = vm.core(pid, path)
        file = path.open("rb")
    return iter(partial(_piece_of, file), b""), record.size, 0


def _piece_of(file: BinaryIO) -> bytes:
    data = file.read(MAX_PIECE_BYTES)
    if not data:
        file.close()
    return data


MAX_PIECE_BYTES = 1 << 20

DOWNLOADS = (
    Download(
        name="file",
        path=f"{VM}/file",
        open=lambda vm, _, query: _pieces(vm.read_file(query.where, query.pid), query.holes),
        query=FileQuery,
        said="A file's content as far as the guest has it in RAM.",
        covers=("VirtualMachine.read_file",),
    ),
    Download(
        name="process_exe",
        path=f"{PROCESS}/exe",
        open=lambda vm, path, query: _pieces(vm.read_exe(int(path["pid"])), query.holes),
        query=HolesQuery,
        said="The executable of a process as the guest has it, a deleted one and a memfd too.",
        covers=("VirtualMachine.read_exe",),
    ),
    Download(
        name="process_memory",
        path=f"{PROCESS}/memory",
        open=lambda vm, path, query: _memory(vm, int(path["pid"]), query),
        query=MemoryQuery,
        said="Bytes of a process's memory.",
        covers=("Process.read_memory", "Process.iter_memory"),
    ),
    Download(
        name="process_core",
        path=f"{PROCESS}/core",
        open=lambda vm, path, _: _core(vm, int(path["pid"])),
        query=NoQuery,
        said="A core file of a process, which goes on meanwhile: gdb and other tools open it.",
        covers=("VirtualMachine.core",),
    ),
    Download(
        name="isf",
        path=f"{VM}/isf",
        open=lambda vm, _, __: (iter((vm.isf(),)), None, 0),
        query=NoQuery,
        said="Every type and symbol of the guest's kernel as a Volatility 3 symbol file.",
        covers=("VirtualMachine.isf", "VirtualMachine.write_isf"),
    ),
)


def download(row: Download) -> Callable[[Request], Any]:
    """The endpoint of a row."""

    async def answer(request: Request) -> Response:
        require(request, "operator")
        query, path = query_of(request.query_params, row.query), path_of(request)
        served = await served_of(request)
        pieces, size, missing = await served.call(lambda vm: row.open(vm, path, query))
        first = await served.call(lambda _: next(pieces, b""))
        headers = {MISSING: str(missing), "content-disposition": f'attachment; filename="{row.name}"'}
        if size is not None:
            headers["content-length"] = str(size)
        return StreamingResponse(
            _sent(served, first, pieces), media_type="application/octet-stream", headers=headers
        )

    return answer


async def _sent(served: Served, first: bytes, pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    rest = iter(pieces)
    piece: bytes | None = first
    while piece is not None:
        if piece:
            yield bytes(piece)
        piece = await served.call(lambda _: next(rest, None))
