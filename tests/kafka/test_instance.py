"""One instance on real Kafka: whatever a record, the engine, a clock or the broker does, the others are answered."""

import time

import numpy as np
import orjson
import pytest
from cell import VARIANT, outcome, reason
from confluent_kafka import Consumer, TopicPartition
from solo import Doubling, Solo

from infaas.bus import clock
from infaas.bus.admin import Admin
from infaas.bus.workqueue import WorkQueue
from infaas.host.deadlines import LEASE_S
from infaas.host.messages import Alive, BatchBegan, BatchEnded, DeathBefore, Release, Released, Take, Taken
from infaas.schemas.errors import EngineLost
from infaas.schemas.topics import DEAD_LETTERS
from infaas.workers.instance import COMMIT_EVERY_S
from infaas.workers.work import Work


@pytest.fixture
def solo(settings, environment):
    made = []

    def make(engine=None, **more):
        made.append(Solo(settings.model_copy(update=more), engine))
        return made[-1]

    yield make
    for one in made:
        one.close()


def dead_letters(settings):
    """Headers of all there are."""
    consumer = Consumer(
        {"bootstrap.servers": settings.bootstrap_servers, "group.id": "look", "auto.offset.reset": "earliest"}
    )
    where = TopicPartition(settings.names.of(DEAD_LETTERS), 0, 0)
    _, end = consumer.get_watermark_offsets(where, timeout=10)
    consumer.assign([where])
    out = []
    deadline = time.monotonic() + 20
    while len(out) < end and time.monotonic() < deadline:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            out.append({name: value.decode(errors="replace") for name, value in message.headers()})
    consumer.close()
    return out


TENSOR = '{"inputs":[{"name":"x","shape":%s,"datatype":%s,"data":%s}]}'
HOSTILE = {
    "datatype": ((TENSOR % ("[1,2]", "[]", "[1,2]")).encode(), (), "bad_tensor"),
    "axis": ((TENSOR % ("[0,10000000000000000000]", '"FP32"', "[]")).encode(), (), "bad_tensor"),
    "deep": ((TENSOR % ("[1,2]", '"FP32"', "[" * 1000 + "]" * 1000)).encode(), (), "bad_tensor"),
    "length": (None, [("inference-header-content-length", "²".encode())], "bad_header"),
    "claim": (b"", [("infaas-claim-check", b"\xff")], "bad_header"),
    "claim not there": (b"", [("infaas-claim-check", b"sha256:" + b"0" * 64)], "artifact"),
    "objectives twice": (
        b'{"parameters":{"latency_ms":20},"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}',
        [("infaas-application", b"numbers")],
        "bad_header",
    ),
}


def test_a_bad_record_fails_alone_with_an_answer_and_a_dead_letter(solo, settings):
    one = solo()
    one.tell(Take(partition=0))
    for tag, (body, headers, _) in HOSTILE.items():
        one.send(f"before {tag}")
        one.send(tag, body=body, headers=headers)
    one.outbox.send(one.topic, value=b"{}", partition=0, headers=[("infaas-query-id", b"\xff"), ("correlation-id", b"travel"), ("infaas-reply-topic", one.replies.topic.encode()), ("infaas-reply-partition", str(one.replies.partition).encode())])  # fmt: skip
    one.send("after")
    one.until(lambda: len(one.answers) == 2 * len(HOSTILE) + 2, "all answers")
    for tag, (_, _, code) in HOSTILE.items():
        (record,) = one.answers[tag]
        assert (outcome(record), reason(record)) == ("failed", code), (tag, record.value)
        assert outcome(one.answers[f"before {tag}"][0]) == "ok"
    assert outcome(one.answers["travel"][0]) == "failed"
    assert outcome(one.answers["after"][0]) == "ok"
    assert b"latency_ms" in one.answers["objectives twice"][0].value
    one.until(lambda: one.instance._answers.unconfirmed == 0, "all to be confirmed")
    letters = dead_letters(settings)
    assert len(letters) == len(HOSTILE) + 1
    assert all("Traceback" in letter["__connect.errors.exception.stacktrace"] for letter in letters)


def test_parameters_of_the_protocol_pass_beside_a_scope_header(solo):
    one = solo()
    one.tell(Take(partition=0))
    parameters = {"binary_data_output": False, "priority": 1, "timeout": 5, "latency_ms": None, "min_accuracy": ""}
    body = {"parameters": parameters, "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
    one.send("p", body=orjson.dumps(body), headers=[("infaas-application", b"numbers")])
    one.until(lambda: one.answers, "the answer")
    assert outcome(one.answers["p"][0]) == "ok"


class Moody(Doubling):
    """Does to a batch with a certain value what the value says."""

    def run(self, inputs):
        x = inputs["x"]
        out = x * 2
        mood = next((int(v) for v in x[:, 0] if v < 0), 0)
        match mood:
            case -1:
                return {"y": out[:-1]}
            case -2:
                return {"y": out.astype(object)}
            case -3:
                return [out]
            case -4:
                return {}
            case -5:
                raise RuntimeError("bad \udc80 luck")
            case -6:
                raise MemoryError
            case -7:
                return {"y": np.where(x < 0, np.nan, out)}
            case -8:
                return {"y": out.astype(np.complex64)}
            case _:
                return {"y": out.astype(np.float64)}


def test_whatever_an_engine_does_to_one_query_its_neighbours_are_answered(solo):
    one = solo(Moody())
    for mood in range(1, 9):
        one.send(f"good{mood}", [[3.0, 4.0]])
        one.send(f"bad{mood}", [[-float(mood), 0.0]])
    one.outbox.flush(10)
    one.tell(Take(partition=0))
    one.until(lambda: len(one.answers) == 16, "all answers")
    for mood in range(1, 9):
        good, bad = one.answers[f"good{mood}"][0], one.answers[f"bad{mood}"][0]
        assert outcome(good) == "ok"
        assert orjson.loads(good.value)["outputs"][0]["datatype"] == "FP32"
        assert outcome(bad) == "failed", mood
        assert orjson.loads(bad.value)["id"] == f"bad{mood}"
    assert b"binary" in one.answers["bad7"][0].value


def test_an_engine_that_runs_nothing_any_more_is_lost_and_nothing_is_committed(solo, settings):
    class Dying(Doubling):
        dead = False

        def run(self, inputs):
            if self.dead:
                raise RuntimeError("device lost")
            return super().run(inputs)

    engine = Dying()
    one = solo(engine)
    one.tell(Take(partition=0))
    one.until(lambda: one.heard(Taken), "the partition")
    engine.dead = True
    one.send("q")
    with pytest.raises(EngineLost):
        one.until(lambda: one.answers, "nothing")
    engine.dead = False
    queue = WorkQueue(settings, client_id="look")
    assert queue.committed(one.topic, [0])[0].offset in (None, 0)
    queue.close()


@pytest.mark.parametrize("shift_ms", [200.0, -5000.0], ids=["ahead", "behind"])
def test_a_clock_that_is_wrong_is_known_before_the_first_query(solo, monkeypatch, shift_ms):
    """The instance's own wall clock alone is shifted; deadlines are the broker's time."""
    ours = time.time
    monkeypatch.setattr(clock.time, "time", lambda: ours() + shift_ms / 1000.0)
    one = solo()
    assert abs(one.instance._clock.now_ms() - ours() * 1000.0) < 50.0
    one.tell(Take(partition=0))
    one.until(lambda: one.heard(Taken), "the partition")
    now_ms = ours() * 1000.0
    for i in range(20):
        one.send(f"q{i}", deadline_ms=now_ms + 5_000.0, drop_after_ms=now_ms + 5_000.0)
        one.send(f"late{i}", deadline_ms=now_ms - 500.0, drop_after_ms=now_ms + 60_000.0)
    one.until(lambda: len(one.answers) == 40, "all answers")
    met = {tag: (outcome(r[0]), r[0].header_map["infaas-objective-met"]) for tag, r in one.answers.items()}
    assert met == {f"q{i}": ("ok", b"true") for i in range(20)} | {f"late{i}": ("ok", b"false") for i in range(20)}


def test_offline_work_is_never_answered_before_online_work_that_waits(solo):
    """4,000 offline records are there first; the online ones behind them are all answered before any of them."""
    one = solo()
    for i in range(4000):
        one.send(f"offline{i}", offline=True, partition=i % 2)
    for i in range(100):
        one.send(f"online{i}", partition=i % 2)
    assert one.outbox.flush(30) == 0
    for partition in (0, 1):
        one.tell(Take(partition=partition))
    one.until(lambda: len(one.answers) >= 100, "the first answers")
    assert sum(tag.startswith("offline") for tag in one.order[:100]) <= 16, "at most the batch in hand"
    one.until(lambda: len(one.answers) > 1000, "offline answers")
    begun = len(one.order)
    one.send("urgent")
    one.until(lambda: "urgent" in one.answers, "the urgent one")
    assert one.order.index("urgent") - begun < 500, "online work goes in between, whatever waits"


def test_a_position_beyond_the_end_is_an_event_and_the_partition_goes_on(solo, settings):
    """As after an unclean election: the group has committed what the broker does not have any more."""
    one = solo()
    queue = WorkQueue(settings, client_id="before")
    queue.commit({(one.topic, 0): (1000, "")}, wait=True)
    queue.close()
    one.send("q")
    one.outbox.flush(10)
    one.tell(Take(partition=0))
    one.until(lambda: "q" in one.answers, "the answer")
    one.until(lambda: admin_committed(settings, one.topic) == 1, "the commit")
    (letter,) = dead_letters(settings)
    assert letter["__connect.errors.stage"] == "truncated"
    assert letter["__connect.errors.offset"] == "1000"


def test_what_is_lost_while_it_runs_is_begun_again(solo, settings):
    one = solo()
    one.tell(Take(partition=0))
    one.until(lambda: one.heard(Taken), "the partition")
    online = one.instance._partitions._queues[one.topic]
    part = one.instance._partitions._parts[one.topic, 0]
    part.progress._next = 500  # what was taken, and is not there any more
    online.unassign(one.topic, 0)
    online.assign(one.topic, 0, 500)
    one.send("q")
    one.until(lambda: "q" in one.answers, "the answer")
    assert [letter["__connect.errors.offset"] for letter in dead_letters(settings)] == ["500"]


def test_a_last_commit_is_confirmed_before_a_partition_is_released(solo, settings):
    one = solo()
    one.tell(Take(partition=0))
    for i in range(50):
        one.send(f"q{i}")
    one.until(lambda: len(one.answers) > 10, "some answers")
    one.tell(Release(partition=0))
    one.until(lambda: one.heard(Released), "the release")
    committed = admin_committed(settings, one.topic)
    assert len(one.answers) <= committed <= 50
    one.tell(Take(partition=0))
    one.until(lambda: len(one.answers) == 50, "the rest")


def test_an_offline_topic_that_has_not_grown_yet_delays_a_partition_and_nothing_else(solo, settings):
    one = solo()
    admin = Admin(settings, client_id="grow")
    admin._admin.create_partitions([new_partitions(one.topic, 5)])[one.topic].result(10)
    one.tell(Take(partition=4))
    one.tell(Take(partition=0))
    one.send("q", partition=0)
    one.until(lambda: "q" in one.answers, "the answer of a partition that is there")
    admin.grow(VARIANT, 5)
    one.until(lambda: {t.partition for t in one.heard(Taken)} == {0, 4}, "the other one")
    admin.close()


def test_an_idle_instance_says_that_it_is_alive(solo):
    one = solo()
    one.tell(Take(partition=0))
    one.until(lambda: len(one.heard(Alive)) >= 2, "signs of life")


def test_after_a_death_nobody_can_tell_of_only_what_was_there_runs_alone_and_no_mark_is_left_for_what_follows(solo):
    engine = Watching()
    one = engine.one = solo(engine)
    for n in range(20):
        one.send(f"old{n}")
    one.outbox.flush(10)
    one.tell(Take(partition=0, death=DeathBefore(worker="w0")))
    one.until(lambda: one.heard(Taken), "the partition")
    for n in range(60):
        one.send(f"new{n}")
    one.until(lambda: len(one.answers) == 80, "all answers")
    assert engine.alone == 20
    assert max(engine.together) > 1, "what came later runs in batches again"
    assert engine.marked_together == 0, "a death now would be blamed on the record that ran alone"


def test_what_runs_alone_after_a_death_costs_one_commit_each(solo):
    """As many as an instance may hold run so: with two commits each a worker's death was felt for two seconds more."""
    one = solo()
    for n in range(40):
        one.send(f"old{n}")
    one.outbox.flush(10)
    queue = one.instance._partitions._queues[one.topic]
    marks, commit = [], queue.commit

    def counted(positions, *, wait):
        marks.extend(text for _, text in positions.values())
        commit(positions, wait=wait)

    queue.commit = counted
    one.tell(Take(partition=0, death=DeathBefore(worker="w0")))
    begun_s = time.monotonic()
    one.until(lambda: len(one.answers) == 40, "all answers")
    regular = 2 + (time.monotonic() - begun_s) / COMMIT_EVERY_S
    assert sum(text.startswith("trying=") for text in marks) == 40
    assert len(marks) - 40 <= regular


def test_an_instance_whose_supervisor_is_silent_stands_still_and_goes_on_when_it_is_heard(solo):
    """By the time a frozen supervisor's worker is pronounced dead others have its partitions: every query would be answered twice."""
    one = solo()
    one.tell(Take(partition=0))
    one.send("before")
    one.until(lambda: "before" in one.answers, "the answer of a supervisor that is heard")
    one.keeps = False
    silent = time.monotonic() + LEASE_S + 0.1
    one.until(lambda: time.monotonic() > silent, "the lease to end")
    one.send("meanwhile")
    later, alive = time.monotonic() + 1.0, len(one.heard(Alive))
    one.until(lambda: time.monotonic() > later, "a while")
    assert "meanwhile" not in one.answers
    assert len(one.heard(Alive)) > alive, "it stands still, and is not hung"
    one.keeps = True
    one.until(lambda: "meanwhile" in one.answers, "the answer after the supervisor is heard again")


def test_a_value_too_large_for_a_record_goes_by_claim_check_both_ways(solo):
    from infaas.bus.claim_check import ClaimCheck
    from infaas.client.reply import Reply

    one = solo(max_query_bytes=64 * 1024)
    claims = ClaimCheck(one.settings)
    rows = np.arange(20_000, dtype=np.float32).reshape(10_000, 2)
    from infaas.schemas import oip

    value, claim = claims.put(oip.encode_request(oip.InferRequest({"x": rows}))[0])
    assert claim
    one.tell(Take(partition=0))
    one.send("big", body=value, headers=claim)
    one.until(lambda: "big" in one.answers, "the answer")
    record = one.answers["big"][0]
    assert (outcome(record), record.value) == ("ok", b"")
    reply = Reply.of(record, 0.0, claims.get(record.value, record.header_map))
    np.testing.assert_array_equal(reply.outputs["y"], rows * 2)
    assert any(batch.limit_ms > 10_000 for batch in one.heard(BatchBegan)), "the fetch is announced"


class Watching(Doubling):
    """Notes who runs alone, and whether a mark stands while others run together."""

    def __init__(self):
        self.alone, self.together, self.marked_together, self.one = 0, [0], 0, None

    def run(self, inputs):
        began = self.one.heard(BatchBegan) if self.one else []
        if began and began[-1].alone:
            self.alone += 1
        elif began:
            self.together.append(len(inputs["x"]))
            self.marked_together += self.one.instance._partitions.marked()
        return super().run(inputs)


def admin_committed(settings, topic):
    queue = WorkQueue(settings, client_id="look")
    found = queue.committed(topic, [0])[0].offset
    queue.close()
    return found or 0


def new_partitions(topic, count):
    from confluent_kafka.admin import NewPartitions

    return NewPartitions(topic, count)


@pytest.mark.parametrize("death", [None, DeathBefore(worker="w0", furthest=1)], ids=["in a batch", "alone"])
def test_a_body_is_decoded_within_what_is_announced_so_that_one_that_hangs_or_kills_is_noticed(
    solo, monkeypatch, death
):
    one, during, decode = solo(), [], Work.decode

    def noticed(work, *args):
        during.append([m for m in one.said if isinstance(m, BatchBegan | BatchEnded)][-1:])
        decode(work, *args)

    monkeypatch.setattr(Work, "decode", noticed)
    one.tell(Take(partition=0, death=death))
    one.until(lambda: one.heard(Taken), "its partition")
    one.send("a")
    one.until(lambda: "a" in one.answers, "the answer")
    ((announced,),) = during
    assert isinstance(announced, BatchBegan), "or silence in it would count as idleness, and its death as nobody's"
    assert (announced.furthest, announced.alone) == ({0: 1}, death is not None)
