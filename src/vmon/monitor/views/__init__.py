"""What a machine can be asked beside its processes, a module a subject: each reads the guest and changes nothing.

What these readers need of a kernel is learnt when one of them is first used, not at attach: a profile of its own,
saved like the first. The answers are lists that carry what could not be seen. A hostile guest can lie in every field;
`vmon check` compares views that should agree.
"""

from vmon.monitor.views import deferred, findings, kernel, machine
from vmon.monitor.views.deferred import DeferredViews
from vmon.monitor.views import filesystems, findings, kernel
from vmon.monitor.views import containers, filesystems, findings, kernel
from vmon.monitor.views import containers, filesystems, findings, kernel, logins
from vmon.monitor.views.containers import ContainerViews
from vmon.monitor.views.filesystems import FilesystemViews
from vmon.monitor.views import content, findings, kernel
from vmon.monitor.views.content import ContentViews
from vmon.monitor.views.findings import FindingViews
from vmon.monitor.views.kernel import KernelViews
from vmon.monitor.views.machine import MachineViews

WANTS = kernel.WANTS | findings.WANTS | deferred.WANTS | machine.WANTS


class Views(KernelViews, FindingViews, DeferredViews, MachineViews):
WANTS = kernel.WANTS | filesystems.WANTS | findings.WANTS
WANTS = kernel.WANTS | containers.WANTS | filesystems.WANTS | findings.WANTS
from vmon.monitor.views.logins import LoginViews

WANTS = kernel.WANTS | containers.WANTS | filesystems.WANTS | findings.WANTS | logins.WANTS


class Views(KernelViews, ContainerViews, FilesystemViews, FindingViews, LoginViews):
from vmon.monitor.views import findings, kernel, network
from vmon.monitor.views.findings import FindingViews
from vmon.monitor.views.kernel import KernelViews
from vmon.monitor.views.network import NetworkViews

WANTS = kernel.WANTS | findings.WANTS | network.WANTS


class Views(KernelViews, FindingViews, NetworkViews):
WANTS = kernel.WANTS | findings.WANTS | content.WANTS


class Views(KernelViews, FindingViews, ContentViews):
    """Every subject, mixed into VirtualMachine."""
