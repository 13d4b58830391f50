"""One tree of errors; the first split says whether trying again can help.

InfaasError
├── RetryableError              the same call may succeed later
│   ├── KafkaUnavailable        no broker answers, or not yet
│   ├── DeliveryFailed          a record was not confirmed in time
│   ├── UnknownTopic            no such topic or partition, as far as the brokers know now
│   ├── QueueFull               the producer's local queue is full
│   ├── StorageFull             a disk has no room left
│   └── QueryTimeout            no reply came in time
└── PermanentError              the same call will fail again
    ├── BadInput                names the field, what was expected, what was found
    │   ├── BadName
    │   ├── BadHeader
    │   ├── BadTensor
    │   ├── BadModel            a model or validation set that cannot be registered
    │   ├── AlreadyRegistered   the name is another model's, which nobody has said may be replaced
    │   └── BadReplyAddress
    ├── Rejected                no variant can meet the objective; carries code and suggestion
    ├── Expired                 the deadline passed before it was answered
    ├── InferenceFailed         the engine refused or failed this query
    ├── EngineLost              the engine runs nothing any more; the process must restart
    ├── PayloadTooLarge         a record above the topic's limit
    ├── NotAllowed              the broker knows who asks and does not let them
    ├── KafkaRefused            the broker or its client refuses the call as it is
    ├── Fenced                  a newer leader or boot id exists
    ├── ProducerFatal           the Kafka client can't go on; the process must restart
    ├── OffsetLost              the position asked for is no longer in the topic
    ├── MissingDependency       a library or device is not there; says how to get it
    ├── ArtifactError           the repository has not got, or has not got whole, what a digest names
    ├── EmbeddedBrokerError     the embedded broker can't be fetched or started
    ├── ClientClosed            the client was closed before the answer came
    └── ConfigurationError      a setting that can't work
"""

from __future__ import annotations

import reprlib


class InfaasError(Exception):
    """Any error that this system raises on purpose."""

    retryable = False
    code = "internal"


class RetryableError(InfaasError):
    """The same call may succeed later."""

    retryable = True


class KafkaUnavailable(RetryableError):
    """No broker answers, or none that can do it yet."""

    code = "kafka_unavailable"


class DeliveryFailed(RetryableError):
    """A record was not confirmed by the broker in time."""

    code = "delivery_failed"


class UnknownTopic(RetryableError):
    """No such topic or partition, as far as the brokers know now: it may have been made a moment ago."""

    code = "unknown_topic"


class QueueFull(RetryableError):
    """The producer's local queue is full: wait, then produce again."""

    code = "queue_full"


class StorageFull(RetryableError):
    """A disk has no room left for what has to be kept on it."""

    code = "storage_full"


class QueryTimeout(RetryableError):
    """No reply came in time."""

    code = "timeout"


class PermanentError(InfaasError):
    """The same call will fail again."""


class BadInput(PermanentError):
    """Input that can't be used: names the field, what was expected and what was found."""

    code = "bad_input"

    def __init__(self, field: str, expected: str, found: object = None) -> None:
        self.field, self.expected, self.found = field, expected, found
        got = "" if found is None else f", not {_short(found)}"
        super().__init__(f"{field}: expected {expected}{got}")


class BadName(BadInput):
    """A name that can't be used as a key or in a topic."""

    code = "bad_name"


class BadHeader(BadInput):
    """A record header that can't be read."""

    code = "bad_header"


class BadTensor(BadInput):
    """An input tensor that does not fit its own description or the application's contract."""

    code = "bad_tensor"


class BadModel(BadInput):
    """A model or validation set that can't be registered."""

    code = "bad_model"


class AlreadyRegistered(BadInput):
    """The name is another model's, and the command does not say that it may be replaced."""

    code = "already_registered"


class BadReplyAddress(BadInput):
    """A reply address that is forbidden or does not exist."""

    code = "bad_reply_address"


class Rejected(PermanentError):
    """No variant can meet the objective, or none in time."""

    def __init__(self, code: str, message: str, suggestion: str | None = None) -> None:
        self.code, self.suggestion = code, suggestion
        super().__init__(message if suggestion is None else f"{message} (nearest: {suggestion})")


class Expired(PermanentError):
    """The deadline passed before the query was answered."""

    code = "expired"


class InferenceFailed(PermanentError):
    """The engine refused or failed this query."""

    code = "inference_failed"


class EngineLost(PermanentError):
    """The engine runs nothing any more: the process ends and its supervisor starts it again."""

    code = "engine_lost"


class PayloadTooLarge(PermanentError):
    """A record above the topic's limit."""

    code = "too_large"


class NotAllowed(PermanentError):
    """The broker knows who asks and does not let them: the rights have to change first."""

    code = "not_allowed"


class KafkaRefused(PermanentError):
    """The broker or its client refuses the call as it is."""

    code = "kafka_refused"


class Fenced(PermanentError):
    """A newer leader or a newer boot id exists: this process must not write any more."""

    code = "fenced"


class ProducerFatal(PermanentError):
    """The Kafka client can't go on: the process ends and its supervisor starts it again."""

    code = "producer_fatal"


class OffsetLost(PermanentError):
    """The position asked for is no longer, or not yet, in the topic."""

    code = "offset_lost"


class MissingDependency(PermanentError):
    """A library or a device that is not there; the message says how to get it."""

    code = "missing_dependency"


class ArtifactError(PermanentError):
    """The repository has not got, or has not got whole, what a digest names."""

    code = "artifact"


class EmbeddedBrokerError(PermanentError):
    """The embedded broker can't be fetched or started; the message says what to do."""

    code = "embedded_broker"


class ClientClosed(PermanentError):
    """The client was closed before the answer came."""

    code = "closed"


class ConfigurationError(PermanentError):
    """A setting that can't work."""

    code = "configuration"


_REPR = reprlib.Repr()
_REPR.maxlevel = 3  # what was found may be nested as deep as JSON can be


def _short(value: object) -> str:
    text = repr(value[:80]) if isinstance(value, bytes | str) else _REPR.repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
