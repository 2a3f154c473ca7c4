"""The guest's own tracers work on the very functions that a probe looks at, before it comes, beside it and after it."""

from __future__ import annotations

import pytest

import vmon
from tests.guest.conftest import ONE_CPU
from tests.guest.untouched import assert_untouched
from vmon.lab.guest import LabGuest
from vmon.probe.sites import read_text, survey

TRACING = "/sys/kernel/tracing"
BEGIN = f"""
[ -e {TRACING}/trace ] || mount -t tracefs none {TRACING}; cd {TRACING} || exit 1
echo security_file_open >set_ftrace_filter && echo function >current_tracer &&
echo 'p:vmonlab security_file_open' >kprobe_events && echo 1 >events/kprobes/vmonlab/enable && echo 1 >tracing_on
"""
OPEN = f"echo >{TRACING}/trace; head -1 /etc/hosts >/dev/null; cat {TRACING}/trace"
END = f"""
cd {TRACING}; echo 0 >events/kprobes/vmonlab/enable; echo >kprobe_events; echo nop >current_tracer
echo >set_ftrace_filter; cat enabled_functions
"""


def traced(guest: LabGuest) -> tuple[bool, bool]:
    """Whether the function tracer and the kprobe told of an open."""
    lines = [line for line in guest.run(OPEN).text.splitlines() if line.lstrip().startswith("head-")]
    return any("security_file_open <-" in line for line in lines), any("vmonlab:" in line for line in lines)


def opened(guest: LabGuest, vm: vmon.VirtualMachine) -> bool:
    stream = vm.event_stream("file.open")
    stream.start()
    guest.run("head -1 /etc/passwd")
    stream.stop()
    return "/etc/passwd" in [event.path for event in stream.take()]


@pytest.mark.parametrize("guest", ONE_CPU, indirect=True)
@pytest.mark.parametrize("first", ["probe", "tracers"])
def test_function_tracer_and_kprobes_work_beside_the_probe(
    guest: LabGuest, vm: vmon.VirtualMachine, first: str
) -> None:
    if any(reach.how != "call sites" for reach in survey(vm.kernel).events):
        pytest.skip("this kernel has functions that are hooked at their entry")
    text = read_text(vm.kernel)
    said = guest.run("dmesg").text
    try:
        if first == "probe":
            vm.install_probe()
        assert guest.run(BEGIN).err == b""
        try:
            assert traced(guest) == (True, True)
            assert vm.install_probe().installed == (first != "probe")
            assert opened(guest, vm)
            assert traced(guest) == (True, True)
            assert vm.check_probe().intact
            if first == "tracers":
                vm.remove_probe()
                assert traced(guest) == (True, True)
        finally:
            assert guest.run(END).text == ""
        if first == "probe":
            assert opened(guest, vm)
            assert vm.check_probe().intact
            vm.remove_probe()
        assert_untouched(read_text(vm.kernel), text)
    finally:
        vm.remove_probe()
    new = guest.run("dmesg").text[len(said) :]
    assert not any(word in new for word in ("WARNING:", "BUG:", "Oops", "ftrace"))
