"""The place of /metrics: text that Prometheus reads, made by whoever is mounted here.

Pure. What is told of the server itself is here; counters of guests are added by the encoder of exports.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from vmon.api.hosts import Hosted

TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def metrics(request: Request) -> Response:
    """What this server counts."""
    hosted: Hosted = request.app.state.hosted
    lines = [
        "# HELP vmon_streams Streams that are open.",
        "# TYPE vmon_streams gauge",
        f"vmon_streams {hosted.streams.count}",
        "# HELP vmon_guests_attached Guests that are attached.",
        "# TYPE vmon_guests_attached gauge",
        f"vmon_guests_attached {sum(served.attached for served in hosted.pool.known)}",
    ]
    return Response("\n".join(lines) + "\n", media_type=TYPE)
