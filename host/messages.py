"""What supervisors and their children say to each other: frozen, tagged, matched exhaustively on both sides.

One line of JSON each, over the child's standard streams (`channel`). An order comes first and says what the child is; what
follows is about partitions. A child says something at least every half second, idle or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from infaas.schemas.metadata import Built, Variant
from infaas.schemas.profile import BatchPoint
from infaas.schemas.reports import Counters, Position


class Message(BaseModel):
    """What all have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# ---- to a child


class Serve(Message):
    """The order of an instance: serve this variant."""

    do: Literal["serve"] = "serve"
    variant: Variant
    worker: str
    instance: int
    repository_url: str
    cache_dir: str


class Build(Message):
    """The order of a build: make and measure this variant; what is in `done` need not be measured again."""

    do: Literal["build"] = "build"
    variant: Variant
    worker: str
    done: Mapping[int, BatchPoint] = Field(default_factory=dict)
    repository_url: str
    cache_dir: str


class DeathBefore(Message):
    """How the owner before ended, if it did not release."""

    worker: str
    furthest: int | None = None
    """The offset after the furthest record it had taken; None = nobody alive knows."""


class Take(Message):
    """Begin a partition of the work topic, and of the offline topic."""

    do: Literal["take"] = "take"
    partition: int
    death: DeathBefore | None = None
    others: bool = False
    """Whether another worker could take it."""


class Release(Message):
    """Finish the batch in hand, commit, and let the partition go."""

    do: Literal["release"] = "release"
    partition: int


class Keep(Message):
    """The supervisor is there, and whatever was taken is kept: an instance that does not hear it for long stands still."""

    do: Literal["keep"] = "keep"


class Stop(Message):
    """Finish what is in hand, and end."""

    do: Literal["stop"] = "stop"


# ---- from an instance


class Ready(Message):
    """Loaded, warmed up, waiting for partitions."""

    said: Literal["ready"] = "ready"


class Alive(Message):
    """Nothing else to say, and not stuck."""

    said: Literal["alive"] = "alive"


class BatchBegan(Message):
    """A batch runs; it is overdue after `limit_ms`."""

    said: Literal["batch_began"] = "batch_began"
    limit_ms: float
    alone: bool = False
    """It is one record after a death, under a mark: if it kills, that is the record's fault."""
    furthest: Mapping[int, int] = Field(default_factory=dict)
    """Partition of the work topic → offset after the furthest record taken."""


class BatchEnded(Message):
    """It has run."""

    said: Literal["batch_ended"] = "batch_ended"


class LastBatch(Message):
    """The last batch, for the monitor."""

    took_ms: float
    queries: int
    expected_ms: float


class Stats(Message):
    """How far the instance is."""

    said: Literal["stats"] = "stats"
    counters: Counters = Field(default_factory=Counters)
    last: LastBatch | None = None
    positions: tuple[Position, ...] = ()
    offline: int = 0
    """Offline records taken and not answered."""


class Taken(Message):
    """The partition is being consumed."""

    said: Literal["taken"] = "taken"
    partition: int


class Released(Message):
    """The partition is committed and no longer consumed."""

    said: Literal["released"] = "released"
    partition: int


class Refused(Message):
    """Another worker has to try: a record there has killed here."""

    said: Literal["refused"] = "refused"
    partition: int


class Failed(Message):
    """It can't go on; the process ends."""

    said: Literal["failed"] = "failed"
    reason: str
    code: str = "failed"
    retryable: bool = False
    """Whether the reason lies outside and may pass: no broker, a full disk. Then it is nobody's crash."""


class Stopped(Message):
    """All is committed; the process ends."""

    said: Literal["stopped"] = "stopped"


# ---- from a build


class Measured(Message):
    """One point of the latency curve."""

    said: Literal["measured"] = "measured"
    point: BatchPoint


class Finished(Message):
    """What the build found."""

    said: Literal["finished"] = "finished"
    built: Built


Order = Annotated[Serve | Build, Field(discriminator="do")]
ToInstance = Annotated[Take | Release | Keep | Stop, Field(discriminator="do")]
ToChild = Annotated[Serve | Build | Take | Release | Keep | Stop, Field(discriminator="do")]
FromInstance = Ready | Alive | BatchBegan | BatchEnded | Stats | Taken | Released | Refused | Failed | Stopped
FromBuild = Alive | Measured | Finished | Failed
FromChild = Annotated[
    Ready
    | Alive
    | BatchBegan
    | BatchEnded
    | Stats
    | Taken
    | Released
    | Refused
    | Failed
    | Stopped
    | Measured
    | Finished,
    Field(discriminator="said"),
]
TO_CHILD: TypeAdapter[ToChild] = TypeAdapter(ToChild)
FROM_CHILD: TypeAdapter[FromChild] = TypeAdapter(FromChild)
