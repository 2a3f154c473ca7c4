"""The agreement between the probe and the host is a C header; the compiler's description of it (BTF) is read here.

Reads two files of the package, made when it was built: the code as it lies in a guest, and its BTF. Nothing of the ABI
is written down a second time in Python. Source: probe/include/vmon_abi.h.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

import numpy as np

from vmon.core.errors import NotSupported
from vmon.kernel.btf import KIND_ARRAY, KIND_ENUM, KIND_STRUCT, KIND_UNION, Btf

FOLDER = "blob"


class Abi:
    """The probe's code, and where everything lies that it shares with the host."""

    def __init__(self, code: bytes, btf: bytes) -> None:
        self.code = code
        self.build = int.from_bytes(hashlib.sha256(code).digest()[:8], "little")
        """Names these very bytes."""
        self._btf = Btf(btf)
        self.sizes = self.enum("sizes", "VMON_SIZE_")
        self.kinds = self.enum("kind", "VMON_")
        self.events = {
            name.lower().replace("_", ".", 1): number
            for name, number in self.kinds.items()
            if name not in ("NONE", "KINDS")
        }
        """The kinds by the names of vmon.probe.hooks: file.open for FILE_OPEN."""
        self.shapes = self.enum("shape", "VMON_SHAPE_")
        self.kfuncs = self.enum("kfunc", "VMON_K_")
        self.ops = self.enum("op", "VMON_OP_")
        self.actions = self.enum("action", "VMON_")
        self.matches = self.enum("match", "VMON_MATCH_")
        self.keys = self.enum("key", "VMON_KEY_")
        self.answers = self.enum("answer", "VMON_ANSWER_")
        self.record_flags = self.enum("record_flags", "VMON_")

    def enum(self, name: str, prefix: str) -> dict[str, int]:
        """Values of an enumeration, their common prefix left out."""
        type_id = self._btf.find(f"vmon_{name}", KIND_ENUM)
        assert type_id is not None, name
        return {key.removeprefix(prefix): value for key, value in self._btf.enumerators(type_id).items()}

    def _type(self, struct: str) -> int:
        type_id = self._btf.find(f"vmon_{struct}")
        assert type_id is not None, struct
        return type_id

    def size(self, struct: str) -> int:
        """Bytes of a structure."""
        return self._btf.size_bytes(self._type(struct))

    def offset(self, struct: str, path: str) -> int:
        """Where a member lies, in bytes; `a.b` goes into a member."""
        return self.member(struct, path)[0]

    @cache  # noqa: B019 - there is one Abi a process
    def member(self, struct: str, path: str) -> tuple[int, int]:
        """Where a member lies and how large it is, in bytes."""
        member = self._btf.path(self._type(struct), path)
        assert member is not None, (struct, path)
        return member.bit_offset // 8, self._btf.size_bytes(member.type_id)

    @cache  # noqa: B019 - there is one Abi a process
    def dtype(self, struct: str, size_bytes: int = 0) -> np.dtype[np.void]:
        """A structure as numpy reads it; `size_bytes` spaces the rows of an array of them."""
        return self._dtype(self._type(struct), size_bytes)

    def _dtype(self, type_id: int, size_bytes: int = 0) -> np.dtype[np.void]:
        names, formats, offsets = [], [], []
        for member in self._btf.members(type_id):
            names.append(member.name)
            formats.append(self._format(member.type_id))
            offsets.append(member.bit_offset // 8)
        size = size_bytes or self._btf.size_bytes(type_id)
        return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})

    def _format(self, type_id: int) -> object:
        type_id = self._btf.strip(type_id)
        kind = self._btf.kind(type_id)
        if kind == KIND_ARRAY:
            element, count = self._btf.array(type_id)
            if self._btf.name(self._btf.strip(element)) == "char":
                return f"S{count}"
            return (self._format(element), (count,))
        if kind in (KIND_STRUCT, KIND_UNION):
            return self._dtype(type_id)
        name, size = self._btf.name(type_id), self._btf.size_bytes(type_id)
        return f"<{'u' if 'unsigned' in name else 'i'}{size}"


@cache
def load_abi() -> Abi:
    """The probe of this package; NotSupported where it was installed without one."""
    folder = resources.files("vmon.probe") / FOLDER
    try:
        return Abi((folder / "probe.bin").read_bytes(), (folder / "abi.btf").read_bytes())
    except FileNotFoundError as error:
        raise NotSupported(
            "this vmon was installed without its probe",
            hint="install it again where a C compiler is: ./dev setup",
        ) from error
