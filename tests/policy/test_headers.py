"""Objectives, addresses and what travels, through headers and back; bad ones name the header."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infaas.schemas import headers
from infaas.schemas.errors import BadHeader, BadInput, BadName, BadReplyAddress
from infaas.schemas.headers import Objective, ReplyAddress, Travel, as_map

numbers = st.floats(0.001, 1e6, allow_nan=False)
objectives = st.builds(
    Objective,
    scope=st.sampled_from(["application", "architecture"]),
    name=st.from_regex(r"[a-z0-9][a-z0-9-]{0,59}", fullmatch=True),
    latency_ms=st.none() | numbers,
    min_accuracy=st.floats(0, 1),
    max_cost=st.just(math.inf) | numbers,
    optimize=st.sampled_from(["cost", "accuracy", "latency"]),
    strict=st.booleans(),
    late_limit_ms=st.none() | numbers,
    deadline_ms=st.none() | st.floats(1, 1e14),
    explain=st.booleans(),
)


@given(objectives)
def test_objective_survives_headers(objective):
    assert headers.parse_objective(as_map(headers.objective_headers(objective))) == objective


@given(
    st.builds(
        Travel,
        query_id=st.text(min_size=1),
        appended_ms=st.floats(0, 1e14),
        deadline_ms=st.just(math.inf) | st.floats(0, 1e14),
        drop_after_ms=st.just(math.inf) | st.floats(0, 1e14),
        attempt=st.integers(0, 3),
        excluded=st.lists(st.from_regex(r"[a-z0-9.-]{1,9}", fullmatch=True), max_size=3).map(tuple),
        mark=st.text(max_size=9),
        reply=st.builds(ReplyAddress, st.none() | st.text(min_size=1), st.none() | st.integers(0, 1000)),
    )
)
def test_travel_survives_headers_and_replaces_older_ones(travel):
    older = [("correlation-id", b"\xff\x00"), (headers.QUERY_ID, b"old"), (headers.DEADLINE, b"1")]
    written = headers.travel_headers(travel, older)
    assert headers.parse_travel(as_map(written)) == travel
    assert ("correlation-id", b"\xff\x00") in written
    assert [name for name, _ in written].count(headers.QUERY_ID) == 1


BAD = {
    "no scope": ({}, BadHeader, "scope"),
    "two scopes": ({"infaas-application": b"a", "infaas-architecture": b"b"}, BadHeader, "scope"),
    "a name that makes no topic": ({"infaas-application": b"A b"}, BadName, "infaas-application"),
    "a variant that is none": ({"infaas-variant": b"x"}, BadName, "variant"),
    "latency that is no number": (
        {"infaas-application": b"a", "infaas-latency-ms": b"soon"},
        BadHeader,
        "infaas-latency-ms",
    ),
    "latency of nothing": ({"infaas-application": b"a", "infaas-latency-ms": b"0"}, BadHeader, "infaas-latency-ms"),
    "not a number": ({"infaas-application": b"a", "infaas-latency-ms": b"nan"}, BadHeader, "infaas-latency-ms"),
    "accuracy above 1": ({"infaas-application": b"a", "infaas-min-accuracy": b"70"}, BadHeader, "infaas-min-accuracy"),
    "unknown optimum": ({"infaas-application": b"a", "infaas-optimize": b"speed"}, BadHeader, "infaas-optimize"),
    "strict maybe": ({"infaas-application": b"a", "infaas-strict": b"maybe"}, BadHeader, "infaas-strict"),
    "no UTF-8": ({"infaas-application": b"\xff"}, BadHeader, "infaas-application"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_headers_name_the_field(name):
    found, error, field = BAD[name]
    with pytest.raises(error) as caught:
        headers.parse_objective(found)
    assert isinstance(caught.value, BadInput)
    assert caught.value.field == field


def test_body_parameters_say_the_same_as_headers():
    body = {"infaas": 1, "application": "faces", "latency_ms": 20, "min-accuracy": 0.7, "strict": False, "other": [1]}
    assert headers.objective_from_parameters(body) == Objective(
        "application", "faces", latency_ms=20, min_accuracy=0.7, strict=False
    )


def test_reply_addresses_of_all_conventions():
    assert headers.parse_reply_address({"reply-to": b"mine"}) == ReplyAddress("mine")
    assert headers.parse_reply_address({"reply_to": b"mine"}) == ReplyAddress("mine")
    spring = {"kafka_replyTopic": b"mine", "kafka_replyPartition": (300).to_bytes(4, "big")}
    assert headers.parse_reply_address(spring) == ReplyAddress("mine", 300)
    with pytest.raises(BadReplyAddress):
        headers.parse_reply_address({"reply-to": b"mine", "reply-partition": b"x"})


def test_strict_drops_at_the_deadline_and_lenient_up_to_its_limit():
    assert Objective("application", "a", latency_ms=20).drop_after(100.0) == 120.0
    assert Objective("application", "a", latency_ms=20, strict=False).drop_after(100.0) == 300.0
    assert Objective("application", "a", latency_ms=20, strict=False, late_limit_ms=50).drop_after(100.0) == 150.0
    assert Objective("application", "a").drop_after(100.0) == math.inf
