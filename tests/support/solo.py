"""One instance in the test's own process: the test is its supervisor, its engine and, if it likes, its clock."""

from __future__ import annotations

import os
import time

from cell import CONTRACT, VARIANT, profile

from infaas.bus.admin import Admin
from infaas.bus.outbox import Outbox
from infaas.bus.reply_reader import ReplyReader
from infaas.host.channel import Inbox, line_of
from infaas.host.deadlines import HEARTBEAT_S
from infaas.host.messages import TO_CHILD, Keep, Serve
from infaas.schemas import oip
from infaas.schemas.headers import ReplyAddress, Travel, headers_of, travel_headers
from infaas.schemas.metadata import Recipe, Variant
from infaas.workers import serve


class Doubling:
    """An engine in plain Python: y = 2 x."""

    def load(self, path, *, platform, cores) -> None:
        pass

    def run(self, inputs):
        return {"y": inputs["x"] * 2}

    def close(self) -> None:
        pass


class Solo:
    """Runs an instance step by step; queries go straight to its work topic, as a router would send them."""

    def __init__(self, settings, engine=None) -> None:
        self.settings, self.said = settings, []
        self.keeps, self._next_keep = True, 0.0
        """Whether the supervisor says that it is there."""
        admin = Admin(settings, client_id="solo")
        admin.ensure_variant_topics(VARIANT)
        admin.close()
        self.topic, self.offline = settings.names.work(VARIANT), settings.names.offline(VARIANT)
        self.outbox = Outbox(settings, client_id="solo-router")
        self.outbox.learn(self.topic)
        self.outbox.learn(self.offline)
        self.replies = ReplyReader(settings, client_id="solo")
        self.answers: dict[str, list] = {}
        self.order: list[str] = []
        """Tags of the answers as they came."""
        reading, self._order = os.pipe()
        recipe = Recipe(
            source_digest="sha256:0", generator="onnx", engine="test", platform="cpu", cores=1, precision="fp32"
        )
        variant = Variant(
            variant=VARIANT, architecture="double", application="numbers", recipe=recipe, state="ready",
            contract=CONTRACT, validation_digest=CONTRACT.validation_digest, artifact_digest="sha256:0", profile=profile(),
            cost_per_hour=0.05,
        )  # fmt: skip
        order = Serve(variant=variant, worker="w1", instance=0, repository_url="", cache_dir="")
        self.instance = serve.compose(
            settings,
            order,
            Inbox(reading, TO_CHILD),
            self.said.append,
            engine or Doubling(),
            serve.Connections.open(settings, order),
        )

    def tell(self, message) -> None:
        """What a supervisor says."""
        os.write(self._order, line_of(message))

    def heard(self, kind) -> list:
        """What the instance has said, of one kind."""
        return [message for message in self.said if isinstance(message, kind)]

    def send(self, tag, values=((1.0, 2.0),), *, body=None, partition=0, offline=False, headers=(), **travel) -> None:
        import numpy as np

        value, _ = oip.encode_request(oip.InferRequest({"x": np.array(values, np.float32)}, id=tag))
        went = Travel(
            query_id=tag, appended_ms=0.0, reply=ReplyAddress(self.replies.topic, self.replies.partition), **travel
        )
        self.outbox.send(
            self.offline if offline else self.topic,
            value=value if body is None else body,
            headers=travel_headers(went, headers_of([("correlation-id", tag), *headers])),
            partition=partition,
        )

    def step(self) -> None:
        if self.keeps and time.monotonic() >= self._next_keep:
            self._next_keep = time.monotonic() + HEARTBEAT_S
            self.tell(Keep())
        self.instance.step()
        self.outbox.poll(0)
        for record in self.replies.poll(0):
            tag = record.header_map["correlation-id"].decode()
            self.order.append(tag)
            self.answers.setdefault(tag, []).append(record)

    def until(self, true, what: str, timeout: float = 30.0) -> None:
        deadline = time.monotonic() + timeout
        while not true():
            assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
            self.step()

    def close(self) -> None:
        self.instance.close()
        os.close(self._order)
        self.replies.close()
        self.outbox.close()
