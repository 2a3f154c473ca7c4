"""The archive is checked with the real cpio."""

import os
import subprocess

from vmon.lab.cpio import CpioWriter


def cpio(archive: bytes, *words: str, cwd: str = "/") -> str:
    done = subprocess.run(["cpio", *words], input=archive, capture_output=True, check=True, cwd=cwd)
    return done.stdout.decode()


def test_real_cpio_lists_it():
    writer = CpioWriter()
    writer.file("a/b/c.txt", b"hello", 0o640, uid=1, gid=2)
    writer.symlink("a/link", "b/c.txt")
    writer.device("dev/console", 5, 1)
    writer.directory("tmp", 0o1777)
    archive = writer.close()
    assert len(archive) % 512 == 0
    assert cpio(archive, "-t").split() == ["a", "a/b", "a/b/c.txt", "a/link", "dev", "dev/console", "tmp"]
    lines = cpio(archive, "-tvn").splitlines()
    assert lines[2].split()[:5] == ["-rw-r-----", "1", "1", "2", "5"]
    assert lines[3].endswith("a/link -> b/c.txt")
    assert lines[5].startswith("crw-------")
    assert lines[6].startswith("drwxrwxrwt")


def test_real_cpio_unpacks_the_same_bytes(tmp_path):
    contents = {f"f{size}": os.urandom(size) for size in (0, 1, 2, 3, 4, 5, 511, 512, 100_000)}
    writer = CpioWriter()
    for name, data in contents.items():
        writer.file(f"d/{name}", data)
    cpio(writer.close(), "-id", "--quiet", cwd=str(tmp_path))
    assert {path.name: path.read_bytes() for path in (tmp_path / "d").iterdir()} == contents


def test_a_folder_of_the_host(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/tool").write_bytes(b"#!/bin/sh\n")
    (tmp_path / "bin/tool").chmod(0o755)
    (tmp_path / "bin/alias").symlink_to("tool")
    os.mkfifo(tmp_path / "left-out")
    writer = CpioWriter()
    writer.tree(tmp_path)
    lines = cpio(writer.close(), "-tvn").splitlines()
    assert [line.split()[-1] for line in lines] == ["bin", "tool", "bin/tool"]
    assert lines[2].split()[0] == "-rwxr-xr-x"
    assert lines[2].split()[2:4] == ["0", "0"]
