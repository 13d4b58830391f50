"""The names of all record headers; none stands anywhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

APPLICATION = "infaas-application"
ARCHITECTURE = "infaas-architecture"
VARIANT = "infaas-variant"
LATENCY_MS = "infaas-latency-ms"
LATENCY_FROM = "infaas-latency-from"
MIN_ACCURACY = "infaas-min-accuracy"
MAX_COST = "infaas-max-cost"
OPTIMIZE = "infaas-optimize"
STRICT = "infaas-strict"
LATE_LIMIT_MS = "infaas-late-limit-ms"
DEADLINE = "infaas-deadline"
EXPLAIN = "infaas-explain"

CONTENT_LENGTH = "inference-header-content-length"
CLAIM_CHECK = "infaas-claim-check"
TRACEPARENT = "traceparent"
CLOUD_EVENT_ID = "ce_id"

QUERY_ID = "infaas-query-id"
APPENDED_MS = "infaas-appended-ms"
DROP_AFTER = "infaas-drop-after"
ATTEMPT = "infaas-attempt"
EXCLUDED = "infaas-excluded"
MARK = "infaas-mark"
REPLY_TOPIC = "infaas-reply-topic"
REPLY_PARTITION = "infaas-reply-partition"

OUTCOME = "infaas-outcome"
SERVED_ARCHITECTURE = "infaas-served-architecture"
SERVED_VARIANT = "infaas-served-variant"
WORKER = "infaas-worker"
ACCURACY = "infaas-accuracy"
QUEUE_MS = "infaas-queue-ms"
INFERENCE_MS = "infaas-inference-ms"
BATCH_SIZE = "infaas-batch-size"
COST = "infaas-cost"
OBJECTIVE_MET = "infaas-objective-met"
DUE = "infaas-due"
REASON = "infaas-reason"
SUGGESTION = "infaas-suggestion"
RETRY_AFTER_MS = "infaas-retry-after-ms"

EPOCH = "infaas-epoch"
BOOT_ID = "infaas-boot-id"

REPLY_TO = ("reply-to", "reply_to", "kafka_replyTopic")
REPLY_TO_PARTITION = ("reply-partition", "kafka_replyPartition")
CORRELATION = ("correlation-id", "correlation_id", "kafka_correlationId")

ScopeKind = Literal["application", "architecture", "variant"]
LatencyFrom = Literal["append", "arrival"]
Optimize = Literal["cost", "accuracy", "latency"]
Outcome = Literal["ok", "rejected", "expired", "failed"]
SCOPES: Mapping[ScopeKind, str] = {"application": APPLICATION, "architecture": ARCHITECTURE, "variant": VARIANT}
OPTIMIZE_VALUES: tuple[Optimize, ...] = get_args(Optimize)
LATENCY_FROM_VALUES: tuple[LatencyFrom, ...] = get_args(LatencyFrom)

PREFIX = "infaas-"
OBJECTIVE_NAMES = (
    LATENCY_MS, LATENCY_FROM, MIN_ACCURACY, MAX_COST, OPTIMIZE, STRICT, LATE_LIMIT_MS, DEADLINE, EXPLAIN,
)  # fmt: skip
CALLER_NAMES = frozenset({*SCOPES.values(), *OBJECTIVE_NAMES, CLAIM_CHECK})
"""The names under our prefix that are a caller's to say."""
PROTOCOL_NAMES = frozenset({CONTENT_LENGTH, TRACEPARENT, CLOUD_EVENT_ID, *REPLY_TO, *REPLY_TO_PARTITION, *CORRELATION})
"""Names of other conventions that mean something here."""
TRAVEL_NAMES = frozenset(
    {QUERY_ID, APPENDED_MS, DROP_AFTER, ATTEMPT, EXCLUDED, MARK, REPLY_TOPIC, REPLY_PARTITION, DEADLINE}
)
"""What the router writes on `work`; `DEADLINE` alone is a caller's too, and there has the caller's meaning."""
REPLY_NAMES = frozenset(
    {
        OUTCOME, QUERY_ID, SERVED_ARCHITECTURE, SERVED_VARIANT, WORKER, ACCURACY, QUEUE_MS, INFERENCE_MS, BATCH_SIZE, COST,
        OBJECTIVE_MET, DUE, REASON, SUGGESTION, RETRY_AFTER_MS,
    }
)  # fmt: skip
SYSTEM_NAMES = (TRAVEL_NAMES | REPLY_NAMES) - CALLER_NAMES
"""The system's own: on `queries` they are dropped unread."""
