"""A grammar of hostile records: what any producer can put on `queries`, drawn from a seed.

Each rule makes one part of a record: headers, names of headers, the body and its tensors, key and size. Most records are good in
all but one or two parts, since what is wrong everywhere is refused by the first check and tries nothing behind it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import orjson

from infaas.schemas import headers as h
from infaas.schemas import oip

RawHeader = tuple[bytes, bytes | None]
GIANT = b"9" * 200_000
NUMBERS: Sequence[bytes | None] = (
    b"nan", b"inf", b"-inf", b"-1", b"0", b"-0.0", b"1e999", b"1e-320", "²".encode(), "١٢".encode(), b"1_000", b" 5 ", b"0x10", b"",
    b"5" * 400, b"\xff\xfe", None, b"true", b"1,5", b"9" * 19, b"1e15", b"86400001", b"\x00", b"5000",
)  # fmt: skip
TEXTS: Sequence[bytes | None] = (
    b"", None, b"\xff\xfe\xfd", b"\x00", b"points", b"x" * 300, "ünïcode".encode(), b"../../etc/passwd", b"a,b,,c" * 50, b"{}",
    b"infaas.queries-0-0", b"nothing.v1.onnxruntime-cpu1-fp32", "\u202e".encode(), b"%s%n{0}", GIANT,
)  # fmt: skip
INTERNAL = (
    h.QUERY_ID, h.APPENDED_MS, h.DROP_AFTER, h.ATTEMPT, h.EXCLUDED, h.MARK, h.REPLY_TOPIC, h.REPLY_PARTITION, h.EPOCH, h.BOOT_ID,
    h.OUTCOME, h.WORKER, h.ACCURACY, h.QUEUE_MS, h.BATCH_SIZE, h.COST, h.OBJECTIVE_MET, h.REASON, h.SUGGESTION,
)  # fmt: skip
OBJECTIVES = (h.LATENCY_MS, h.MIN_ACCURACY, h.MAX_COST, h.OPTIMIZE, h.STRICT, h.LATE_LIMIT_MS, h.DEADLINE, h.EXPLAIN)
NAMES = (
    b"\xff\xfe", b"infaas-\xff", b"", b"\x00", b"a" * 40_000, b"INFAAS-LATENCY-MS", b"infaas-latency-mss", b"infaas-",
    "infaas-ünï".encode(), b"infaas-latency_ms", b"__connect.errors.topic", b"\xc3", b"\xed\xa0\x80",
)  # fmt: skip
ADDRESSES = (
    b"queries", b"metadata", b"work.x", b"", b".", b"..", b"x" * 260, b"a b", b"\x00", b"\xff", b"__consumer_offsets", b"nowhere",
)  # fmt: skip
PARTITIONS = (b"0", b"63", b"64", b"-1", b"2147483648", "²".encode(), b"", b"1.0", b"\xff", None)
SPRING = (b"\x00\x00\x00\x01", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00", b"\x00" * 8, b"")
LENGTHS = ("²".encode(), b"-1", b"0", b"1", b"999999999999999999999", b"1e3", b"\xff", b"", b" 10 ", b"+5", None)
CLAIMS = (
    b"sha256:" + b"0" * 64, b"sha256:", b"", b"../../etc/passwd", b"file:///etc/passwd", b"http://127.0.0.1:1/x", b"\xff", GIANT,
    b"sha256:" + b"z" * 64, b"memory://x", None,
)  # fmt: skip
DATATYPES: Sequence[object] = (
    [],
    {},
    None,
    5,
    True,
    "",
    "FP33",
    "BYTES",
    "fp32",
    "INT64",
    "FP64",
    "FP16",
    "BOOL",
    "UINT8",
    ["FP32"],
    "F" * 10_000,
)
SHAPES: Sequence[object] = (
    [0, 10**19], [10**19, 0], [-1, 64], [2**63, 2**63], [2**32, 2**32], [2**64, 1], [1] * 40, "x", None, [1.5, 64], [True, 64], [0, 64],
    [10**9, 64], [64], [1, 65], [], [[1], 64], {}, [1, 64, 1], ["1", 64], [2, 64],
)  # fmt: skip
DATA: Sequence[object] = (
    None, [], {}, "data", 5, [None] * 64, ["x"] * 64, [[1, 2], [3]], [10**30] * 64, [1e308] * 64, [True] * 64, [{}] * 64,
    [1.0] * 63, [1.0] * 65, [[1.0] * 64], [[[1.0]] * 64], [1.0] * 64, [-0.0] * 64, [3e38] * 64, [2**63] * 64, [1e-45] * 64,
)  # fmt: skip
SIZES: Sequence[object] = (-1, 0, 10**19, "256", 1.5, 2**63, True, None, [256], 255, 257)
TENSOR_NAMES: Sequence[object] = (5, None, "", "y", "x" * 100_000, ["x"], "x\u0000", "\ud7ff", {"x": 1})
PARAMETERS: Sequence[object] = (
    None, [], "x", 5, {"latency_ms": []}, {"latency_ms": {}}, {"application": 5}, {"application": "points", "latency_ms": "²"},
    {"reply_to": []}, {"correlation_id": {"a": 1}}, {"nested": {"a": [[[[]]]]}}, {"application": "points", "variant": "x"},
    {"application": "points", "latency_ms": True}, {"latency-ms": 1e999}, {"latncy_ms": 5},
)  # fmt: skip
BODIES = (
    b"", b"null", b"[]", b"5", b'"x"', b"{", b"{}", b"\xff\xfe\x00", b"[" * 100_000, b'{"a":' * 50_000, b'{"inputs": []}', b'{"inputs": [5]}',
    b'{"inputs": {}}', b'{"inputs":[{"name":"x","shape":[1,1],"datatype":"FP32","data":[NaN]}]}', b"\x00" * 1000, b"\x1f\x8b\x08",
    b'{"inputs":[{"name":"x","shape":[1,1],"datatype":"FP32","data":[1e400]}]}', b'{"id":"\\ud800","inputs":[]}', b"\xef\xbb\xbf{}",
    b'{"inputs":[{"name":"x"}],"inputs":null}', b"9" * 100_000, b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,64]}]}',
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class HostileRecord:
    """One record, and which rules made it hostile."""

    headers: tuple[RawHeader, ...]
    value: bytes | None
    key: bytes | None
    rules: tuple[str, ...]


@dataclass(slots=True)
class _Draft:
    """A good record, which rules spoil."""

    headers: list[RawHeader]
    value: bytes | None
    key: bytes | None = None


Rule = Callable[[Random, _Draft], None]


class Grammar:
    """Draws records.

    Args:
        seed: of the draw.
        application: that is there, with one input `x` of `[rows, 64] float32`.
        reply_topics: full names that exist; the first is the cell's own.
        max_bytes: the topic's limit; sizes go beyond it.
    """

    def __init__(self, seed: int, *, application: str, reply_topics: Sequence[str], max_bytes: int) -> None:
        self._random, self._application = Random(seed), application.encode()
        self._reply_topics, self._max_bytes = [t.encode() for t in reply_topics], max_bytes
        self._rules: dict[str, Rule] = {
            "scope": self._scope, "objective": _objective, "internal": _internal, "name": _name, "address": self._address,
            "spring": self._spring, "correlation": _correlation, "length": _length, "claim": _claim, "body": _body,
            "tensor": _tensor, "parameters": _parameters, "binary": _binary, "tombstone": _tombstone, "key": _key,
            "duplicate": _duplicate, "many": _many,
        }  # fmt: skip

    def draw(self) -> HostileRecord:
        """The next record."""
        random = self._random
        draft = _Draft(
            [
                (h.APPLICATION.encode(), self._application),
                (h.LATENCY_MS.encode(), b"5000"),
                (b"correlation-id", random.randbytes(8)),
            ],
            _json(random, {}),
        )
        names = random.sample(sorted(self._rules), k=random.choice((1, 1, 1, 2, 2, 3)))
        for name in names:
            self._rules[name](random, draft)
        if random.random() < 0.004:
            names.append("size")
            self._size(random, draft)
        return HostileRecord(tuple(draft.headers), draft.value, draft.key, tuple(names))

    def _scope(self, random: Random, draft: _Draft) -> None:
        scopes = [name.encode() for name in h.SCOPES.values()]
        draft.headers = [header for header in draft.headers if header[0] not in scopes]
        for _ in range(random.choice((0, 1, 1, 2, 3))):
            draft.headers.append((random.choice(scopes), random.choice((*TEXTS, b"Points", b"-points", b"points.v1"))))

    def _address(self, random: Random, draft: _Draft) -> None:
        topic = random.choice((*self._reply_topics, *ADDRESSES, self._reply_topics[0].replace(b"replies", b"queries")))
        draft.headers.append((random.choice(h.REPLY_TO).encode(), topic))
        if random.random() < 0.6:
            draft.headers.append((random.choice(h.REPLY_TO_PARTITION).encode(), random.choice(PARTITIONS)))

    def _spring(self, random: Random, draft: _Draft) -> None:
        draft.headers.append((b"kafka_replyTopic", random.choice((*self._reply_topics, b"nowhere"))))
        draft.headers.append((b"kafka_replyPartition", random.choice(SPRING)))
        draft.headers.append((b"kafka_correlationId", random.randbytes(16)))

    def _size(self, random: Random, draft: _Draft) -> None:
        top = self._max_bytes
        draft.value = b" " * random.choice((top // 8, top // 2, top - 10_000, top - 100, top, top + 1, top + 2**20))


def _objective(random: Random, draft: _Draft) -> None:
    for _ in range(random.choice((1, 1, 3))):
        draft.headers.append((random.choice(OBJECTIVES).encode(), random.choice(NUMBERS)))


def _internal(random: Random, draft: _Draft) -> None:
    for name in random.sample(INTERNAL, k=random.choice((1, 2, 3, len(INTERNAL)))):
        draft.headers.append((name.encode(), random.choice((*NUMBERS, *TEXTS))))


def _name(random: Random, draft: _Draft) -> None:
    draft.headers.insert(random.randrange(len(draft.headers) + 1), (random.choice(NAMES), random.choice(TEXTS)))


def _correlation(random: Random, draft: _Draft) -> None:
    draft.headers = [header for header in draft.headers if header[0] != b"correlation-id"]
    for _ in range(random.choice((0, 1, 2))):
        draft.headers.append((random.choice(h.CORRELATION).encode(), random.choice((*TEXTS, random.randbytes(50)))))


def _length(random: Random, draft: _Draft) -> None:
    draft.headers.append((h.CONTENT_LENGTH.encode(), random.choice(LENGTHS)))


def _claim(random: Random, draft: _Draft) -> None:
    draft.headers.append((h.CLAIM_CHECK.encode(), random.choice(CLAIMS)))


def _body(random: Random, draft: _Draft) -> None:
    draft.value = random.choice((*BODIES, random.randbytes(random.randrange(1, 3000))))


def _tensor(random: Random, draft: _Draft) -> None:
    fields = {"datatype": DATATYPES, "shape": SHAPES, "data": DATA, "name": TENSOR_NAMES, "parameters": PARAMETERS}
    names = random.sample(sorted(fields), k=random.choice((1, 1, 2)))
    draft.value = _json(random, {name: random.choice(fields[name]) for name in names})


def _parameters(random: Random, draft: _Draft) -> None:
    body = {
        "inputs": [_good(random)],
        "parameters": random.choice(PARAMETERS),
        "id": random.choice((None, 5, [], "i", "x" * 5000)),
    }
    body["outputs"] = random.choice(([], None, 5, [{"name": "scores"}], [{"name": "no"}], [5], {"name": "scores"}))
    if random.random() < 0.5:
        draft.headers = [header for header in draft.headers if not header[0].startswith(b"infaas-")]
    draft.value = _dumps(body)


def _binary(random: Random, draft: _Draft) -> None:
    row = np.array([random.choice((1.0, np.nan, np.inf, -np.inf, 1e38, 1e-45)) for _ in range(64)], np.float32).reshape(
        1, 64
    )
    value, length = oip.encode_request(oip.InferRequest({"x": row}, binary=True))
    if random.random() < 0.6:  # sizes and lengths that lie
        tensor = {
            **_good(random),
            "parameters": {"binary_data_size": random.choice(SIZES)},
            "shape": random.choice(SHAPES),
        }
        tensor.pop("data")
        head = _dumps({"inputs": [tensor] * random.choice((1, 1, 2))})
        value, length = head + random.randbytes(random.choice((0, 255, 256, 257))), len(head)
    draft.headers.append((h.CONTENT_LENGTH.encode(), str((length or 0) + random.choice((0, 0, 0, 1, -1))).encode()))
    draft.value = value


def _tombstone(_: Random, draft: _Draft) -> None:
    draft.value = None


def _key(random: Random, draft: _Draft) -> None:
    draft.key = random.choice((b"", b"\xff\xfe", b"k" * 300_000, struct.pack(">q", -1), b"key"))


def _duplicate(random: Random, draft: _Draft) -> None:
    name, _ = random.choice(draft.headers) if draft.headers else (h.APPLICATION.encode(), None)
    draft.headers += [(name, random.choice((*NUMBERS, *TEXTS))) for _ in range(random.choice((1, 2, 50)))]


def _many(random: Random, draft: _Draft) -> None:
    draft.headers += [(b"h%d" % n, random.randbytes(8)) for n in range(random.choice((100, 2000)))]


def _good(random: Random) -> dict[str, object]:
    return {"name": "x", "shape": [1, 64], "datatype": "FP32", "data": [random.uniform(-1, 1) for _ in range(64)]}


def _json(random: Random, changed: dict[str, object]) -> bytes:
    return _dumps({"inputs": [{**_good(random), **changed}]})


def _dumps(body: object) -> bytes:
    import json  # writes integers of any size and infinities, which orjson does not

    return orjson.dumps(body) if _is_plain(body) else json.dumps(body).encode()


def _is_plain(body: object) -> bool:
    try:
        orjson.dumps(body)
    except TypeError:
        return False
    return True
