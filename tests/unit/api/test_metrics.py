from __future__ import annotations

from tests.unit.api.fakes import Client


def test_what_the_server_counts(client: Client) -> None:
    stream = client.stream("/api/v1/vms/lab:web1/processes/stream")
    stream.next()
    lines = client.get("/metrics").body.decode().splitlines()
    assert "vmon_streams 1" in lines
    assert "vmon_guests_attached 1" in lines
    assert [line for line in lines if line.startswith("# TYPE")]
    stream.close()
