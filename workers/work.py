"""One query on its way through an instance."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from infaas.bus.record import Record
from infaas.schemas import headers as h
from infaas.schemas import oip
from infaas.schemas.conformity import Conformity
from infaas.schemas.errors import BadHeader, BadTensor, InfaasError
from infaas.schemas.headers import ReplyAddress, Travel
from infaas.schemas.names import query_id
from infaas.schemas.oip import InferRequest
from infaas.workers.partition import Partition

_ASKED = frozenset({*h.SCOPES.values(), *h.OBJECTIVE_NAMES})
_PREFIX = "infaas-"


@dataclass(slots=True)
class Work:
    """A taken record, with what travelled and, once decoded, its request."""

    part: Partition
    record: Record
    travel: Travel
    request: InferRequest | None = None
    rows: int = 1
    row: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """What its rows are like, where a contract lets them differ: only what is alike can stand in one array."""

    @classmethod
    def of(cls, part: Partition, record: Record) -> Work:
        """Reads what travelled.

        Raises:
            BadHeader: if the headers are not the router's.
        """
        return cls(part, record, h.parse_travel(record.header_map))

    @classmethod
    def salvaged(cls, part: Partition, record: Record) -> Work:
        """What can still be said of a record whose headers can't be read as a whole: enough to answer that it failed."""
        headers: Mapping[str, bytes | str | None] = {}
        with suppress(Exception):
            headers = record.header_map
        name, topic, partition = "", None, None
        with suppress(InfaasError):
            name = h.text(headers.get(h.QUERY_ID), h.QUERY_ID)
        with suppress(InfaasError, ValueError):
            topic = h.text(headers.get(h.REPLY_TOPIC), h.REPLY_TOPIC) or None
            partition = int(h.text(headers.get(h.REPLY_PARTITION), h.REPLY_PARTITION))
        name = name or query_id(record.topic, record.partition, record.offset)
        return cls(part, record, Travel(name, record.timestamp_ms, reply=ReplyAddress(topic, partition)))

    @property
    def headers(self) -> Mapping[str, bytes | str | None]:
        """The record's; empty if they can't be read."""
        try:
            return self.record.header_map
        except Exception:  # noqa: BLE001 - whatever the client raises of a name that is no text
            return {}

    @property
    def alone(self) -> bool:
        """Whether it has to run by itself, with a mark."""
        return self.part.alone(self.record.offset)

    @property
    def offline(self) -> bool:
        """No caller waits for it."""
        return self.part.offline

    def decode(self, value: bytes, expected: Conformity) -> None:
        """Reads the body and compares it with what is expected.

        Raises:
            BadInput: naming the field, header or parameter.
        """
        headers = self.headers
        request = oip.decode_request(value, h.content_length(headers))
        if request.parameters and h.has_scope({name.lower(): value for name, value in headers.items()}):
            _refuse_objectives(request.parameters)
        rows = expected.check_inputs(request.inputs)
        if request.outputs and not set(request.outputs) <= expected.outputs:
            raise BadTensor("outputs", f"names among {sorted(expected.outputs)}", list(request.outputs))
        self.request, self.rows = request, rows
        if not expected.one_shape:
            self.row = tuple((name, array.shape[1:]) for name, array in sorted(request.inputs.items()))


def _refuse_objectives(parameters: Mapping[str, object]) -> None:
    """Nothing that is meant is ignored: objectives stand in the headers or in the body, not in both."""
    for name, value in parameters.items():
        header = _PREFIX + name.removeprefix(_PREFIX).replace("_", "-")
        if header in _ASKED and value is not None and value != "":
            raise BadHeader(f"parameters.{name}", f"the header {header}, as the headers say what is asked for", value)
