"""Who begins a partition is told at once what it has to know, whatever fetch of its own waits meanwhile."""

from infaas.bus.admin import Admin
from infaas.bus.workqueue import ASK_TIMEOUT_S, WorkQueue

VARIANT = "double.v1.onnxruntime-cpu1-fp32"
LONG_MS = 10_000


def test_a_question_waits_for_no_fetch(settings):
    admin = Admin(settings, client_id="test")
    admin.ensure_variant_topics(VARIANT)
    admin.close()
    topic = settings.names.work(VARIANT)
    queue = WorkQueue(settings, client_id="w", wait_ms=LONG_MS)
    queue.assign(topic, 0, 0)
    assert queue.take(1, 0.5) == [], "from here on a fetch waits at the broker"
    assert LONG_MS / 1000.0 > 2 * ASK_TIMEOUT_S, "a question that waited for it would be given up"
    assert queue.watermarks(topic, 1) == (0, 0)
    assert queue.committed(topic, [1])[1].offset is None
    queue.close()
