from __future__ import annotations

from tests.unit.export.told import DETECTIONS, event
from vmon.export.ocsf_objects import file_at, finding, network, target_process


def test_a_file_has_a_name_whatever_is_known() -> None:
    assert file_at("/a/b.tar.gz", "file.open") == {
        "name": "b.tar.gz",
        "path": "/a/b.tar.gz",
        "parent_folder": "/a",
        "ext": "gz",
        "type_id": 0,
    }
    assert file_at("/", "file.mkdir")["name"] == "/"
    assert file_at("/.x", "file.open").get("ext") is None
    assert file_at("", "file.open")["name"] == "unknown"
    assert file_at(None, "module.load")["name"] == "unknown"
    assert file_at(None, "bpf.load") == {"name": "BPF program", "type_id": 99}


def test_endpoints() -> None:
    assert network(event("net.accept"))["src_endpoint"] == {"ip": "198.51.100.9", "port": 50000}
    unix = network(event("net.connect", family="unix", address=None, port=None, protocol=None, path="/run/s"))
    assert unix == {"dst_endpoint": {"name": "/run/s"}, "connection_info": {"direction_id": 2}}
    bound = network(event("net.bind"))
    assert bound["connection_info"] == {
        "direction_id": 0,
        "protocol_name": "udp",
        "protocol_num": 17,
        "protocol_ver_id": 6,
    }


def test_who_it_is_done_to() -> None:
    assert target_process(event("process.fork"))["parent_process"] == {"pid": 113}
    assert target_process(event("process.setuid"))["user"] == {"uid": "0"}
    assert target_process(event("process.exit"))["pid"] == 113


def test_a_finding_of_a_plain_rule() -> None:
    found = finding(DETECTIONS[1], "u", 5)
    assert found["analytic"] == {"type_id": 1, "type": "Rule", "name": "Plain"}
    assert "attacks" not in found and "desc" not in found
