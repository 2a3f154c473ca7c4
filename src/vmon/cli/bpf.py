"""`vmon bpf`: which BPF programs and maps are in a guest's kernel. Reads the guest, changes nothing."""

from __future__ import annotations

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.output import View, output_option, write_records
from vmon.core.records.bpf import BpfMapRecord, BpfProgramRecord

PROGRAMS = View(
    BpfProgramRecord,
    ("ID", "TYPE", "NAME", "TAG", "UID", "LOADED", "INSNS", "JITED", "ADDRESS", "ON", "MAPS"),
    lambda record: (
        record.id,
        record.type,
        record.name or None,
        record.tag,
        record.uid,
        f"{record.load_time_ns / 1e9:.3f}",
        record.instructions,
        record.jited_size if record.jited else None,
        f"{record.jited_address:016x}" if record.jited_address else None,
        record.attach_function or record.attach_type,
        ",".join(map(str, record.map_ids)) or None,
    ),
    "no BPF program is loaded",
)
MAPS = View(
    BpfMapRecord,
    ("ID", "TYPE", "NAME", "KEY", "VALUE", "ENTRIES", "FLAGS", "FROZEN"),
    lambda record: (
        record.id,
        record.type,
        record.name or None,
        record.key_size,
        record.value_size,
        record.max_entries,
        f"{record.flags:#x}",
        record.frozen,
    ),
    "there is no BPF map",
)


@click.command("bpf")
@target_argument
@click.option("--maps", is_flag=True, help="List maps instead of programs.")
@output_option
def bpf(target: str, maps: bool, output: str) -> None:
    """List the BPF programs that are loaded into the kernel of TARGET, or with --maps its maps.

    LOADED is in seconds since the guest's boot.
    """
    with attached(target) as vm:
        if maps:
            write_records(vm.bpf_maps(), output, MAPS)
        else:
            write_records(vm.bpf_programs(), output, PROGRAMS)
