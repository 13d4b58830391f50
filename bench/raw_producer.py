"""A producer without manners: it sends what the protocol can carry and no client would, such as header names that are no UTF-8.

It calls the C library that confluent-kafka brings along, because Kafka's headers are bytes there and text everywhere above.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from infaas.schemas.errors import ConfigurationError, InfaasError, PayloadTooLarge, QueueFull

RawHeaders = Sequence[tuple[bytes, bytes | None]]
PRODUCER = 0
END, TOPIC, PARTITION, VALUE, KEY, FLAGS, HEADERS = 0, 1, 3, 4, 5, 7, 10
COPY = 2
ANY_PARTITION = -1
QUEUE_FULL, TOO_LARGE = -184, 10


class _Memory(ctypes.Structure):
    _fields_ = (("pointer", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _Argument(ctypes.Union):
    _fields_ = (
        ("text", ctypes.c_char_p), ("number", ctypes.c_int32), ("memory", _Memory), ("pointer", ctypes.c_void_p),
        ("padding", ctypes.c_char * 64),
    )  # fmt: skip


class _Tagged(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int), ("of", _Argument))


class RawProducer:
    """Sends records as bytes; a context manager.

    Args:
        bootstrap_servers: of the cell.
        settings: more of the client's settings.

    Raises:
        ConfigurationError: a setting the client does not take.
    """

    def __init__(self, bootstrap_servers: str, **settings: str) -> None:
        self._c = _library()
        configuration = self._c.rd_kafka_conf_new()
        why = ctypes.create_string_buffer(512)
        given = {
            "bootstrap.servers": bootstrap_servers,
            "log_level": "2",
            "linger.ms": "0",
            "message.max.bytes": str(2**27),
        }
        for name, value in {**given, **{n.replace("_", "."): v for n, v in settings.items()}}.items():
            if self._c.rd_kafka_conf_set(configuration, name.encode(), value.encode(), why, 512):
                raise ConfigurationError(why.value.decode())
        self._handle = self._c.rd_kafka_new(PRODUCER, configuration, why, 512)
        if not self._handle:
            raise ConfigurationError(why.value.decode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, topic: str, *, value: bytes | None, key: bytes | None = None, headers: RawHeaders = ()) -> None:
        """Queues a record; no word of what becomes of it but in the log.

        Raises:
            QueueFull: poll, then try again.
            PayloadTooLarge: above what this client sends.
        """
        listed = self._c.rd_kafka_headers_new(max(1, len(headers)))
        for name, content in headers:
            size = 0 if content is None else len(content)
            self._c.rd_kafka_header_add(listed, name, len(name), content, size)
        arguments = (_Tagged * 7)()
        for argument, (kind, field, given) in zip(
            arguments,
            (
                (TOPIC, "text", topic.encode()), (PARTITION, "number", ANY_PARTITION), (FLAGS, "number", COPY),
                (VALUE, "memory", _memory(value)), (KEY, "memory", _memory(key)), (HEADERS, "pointer", listed),
                (END, "number", 0),
            ),
            strict=True,
        ):  # fmt: skip
            argument.kind = kind
            setattr(argument.of, field, given)
        error = self._c.rd_kafka_produceva(self._handle, arguments, 6)
        if error:
            code, told = self._c.rd_kafka_error_code(error), self._c.rd_kafka_error_string(error).decode()
            self._c.rd_kafka_error_destroy(error)
            self._c.rd_kafka_headers_destroy(listed)
            raise _translated(code, told)

    def poll(self, timeout: float = 0.0) -> None:
        """Serves the client."""
        self._c.rd_kafka_poll(self._handle, int(timeout * 1000))

    def flush(self, timeout: float) -> int:
        """Waits for all that was sent; returns how many records are left."""
        self._c.rd_kafka_flush(self._handle, int(timeout * 1000))
        return int(self._c.rd_kafka_outq_len(self._handle))

    def close(self, timeout: float = 10.0) -> None:
        """Flushes and ends."""
        if self._handle:
            self.flush(timeout)
            self._c.rd_kafka_destroy(self._handle)
            self._handle = None


def _memory(content: bytes | None) -> _Memory:
    if content is None:
        return _Memory(None, 0)
    return _Memory(ctypes.cast(ctypes.c_char_p(content), ctypes.c_void_p), len(content))


def _translated(code: int, told: str) -> InfaasError:
    if code == QUEUE_FULL:
        return QueueFull(told)
    return PayloadTooLarge(told) if code == TOO_LARGE else InfaasError(told)


def _library() -> Any:
    found = importlib.util.find_spec("confluent_kafka")
    folder = Path(found.origin).parent if found is not None and found.origin else Path()
    candidates = [*folder.parent.glob("confluent_kafka.libs/librdkafka*"), *folder.glob(".dylibs/librdkafka*")]
    if not candidates:
        raise ConfigurationError("no librdkafka beside confluent_kafka: install its wheel, which brings one")
    library = ctypes.CDLL(str(candidates[0]))
    for name, kind, arguments in (
        ("rd_kafka_conf_new", ctypes.c_void_p, ()),
        ("rd_kafka_conf_set", ctypes.c_int, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)),
        ("rd_kafka_new", ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t)),
        ("rd_kafka_headers_new", ctypes.c_void_p, (ctypes.c_size_t,)),
        ("rd_kafka_headers_destroy", None, (ctypes.c_void_p,)),
        ("rd_kafka_header_add", ctypes.c_int,
         (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_ssize_t, ctypes.c_char_p, ctypes.c_ssize_t)),
        ("rd_kafka_produceva", ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)),
        ("rd_kafka_error_code", ctypes.c_int, (ctypes.c_void_p,)),
        ("rd_kafka_error_string", ctypes.c_char_p, (ctypes.c_void_p,)),
        ("rd_kafka_error_destroy", None, (ctypes.c_void_p,)),
        ("rd_kafka_poll", ctypes.c_int, (ctypes.c_void_p, ctypes.c_int)),
        ("rd_kafka_flush", ctypes.c_int, (ctypes.c_void_p, ctypes.c_int)),
        ("rd_kafka_outq_len", ctypes.c_int, (ctypes.c_void_p,)),
        ("rd_kafka_destroy", None, (ctypes.c_void_p,)),
    ):  # fmt: skip
        function = getattr(library, name)
        function.restype, function.argtypes = kind, arguments
    return library
