"""Reading like headers once: whatever was read before, a query is read as if it were the first."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infaas.router import incoming
from infaas.router.incoming import Envelope, Reader
from infaas.schemas import headers as h
from infaas.schemas.errors import BadReplyAddress, InfaasError
from infaas.schemas.headers import ReplyAddress, as_map

settings.register_profile("policy", deadline=None, max_examples=200)
settings.load_profile("policy")


class Stands:
    """A record as it stands in a topic."""

    topic, partition, value, timestamp_ms, key = "infaas.queries", 3, b"{}", 1_000_000.0, None

    def __init__(self, headers, offset=7):
        self.headers, self.offset = list(headers), offset


class Anywhere:
    def __init__(self):
        self.asked = 0

    def check(self, address):
        self.asked += 1
        if address.topic == "nowhere":
            raise BadReplyAddress("reply-to", "a topic that exists", address.topic)
        return ReplyAddress(address.topic or "default", address.partition)


def read(reader, headers, offset=7, now_ms=1_000_010.0):
    envelope = Envelope(Stands(headers, offset), ReplyAddress("default"))
    try:
        found = reader.read(envelope, now_ms)
    except InfaasError as error:
        return type(error), str(error), envelope.address
    onward = found.onward if found.onward is not None else h.onward_headers(found.record.headers)
    return found.objective, found.travel, envelope.until_ms, envelope.address, as_map(onward), sorted(onward)


names = st.sampled_from(
    ["infaas-application", "INFAAS-Latency-Ms", "infaas-latency-ms", "infaas-strict", "infaas-deadline", "reply-to",
     "reply-partition", "correlation-id", "Correlation-Id", "ce_id", "traceparent", "infaas-query-id", "x-mine", "infaas-wrong"]
)  # fmt: skip
values = st.sampled_from([b"points", b"20", b"1000000", b"true", b"mine", b"nowhere", b"\xff", b"", b"x" * 5000, None])
sets = st.lists(st.tuples(names, values), max_size=7)
asked = st.just([("infaas-application", b"points"), ("infaas-latency-ms", b"50")])


@given(st.lists(sets | st.builds(lambda a, b: a + b, asked, sets), min_size=1, max_size=6), st.data())
def test_what_was_read_before_changes_nothing(many, data):
    reader = Reader(Anywhere())
    for _ in range(12):
        headers = data.draw(st.sampled_from(many))
        assert read(reader, headers) == read(Reader(Anywhere()), headers)


GOOD = [("infaas-application", b"points"), ("infaas-latency-ms", b"50"), ("reply-to", b"mine")]


def test_each_query_keeps_its_own():
    reader = Reader(Anywhere())
    first = read(reader, [*GOOD, ("correlation-id", b"1")], offset=1)
    second = read(reader, [*GOOD, ("correlation-id", b"2"), ("traceparent", b"t")], offset=2)
    assert (first[1].query_id, second[1].query_id) == ("infaas.queries-3-1", "infaas.queries-3-2")
    assert (first[4]["correlation-id"], second[4]["correlation-id"], second[4]["traceparent"]) == (b"1", b"2", b"t")


def test_an_address_is_checked_again_after_a_while_and_one_that_has_gone_is_refused():
    addresses = Anywhere()
    reader = Reader(addresses)
    for n in range(5):
        read(reader, [*GOOD, ("correlation-id", b"%d" % n)], now_ms=1_000_000.0 + n)
    assert addresses.asked == 1
    addresses.check = lambda address: (_ for _ in ()).throw(BadReplyAddress("reply-to", "a topic", address.topic))
    late = 1_000_000.0 + incoming.CHECKED_MS + 1
    assert read(reader, GOOD, now_ms=late)[0] is BadReplyAddress


@pytest.mark.parametrize("kept", [2, 3])
def test_the_memory_is_bounded(monkeypatch, kept):
    monkeypatch.setattr(incoming, "KNOWN", kept)
    reader = Reader(Anywhere())
    for n in range(20):
        read(reader, [*GOOD, ("x-mine", b"%d" % n)])
        assert len(reader._known) <= kept
    read(reader, [*GOOD, ("x-mine", b"v" * incoming.USUAL_BYTES)])
    assert not any(len(value) > 1000 for key in reader._known for _, value in key)
