"""Which cluster a folder was formatted for, and which one answers: a broker is recognised by this, never by its port."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import uuid_utils
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

ANSWER_S = 2.0
KEY = "cluster.id="


def new_cluster() -> str:
    """An id as Kafka's own tool makes them: 16 bytes, URL-safe base64."""
    while True:
        cluster = base64.urlsafe_b64encode(uuid_utils.uuid4().bytes).decode().rstrip("=")
        if not cluster.startswith("-"):  # the storage tool would take it for an option
            return cluster


def formatted_cluster(data_dir: Path) -> str | None:
    """The id that a broker's folder was formatted for; None = it is not formatted."""
    try:
        lines = (data_dir / "data" / "meta.properties").read_text().splitlines()
    except OSError:
        return None
    return next((line.removeprefix(KEY).strip() for line in lines if line.startswith(KEY)), None)


def answering_cluster(bootstrap_servers: str) -> str | None:
    """The id of the cluster that answers there; None = no Kafka does."""
    quiet: dict[str, Any] = {"bootstrap.servers": bootstrap_servers, "log_level": 0}
    try:
        return AdminClient(quiet).list_topics(timeout=ANSWER_S).cluster_id
    except KafkaException:
        return None
