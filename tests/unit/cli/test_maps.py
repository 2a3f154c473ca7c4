from __future__ import annotations

from tests.unit.cli.conftest import Run


def test_the_table(run: Run) -> None:
    rows = [line.split() for line in run("maps", "x", "42").stdout.splitlines()]
    assert rows[0] == ["START", "END", "PERM", "SIZE", "OFFSET", "INODE", "PATH"]
    assert rows[1][:4] == ["000000400000", "000000410000", "r-xp", "64.0"]
    assert rows[1][-2:] == ["/usr/bin/worker", "(deleted)"]
    assert [row[-1] for row in rows[2:]] == ["[heap]", "[anon:arena\\n]", "[stack]", "[vdso]"]
