"""A cell whose leader is the test: it writes by hand what registrar and scaler would."""

from __future__ import annotations

import time

import numpy as np
import onnx
from onnx import TensorProto, helper

from infaas.bus.outbox import Outbox
from infaas.bus.reply_reader import ReplyReader
from infaas.schemas import oip
from infaas.schemas.contract import Contract, TensorSpec
from infaas.schemas.headers import HeaderList, headers_of
from infaas.schemas.metadata import Architecture, Assignment, Owner, Ownership, Placement, Recipe, Variant
from infaas.schemas.profile import BatchPoint, Profile
from infaas.schemas.topics import QUERIES
from infaas.store.leadership import Leadership
from infaas.store.table import Table

VARIANT = "double.v1.onnxruntime-cpu1-fp32"
CONTRACT = Contract(
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 2)),),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 2)),),
    validation_digest="sha256:" + "0" * 64,
)


def doubling_model() -> bytes:
    """y = x + x, and an index error in the engine if the first value is above 1,000 (a Gather beyond its data)."""
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["x", "x"], ["sum"]),
            helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
            helper.make_node("Cast", ["top"], ["index"], to=TensorProto.INT64),
            helper.make_node("Gather", ["zeros", "index"], ["zero"], axis=0),
            helper.make_node("Add", ["sum", "zero"], ["y"]),
        ],
        "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor("zeros", TensorProto.FLOAT, [1001], [0.0] * 1001)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def profile(ms: float = 0.2, *, accuracy: float = 0.9, load_ms: float = 50.0) -> Profile:
    points = tuple(BatchPoint(batch=b, p50_ms=ms * (0.5 + b / 2), p99_ms=ms * (1 + b)) for b in (1, 4, 16))
    return Profile(
        load_ms=load_ms, peak_memory_bytes=10_000_000, accuracy=accuracy, points=points, slope=ms / 2, intercept=ms / 2
    )


class Cell:
    """Leads as registrar and scaler, sends queries and reads replies."""

    def __init__(self, settings, roles=("registrar", "scaler")) -> None:
        self.settings = settings
        self.outbox = Outbox(settings, client_id="test-cell")
        self.table = Table(settings, client_id="test-cell")
        self.table.open()
        self.lead = {role: Leadership(settings, role=role, table=self.table, outbox=self.outbox) for role in roles}
        self.replies = ReplyReader(settings, client_id="test-cell")
        self.answers: dict[str, list] = {}
        self.others = []
        """More things with a `step`, run by `until`."""
        self.until(lambda: all(lead.is_leader for lead in self.lead.values()), "leadership")

    def step(self) -> None:
        self.table.poll(0)
        self.outbox.poll(0)
        for lead in self.lead.values():
            lead.step()
        for record in self.replies.poll(0.005):
            tag = record.header_map.get("correlation-id")
            if tag is not None:  # else somebody else's: a query that can't be read is answered anywhere in the topic
                self.answers.setdefault(tag.decode(), []).append(record)
        for one in self.others:
            one.step()

    def until(self, true, what: str, timeout: float = 60.0) -> None:
        deadline = time.monotonic() + timeout
        while not true():
            assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
            self.step()

    def publish(
        self,
        digest: str,
        variant: str = VARIANT,
        *,
        found: Profile | None = None,
        state: str = "ready",
        engine: str = "onnxruntime",
    ) -> Variant:
        """Architecture and variant, as the registrar would once all is built."""
        architecture = variant.split(".", maxsplit=1)[0]
        recipe = Recipe(
            source_digest=digest, generator="onnx", engine=engine, platform="cpu", cores=1, precision="fp32"
        )
        record = Variant(
            variant=variant, architecture=architecture, application="numbers", recipe=recipe, state=state, contract=CONTRACT,
            validation_digest=CONTRACT.validation_digest, artifact_digest=digest, profile=found or profile(), cost_per_hour=0.05,
        )  # fmt: skip
        self.lead["registrar"].write(
            Architecture(
                architecture=architecture,
                application="numbers",
                version=1,
                contract=CONTRACT,
                source_digest=digest,
                state="ready",
            )
        )
        self.lead["registrar"].write(record)
        return record

    def place(self, worker: str, instances: int, variant: str = VARIANT) -> None:
        self.lead["scaler"].write(Placement(worker=worker, variant=variant, instances=instances))

    def assign(self, owners: list[Owner | None], variant: str = VARIANT) -> None:
        """Owners by partition; the owner before is carried on, as the scaler does."""
        before = self.table.view().assignments.get(variant)
        partitions = []
        for p, owner in enumerate(owners):
            old = before.partitions[p] if before else Ownership()
            partitions.append(old if old.owner == owner else Ownership(owner=owner, previous=old.owner or old.previous))
        self.lead["scaler"].write(Assignment(variant=variant, partitions=tuple(partitions)))

    def send(
        self, tag: str, values=((1.0, 2.0),), *, body: bytes | None = None, headers: HeaderList | None = None, **more
    ) -> None:
        """A query in the JSON form, with the objective as keyword arguments (`latency_ms=20`)."""
        value, _ = oip.encode_request(oip.InferRequest({"x": np.array(values, np.float32)}, id=tag))
        asked = headers_of((f"infaas-{name.replace('_', '-')}", v) for name, v in more.items())
        common = [("correlation-id", tag.encode()), *self.replies.address_headers()]
        self.outbox.send(
            self.settings.names.of(QUERIES),
            value=value if body is None else body,
            headers=[*common, *asked, *(headers or [])],
        )

    def answer(self, tag: str, timeout: float = 60.0):
        self.until(lambda: tag in self.answers, f"the answer to {tag}", timeout)
        return self.answers[tag][0]

    def close(self) -> None:
        self.replies.close()
        self.table.close()
        self.outbox.close()


def outcome(record) -> str:
    return record.header_map["infaas-outcome"].decode()


def reason(record) -> str:
    return (record.header_map.get("infaas-reason") or b"").decode()
