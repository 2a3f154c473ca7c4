"""A web server that takes batches of records by POST, one a line. The one door of httpx, an optional extra.

An answer of 2xx is a delivery. 408, 425, 429, 5xx and a broken connection are tried again, after as long as Retry-After
says, a minute at most; any other answer is final, and the batch is dropped. Redirects are not followed: records go
where the operator said. A batch that is tried again has the Idempotency-Key of the first try. A token in
VMON_WEBHOOK_TOKEN is sent as bearer.
"""

from __future__ import annotations

import importlib
import os
import uuid
from collections.abc import Sequence
from typing import Any

from vmon.core.errors import NotSupported
from vmon.export import product
from vmon.sinks.writer import Refused, Undelivered

TOKEN_VARIABLE = "VMON_WEBHOOK_TOKEN"
TIMEOUT_S = 10.0
LONGEST_WAIT_S = 60.0
AGAIN = frozenset({408, 425, 429})


class WebhookWriter:
    """Posts to one URL."""

    batch_records = 500
    linger_s = 0.2
    note = ""

    def __init__(self, url: str, name: str, content_type: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """NotSupported where httpx is not installed. Nothing is sent yet."""
        self._httpx = _httpx()
        self._url = url
        self._name = name
        self._batch: Sequence[bytes] = ()
        self._key = ""
        headers = {"Content-Type": content_type, "User-Agent": f"{product.NAME}/{product.version()}"}
        if token := os.environ.get(TOKEN_VARIABLE):
            headers["Authorization"] = f"Bearer {token}"
        self._client = self._httpx.Client(headers=headers, timeout=timeout_s, follow_redirects=False)

    def write(self, batch: Sequence[bytes]) -> None:
        """Post a batch."""
        if batch is not self._batch:
            self._batch, self._key = batch, str(uuid.uuid4())
        headers = {"Idempotency-Key": self._key}
        try:
            answer = self._client.post(self._url, content=b"\n".join((*batch, b"")), headers=headers)
        except (self._httpx.HTTPError, self._httpx.InvalidURL, OSError) as error:
            raise Undelivered(f"{self._name}: {type(error).__name__}: {error}"[:300]) from error
        status = answer.status_code
        if 200 <= status < 300:
            return
        said = f"{self._name}: {status} {answer.reason_phrase}"
        if status in AGAIN or status >= 500:
            raise Undelivered(said, wait_s=_asked_for(answer.headers.get("Retry-After")))
        raise Refused(said)

    def idle(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Hang up."""
        self._client.close()


def _asked_for(retry_after: str | None) -> float | None:
    """Seconds that the server asks for; None where it says none, or a date."""
    if retry_after is None or not retry_after.strip().isdigit():
        return None
    return min(float(retry_after.strip()), LONGEST_WAIT_S)


def _httpx() -> Any:
    try:
        return importlib.import_module("httpx")
    except ImportError as error:
        raise NotSupported(
            "a webhook needs httpx, which is not installed", hint="pip install 'vmon[outputs]'"
        ) from error
