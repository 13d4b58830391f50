"""Starts and hand-overs: how long nobody answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from infaas.bench.worker.caller import Caller, Query
from infaas.bench.worker.office import Office
from infaas.schemas.metadata import Variant

STARTS, MOVES, STOPS = 5, 6, 3
PATIENT_MS = 60_000.0
RATE = 400.0
MOVE_S, AFTER_S = 1.0, 1.5


class Moves:
    """Of one variant on one worker.

    Args:
        office: who decides.
        caller: who asks.
        worker: its name.
        variant: the variant, with four partitions.
    """

    def __init__(self, office: Office, caller: Caller, *, worker: str, variant: Variant) -> None:
        self._office, self._caller, self._worker = office, caller, worker
        self._variant, self._name = variant, variant.variant
        assignment = office.view.assignments.get(self._name)
        self._partitions = range(len(assignment.partitions) if assignment is not None else 4)

    def cold_starts(self) -> dict[str, float]:
        """From a placement to the first answer, beyond what the load of the model takes, s."""
        assert self._variant.profile is not None
        load_s = self._variant.profile.load_ms / 1000.0
        took = []
        for _ in range(STARTS):
            self.stop_all()
            query = self._caller.send(0, PATIENT_MS)
            self._caller.hear(0.1)
            begun = time.monotonic()
            self.start(1)
            self._office.until(lambda query=query: bool(query.outcome), "a first answer", meanwhile=self._hear)  # type: ignore[misc]
            took.append(query.answered_s - begun)
        return {
            "cold_first_answer_s": float(np.median(took)) - load_s,
            "cold_worst_s": max(took) - load_s,
            "load_s": load_s,
        }

    def hand_overs(self) -> dict[str, float]:
        """The longest time without an answer on a partition that moves, and when an instance stops in good order; ms."""
        self.start(2)
        moves = []
        for turn in range(MOVES):
            owners = [(partition + turn) % 2 for partition in self._partitions]
            moves.append(self._gap(lambda owners=owners: self.assign(owners)))  # type: ignore[misc]
        stops = []
        for _ in range(STOPS):
            self.start(2)
            stops.append(self._gap(self._stop_one))
        gaps = moves + stops
        return {
            "handover_gap_ms": max(gaps),
            "move_gap_ms": float(np.median(moves)),
            "stop_gap_ms": float(np.median(stops)),
        }

    def start(self, instances: int) -> None:
        """Places so many, and spreads the partitions once they start; returns when they have them."""
        self._office.place(self._worker, self._name, instances)
        self._office.until(lambda: all(map(self._is_there, range(instances))), "instances", meanwhile=self._hear)
        self.assign([partition % instances for partition in self._partitions])
        self._office.until(self._settled, "their partitions", meanwhile=self._hear)

    def stop_all(self) -> None:
        """Takes the placement away and waits for the end."""
        self._office.place(self._worker, self._name, 0)
        self._office.assign(self._name, [None for _ in self._partitions])
        self._office.until(lambda: not self._office.view.instances_of.get(self._name), "the end", meanwhile=self._hear)

    def assign(self, owners: Sequence[int]) -> None:
        """Owners by partition."""
        self._office.assign(self._name, [self._office.owner(self._worker, number) for number in owners])

    def _stop_one(self) -> None:
        self._office.place(self._worker, self._name, 1)
        self.assign([0 for _ in self._partitions])

    def _gap(self, move: Callable[[], None]) -> float:
        moved: list[float] = []
        begun = time.monotonic()

        def meanwhile() -> None:
            self._office.step()
            if not moved and time.monotonic() - begun >= MOVE_S:
                moved.append(time.monotonic())
                move()

        queries = self._caller.paced(
            RATE, MOVE_S + AFTER_S, partitions=self._partitions, objective_ms=PATIENT_MS, meanwhile=meanwhile
        )
        return max(longest_gap_ms(queries, partition, moved[0]) for partition in self._partitions)

    def _is_there(self, number: int) -> bool:
        return self._office.instance(self._worker, self._name, number) is not None

    def _settled(self) -> bool:
        assignment = self._office.view.assignments.get(self._name)
        if assignment is None:
            return False
        for partition, ownership in enumerate(assignment.partitions):
            fact = ownership.owner and self._office.instance(self._worker, self._name, ownership.owner.instance)
            if not fact or partition not in fact.taken:
                return False
        return True

    def _hear(self) -> None:
        self._caller.hear(0.0)


def longest_gap_ms(queries: Sequence[Query], partition: int, since_s: float) -> float:
    """Between two answers of a partition, from a moment on."""
    moments = sorted(query.answered_s for query in queries if query.partition == partition and query.outcome == "ok")
    later = [moment for moment in moments if moment >= since_s]
    earlier = [moment for moment in moments if moment < since_s][-1:]
    return float(np.max(np.diff([*earlier, *later]))) * 1000.0
