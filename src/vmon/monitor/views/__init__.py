"""What a machine can be asked beside its processes, a module a subject: each reads the guest and changes nothing.

Their readers are imported, and what these need of a kernel is learnt, when a view is first asked for and not at attach:
the time to start is part of the product. It is a profile of its own, saved like the first. The answers are lists that
carry what could not be seen. A hostile guest can lie in every field; `vmon check` compares views that should agree.
"""

from vmon.monitor.views.containers import ContainerViews
from vmon.monitor.views.content import ContentViews
from vmon.monitor.views.deferred import DeferredViews
from vmon.monitor.views.filesystems import FilesystemViews
from vmon.monitor.views.findings import FindingViews
from vmon.monitor.views.kernel import KernelViews
from vmon.monitor.views.logins import LoginViews
from vmon.monitor.views.machine import MachineViews
from vmon.monitor.views.memory import MemoryViews
from vmon.monitor.views.network import NetworkViews
from vmon.monitor.views.programs import ProgramViews
from vmon.monitor.views.symbol_file import SymbolFileViews


class Views(
    KernelViews,
    MachineViews,
    DeferredViews,
    FilesystemViews,
    NetworkViews,
    ContainerViews,
    LoginViews,
    ContentViews,
    MemoryViews,
    FindingViews,
    SymbolFileViews,
    ProgramViews,
):
    """Every subject, mixed into VirtualMachine."""
