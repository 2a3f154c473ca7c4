from __future__ import annotations

import msgspec
import pytest

from tests.unit.linux.build import HEAP_GPA, Guest
from vmon.core.address import PAGE_SIZE_BYTES, Gpa
from vmon.probe.abi import load_abi
from vmon.probe.config import MAGIC, encode
from vmon.probe.place import GLOBAL, encode_table_entry, find_slot
from vmon.probe.plan import page_counts
from vmon.probe.tenant import State, boot_of, find_tenant
from vmon.probe.window import Window
from vmon.transport.fake import FakeRam

ABI = load_abi()
BOTH = pytest.mark.parametrize("model", ["new", "old"])
TABLE = Gpa(0x1000)
CONFIG = Gpa(0x2000 + PAGE_SIZE_BYTES * page_counts(ABI)[1])


class House:
    """The low memory of a guest with a probe in it that nothing leads to."""

    def __init__(self, model: str = "new", *, globally: bool = False) -> None:
        self.guest = Guest(model, code=True)
        self.guest.set(self.guest.init_task, "task_struct", {"stack_canary": 0x1234_5600})
        _, code, config, state = page_counts(ABI)
        ram = FakeRam({0: bytes(PAGE_SIZE_BYTES), TABLE: bytes(PAGE_SIZE_BYTES)})
        window = Window(ram, ram, TABLE, globally=globally)
        pages = [Gpa(0x2000 + PAGE_SIZE_BYTES * number) for number in range(code + config + state)]
        window.map(0, pages[:code], executable=True)
        window.map(ABI.sizes["CONFIG_AT"], pages[code : code + config])
        window.map(ABI.sizes["STATE_AT"], pages[code + config :], writable=True)
        given = [Gpa(HEAP_GPA + PAGE_SIZE_BYTES * number) for number in range(16)]
        window.map(ABI.sizes["RING_AT"], given, writable=True)
        self.write(TABLE, ram.read(TABLE, PAGE_SIZE_BYTES))
        for page in pages[:code]:
            self.write(page, b"\x90" * 16)
        self.head = {
            "magic": MAGIC,
            "build": ABI.build,
            "table_gpa": TABLE,
            "boot": boot_of(self.guest.kernel()),
        }
        self.put()

    def put(self, **changes: int) -> None:
        self.write(CONFIG, bytes(encode(ABI, "config", self.head | changes)))

    def write(self, gpa: int, data: bytes) -> None:
        self.guest.low[gpa : gpa + len(data)] = data

    def entry(self, offset: int, entry: int) -> None:
        self.write(TABLE + 8 * (offset // PAGE_SIZE_BYTES), entry.to_bytes(8, "little"))

    def map_it(self) -> None:
        entry = encode_table_entry(TABLE).to_bytes(8, "little")
        self.guest.write_phys(find_slot(self.guest.kernel()).entry_gpa, entry)

    def look(self) -> State:
        return find_tenant(self.guest.kernel(), ABI).state


@BOTH
def test_nobody(model: str) -> None:
    guest = Guest(model, code=True)
    guest.low[0x5000] = 1
    assert find_tenant(guest.kernel(), ABI).state == "nobody"


@BOTH
@pytest.mark.parametrize("globally", [True, False])
def test_one_of_ours_is_known_with_and_without_the_slot(model: str, globally: bool) -> None:
    house = House(model, globally=globally)
    found = find_tenant(house.guest.kernel(), ABI)
    assert (found.state, found.table_gpa, found.slot.free) == ("unmapped", TABLE, True)
    house.map_it()
    found = find_tenant(house.guest.kernel(), ABI)
    assert (found.state, found.table_gpa, found.slot.free) == ("mapped", TABLE, False)


def test_one_of_another_build_is_left_alone() -> None:
    house = House()
    house.put(build=ABI.build ^ 1)
    assert house.look() == "other vmon"
    house.map_it()
    found = find_tenant(house.guest.kernel(), ABI)
    assert (found.state, found.table_gpa) == ("other vmon", None)


def test_one_of_another_boot_is_nobody() -> None:
    """What its kernel gave it is somebody else's by now."""
    house = House()
    house.guest.set(house.guest.init_task, "task_struct", {"stack_canary": 0x1234_5700})
    assert house.look() == "nobody"


def test_where_nothing_names_a_boot_no_pages_are_known_again() -> None:
    house = House()
    house.guest.set(house.guest.init_task, "task_struct", {"stack_canary": 0})
    assert boot_of(house.guest.kernel()) == 0
    house.put(boot=0)
    assert house.look() == "nobody"
    structs = dict(house.guest.profile.structs)
    task = structs["task_struct"]
    fields = {name: layout for name, layout in task.fields.items() if name != "stack_canary"}
    structs["task_struct"] = msgspec.structs.replace(task, fields=fields)
    house.guest.profile = msgspec.structs.replace(house.guest.profile, structs=structs)
    assert boot_of(house.guest.kernel()) == 0


def test_a_stranger() -> None:
    house = House()
    house.map_it()
    house.put(magic=MAGIC ^ 1)
    assert house.look() == "stranger"
    house.entry(ABI.sizes["CONFIG_AT"], 0)
    assert house.look() == "stranger"
    house.entry(ABI.sizes["CONFIG_AT"], 0xF_FFFF_F000 | 1)
    assert house.look() == "stranger"


PAGE = 0x9000
NO_EXECUTE = 1 << 63


@pytest.mark.parametrize(
    ("offset", "entry"),
    [
        (0, 0),  # a page of the code is missing
        (0, PAGE | 0x21 | NO_EXECUTE),
        (0, PAGE | 0x63),  # written and executed
        (0, 0x200_0000 | 0x21),  # not a low page
        (ABI.sizes["CONFIG_AT"], 0x3000 | 0x21 | NO_EXECUTE),  # another page than the one that was found
        (ABI.sizes["STATE_AT"], PAGE | 0x21 | NO_EXECUTE),  # read-only
        (ABI.sizes["STATE_AT"], 0x2000 | 0x63 | NO_EXECUTE),  # the code, written
        (ABI.sizes["STATE_AT"], TABLE | 0x63 | NO_EXECUTE),  # the page-table entries, written
        (ABI.sizes["RULES_AT"], (HEAP_GPA + 0x1_0000) | 0x63 | NO_EXECUTE),  # rules that can be written there
        (ABI.sizes["RING_AT"], HEAP_GPA + 0x1_0000 | 0x63),  # a ring that can be executed
        (ABI.sizes["RING_AT"], HEAP_GPA + 0x1000 | 0x63 | NO_EXECUTE),  # a page twice
        (ABI.sizes["RING_AT"], CONFIG | 0x63 | NO_EXECUTE),  # the configuration, written
        (ABI.sizes["RING_AT"], 0x7FFF_F000 | 0x63 | NO_EXECUTE),  # no RAM
        (ABI.sizes["RING_AT"], 0x67 | HEAP_GPA | NO_EXECUTE),  # the user's
        (ABI.sizes["RING_AT"], 2),
    ],
)
def test_what_a_guest_made_to_look_like_one(offset: int, entry: int) -> None:
    house = House()
    house.entry(offset, entry)
    assert house.look() == "nobody"
    house.entry(offset, entry | GLOBAL if entry else 0)
    assert house.look() == "nobody"


@pytest.mark.parametrize("table", [0, 0x800, 0x5_0000, 0x9_F000, HEAP_GPA, (1 << 64) - 4096])
def test_a_table_that_is_elsewhere(table: int) -> None:
    house = House()
    house.put(table_gpa=table)
    assert house.look() == "nobody"
