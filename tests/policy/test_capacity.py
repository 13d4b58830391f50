"""Capacity is what a caller gets: the instance's own path is part of it, and live figures correct it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from infaas.policy.capacity import best_batch, capacity
from infaas.policy.usable import rates, usable_rate
from infaas.scaler.costs import KEPT_S, Costs, corrected
from infaas.schemas.contract import Contract, TensorSpec
from infaas.schemas.metadata import Recipe, Variant
from infaas.schemas.profile import BatchPoint, PathCost, Profile
from infaas.schemas.reports import Counters, InstanceReport, WorkerReport
from infaas.schemas.servable import Servable
from infaas.workers.spending import MOST, Spending

settings.register_profile("policy", deadline=None, max_examples=100)
settings.load_profile("policy")
SPEC = TensorSpec(name="x", datatype="FP32", shape=(-1, 4))


def profile(points, path=None, cost_ratio=1.0):
    found = tuple(BatchPoint(batch=b, p50_ms=ms, p99_ms=ms * tail) for b, ms, tail in points)
    return Profile(
        load_ms=1, peak_memory_bytes=1, accuracy=1, points=found, slope=1, intercept=1, path=path or PathCost(),
        cost_ratio=cost_ratio,
    )  # fmt: skip


times = st.floats(0.002, 200.0)
paths = st.builds(PathCost, batch_ms=st.floats(0, 2), query_ms=st.floats(0.001, 2))
objectives = st.one_of(st.none(), st.floats(5.0, 2000.0))


@st.composite
def curves(draw):
    """Larger batches take longer, and less a query."""
    first, each = draw(times), draw(st.floats(0.0, 1.0))
    return [(b, first * (1 + each * (b - 1)), draw(st.floats(1.0, 2.0))) for b in (1, 2, 4, 8)]


def test_a_model_of_microseconds_takes_what_its_path_takes():
    """Its profile claimed 6.4 million queries/s of an instance that takes four thousand."""
    tiny = profile([(1, 0.006, 1.5), (64, 0.01, 1.5)], PathCost(batch_ms=0.17, query_ms=0.16))
    assert 5_000 < capacity(tiny) < 6_250
    assert usable_rate(tiny, 60.0) < 6_250


@given(curves(), paths, objectives, st.floats(0.5, 10.0))
def test_it_is_never_above_what_the_path_allows(points, path, latency_ms, ratio):
    found = profile(points, path, ratio)
    most = 1000.0 / (path.query_ms + path.batch_ms / 8) / ratio * (1 + 1e-9)
    assert capacity(found, latency_ms) <= most
    assert usable_rate(found, latency_ms) <= most
    assert all(each <= most for _, each in rates(found, latency_ms).own)


@given(curves(), paths, objectives, st.floats(1.0, 3.0), st.floats(1.0, 3.0))
def test_what_costs_more_takes_no_more(points, path, latency_ms, more, ratio):
    dearer = PathCost(batch_ms=path.batch_ms * more, query_ms=path.query_ms * more)
    before, after = profile(points, path), profile(points, dearer, ratio)
    assert capacity(after, latency_ms) <= capacity(before, latency_ms) * (1 + 1e-9)
    assert usable_rate(after, latency_ms) <= usable_rate(before, latency_ms) * (1 + 1e-6)


@given(curves(), paths, st.floats(5.0, 500.0), st.floats(1.0, 3.0))
def test_a_looser_objective_never_takes_less_and_what_is_the_same_gives_the_same(points, path, latency_ms, looser):
    found = profile(points, path)
    assert capacity(found, latency_ms * looser) >= capacity(found, latency_ms)
    assert capacity(found, latency_ms) == capacity(profile(points, path), latency_ms)
    assert rates(found, latency_ms) == rates(profile(points, path), latency_ms)
    assert (best_batch(found, latency_ms) == 0) == (capacity(found, latency_ms) == 0.0)


def test_what_was_recorded_before_there_was_a_path_is_read_and_is_as_it_was():
    old = profile([(1, 10.0, 1.0)]).model_dump(mode="json")
    del old["path"], old["cost_ratio"]
    assert capacity(Profile.model_validate(old)) == 100.0


# ---- live figures


def variant(cores=1, platform="cpu"):
    recipe = Recipe(
        source_digest="s", generator="onnx", engine="onnxruntime", platform=platform, cores=cores, precision="fp32"
    )
    contract = Contract(inputs=(SPEC,), outputs=(SPEC,), validation_digest="d")
    return Variant(
        variant="a.v1.onnxruntime-cpu1-fp32", architecture="a", application="app", recipe=recipe, state="ready",
        contract=contract, validation_digest="d",
    )  # fmt: skip


def spends(each_ms, *, cores=1, per_s=800, slots=60):
    """An instance with a model of 0.5 ms and a path of 0.5 ms that in truth takes so much for a query."""
    found = profile([(1, 0.5, 1.0)], PathCost(query_ms=0.5))
    seen = Spending.of(variant(cores), found, 0.0)
    for n in range(1, slots + 1):
        done = per_s * n // 2
        counters = Counters(answered=done, batches=done, batch_size_sum=done)
        seen = seen.slot(n / 2, done * each_ms / 1000.0, counters)
    return seen


@given(st.floats(0.6, 1.2))
def test_what_is_spent_over_what_should_be_is_learnt(each_ms):
    assert abs(spends(each_ms).ratio - each_ms) < 0.01
    assert abs(spends(each_ms).capacity_per_s - 1000.0 / each_ms) < 20


def test_who_is_nearly_idle_or_works_on_several_cores_says_nothing_of_it():
    assert spends(2.0, per_s=20).ratio == 1.0
    assert spends(1.5, cores=2).ratio == 1.0


@given(st.floats(0, 1e6), st.floats(0, 1e3))
def test_however_odd_the_figures_are_it_stays_within_bounds(cpu_s, later_s):
    seen = Spending.of(variant(), profile([(1, 0.5, 1.0)], PathCost(query_ms=0.5)), 0.0)
    seen = seen.slot(later_s, cpu_s, Counters(answered=3, batches=2, batch_size_sum=3))
    assert 0.5 <= seen.slot(later_s, 0.0, Counters()).ratio <= MOST


def reported(*ratios):
    instances = tuple(
        InstanceReport(variant="a", instance=n, pid=1, state="active", cost_ratio=ratio)
        for n, ratio in enumerate(ratios)
    )
    return WorkerReport(worker="w", boot_id="b", sequence=1, instances=instances)


def test_the_scaler_plans_with_what_is_observed_and_forgets_it():
    costs = Costs()
    costs.take(reported(1.4, 1.6, 1.0), 10.0)
    assert costs.ratios(10.0) == {"a": 1.5}
    assert costs.ratios(10.0 + KEPT_S) == {}
    one = Servable("a", "app", profile([(1, 10.0, 1.0)]), 1.0, "cpu", 1)
    assert capacity(corrected(one, 2.02).profile) == 50.0
    assert corrected(one, 1.04) is one, "noise"
