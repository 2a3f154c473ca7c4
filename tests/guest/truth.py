"""What the guest's own /proc says, read inside it by inside/oracle.c, in the terms of vmon's records.

An expected value is a pair: what /proc said before vmon read, and after. Where both agree, vmon must agree too;
where the guest changed its mind meanwhile, vmon may have seen either, or for counters anything between.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field

from vmon.core.records.process import FileRecord, MapRecord, ProcessRecord, SocketRecord

TICKS = 100
NET_STATES = {
    "01": "ESTABLISHED", "02": "SYN_SENT", "03": "SYN_RECV", "04": "FIN_WAIT1", "05": "FIN_WAIT2", "06": "TIME_WAIT",
    "07": "CLOSE", "08": "CLOSE_WAIT", "09": "LAST_ACK", "0A": "LISTEN", "0B": "CLOSING",
}  # fmt: skip


@dataclass
class Truth:
    """One reading of /proc."""

    files: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, bytes] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes) -> Truth:
        truth = cls()
        at = 0
        while at < len(data):
            end = data.index(b"\n", at)
            kind, length, path = data[at:end].decode("latin-1").split(" ", 2)
            body = data[end + 1 : end + 1 + int(length)]
            at = end + 1 + int(length)
            if kind == "e":
                truth.errors[path] = int(body)
            else:
                (truth.files if kind == "f" else truth.links)[path] = body
        return truth

    def pids(self) -> dict[int, int]:
        """Start time in ticks by pid."""
        found = {}
        for path in self.files:
            match = re.fullmatch(r"/proc/(\d+)/stat", path)
            if match:
                found[int(match.group(1))] = int(self.stat(int(match.group(1)))[19])
        return found

    def is_whole(self, pid: int) -> bool:
        """Whether it was still there, and no other, when the last of its files was read."""
        if f"/proc/{pid}/end" not in self.files or f"/proc/{pid}/task/{pid}/stat" not in self.files:
            return False
        return (self.stat(pid)[0] == "Z") == (self.stat(pid, pid)[0] == "Z")

    def stat(self, pid: int, tid: int | None = None) -> list[str]:
        """Fields of /proc/PID/stat from the state on; comm is asked for with comm()."""
        text = self.files[f"/proc/{pid}/task/{tid}/stat" if tid else f"/proc/{pid}/stat"]
        return text[text.rindex(b")") + 2 :].decode().split()

    def comm(self, pid: int, tid: int | None = None) -> bytes:
        text = self.files[f"/proc/{pid}/task/{tid}/stat" if tid else f"/proc/{pid}/stat"]
        return text[text.index(b"(") + 1 : text.rindex(b")")]

    def status(self, pid: int, tid: int | None = None) -> dict[str, str]:
        path = f"/proc/{pid}/task/{tid}/status" if tid else f"/proc/{pid}/status"
        lines = self.files[path].decode("latin-1").split("\n")
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines) if name}

    def switches(self, pid: int, tid: int | None = None) -> tuple[str, str]:
        """Context switches: they count up when a process, or a thread of it, runs."""
        status = self.status(pid, tid)
        return status["voluntary_ctxt_switches"], status["nonvoluntary_ctxt_switches"]

    def fds(self, pid: int) -> dict[int, bytes]:
        prefix = f"/proc/{pid}/fd/"
        return {
            int(path[len(prefix) :]): link for path, link in self.links.items() if path.startswith(prefix)
        }

    def fdinfo(self, pid: int, fd: int) -> dict[str, int]:
        lines = self.files.get(f"/proc/{pid}/fdinfo/{fd}", b"").decode("latin-1").split("\n")
        numbers = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return {"pos": int(numbers["pos"]), "flags": int(numbers["flags"], 8)} if "pos" in numbers else {}

    def threads(self, pid: int) -> set[int]:
        prefix = f"/proc/{pid}/task/"
        return {int(path[len(prefix) :].split("/")[0]) for path in self.files if path.startswith(prefix)}

    def process(self, pid: int) -> dict[str, object]:
        """Expected fields of a ProcessRecord."""
        stat, status = self.stat(pid), self.status(pid)
        folder = f"/proc/{pid}/"
        uids = [int(word) for word in status["Uid"].split()]
        gids = [int(word) for word in status["Gid"].split()]
        kernel_thread = bool(int(stat[6]) & 0x0020_0000)
        expected: dict[str, object] = {
            "pid": pid,
            "ppid": int(stat[1]),
            "pgid": int(stat[2]),
            "sid": int(stat[3]),
            "state": stat[0],
            "tty": tty_name(int(stat[4])),
            "nice": int(stat[16]),
            "threads": int(stat[17]),
            "start_ticks": int(stat[19]),
            "uid": uids[0], "euid": uids[1], "suid": uids[2], "fsuid": uids[3],
            "gid": gids[0], "egid": gids[1], "sgid": gids[2], "fsgid": gids[3],
            "groups": [int(word) for word in status["Groups"].split()],
            "cap_inheritable": int(status["CapInh"], 16),
            "cap_permitted": int(status["CapPrm"], 16),
            "cap_effective": int(status["CapEff"], 16),
            "cap_bounding": int(status["CapBnd"], 16),
            "cap_ambient": int(status["CapAmb"], 16),
            "seccomp": int(status["Seccomp"]),
            "no_new_privs": status["NoNewPrivs"] == "1",
            "ns_pids": [int(word) for word in status["NSpid"].split()],
            "kernel_thread": kernel_thread,
            "cmdline": arguments(self.files.get(folder + "cmdline", b"")),
            "cwd": self.links.get(folder + "cwd"),
            "root": self.links.get(folder + "root"),
            "exe": self.links.get(folder + "exe"),
            "cgroup_path": self.files.get(folder + "cgroup", b"").decode().strip().removeprefix("0::"),
            "total_size": None if kernel_thread or stat[0] == "Z" else int(stat[20]),
        }  # fmt: skip
        for kind in ("mnt", "net", "uts", "ipc", "cgroup", "user", "pid"):
            link = self.links.get(f"{folder}ns/{kind}")
            expected[f"{kind}_namespace"] = int(link.split(b"[")[1][:-1]) if link else None
        return expected

    def counters(self, pid: int) -> dict[str, int]:
        """Fields that only grow, or move on their own."""
        stat = self.stat(pid)
        return {"user_ticks": int(stat[11]), "system_ticks": int(stat[12])}

    def rss_bytes(self, pid: int) -> int | None:
        """Exact resident size, by walking the page tables: what the kernel itself calls the truth."""
        text = self.files.get(f"/proc/{pid}/smaps_rollup", b"")
        match = re.search(rb"^Rss:\s+(\d+) kB", text, re.M)
        return int(match.group(1)) * 1024 if match else None

    def maps(self, pid: int) -> list[tuple[object, ...]]:
        found = []
        for line in self.files.get(f"/proc/{pid}/maps", b"").split(b"\n"):
            if not line or line.endswith(b"[vsyscall]"):
                continue
            words = line.split(None, 5)
            start, end = (int(word, 16) for word in words[0].split(b"-"))
            major, minor = (int(word, 16) for word in words[3].split(b":"))
            path = unescape(words[5].lstrip(b" ")) if len(words) > 5 else b""
            found.append(
                (
                    start,
                    end,
                    words[1].decode(),
                    int(words[2], 16),
                    os_device(major, minor),
                    int(words[4]),
                    path,
                )
            )
        return found

    def environ(self, pid: int) -> list[bytes]:
        return [item for item in self.files.get(f"/proc/{pid}/environ", b"").split(b"\0") if item]

    def inet_sockets(self) -> dict[int, tuple[str, str, int, str, int, str]]:
        """By inode: protocol, local address and port, remote address and port, state."""
        found = {}
        for name in ("tcp", "tcp6", "udp", "udp6"):
            for line in self.files[f"/proc/1/net/{name}"].decode().split("\n")[1:]:
                words = line.split()
                if not words:
                    continue
                local, remote = (endpoint(word) for word in words[1:3])
                state = NET_STATES[words[3]]
                if name.startswith("udp"):
                    state = "ESTABLISHED" if state == "ESTABLISHED" else "NONE"
                found[int(words[9])] = (name[:3], *local, *remote, state)
        return found

    def unix_sockets(self) -> dict[int, tuple[str, str]]:
        """By inode: type and name."""
        kinds = {"0001": "stream", "0002": "dgram", "0005": "seqpacket"}
        found = {}
        for line in self.files["/proc/1/net/unix"].decode("latin-1").split("\n")[1:]:
            words = line.split(None, 7)
            if len(words) >= 7:
                found[int(words[6])] = (kinds[words[4]], words[7] if len(words) > 7 else "")
        return found


def arguments(raw: bytes) -> list[bytes]:
    return raw.removesuffix(b"\0").split(b"\0") if raw else []


def tty_name(number: int) -> str | None:
    major, minor = (number >> 8) & 0xFFF, (number & 0xFF) | ((number >> 12) & 0xFFF00)
    if not number:
        return None
    return {136: f"pts/{minor}", 4: f"ttyS{minor - 64}"}.get(major, f"{major}:{minor}")


def os_device(major: int, minor: int) -> int:
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)


def unescape(path: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match.group(1), 8)]), path)


def endpoint(word: str) -> tuple[str, int]:
    address, port = word.split(":")
    raw = bytes.fromhex(address)
    raw = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    parsed = ipaddress.ip_address(raw)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return f"::ffff:{mapped}" if mapped else str(parsed), int(port, 16)


def raw(text: str | None) -> bytes | None:
    return text.encode("utf-8", "surrogateescape") if text is not None else None


def seen_process(record: ProcessRecord) -> dict[str, object]:
    """A ProcessRecord in the terms of Truth.process."""
    seen: dict[str, object] = {name: getattr(record, name) for name in record.__struct_fields__}
    seen["start_ticks"] = record.start_boottime_ns * TICKS // 1_000_000_000
    for name in ("cwd", "root"):
        seen[name] = raw(getattr(record, name))
    exe = raw(record.exe)
    seen["exe"] = exe + b" (deleted)" if exe is not None and record.exe_deleted else exe
    seen["cmdline"] = [raw(word) for word in record.cmdline] if record.cmdline is not None else None
    return seen


def seen_file(record: FileRecord) -> bytes:
    path = raw(record.path) or b"?"
    return path + b" (deleted)" if record.deleted else path


def seen_map(record: MapRecord) -> tuple[object, ...]:
    path = raw(record.path) or b""
    return (
        record.start, record.end, record.permissions, record.offset, record.device, record.inode,
        path + b" (deleted)" if record.deleted else path,
    )  # fmt: skip


def seen_socket(record: SocketRecord) -> tuple[object, ...]:
    return (
        record.protocol, record.local_address, record.local_port, record.remote_address, record.remote_port,
        record.state,
    )  # fmt: skip
