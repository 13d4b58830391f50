"""Taking and releasing the partitions of one instance, exactly as it was model-checked (spec `work`).

1. The assignment names us and no other fact that counts has the partition: the fact is written with it as taken.
2. The fact is read back. In the log before it the assignment must still name us and nobody else have it; else the fact takes it
   back.
3. Only then the child is told, and reads the committed offset.
4. When the assignment names somebody else, the child releases (finishes the batch in hand, commits, tells), and then the fact
   is written without it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from infaas.schemas.metadata import Instance, Owner
from infaas.store.view import View
from infaas.workers.poison import Death

Holding = Literal["taking", "granted", "held", "releasing", "denied"]


@dataclass
class Ownership:
    """One instance's partitions. Everything here is pure but for its own state."""

    variant: str
    me: Owner
    holding: dict[int, Holding] = field(default_factory=dict)
    taking_since: dict[int, int] = field(default_factory=dict)
    """Sequence of the fact that first had the partition."""
    released: set[int] = field(default_factory=set)
    died: dict[int, int] = field(default_factory=dict)
    """As the fact says: partition → how far the dead process had taken."""
    own_deaths: set[int] = field(default_factory=set)
    """Of `died`, those whose next owner is this instance again."""
    refused: set[int] = field(default_factory=set)
    """Whose second try has to be another worker's."""

    @property
    def taking(self) -> bool:
        """Whether a fact has yet to be read back."""
        return "taking" in self.holding.values()

    @property
    def steady(self) -> bool:
        """Whether all that is ours is held: nothing is on its way."""
        return all(holding == "held" for holding in self.holding.values())

    def taken(self) -> tuple[int, ...]:
        """What the fact says."""
        return tuple(sorted(p for p, holding in self.holding.items() if holding != "denied"))

    def assigned(self, view: View) -> set[int]:
        """Partitions that the assignment gives us."""
        assignment = view.assignments.get(self.variant)
        if assignment is None:
            return set()
        return {p for p, ownership in enumerate(assignment.partitions) if ownership.owner == self.me}

    def free(self, view: View, partition: int) -> bool:
        """Whether no fact that counts, of any other instance, has the partition as taken."""
        return not any(
            (i.worker, i.boot_id, i.instance) != (self.me.worker, self.me.boot_id, self.me.instance)
            for i in view.holders(self.variant, partition)
            if i.state != "failed"
        )

    def want(self, view: View, sequence: int, *, others: bool = True) -> bool:
        """Begins to take what it may; True if the fact has to be written, as number `sequence`.

        What was refused in favour of another worker is taken again when there is none left (`others`).
        """
        if not others:
            self.refused.clear()
        changed = False
        for partition in self.assigned(view) - set(self.holding) - self.refused:
            if self.free(view, partition):
                self.holding[partition] = "taking"
                self.taking_since[partition] = sequence
                self.released.discard(partition)
                changed = True
        return changed

    def read_back(self, fact: Instance, before: View) -> None:
        """Our own fact was read; `before` is the view just before it."""
        mine = self.assigned(before)
        for partition, holding in list(self.holding.items()):
            if holding == "taking" and partition in fact.taken and fact.sequence >= self.taking_since[partition]:
                granted = partition in mine and self.free(before, partition)
                self.holding[partition] = "granted" if granted else "denied"

    def grants(self) -> list[int]:
        """Partitions the child may start now; they count as held from here on."""
        out = [p for p, holding in self.holding.items() if holding == "granted"]
        for partition in out:
            self.holding[partition] = "held"
        return sorted(out)

    def give_back(self) -> bool:
        """Drops what was denied; True if the fact has to be written."""
        denied = [p for p, holding in self.holding.items() if holding == "denied"]
        for partition in denied:
            self._let_go(partition)
        return bool(denied)

    def surplus(self, view: View, *, draining: bool) -> list[int]:
        """Held partitions to release; they count as releasing from here on."""
        mine = set() if draining else self.assigned(view)
        for partition in [p for p in self.own_deaths | self.refused if p not in mine]:
            self.own_deaths.discard(partition)
            self.refused.discard(partition)
        out = [p for p, holding in self.holding.items() if holding == "held" and p not in mine]
        for partition in out:
            self.holding[partition] = "releasing"
        return sorted(out)

    def release(self, partition: int) -> None:
        """The child has released it."""
        self._let_go(partition)

    def refuse(self, partition: int) -> None:
        """The child says that another worker has to try."""
        self._let_go(partition)
        self.refused.add(partition)

    def lose(self, furthest: dict[int, int] | None) -> None:
        """The child is gone. `furthest` says how far it had taken; None = it was no death."""
        for partition, holding in list(self.holding.items()):
            if holding in ("held", "releasing") and furthest is not None:
                self.died[partition] = furthest.get(partition, 0)
                self.own_deaths.add(partition)
            self._let_go(partition)

    def death_before(self, view: View, partition: int) -> Death | None:
        """How the owner before us ended, if it did not release."""
        if partition in self.own_deaths:
            self.own_deaths.discard(partition)
            return Death(self.me.worker, self.died.pop(partition, None))
        self.died.pop(partition, None)
        assignment = view.assignments.get(self.variant)
        before = (
            assignment.partitions[partition].previous if assignment and partition < len(assignment.partitions) else None
        )
        if before is None:
            return None
        if not view.boot_counts(before.worker, before.boot_id):
            return Death(before.worker)
        fact = view.instances.get((before.worker, self.variant, before.instance))
        if fact is not None and partition in fact.died:
            return Death(before.worker, fact.died[partition])
        return None

    def _let_go(self, partition: int) -> None:
        self.holding.pop(partition, None)
        self.taking_since.pop(partition, None)
        self.released.add(partition)
