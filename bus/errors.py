"""The boundary at which librdkafka's errors become ours: once, here, all of them.

The first question is whether the same call may succeed later; where Kafka leaves that open, the harmless side is taken: what is
tried again in vain stands in the log, what is given up too early is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from confluent_kafka import KafkaError, KafkaException

from infaas.schemas.errors import (
    ConfigurationError,
    DeliveryFailed,
    Fenced,
    InfaasError,
    KafkaRefused,
    KafkaUnavailable,
    NotAllowed,
    OffsetLost,
    PayloadTooLarge,
    ProducerFatal,
    QueueFull,
    UnknownTopic,
)

_NAMES: Mapping[type[InfaasError], str] = {
    KafkaUnavailable: """
        UNKNOWN LEADER_NOT_AVAILABLE NOT_LEADER_FOR_PARTITION REQUEST_TIMED_OUT BROKER_NOT_AVAILABLE
        REPLICA_NOT_AVAILABLE STALE_CTRL_EPOCH NETWORK_EXCEPTION COORDINATOR_LOAD_IN_PROGRESS
        COORDINATOR_NOT_AVAILABLE NOT_COORDINATOR NOT_ENOUGH_REPLICAS NOT_ENOUGH_REPLICAS_AFTER_APPEND
        NOT_CONTROLLER CONCURRENT_TRANSACTIONS OPERATION_NOT_ATTEMPTED KAFKA_STORAGE_ERROR LOG_DIR_NOT_FOUND
        REASSIGNMENT_IN_PROGRESS FETCH_SESSION_ID_NOT_FOUND INVALID_FETCH_SESSION_EPOCH LISTENER_NOT_FOUND
        FENCED_LEADER_EPOCH UNKNOWN_LEADER_EPOCH STALE_BROKER_EPOCH OFFSET_NOT_AVAILABLE
        PREFERRED_LEADER_NOT_AVAILABLE ELIGIBLE_LEADERS_NOT_AVAILABLE UNSTABLE_OFFSET_COMMIT
        THROTTLING_QUOTA_EXCEEDED UNKNOWN_CONTROLLER_ID REBOOTSTRAP_REQUIRED SHARE_SESSION_NOT_FOUND
        INVALID_SHARE_SESSION_EPOCH SHARE_SESSION_LIMIT_REACHED GROUP_MAX_SIZE_REACHED UNKNOWN_SUBSCRIPTION_ID
        PRINCIPAL_DESERIALIZATION_FAILURE _BAD_MSG _BAD_COMPRESSION _DESTROY_BROKER _FAIL _TRANSPORT _RESOLVE
        _ALL_BROKERS_DOWN _TIMED_OUT _ISR_INSUFF _NODE_UPDATE _WAIT_COORD _IN_PROGRESS _PREV_IN_PROGRESS
        _WAIT_CACHE _INTR _TIMED_OUT_QUEUE _OUTDATED _RETRY _UNKNOWN_BROKER _PARTIAL _UNDERFLOW _PARTITION_EOF
        _ASSIGN_PARTITIONS _REVOKE_PARTITIONS _NO_OFFSET _NOENT
    """,
    DeliveryFailed: """
        _MSG_TIMED_OUT _PURGE_QUEUE _PURGE_INFLIGHT _INVALID_DIFFERENT_RECORD INVALID_MSG
        DUPLICATE_SEQUENCE_NUMBER
    """,
    UnknownTopic: "UNKNOWN_TOPIC_OR_PART UNKNOWN_TOPIC_ID INCONSISTENT_TOPIC_ID _UNKNOWN_PARTITION _UNKNOWN_TOPIC",
    QueueFull: "_QUEUE_FULL",
    PayloadTooLarge: """
        MSG_SIZE_TOO_LARGE RECORD_LIST_TOO_LARGE INVALID_MSG_SIZE OFFSET_METADATA_TOO_LARGE
        INVALID_COMMIT_OFFSET_SIZE TELEMETRY_TOO_LARGE
    """,
    OffsetLost: "OFFSET_OUT_OF_RANGE _AUTO_OFFSET_RESET _LOG_TRUNCATION",
    NotAllowed: """
        TOPIC_AUTHORIZATION_FAILED GROUP_AUTHORIZATION_FAILED CLUSTER_AUTHORIZATION_FAILED
        TRANSACTIONAL_ID_AUTHORIZATION_FAILED DELEGATION_TOKEN_AUTHORIZATION_FAILED
        DELEGATION_TOKEN_OWNER_MISMATCH DELEGATION_TOKEN_REQUEST_NOT_ALLOWED POLICY_VIOLATION
        TOPIC_DELETION_DISABLED
    """,
    ConfigurationError: """
        _INVALID_ARG _AUTHENTICATION _SSL _NOT_CONFIGURED SASL_AUTHENTICATION_FAILED UNSUPPORTED_SASL_MECHANISM
        ILLEGAL_SASL_STATE SECURITY_DISABLED DELEGATION_TOKEN_AUTH_DISABLED DELEGATION_TOKEN_EXPIRED
        DELEGATION_TOKEN_NOT_FOUND INVALID_PRINCIPAL_TYPE UNACCEPTABLE_CREDENTIAL INVALID_CONFIG
        INVALID_SESSION_TIMEOUT INVALID_TRANSACTION_TIMEOUT INVALID_REQUIRED_ACKS INCONSISTENT_GROUP_PROTOCOL
        INVALID_GROUP_ID UNSUPPORTED_VERSION UNSUPPORTED_ASSIGNOR UNSUPPORTED_COMPRESSION_TYPE
        UNSUPPORTED_ENDPOINT_TYPE MISMATCHED_ENDPOINT_TYPE UNSUPPORTED_FOR_MESSAGE_FORMAT _UNSUPPORTED_FEATURE
        _UNKNOWN_PROTOCOL _NOT_IMPLEMENTED _CRIT_SYS_RESOURCE _FS
    """,
    Fenced: """
        ILLEGAL_GENERATION UNKNOWN_MEMBER_ID REBALANCE_IN_PROGRESS FENCED_INSTANCE_ID FENCED_MEMBER_EPOCH
        STALE_MEMBER_EPOCH MEMBER_ID_REQUIRED UNRELEASED_INSTANCE_ID FENCED_STATE_EPOCH _ASSIGNMENT_LOST
        _MAX_POLL_EXCEEDED _UNKNOWN_GROUP STREAMS_TOPOLOGY_FENCED
    """,
    ProducerFatal: """
        _FATAL _FENCED _DESTROY _GAPLESS_GUARANTEE _INCONSISTENT INVALID_PRODUCER_EPOCH
        INVALID_PRODUCER_ID_MAPPING PRODUCER_FENCED OUT_OF_ORDER_SEQUENCE_NUMBER UNKNOWN_PRODUCER_ID
        INVALID_TXN_STATE TRANSACTION_COORDINATOR_FENCED TRANSACTION_ABORTABLE
    """,
    KafkaRefused: """
        TOPIC_EXCEPTION TOPIC_ALREADY_EXISTS INVALID_PARTITIONS INVALID_REPLICATION_FACTOR
        INVALID_REPLICA_ASSIGNMENT INVALID_REQUEST INVALID_TIMESTAMP INVALID_RECORD NON_EMPTY_GROUP
        GROUP_ID_NOT_FOUND GROUP_SUBSCRIBED_TO_TOPIC NO_REASSIGNMENT_IN_PROGRESS ELECTION_NOT_NEEDED
        FEATURE_UPDATE_FAILED RESOURCE_NOT_FOUND DUPLICATE_RESOURCE INCONSISTENT_VOTER_SET
        INVALID_UPDATE_VERSION INVALID_REGISTRATION INVALID_RECORD_STATE INVALID_VOTER_KEY DUPLICATE_VOTER
        VOTER_NOT_FOUND INVALID_REGULAR_EXPRESSION STREAMS_INVALID_TOPOLOGY STREAMS_INVALID_TOPOLOGY_EPOCH
        _STATE _CONFLICT _EXISTING_SUBSCRIPTION _KEY_DESERIALIZATION _KEY_SERIALIZATION _VALUE_DESERIALIZATION
        _VALUE_SERIALIZATION _READ_ONLY _INVALID_TYPE _NOOP _APPLICATION
    """,
}

BY_CODE: Mapping[int, type[InfaasError]] = {
    getattr(KafkaError, name): kind for kind, names in _NAMES.items() for name in names.split()
}
"""Our error for each of Kafka's codes."""


def translate(error: KafkaError | KafkaException, doing: str = "") -> InfaasError:
    """Our error for librdkafka's; a code of a newer Kafka, which is in no table, is permanent unless librdkafka says otherwise."""
    inner = error.args[0] if isinstance(error, KafkaException) else error
    if not isinstance(inner, KafkaError):
        return KafkaUnavailable(f"{doing}: {inner}" if doing else str(inner))
    kind: type[InfaasError]
    if inner.fatal():
        kind = ProducerFatal
    else:
        kind = BY_CODE.get(inner.code(), KafkaUnavailable if inner.retriable() else KafkaRefused)
    text = f"{inner.name()}: {inner.str()}"
    return kind(f"{doing}: {text}" if doing else text)


@contextmanager
def translated(doing: str, *, harmless: int | None = None) -> Iterator[None]:
    """Turns what is raised within into our error.

    Args:
        doing: what was attempted, for the message.
        harmless: a code of Kafka's that is no error here, since somebody else has done the same.
    """
    try:
        yield
    except KafkaException as error:
        inner = error.args[0]
        if harmless is None or not isinstance(inner, KafkaError) or inner.code() != harmless:
            raise translate(error, doing) from error
