"""The one door to the server: what it needs of other libraries is asked for here, and its absence is said here."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from vmon.core.errors import NotSupported, UsageError
from vmon.core.text import printable

if TYPE_CHECKING:
    from vmon.api.hosts import Hosted
    from vmon.api.pool import Served
    from vmon.monitor.machine import VirtualMachine

NEEDED = ("starlette", "uvicorn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a server shall be like."""

    targets: Sequence[str] = ()
    listen: str = ""
    """unix:PATH or HOST:PORT; serve.sock in the run folder where it is empty."""
    socket_mode: int = 0o600
    token_file: Path | None = None
    hosts: Sequence[str] = ()
    """More names by which it may be called, as NAME or NAME:PORT."""
    read_only: bool = False
    policy: Path | None = None
    """To be put in force in each of the targets before anybody is answered."""


def require_libraries() -> None:
    """NotSupported where they are not installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise NotSupported(f"vmon serve needs {' and '.join(missing)}", hint="pip install 'vmon[http]'")


def serve(wanted: Wanted, told: Callable[[str], None]) -> None:
    """Answer requests until a signal ends it; `told` hears where.

    NotSupported without the libraries, UsageError for what makes no sense or can't be listened at, TargetBusy where
    another server listens.
    """
    require_libraries()
    if wanted.policy is not None and (wanted.read_only or not wanted.targets):
        raise UsageError(
            "a policy is put in force in guests that are named, by a server that may change them",
            hint="vmon serve TARGET --policy FILE, without --read-only",
        )
    from vmon.api.app import make_app  # noqa: PLC0415 - behind the door
    from vmon.api.gate import Rules  # noqa: PLC0415
    from vmon.api.hosts import Hosted  # noqa: PLC0415
    from vmon.api.pool import Pool  # noqa: PLC0415
    from vmon.api.server import run  # noqa: PLC0415
    from vmon.api.sockets import LOOPBACK, default_path, names, open_socket, parse_listen, with_port  # noqa: PLC0415
    from vmon.api.tokens import read_tokens  # noqa: PLC0415

    listen = parse_listen(wanted.listen or f"unix:{default_path()}")
    if listen.path is None and wanted.token_file is None:
        raise UsageError(
            "a server on a network address needs tokens",
            hint="`vmon serve --new-token-file FILE` makes them; then --token-file FILE",
        )
    tokens = read_tokens(wanted.token_file) if wanted.token_file is not None else None
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("vmon.api").setLevel(logging.INFO)
    listening = open_socket(listen, wanted.socket_mode)
    hosts = None
    if listen.path is None:
        # Port 0 is whichever was free.
        listen = replace(listen, port=listening.getsockname()[1])
        hosts = (listen.hosts or frozenset()) | names(wanted.hosts, listen.port)
    try:
        hosted = Hosted(Pool(wanted.targets))
        if wanted.policy is not None:
            _put_policies(hosted, wanted.policy, told)
        app = make_app(hosted, Rules(tokens=tokens, hosts=hosts), read_only=wanted.read_only)
        if listen.path is not None:
            told(f"listening at {listen.path}; curl --unix-socket {listen.path} http://vmon/api/v1/guests")
        else:
            told(f"listening at http://{with_port(listen.host, listen.port)}/")
            if listen.host not in ("localhost", *LOOPBACK):
                told("what passes there is not encrypted, tokens too: put a proxy with TLS in front")
        run(app, listening, hosted.end_streams)
    finally:
        listening.close()
        if listen.path is not None:
            with suppress(OSError):
                listen.path.unlink()


def _put_policies(hosted: Hosted, file: Path, told: Callable[[str], None]) -> None:
    """The policy of a file in every guest. UsageError for what is wrong with it, before anybody is answered."""
    from vmon.api.policies import put_policy  # noqa: PLC0415

    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: this is no text: byte {error.start} is not UTF-8") from error
    for served in hosted.pool.known:

        def put(vm: VirtualMachine, served: Served = served) -> int:
            return len(put_policy(served, vm, text, file=str(file)))

        told(f"{printable(served.target)}: {served.now(put)} rules are in force")
