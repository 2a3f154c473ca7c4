"""The guest's kernel: what is loaded into it and what hooks it. Reads the guest, changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from vmon.core.coverage import Answer, Gaps
from vmon.core.errors import UsageError
from vmon.monitor.views.subject import Subject, answer

if TYPE_CHECKING:
    from vmon.core.records.bpf import BpfMapRecord, BpfProgramRecord
    from vmon.core.records.kernel import KernelHookRecord, ModuleRecord, SecurityModuleRecord
    from vmon.core.records.key import KeyRecord, KeyUserRecord
    from vmon.core.records.log import LogRecord
    from vmon.core.records.setting import SettingRecord


class KernelViews(Subject):
    """Mixed into VirtualMachine."""

    def modules(self) -> Answer[ModuleRecord]:
        """Loaded modules, newest first, as lsmod. BadStructure where the list has no end."""
        from vmon.linux import module

        return answer(lambda gaps: module.find_modules(self.wide_kernel, gaps))

    def dmesg(self, after: int = -1) -> Answer[LogRecord]:
        """The kernel's log, oldest first, as dmesg; of `after` only what has a higher sequence. 1 to 20 ms.

        BadStructure where the log's ring is none.
        """
        from vmon.linux import printk

        return answer(lambda gaps: printk.read_log(self.wide_kernel, gaps, after))

    def sysctl(self, names: Sequence[str] = ()) -> Answer[SettingRecord]:
        """Settings of the kernel by name, as sysctl -a; only those that match one of `names`, `*` for any text.

        5 to 40 ms. UsageError where a name matches none.
        """
        from vmon.linux import sysctl

        found = answer(lambda gaps: sysctl.find_settings(self.wide_kernel, gaps, names))
        for name in names:
            if not any(fnmatchcase(record.name, name) for record in found):
                raise UsageError(
                    f"the guest's kernel has no setting {name}",
                    hint="vmon sysctl TARGET lists those that it has",
                )
        return found

    def lsm(self) -> Answer[SecurityModuleRecord]:
        """Security modules in the order in which they are asked, and the level of lockdown. About a millisecond."""
        from vmon.linux import lsm

        return answer(lambda gaps: lsm.find_security_modules(self.wide_kernel, gaps))

    def bpf_programs(self) -> Answer[BpfProgramRecord]:
        """Loaded BPF programs by id, as bpftool prog. BadStructure where the kernel's table of them is none."""
        from vmon.linux import bpf

        return answer(lambda gaps: bpf.find_programs(self.wide_kernel, gaps))

    def bpf_maps(self) -> Answer[BpfMapRecord]:
        """BPF maps by id, as bpftool map. BadStructure where the kernel's table of them is none."""
        from vmon.linux import bpf

        return answer(lambda gaps: bpf.find_maps(self.wide_kernel, gaps))

    def hooks(self) -> Answer[KernelHookRecord]:
        """Kprobes, kretprobes and functions that ftrace hooks, by address; 5 ms, once 200 more for the symbols' names.

        BadStructure where the kernel's tables of them are none.
        """
        from vmon.linux import ftrace, kprobe
        from vmon.linux.where import Where

        kernel = self.wide_kernel

        def read(gaps: Gaps) -> list[KernelHookRecord]:
            where = Where(kernel, gaps)
            return kprobe.find_kprobes(kernel, where, gaps) + ftrace.find_traced(kernel, where, gaps)

        return answer(read)

    def keys(self) -> Answer[KeyRecord]:
        """Keys and keyrings by serial number, without what they hold. BadStructure where their tree is none."""
        from vmon.linux import key

        return answer(lambda gaps: key.find_keys(self.wide_kernel, gaps))

    def key_users(self) -> Answer[KeyUserRecord]:
        """Users who have keys, and how many. BadStructure where their tree is none."""
        from vmon.linux import key

        return answer(lambda gaps: key.find_key_users(self.wide_kernel, gaps))
