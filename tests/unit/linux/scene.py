"""One small system with a process of every kind, and what vmon must say of each."""

from __future__ import annotations

from functools import cache

from tests.unit.linux.build import AT, RODATA_GVA, Guest

CONTAINER = "ab" * 32
ODD_NAME = b"\xff\x1b[31m\n"
LONG_NAME = b"a name that is longer than what fits into a dentry itself, \xc3\xa9\xff"
ARGUMENTS = [b"/usr/bin/worker", b"--name", b"with space", b"", b"\xff\n"]


class Scene:
    """The guest, and the addresses that tests want to damage."""

    def __init__(self, model: str = "new", la57: bool = False) -> None:
        g = self.guest = Guest(model, la57)
        null = g.path(b"dev", b"null", inode=g.inode(0o20666, 5, "devtmpfs"))
        self.pipe = g.special_file("pipefs", b"", 0o10600, 4242, f_flags=0o1)
        self.tcp = self.internet(2, 6, 1, 10, "inet")
        self.udp6 = self.internet(10, 17, 2, 7, "inet6")
        self.unix = self.unix_socket(b"\x01\x00/run/x.sock\0", 10)
        self.abstract = self.unix_socket(b"\x01\x00\0bus\xff", 1)
        self.nameless = self.unix_socket(b"", 7)
        self.event = g.special_file("anon_inodefs", b"[eventfd]", 0o600, 1040, f_flags=0o2)
        init_files = {
            0: g.file(null, f_flags=0o2),
            1: self.pipe,
            3: self.tcp,
            4: self.udp6,
            5: self.unix,
            6: self.abstract,
            7: self.nameless,
            9: self.event,
        }
        init_exe = g.file(g.path(b"sbin", b"init"))
        root_fs = g.new("fs_struct", dict.fromkeys(("root.mnt", "pwd.mnt"), g.root_mount))
        g.set(root_fs, "fs_struct", dict.fromkeys(("root.dentry", "pwd.dentry"), g.root_dentry))
        self.init = g.process(
            1,
            b"init",
            g.mm(b"/sbin/init\0splash\0", b"HOME=/\0TERM=linux\0EMPTY=\0=odd\0", init_exe),
            files=g.fdtable(init_files, cloexec=[3]),
            fs=root_fs,
            utime=2_000_000_000,
            stime=1_000_000_000,
            signal_values={"utime": 0, "stime": 0, "sum_sched_runtime": 3_000_000_000, "tty": self.tty()},
        )
        self.kthreadd = g.process(2, b"kthreadd", flags=0x0020_0000, __state=0x402, static_prio=100)
        self.worker()
        self.zombie = g.process(
            77, b"defunct", parent=1, exit_state=0x20, __state=0x80, nsproxy=0, thread_pid=0
        )
        # A process that wrote over its arguments: the text goes on into the environment, up to the first NUL.
        self.odd = g.process(99, ODD_NAME, g.mm(b"title: no end", b" here\0REST=1\0"), parent=42)
        self.areas()

    def worker(self) -> None:
        """Threads, a container, a nested pid namespace, a mount, a chroot, a deleted program, many descriptors."""
        g = self.guest
        inner_ns = g.new("pid_namespace", {"ns.inum": 4026532999})
        # /mnt/data is the root of another file system; under it lie a directory and a file with a long name.
        point = g.path(b"mnt", b"data")
        self.data_root = g.dentry(b"/", 0, g.inode(0o40755, 2, "xfs"))
        self.data_mount = g.mount(g.root_mount, point, self.data_root)
        self.directory = g.path(b"dir", inode=g.inode(0o40755, 9, "xfs"), start=self.data_root)
        self.long = g.path(
            LONG_NAME, inode=g.inode(0o100644, 10, "xfs", i_size=1 << 33), start=self.directory
        )
        self.exe = g.file(g.path(b"usr", b"bin", b"worker", deleted=True))
        fs = g.new("fs_struct", {"root.mnt": g.root_mount, "root.dentry": g.path(b"jail")})
        g.set(fs, "fs_struct", {"pwd.mnt": self.data_mount, "pwd.dentry": self.directory})
        self.groups = g.cred(1000, 100, [10, 20, 4_000_000_000], euid=0, cap_effective=1 << 40, cap_bset=0xFF)
        self.worker_mm = g.mm(b"".join(text + b"\0" for text in ARGUMENTS), b"A=1\0", self.exe)
        long = g.file(self.long, self.data_mount, f_flags=0o2001, f_pos=1 << 40)
        self.worker_files = g.fdtable({0: self.pipe, 70: long, 200: long}, cloexec=[200], size=256)
        self.nsproxy = g.new(
            "nsproxy",
            {
                "uts_ns": RODATA_GVA + AT["init_uts_ns"],
                "net_ns": g.new("net", {"ns.inum": 4026532500}),
                "mnt_ns": g.new("mnt_namespace", {"ns.inum": 4026532400}),
            },
        )
        self.container = g.cgroup(b"docker", CONTAINER.encode())
        self.worker_process = g.process(
            42,
            b"worker",
            self.worker_mm,
            threads=3,
            parent=1,
            ns_pids=[(42, g.pid_ns), (7, inner_ns)],
            real_cred=self.groups,
            files=self.worker_files,
            fs=fs,
            nsproxy=self.nsproxy,
            cgroups=self.container,
            atomic_flags=1,
            static_prio=139,
            **{"seccomp.mode": 2, "thread_info.cpu": 3},
        )
        self.threads = self.worker_process.threads

    def tty(self) -> int:
        g = self.guest
        driver = g.new("tty_driver", {"type": 4, "subtype": 2})
        return g.new("tty_struct", {"index": 3, "driver": driver, "name": b"pts3"})

    def _socket_file(self, sock: int, kind: int, number: int) -> int:
        g = self.guest
        socket = g.new("socket", {"state": 1, "type": kind, "sk": sock})
        return g.special_file("sockfs", b"", 0o140777, number, f_flags=0o2, private_data=socket)

    def internet(self, family: int, protocol: int, kind: int, state: int, _name: str) -> int:
        g = self.guest
        sock = g.new("sock", {"sk_type": kind, "sk_protocol": protocol})
        prefix = "__sk_common."
        g.set(
            sock,
            "sock",
            {prefix + "skc_family": family, prefix + "skc_state": state, prefix + "skc_num": 8080},
        )
        if family == 2:
            g.set(sock, "sock", {prefix + "skc_rcv_saddr": bytes([127, 0, 0, 1])})
        else:
            g.set(sock, "sock", {prefix + "skc_v6_rcv_saddr": bytes(15) + b"\1"})
            g.set(sock, "sock", {prefix + "skc_v6_daddr": b"\x20\x01\x0d\xb8" + bytes(11) + b"\x99"})
            g.set(sock, "sock", {prefix + "skc_dport": (443).to_bytes(2, "big")})
        return self._socket_file(sock, kind, 5000 + family)

    def unix_socket(self, name: bytes, state: int) -> int:
        g = self.guest
        address = 0
        if name:
            address = g.new("unix_address", {"len": len(name)}, extra=len(name))
            g.write(g.at(address, "unix_address", "name"), name)
        sock = g.new("unix_sock", {"addr": address})
        prefix = "__sk_common."
        g.set(sock, "sock", {prefix + "skc_family": 1, prefix + "skc_state": state, "sk_type": 1})
        return self._socket_file(sock, 1, 6000 + len(name))

    def areas(self) -> None:
        g = self.guest
        vdso = g.new("vm_special_mapping", {"name": g.string(b"[vdso]")})
        named = g.alloc(64)
        g.write(g.at(named, "anon_vma_name", "name"), b"arena\n\0")
        ops = RODATA_GVA + AT["special_mapping_vmops"]
        text = {
            "vm_start": 0x40_0000,
            "vm_end": 0x41_0000,
            "vm_flags": 0x5,
            "vm_file": self.exe,
            "vm_pgoff": 2,
        }
        self.vmas = g.areas(
            self.worker_mm,
            [
                text,
                {"vm_start": 0x5000_0000, "vm_end": 0x5002_1000, "vm_flags": 0x3},
                {"vm_start": 0x7000_0000, "vm_end": 0x7000_1000, "vm_flags": 0x83, "anon_name": named},
                {"vm_start": 0x7FFD_0000_0000, "vm_end": 0x7FFD_0000_1000, "vm_flags": 0x3},
                {
                    "vm_start": 0x7FFD_1000_0000,
                    "vm_end": 0x7FFD_1000_2000,
                    "vm_flags": 0x5,
                    "vm_ops": ops,
                    "vm_private_data": vdso,
                },
            ],
        )


@cache
def scene(model: str) -> Scene:
    """A shared scene: for tests that only read. Damage a `Scene(model)` of your own."""
    return Scene(model)
