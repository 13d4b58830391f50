"""A producer below the Python client: it sends what that one would not, such as header names that are no UTF-8."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import confluent_kafka

TOPIC, VALUE, KEY, MSGFLAGS, HEADER, END = 1, 4, 5, 7, 9, 0  # rd_kafka_vtype_t
COPY, PRODUCER, CONF_OK = 0x2, 0, 0
FLUSH_MS = 10_000


def _library() -> ctypes.CDLL:
    """The librdkafka that comes with confluent_kafka."""
    folder = Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
    (path,) = folder.glob("librdkafka-*.so*")
    lib = ctypes.CDLL(str(path))
    lib.rd_kafka_conf_new.restype = ctypes.c_void_p
    lib.rd_kafka_conf_set.argtypes = [ctypes.c_void_p, *[ctypes.c_char_p] * 3, ctypes.c_size_t]
    lib.rd_kafka_new.restype = ctypes.c_void_p
    lib.rd_kafka_new.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    lib.rd_kafka_flush.argtypes = [ctypes.c_void_p, ctypes.c_int]
    lib.rd_kafka_destroy.argtypes = [ctypes.c_void_p]
    return lib


class RawProducer:
    """Sends records as librdkafka's C API takes them; a context manager.

    Args:
        bootstrap_servers: of the broker.
    """

    def __init__(self, bootstrap_servers: str) -> None:
        self._lib = _library()
        conf, error = ctypes.c_void_p(self._lib.rd_kafka_conf_new()), ctypes.create_string_buffer(512)
        for name, value in {"bootstrap.servers": bootstrap_servers, "message.max.bytes": "20000000"}.items():
            if self._lib.rd_kafka_conf_set(conf, name.encode(), value.encode(), error, len(error)) != CONF_OK:
                raise ValueError(error.value.decode())
        handle = self._lib.rd_kafka_new(PRODUCER, conf, error, len(error))
        if not handle:
            raise ValueError(error.value.decode())
        self._handle = ctypes.c_void_p(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lib.rd_kafka_destroy(self._handle)

    def send(
        self, topic: str, *, value: bytes, key: bytes = b"", headers: Sequence[tuple[bytes, bytes | None]] = ()
    ) -> None:
        """Sends a record and waits until it is delivered; a header's name may be any bytes but NUL, None is null."""
        said: list[object] = [ctypes.c_int(TOPIC), ctypes.c_char_p(topic.encode())]
        said += [ctypes.c_int(VALUE), ctypes.c_char_p(value), ctypes.c_size_t(len(value))]
        said += [ctypes.c_int(KEY), ctypes.c_char_p(key), ctypes.c_size_t(len(key))]
        said += [ctypes.c_int(MSGFLAGS), ctypes.c_int(COPY)]
        for name, content in headers:
            size = ctypes.c_ssize_t(0 if content is None else len(content))
            said += [ctypes.c_int(HEADER), ctypes.c_char_p(name), ctypes.c_char_p(content), size]
        error = self._lib.rd_kafka_producev(self._handle, *said, ctypes.c_int(END))
        assert error == 0, f"librdkafka error {error}"
        assert self._lib.rd_kafka_flush(self._handle, FLUSH_MS) == 0, "not delivered in time"
