"""GET /metrics: a page of counters for Prometheus to fetch. Nothing else is served, and nothing can be changed by it.

Listens where it is told to; a page has names of machines and counts, no text of a guest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from vmon.core.errors import OutputError

Page = Callable[[str], tuple[bytes, str]]
"""The Accept header to the page and its content type."""


class ScrapeServer:
    """Serves until it is closed."""

    def __init__(self, host: str, port: int, page: Page) -> None:
        """OutputError where it can't listen there. Port 0 is any free one."""
        try:
            self._server = ThreadingHTTPServer((host, port), _handler(page))
        except OSError as error:
            raise OutputError(f"{host}:{port} can't be listened at: {error.strerror}") from error
        self._server.daemon_threads = True
        self.host, self.port = host, self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="vmon metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(page: Page) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            if self.path.split("?")[0] != "/metrics":
                self.send_error(404, "only /metrics is here")
                return
            data, content_type = page(self.headers.get("Accept", ""))
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
