"""Objectives, addresses and what travels, through headers and back; bad ones name the header."""

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infaas.schemas import headers
from infaas.schemas.errors import BadHeader, BadInput, BadName, BadReplyAddress
from infaas.schemas.headers import CallerHeaders, Objective, ReplyAddress, Travel, as_map

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
    latency_from=st.sampled_from(["append", "arrival"]),
)


@given(objectives)
def test_objective_survives_headers(objective):
    assert headers.parse_objective(as_map(headers.objective_headers(objective))) == objective


@given(
    st.builds(
        Travel,
        query_id=st.text(min_size=1, max_size=200),
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
    "digits of another script": (
        {"infaas-application": b"a", "infaas-latency-ms": "٢٠".encode()},
        BadHeader,
        "infaas-latency-ms",
    ),
    "an underscore": ({"infaas-application": b"a", "infaas-latency-ms": b"1_000"}, BadHeader, "infaas-latency-ms"),
    "no UTF-8": ({"infaas-application": b"\xff"}, BadHeader, "infaas-application"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_headers_name_the_field(name):
    found, error, field = BAD[name]
    with pytest.raises(error) as caught:
        headers.parse_objective(found)
    assert isinstance(caught.value, BadInput)
    assert caught.value.field == field


def from_body(body):
    return headers.parse_objective(headers.headers_from_parameters(body))


def test_body_parameters_say_the_same_as_headers():
    body = {"infaas": 1, "application": "faces", "latency_ms": 20, "min-accuracy": 0.7, "Strict": False, "other": [1]}
    assert from_body(body) == Objective("application", "faces", latency_ms=20, min_accuracy=0.7, strict=False)
    address = headers.headers_from_parameters({"reply_to": "mine", "reply_partition": 3, "correlation_id": "c"})
    assert headers.parse_reply_address(address) == ReplyAddress("mine", 3)
    assert headers.correlation_id(address) == ("correlation-id", "c")


MEANT = {
    "latency": "latency-ms", "max_latency_ms": "latency-ms", "accuracy": "min-accuracy", "min_acuracy": "min-accuracy",
    "maxcost": "max-cost", "optimise": "optimize", "infaas_speed": "known", "aplication": "application",
}  # fmt: skip


@pytest.mark.parametrize("name", MEANT)
def test_a_parameter_that_is_nearly_an_objective_is_refused_naming_it(name):
    with pytest.raises(BadHeader, match=MEANT[name]) as caught:
        headers.headers_from_parameters({"application": "faces", name: 20})
    assert caught.value.field == f"parameters.{name}"


def test_the_protocols_own_parameters_pass_and_null_and_empty_mean_absent():
    own = dict.fromkeys(
        ("sequence_id", "sequence_start", "sequence_end", "priority", "timeout", "binary_data_output", "classification",
         "binary_data_size", "content_type", "temperature", "max_tokens", "shared_memory_region", "headers", "id"), 1,
    )  # fmt: skip
    body = {**own, "application": "faces", "architecture": None, "latency_ms": "", "min_accuracy": None}
    assert from_body(body) == Objective("application", "faces")


def test_too_many_parameters_are_refused_before_they_are_looked_at():
    with pytest.raises(BadHeader, match="at most"):
        headers.headers_from_parameters({f"strit{n}": 1 for n in range(100_000)})


ASKED = [("infaas-application", b"faces"), ("infaas-latency-ms", b"20")]


def test_a_query_may_carry_all_that_a_reply_and_a_work_record_do_and_none_of_it_is_believed():
    forged = [(name, b"forged") for name in sorted(headers.SYSTEM_NAMES)]
    seen = CallerHeaders.of([*forged, *ASKED, *[(name.upper(), value) for name, value in forged]])
    assert (seen.found, seen.trouble) == (dict(ASKED), None)


def test_an_absolute_deadline_is_the_callers_to_say():
    seen = CallerHeaders.of([*ASKED, ("infaas-deadline", b"1234")])
    assert headers.parse_objective(seen.found).deadline_ms == 1234


@pytest.mark.parametrize(("name", "near"), [("infaas-latency", "infaas-latency-ms"), ("Infaas_Acuracy_Min", "infaas-"),
                                            ("infaas-x-y-z", "infaas-")])  # fmt: skip
def test_an_unknown_name_of_ours_is_refused_naming_the_nearest(name, near):
    seen = CallerHeaders.of([*ASKED, (name, b"1")])
    assert seen.trouble is not None
    assert near in str(seen.trouble)
    assert seen.trouble.field == name


def test_other_case_forms_are_understood_and_null_and_empty_mean_absent():
    said = [("INFAAS-APPLICATION", b"faces"), ("Infaas_Latency_Ms", b"20"), ("Reply-To", b"mine"), ("infaas-variant", None),
            ("infaas-architecture", b""), ("infaas-min-accuracy", b"0.9"), ("infaas-min-accuracy", b""), ("X-Mine", b"y")]  # fmt: skip
    seen = CallerHeaders.of(said)
    assert headers.parse_objective(seen.found) == Objective("application", "faces", latency_ms=20)
    assert headers.parse_reply_address(seen.found) == ReplyAddress("mine")
    assert seen.found["X-Mine"] == b"y"


LIMITS = {
    "a name": [("x" * 5_000_000, b"")],
    "a name of ours": [("infaas-" + "x" * 5_000_000, b"")],
    "a value": [("infaas-optimize", b"x" * 5_000)],
    "a correlation": [("correlation-id", b"x" * 5_000)],
    "all together": [(f"x{n}", b"x" * 1_000) for n in range(60)],
    "what is dropped": [("infaas-query-id", b"x" * 5_000_000)],
}


@pytest.mark.parametrize("name", LIMITS)
def test_what_is_over_a_limit_is_refused_naming_the_limit(name):
    seen = CallerHeaders.of([*ASKED, *LIMITS[name]])
    assert seen.trouble is not None
    assert "at most" in str(seen.trouble)
    assert len(str(seen.trouble)) < 300
    assert headers.parse_objective({k: v for k, v in seen.found.items() if k in dict(ASKED)}).latency_ms == 20


def test_work_carries_the_names_that_are_read_and_a_correlation_as_it_was_spelled():
    original = [("INFAAS-Claim-Check", b"file:x"), ("Correlation-ID", b"\xff"), ("infaas-outcome", b"ok"), ("Mine", None),
                ("Infaas-Query-Id", b"forged"), ("Inference-Header-Content-Length", b"12")]  # fmt: skip
    written = as_map(headers.travel_headers(Travel("q", 1.0), original))
    assert written == {
        "infaas-claim-check": b"file:x", "Correlation-ID": b"\xff", "Mine": b"", "infaas-query-id": b"q",
        "infaas-appended-ms": b"1", "inference-header-content-length": b"12",
    }  # fmt: skip
    assert headers.correlation_id(written) == ("Correlation-ID", b"\xff")


def test_a_length_is_ascii_digits():
    assert headers.content_length({}) is None
    assert headers.content_length({headers.CONTENT_LENGTH: b"12"}) == 12
    for raw in ("²", "١٢", "1_0", "-1", " 1", "9" * 4_000, "1e3"):
        with pytest.raises(BadHeader):
            headers.content_length({headers.CONTENT_LENGTH: raw.encode()})


@given(st.lists(st.tuples(st.text(max_size=40) | st.sampled_from(sorted(headers.CALLER_NAMES | headers.SYSTEM_NAMES)),
                          st.none() | st.binary(max_size=40)), max_size=12))  # fmt: skip
def test_whatever_the_headers_are_reading_them_ends_in_a_query_or_in_bad_input(pairs):
    seen = CallerHeaders.of(pairs)
    assert not set(seen.found) & headers.SYSTEM_NAMES
    with contextlib.suppress(BadInput):
        headers.parse_reply_address(seen.found)
    with contextlib.suppress(BadInput):
        headers.parse_objective(seen.found)
    with contextlib.suppress(BadInput):
        headers.content_length(seen.found)


def test_a_latency_may_count_from_the_arrival():
    asked = headers.parse_objective({"infaas-application": b"a", "infaas-latency-from": b"arrival"})
    assert (asked.begin(100.0, 130.0), Objective("application", "a").begin(100.0, 130.0)) == (130.0, 100.0)


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
