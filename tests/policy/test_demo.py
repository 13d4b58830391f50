"""The demo's figures: what is counted, and that a lost query can't hide."""

import numpy as np
import pytest

from infaas.client import Reply
from infaas.examples.demo.decided import by_scaler
from infaas.examples.demo.ramp import FALL_S, HOLD_S, LOWEST, RISE_S, arrivals, shape
from infaas.examples.demo.report import lines
from infaas.examples.demo.tally import Answer, Kind, Moment, cost, summary, unmet
from infaas.schemas.decisions import DecisionRecord

WHOLE_S = RISE_S + HOLD_S + FALL_S


def answer(outcome="ok", *, met=True, correct=True, accuracy=0.9, latency=10.0, kind="k"):
    reply = Reply(
        outcome=outcome,
        query_id="q",
        variant="v",
        accuracy=accuracy,
        objective_met=met,
        latency_ms=latency,
        reason="" if outcome == "ok" else "latency",
    )
    return Answer(kind, 1.0, reply, correct=correct and outcome == "ok")


def found(answers, moments=()):
    return summary(answers, duplicates=0, moments=list(moments), static_per_hour=3.6)


def test_every_query_is_a_reply_a_rejection_or_lost():
    figures = found([answer(), answer(correct=False), answer("rejected"), answer("expired"), Answer("k", 1.0, None)])
    assert (figures["queries_sent"], figures["replies"], figures["rejections"], figures["lost"]) == (5, 2, 2, 1)
    assert figures["served_accuracy"] == 0.5
    assert figures["violations"] == 3
    assert "1 LOST" in dict(lines(figures))["queries sent"]


def test_late_answers_are_violations_although_they_are_replies():
    figures = found([answer(met=False), answer()])
    assert (figures["replies"], figures["violations"]) == (2, 1)


def test_cost_is_what_ran_for_as_long_as_it_ran():
    moments = [Moment(0, 0, 1, 3600.0), Moment(1, 0, 1, 7200.0), Moment(3, 0, 1, 0.0)]
    assert cost(moments) == pytest.approx(1.0 + 2 * 2.0)
    assert found([answer()], moments)["cost_static_usd"] == pytest.approx(3.6 * 3 / 3600)


def test_an_answer_below_its_floor_is_found():
    kinds = {"k": Kind("k", {"min_accuracy": 0.95}, 1.0)}
    assert len(unmet([answer(accuracy=0.9), answer(accuracy=0.96)], kinds)) == 1


def test_the_load_rises_to_its_peak_and_falls_and_arrivals_follow_it():
    assert shape(0) == LOWEST
    assert shape(RISE_S + 1) == 1.0
    assert shape(WHOLE_S) == pytest.approx(LOWEST)
    times = np.array(arrivals(200.0, WHOLE_S, np.random.default_rng(0)))
    assert (np.diff(times) > 0).all()
    plateau = ((times > RISE_S) & (times < RISE_S + HOLD_S)).sum() / HOLD_S
    assert plateau == pytest.approx(200, rel=0.1)
    assert list(arrivals(200.0, WHOLE_S, np.random.default_rng(0))) == list(times)


def test_what_the_scaler_did_is_told_from_its_records_alone():
    def record(by, at_ms, **inputs):
        return DecisionRecord(by=by, about="v", decision="Replicate", reason="why", inputs=inputs, at_ms=at_ms)

    found = [
        record("scaler", 900),
        record("router", 2000),
        record("scaler", 2000, before={"a": 1}, after={"a": 1, "b": 1}),
        record("scaler", 3000, before={"a": 1}, after={"b": 1}),
    ]
    assert by_scaler(found, 1000.0) == [
        (1.0, "Replicate v (1 → 2): why"),
        (2.0, "Replicate v (1 on a → 1 on b): why"),
    ]
