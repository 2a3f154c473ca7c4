from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import msgspec
import pytest

from tests.unit.api.fakes import HOST_GUEST, FakeVm
from vmon.api.pool import Pool, Served, name_of
from vmon.core.errors import TargetDenied, TargetGone, TargetNotFound, UsageError, VmonError
from vmon.monitor.machine import VirtualMachine


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMON_CACHE_DIR", str(tmp_path))


def test_a_name_fits_into_an_address_and_is_that_of_one_target() -> None:
    assert name_of("lab:web1") == "lab:web1"
    assert name_of("pid:7") == "pid:7"
    first, second = name_of("qmp:/run/a/x.qmp"), name_of("qmp:/run/b/x.qmp")
    assert first.startswith("qmp:x.qmp-")
    assert first != second
    assert "/" not in name_of("dump:/tmp/a b?#%.elf")


def test_calls_of_a_guest_run_on_one_thread_of_its_own_and_attach_once() -> None:
    async def run() -> None:
        made: list[FakeVm] = []
        served = Served("lab:a", lambda target: made.append(FakeVm(target)) or made[0])  # type: ignore[func-returns-value]
        assert not served.attached
        threads = await asyncio.gather(*(served.call(lambda _: threading.get_ident()) for _ in range(5)))
        assert len(set(threads)) == 1
        assert threads[0] != threading.get_ident()
        assert len(made) == 1
        assert served.release == "6.66.0-fake-amd64"
        await served.close()
        assert made[0].done == ["close"]

    asyncio.run(run())


def test_a_guest_that_is_gone_is_attached_to_anew() -> None:
    async def run() -> None:
        made: list[FakeVm] = []

        def attach_to(target: str) -> VirtualMachine:
            made.append(FakeVm(target))
            return made[-1]

        def gone(_: VirtualMachine) -> None:
            raise TargetGone("it ended")

        served = Served("lab:a", attach_to)
        with pytest.raises(TargetGone):
            await served.call(gone)
        assert (served.attached, served.problem) == (False, "it ended")
        await served.call(lambda _: None)
        assert (served.attached, served.problem, len(made)) == (True, "", 2)
        await served.close()

    asyncio.run(run())


def test_what_went_wrong_is_told_in_the_list() -> None:
    def refuse(_: str) -> VirtualMachine:
        raise TargetDenied("not yours")

    async def run() -> None:
        pool = Pool(["a"], refuse, lambda: [])
        with pytest.raises(TargetDenied):
            await (await pool.get("lab:a")).call(lambda _: None)
        (record,) = await pool.records()
        assert (record.vm, record.problem, record.attached, record.pid) == ("lab:a", "not yours", False, None)
        await pool.close()

    asyncio.run(run())


def test_guests_of_the_host_are_found_on_the_way_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        monkeypatch.setattr("vmon.api.pool.LOOK_AGAIN_S", 0.0)
        there = [HOST_GUEST]
        pool = Pool((), FakeVm, lambda: list(there))
        first = await pool.get("lab:web1")
        assert first is await pool.get("lab:web1")
        there.append(msgspec.structs.replace(HOST_GUEST, target="pid:9", pid=9))
        assert [record.vm for record in await pool.records()] == ["lab:web1", "pid:9"]
        there.clear()
        assert await pool.records() == []
        with pytest.raises(TargetNotFound):
            await pool.get("lab:web1")
        await pool.close()

    asyncio.run(run())


def test_a_target_that_is_none() -> None:
    with pytest.raises(UsageError):
        Pool(["a b"])


def test_what_fails_at_the_end_keeps_nobody_from_ending() -> None:
    async def run() -> None:
        vm = FakeVm()
        pool = Pool(["a"], lambda _: vm, lambda: [])
        await (await pool.get("lab:a")).call(lambda _: None)

        def fail(*_: object) -> None:
            raise VmonError("no")

        await pool.close(fail)
        assert vm.done == ["close"]

    asyncio.run(run())
