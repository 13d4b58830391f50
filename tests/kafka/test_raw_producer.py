"""The raw producer sends what no client would, and Kafka keeps it."""

import pytest

from infaas.bench.observer import Observer
from infaas.bench.raw_producer import RawProducer
from infaas.bus.admin import Admin
from infaas.bus.span import SpanReader
from infaas.schemas.errors import ConfigurationError
from infaas.schemas.topics import QUERIES


def test_what_is_sent_raw_stands_in_the_log_byte_for_byte(settings):
    topic = settings.names.of(QUERIES)
    with RawProducer(settings.bootstrap_servers) as producer:
        producer.send(topic, value=b"v\x00w", key=b"\xff", headers=[(b"a", b"1"), (b"a", None), (b"b\x00c", b"\xfe")])
        assert producer.flush(10.0) == 0
    admin, reader = Admin(settings, client_id="look"), SpanReader(settings, client_id="look")
    ends = {place: end for place, (_, end) in admin.watermarks({topic: QUERIES.partitions}).items() if end}
    ((_, partition),) = ends
    (record,) = reader.read(topic, partition, 0, 1)
    assert (record.value, record.key) == (b"v\x00w", b"\xff")
    assert [header[0] for header in record.headers[:2]] == ["a", "a"]
    assert [header[1] for header in record.headers] == [b"1", None, b"\xfe"]
    admin.close()
    reader.close()


def test_a_header_name_that_is_no_text_and_a_tombstone_are_seen_by_the_observer(settings):
    topic = settings.names.of(QUERIES)
    with RawProducer(settings.bootstrap_servers) as producer, Observer(settings) as observer:
        producer.send(topic, value=b"x", headers=[(b"\xff\xfe", b"1")])
        producer.send(topic, value=None, headers=[(b"infaas-application", b"a")])
        producer.send(topic, value=b"", headers=[])
        assert producer.flush(10.0) == 0
        assert observer.catch_up()
        found = observer.history().queries
    assert {(q.value, tuple(q.headers)) for q in found} == {(b"x", ()), (None, ("infaas-application",)), (b"", ())}
    assert all(q.at_ms > 0 for q in found)


def test_a_setting_that_does_not_exist_is_said():
    with pytest.raises(ConfigurationError, match="nonsense"):
        RawProducer("127.0.0.1:1", nonsense="1")
