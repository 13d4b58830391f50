"""The names of all record headers; none stands anywhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

APPLICATION = "infaas-application"
ARCHITECTURE = "infaas-architecture"
VARIANT = "infaas-variant"
LATENCY_MS = "infaas-latency-ms"
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
WORKER = "infaas-worker"
ACCURACY = "infaas-accuracy"
QUEUE_MS = "infaas-queue-ms"
INFERENCE_MS = "infaas-inference-ms"
BATCH_SIZE = "infaas-batch-size"
COST = "infaas-cost"
OBJECTIVE_MET = "infaas-objective-met"
REASON = "infaas-reason"
SUGGESTION = "infaas-suggestion"

EPOCH = "infaas-epoch"
BOOT_ID = "infaas-boot-id"

REPLY_TO = ("reply-to", "reply_to", "kafka_replyTopic")
REPLY_TO_PARTITION = ("reply-partition", "kafka_replyPartition")
CORRELATION = ("correlation-id", "correlation_id", "kafka_correlationId")

ScopeKind = Literal["application", "architecture", "variant"]
Optimize = Literal["cost", "accuracy", "latency"]
Outcome = Literal["ok", "rejected", "expired", "failed"]
SCOPES: Mapping[ScopeKind, str] = {"application": APPLICATION, "architecture": ARCHITECTURE, "variant": VARIANT}
OPTIMIZE_VALUES: tuple[Optimize, ...] = ("cost", "accuracy", "latency")
OBJECTIVE_NAMES = (LATENCY_MS, MIN_ACCURACY, MAX_COST, OPTIMIZE, STRICT, LATE_LIMIT_MS, DEADLINE, EXPLAIN)
TRAVEL_NAMES = frozenset(
    {QUERY_ID, APPENDED_MS, DROP_AFTER, ATTEMPT, EXCLUDED, MARK, REPLY_TOPIC, REPLY_PARTITION, DEADLINE}
)
