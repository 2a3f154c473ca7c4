"""`vmon sysctl`: the settings of a guest's kernel. Reads the guest, changes nothing."""

from __future__ import annotations

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.output import View, output_option, write_records
from vmon.core.records.setting import SettingRecord

SETTINGS = View(
    SettingRecord,
    ("SETTING", "VALUE", "MODE"),
    lambda record: (record.name, record.value and record.value.replace("\t", " "), record.mode),
    "no setting was found",
)


@click.command("sysctl")
@target_argument
@click.argument("names", metavar="[NAME]...", nargs=-1)
@output_option
def sysctl(target: str, names: tuple[str, ...], output: str) -> None:
    """Show the settings of the kernel of TARGET: all, or those of these names; * stands for any text.

    They are those of the guest's first namespaces. A dash is a setting that nobody can read, or one that the kernel
    makes up when it is read.
    """
    with attached(target) as vm:
        write_records(vm.sysctl(names), output, SETTINGS)
