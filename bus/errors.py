"""The boundary at which librdkafka's errors become ours: once, here."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

from infaas.schemas.errors import (
    ConfigurationError,
    DeliveryFailed,
    Fenced,
    InfaasError,
    KafkaUnavailable,
    OffsetLost,
    PayloadTooLarge,
    ProducerFatal,
    QueueFull,
)

_BY_CODE: dict[int, type[InfaasError]] = {
    KafkaError._QUEUE_FULL: QueueFull,
    KafkaError._FATAL: ProducerFatal,
    KafkaError._FENCED: ProducerFatal,
    KafkaError._MSG_TIMED_OUT: DeliveryFailed,
    KafkaError._UNKNOWN_PARTITION: DeliveryFailed,
    KafkaError._UNKNOWN_TOPIC: DeliveryFailed,
    KafkaError._PURGE_QUEUE: DeliveryFailed,
    KafkaError._PURGE_INFLIGHT: DeliveryFailed,
    KafkaError.UNKNOWN_TOPIC_OR_PART: DeliveryFailed,
    KafkaError.MSG_SIZE_TOO_LARGE: PayloadTooLarge,
    KafkaError.RECORD_LIST_TOO_LARGE: PayloadTooLarge,
    KafkaError.OFFSET_OUT_OF_RANGE: OffsetLost,
    KafkaError._AUTO_OFFSET_RESET: OffsetLost,
    KafkaError._TRANSPORT: KafkaUnavailable,
    KafkaError._ALL_BROKERS_DOWN: KafkaUnavailable,
    KafkaError._TIMED_OUT: KafkaUnavailable,
    KafkaError._RESOLVE: KafkaUnavailable,
    KafkaError._WAIT_COORD: KafkaUnavailable,
    KafkaError.LEADER_NOT_AVAILABLE: KafkaUnavailable,
    KafkaError.NOT_LEADER_FOR_PARTITION: KafkaUnavailable,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS: KafkaUnavailable,
    KafkaError.COORDINATOR_NOT_AVAILABLE: KafkaUnavailable,
    KafkaError.NOT_COORDINATOR: KafkaUnavailable,
    KafkaError.REQUEST_TIMED_OUT: KafkaUnavailable,
    KafkaError._INVALID_ARG: ConfigurationError,
    KafkaError._AUTHENTICATION: ConfigurationError,
    KafkaError.SASL_AUTHENTICATION_FAILED: ConfigurationError,
    KafkaError.TOPIC_AUTHORIZATION_FAILED: ConfigurationError,
    KafkaError.GROUP_AUTHORIZATION_FAILED: ConfigurationError,
    KafkaError.ILLEGAL_GENERATION: Fenced,
    KafkaError.UNKNOWN_MEMBER_ID: Fenced,
    KafkaError.REBALANCE_IN_PROGRESS: Fenced,
    KafkaError.FENCED_INSTANCE_ID: Fenced,
}


def translate(error: KafkaError | KafkaException, doing: str = "") -> InfaasError:
    """Our error for librdkafka's; what is not in the table is retryable if librdkafka says so, else a failed delivery."""
    inner = error.args[0] if isinstance(error, KafkaException) else error
    if not isinstance(inner, KafkaError):
        return KafkaUnavailable(f"{doing}: {inner}" if doing else str(inner))
    kind: type[InfaasError]
    if inner.fatal():
        kind = ProducerFatal
    else:
        kind = _BY_CODE.get(inner.code(), KafkaUnavailable if inner.retriable() else DeliveryFailed)
    text = f"{inner.name()}: {inner.str()}"
    return kind(f"{doing}: {text}" if doing else text)
