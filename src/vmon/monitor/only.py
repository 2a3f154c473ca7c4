"""Which events of a stream somebody wants: those of some processes, trees, users or containers.

Pure, but for a look at who is in a tree when it begins; who is started later is seen in the events.
"""

from __future__ import annotations

from dataclasses import dataclass

from vmon.core.events import Event


@dataclass(slots=True)
class Only:
    """Any of them is enough within a kind; all kinds that are named must fit."""

    pids: frozenset[int] = frozenset()
    uids: frozenset[int] = frozenset()
    containers: tuple[str, ...] = ()
    """Ids, or their beginnings."""
    tree: set[str] | None = None
    """Keys of its processes; those that they start are added as they are seen."""

    def __call__(self, event: Event) -> bool:
        """Whether it is wanted. Every event is to be shown to it, in order."""
        return self._in_tree(event) and self._fits(event)

    def _fits(self, event: Event) -> bool:
        if self.pids and event.pid not in self.pids:
            return False
        if self.uids and event.uid not in self.uids:
            return False
        return not self.containers or (event.container_id or "").startswith(self.containers)

    def _in_tree(self, event: Event) -> bool:
        if self.tree is None:
            return True
        if event.key not in self.tree:
            return False
        if event.event == "process.fork" and event.target_key:
            self.tree.add(event.target_key)
        elif event.event == "process.exit":
            self.tree.discard(event.key)
        return True
