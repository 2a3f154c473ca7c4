from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from vmon.core.errors import OutputError
from vmon.sinks.scrape import ScrapeServer


def test_one_page_and_no_other() -> None:
    asked: list[str] = []

    def page(accept: str) -> tuple[bytes, str]:
        asked.append(accept)
        return b"vmon_x 1\n", "text/plain"

    server = ScrapeServer("127.0.0.1", 0, page)
    url = f"http://127.0.0.1:{server.port}"
    try:
        request = urllib.request.Request(f"{url}/metrics?x=1", headers={"Accept": "a/b"})
        with urllib.request.urlopen(request) as answer:
            assert answer.read() == b"vmon_x 1\n"
            assert answer.headers["Content-Type"] == "text/plain"
        assert asked == ["a/b"]
        for path in ("/", "/metrics/../x"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(url + path)
        with pytest.raises(urllib.error.HTTPError, match="501"):
            urllib.request.urlopen(url + "/metrics", data=b"x")
        with pytest.raises(OutputError, match="can't be listened at"):
            ScrapeServer("127.0.0.1", server.port, page)
    finally:
        server.close()
