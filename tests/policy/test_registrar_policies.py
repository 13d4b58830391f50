"""Planning, folding and dominance, as pure functions."""

import subprocess
import sys

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from infaas.registrar.accuracy import scored_rows
from infaas.registrar.commands import CONTRACT_BYTES, accept, already, check, replaced
from infaas.registrar.dominance import dominated
from infaas.registrar.fold import fold
from infaas.registrar.memory import peak_bytes
from infaas.registrar.plan import check_plan, plan
from infaas.registrar.profiler import sizes
from infaas.registrar.stalls import STALLED_S, Stalls
from infaas.schemas.commands import RegisterModel, decode
from infaas.schemas.contract import Contract, TensorSpec
from infaas.schemas.errors import AlreadyRegistered, BadModel
from infaas.schemas.metadata import (
    Architecture,
    Built,
    Hardware,
    Machine,
    Placement,
    ProfilePoint,
    Verdict,
    Worker,
    encode,
)
from infaas.schemas.names import VariantId
from infaas.schemas.profile import BatchPoint, Profile
from infaas.store.view import View

hypothesis_settings.register_profile("quick", max_examples=60, deadline=None)
hypothesis_settings.load_profile("quick")
CONTRACT = Contract(
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 2)),),
    outputs=(TensorSpec(name="y", datatype="INT64", shape=(-1,)),),
    validation_digest="sha256:" + "0" * 64,
)


def architecture(state="accepted", **more):
    return Architecture(
        architecture="a", application="app", version=more.pop("version", 1), contract=CONTRACT,
        source_digest="sha256:" + "1" * 64, state=state, **more,
    )  # fmt: skip


def view(*records):
    kinds = {}
    for one in records:
        kinds.setdefault(one.key.partition("/")[0], {})[one.key] = one
    return View(0, 0, kinds, {})


def test_a_plan_has_every_generator_at_every_core_count_under_a_name_that_can_be_read_back():
    found = plan(architecture(cores=(1, 2, 4)))
    assert len(found) == 6
    for one in found:
        identity = VariantId.parse(one.variant)
        assert (identity.cores, identity.precision) == (one.recipe.cores, one.recipe.precision)
    assert plan(architecture(cores=(1, 2, 4))) == found


def test_what_cannot_be_planned_is_refused_by_name():
    with pytest.raises(BadModel, match="generators"):
        check_plan(("magic",), None)
    assert check_plan(None, None) == (1, 2)


def run_to_the_end(outcomes):
    """Folds until nothing changes, builds ending as told; returns the records."""
    records = {architecture().key: architecture(cores=(1,))}
    for _ in range(20):
        changes = fold(view(*records.values()), topic_gone=lambda _: False)
        if not changes.records:
            break
        for one in changes.records:
            records[one.key] = one
            if one.key.startswith("variant/") and one.state == "planned":
                outcome = outcomes[one.recipe.precision]
                more = (
                    {"accuracy": 0.9, "peak_memory_bytes": 1000, "load_ms": 1.0, "artifact_digest": "sha256:2"}
                    if outcome == "built"
                    else {}
                )
                built = Built(variant=one.variant, worker="w", outcome=outcome, reason=outcome, **more)
                records[built.key] = built
                placed = Placement(worker="w", variant=one.variant, build=True)
                records[placed.key] = placed
                point = ProfilePoint(variant=one.variant, worker="w", point=BatchPoint(batch=1, p50_ms=1, p99_ms=2))
                records[point.key] = point
    return records


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        pytest.param({"fp32": "built", "int8": "not_applicable"}, "ready", id="int8 does not apply"),
        pytest.param({"fp32": "built", "int8": "failed"}, "ready", id="one failed"),
        pytest.param({"fp32": "failed", "int8": "not_applicable"}, "failed", id="nothing is left"),
    ],
)
def test_a_registration_ends_and_says_how(outcomes, state):
    records = run_to_the_end(outcomes)
    found = records["architecture/a"]
    assert found.state == state
    assert bool(found.reason) == (state == "failed")
    assert not any(getattr(r, "state", "") in ("planned", "building") for r in records.values())


def test_a_new_version_retires_the_old_one_only_once_it_is_ready():
    old = plan(architecture(cores=(1,)))[0].model_copy(update={"state": "ready", "profile": profile(1, 1)})
    building = architecture("building", version=2, cores=(1,))
    new = plan(building)[0]
    assert fold(view(old, building, new), topic_gone=lambda _: False).records == ()
    ready = building.model_copy(update={"state": "ready"})
    changes = fold(view(old, ready, new.model_copy(update={"state": "failed"})), topic_gone=lambda _: False)
    assert [(r.variant, r.state) for r in changes.records] == [(old.variant, "retired")]
    gone = fold(view(old.model_copy(update={"state": "retired"}), ready), topic_gone=lambda _: True)
    assert gone.deleted == (old.key,)


def profile(ms, accuracy, memory=1000):
    points = (BatchPoint(batch=1, p50_ms=ms, p99_ms=ms),)
    return Profile(
        load_ms=1, peak_memory_bytes=memory, accuracy=min(1.0, accuracy), points=points, slope=0, intercept=ms
    )


measured = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=5)


@given(measured)
def test_what_is_best_in_anything_is_never_dominated_and_someone_is_always_left(found):
    base = plan(architecture(cores=(1,)))[0]
    variants = []
    for i, (ms, accuracy, memory) in enumerate(found):
        name = f"a.v1.onnxruntime-cpu1-p{i}"
        variants.append(
            base.model_copy(
                update={
                    "variant": name,
                    "state": "ready",
                    "profile": profile(ms * 10, accuracy / 5, memory * 1000),
                    "cost_per_hour": 1.0,
                }
            )
        )
    worse = dominated(variants)
    left = [v for v in variants if v.variant not in worse]
    assert left
    for pick in (
        lambda v: -v.profile.accuracy,
        lambda v: v.profile.latency_ms(1),
        lambda v: v.profile.peak_memory_bytes,
    ):
        assert min(map(pick, left)) == min(map(pick, variants))
    assert all(by not in worse for by in worse.values())
    assert dominated(list(reversed(variants))) == worse


@given(st.integers(1, 600))
def test_rows_for_calibration_are_never_scored_and_most_rows_are(rows):
    arrays = {"x": np.arange(rows), "labels": np.arange(rows)}
    kept = scored_rows(arrays)["x"]
    assert rows - len(kept) == min(64, rows // 5)
    assert len(set(kept.tolist())) == len(kept)
    np.testing.assert_array_equal(kept, scored_rows(arrays)["labels"])


@given(st.integers(1, 1024))
def test_batch_sizes_double_up_to_the_largest(largest):
    found = sizes(largest)
    assert found[0] == 1
    assert found[-1] == largest
    assert found == sorted(set(found))


def test_a_newer_version_ends_what_is_still_to_be_built_of_an_older_one():
    planned = plan(architecture(cores=(1,)))[0]
    served = plan(architecture(cores=(1,)))[1].model_copy(update={"state": "ready", "profile": profile(1, 1)})
    for state in ("accepted", "building"):
        now = architecture(state, version=2, cores=(1,))
        changes = fold(view(now, planned, served, *plan(now)), topic_gone=lambda _: False)
        retired = [r.variant for r in changes.records if r.key.startswith("variant/") and r.state == "retired"]
        assert retired == [planned.variant]


def test_what_a_build_found_too_late_is_removed():
    late = Built(variant="gone.v1.onnxruntime-cpu1-fp32", worker="w", outcome="failed")
    point = ProfilePoint(variant=late.variant, worker="w", point=BatchPoint(batch=2, p50_ms=1, p99_ms=2))
    changes = fold(view(late, point), topic_gone=lambda _: True)
    assert set(changes.deleted) == {late.key, point.key}


def test_a_curve_is_of_one_machine():
    building = plan(architecture(cores=(1,)))[0].model_copy(update={"state": "building"})
    built = Built(variant=building.variant, worker="new", outcome="built", artifact_digest="sha256:2", accuracy=0.5)
    points = [
        ProfilePoint(variant=building.variant, worker=worker, point=BatchPoint(batch=batch, p50_ms=1, p99_ms=2))
        for worker, batch in (("new", 1), ("new", 2), ("old", 4))
    ]
    changes = fold(view(architecture("building"), building, built, *points), topic_gone=lambda _: False)
    (ready,) = changes.records
    assert [p.batch for p in ready.profile.points] == [1, 2]


def worker(cores):
    hardware = Hardware(platforms=("cpu",), cores=cores, memory_bytes=1 << 34)
    return Worker(worker="w", boot_id="b", machine_type="local", hardware=hardware, price_per_hour=0.1)


def test_a_registration_waits_for_a_machine_that_is_on_its_way_but_not_for_one_that_is_not():
    small, large = (v for v in plan(architecture(cores=(1, 2))) if v.recipe.precision == "fp32")
    small = small.model_copy(update={"state": "ready", "profile": profile(1, 1)})
    large = large.model_copy(update={"reason": TOO_LARGE})
    base = [architecture("building", generators=("onnx",)), small, large, worker(1)]
    coming = Machine(machine="m", machine_type="local-2", wanted="running")
    assert fold(view(*base, coming), topic_gone=lambda _: False).records == ()
    (ready,) = fold(view(*base), topic_gone=lambda _: False).records
    assert (ready.key, ready.state) == ("architecture/a", "ready")
    assert fold(view(architecture("building"), large, worker(1)), topic_gone=lambda _: False).records == ()


TOO_LARGE = "no worker can build it: it needs 2 cores of cpu, and the largest has 1"


def stalled_after(seconds, *records, stalls=None, begin=0):
    """What is stalled after so many seconds of one picture, looked at each second."""
    stalls = Stalls() if stalls is None else stalls
    found = frozenset()
    for second in range(begin, begin + int(seconds) + 1):
        found = stalls.update(view(*records), float(second))
    return found


def test_a_variant_that_finds_no_place_holds_no_registration_up_and_is_built_when_it_finds_one():
    """The cores are held by the load: the architecture was `building` as long as that lasted, and no old version ever retired."""
    small, large = (v for v in plan(architecture(cores=(1, 2))) if v.recipe.precision == "fp32")
    small = small.model_copy(update={"state": "ready", "profile": profile(1, 1)})
    base = [architecture("building", generators=("onnx",)), small, large, worker(2)]
    assert fold(view(*base), topic_gone=lambda _: False, stalled=stalled_after(STALLED_S - 1, *base)).records == ()
    stalled = stalled_after(STALLED_S, *base)
    assert stalled == {large.variant}
    (waits,) = fold(view(*base), topic_gone=lambda _: False, stalled=stalled).records
    assert (waits.state, waits.reason) == ("planned", "it waits for a worker with 2 cores that the load does not need")
    said = [*base[:2], waits, worker(2)]
    (ready,) = fold(view(*said), topic_gone=lambda _: False, stalled=stalled).records
    assert (ready.key, ready.state) == ("architecture/a", "ready")
    settled = [ready, small, waits, worker(2)]
    assert fold(view(*settled), topic_gone=lambda _: False, stalled=stalled).records == ()
    placed = Placement(worker="w", variant=large.variant, build=True)
    stalls = Stalls()
    stalled_after(STALLED_S, *settled, stalls=stalls)
    begun = view(*settled, placed)
    (building,) = fold(begun, topic_gone=lambda _: False, stalled=stalls.update(begun, STALLED_S + 1)).records
    assert (building.state, building.reason) == ("building", "")


def test_a_model_of_which_nothing_can_be_served_is_waited_for():
    (large,) = (v for v in plan(architecture(cores=(2,))) if v.recipe.precision == "fp32")
    base = [architecture("building", generators=("onnx",)), large, worker(2)]
    (waits,) = fold(view(*base), topic_gone=lambda _: False, stalled=stalled_after(STALLED_S, *base)).records
    assert fold(view(base[0], waits, worker(2)), topic_gone=lambda _: False, stalled={large.variant}).records == ()


@pytest.mark.parametrize(
    "busy",
    [
        pytest.param((Placement(worker="w", variant="other", build=True),), id="another is being built"),
        pytest.param((Machine(machine="m", machine_type="local-2", wanted="running"),), id="a machine is on its way"),
    ],
)
def test_time_in_which_its_turn_may_come_does_not_count(busy):
    small, large = (v for v in plan(architecture(cores=(1, 2))) if v.recipe.precision == "fp32")
    base = [architecture("building"), small.model_copy(update={"state": "ready"}), large, worker(2)]
    stalls = Stalls()
    assert stalled_after(10 * STALLED_S, *base, *busy, stalls=stalls) == frozenset()
    begin = int(10 * STALLED_S) + 1
    assert stalled_after(STALLED_S - 2, *base, stalls=stalls, begin=begin) == frozenset()
    again = stalled_after(STALLED_S, *base, stalls=stalls, begin=begin)
    assert again == {large.variant}
    assert stalled_after(5, *base, *busy, stalls=stalls, begin=begin + int(STALLED_S) + 1) == again, (
        "said once, it stays"
    )


@pytest.mark.parametrize(
    "gone",
    [
        pytest.param((), id="the same worker is back with fewer cores"),
        pytest.param((Verdict(worker="large", boot_id="b"),), id="the large one is dead"),
    ],
)
def test_what_no_worker_can_go_on_building_is_planned_again_and_says_why(gone):
    """Stopped during a two-core build, started again with one core: it was `building` for ever, and nobody built it."""
    (large,) = (v for v in plan(architecture(cores=(2,))) if v.recipe.precision == "fp32")
    building = large.model_copy(update={"state": "building"})
    workers = [worker(1), worker(2).model_copy(update={"worker": "large"})] if gone else [worker(1)]
    placed = Placement(worker="large" if gone else "w", variant=large.variant, build=True)
    before = view(architecture("building"), building, placed, *workers, *gone)
    (planned,) = fold(before, topic_gone=lambda _: False).records
    assert (planned.key, planned.state, planned.reason) == (large.key, "planned", TOO_LARGE)
    small = plan(architecture(cores=(1,)))[0].model_copy(update={"state": "ready", "profile": profile(1, 1)})
    after = view(architecture("building"), planned, small, placed, *workers, *gone)
    (ready,) = fold(after, topic_gone=lambda _: False).records
    assert (ready.key, ready.state) == ("architecture/a", "ready")
    again = view(architecture("ready"), planned, placed, worker(2))
    (back,) = fold(again, topic_gone=lambda _: False).records if not gone else (building,)
    assert (back.state, back.reason) == ("building", "")


def command(**more):
    asked = {
        "architecture": "a",
        "application": "app",
        "artifact": DIGEST,
        "validation_set": CONTRACT.validation_digest,
    }
    return RegisterModel(**asked | more)


DIGEST = "sha256:" + "1" * 64


def test_a_command_that_comes_twice_is_the_same_registration_and_any_other_is_a_new_version():
    accepted = accept(view(), command(), CONTRACT)
    assert (accepted.version, accepted.state) == (1, "accepted")
    assert already(view(accepted), command()) == accepted
    for other in ({"artifact": "sha256:" + "2" * 64}, {"max_batch": 2}, {"cores": (1,)}, {"generators": ("onnx",)}):
        assert already(view(accepted), command(**other)) is None
        assert accept(view(accepted), command(**other), CONTRACT).version == 2
    for state in ("failed", "retired"):
        ended = accepted.model_copy(update={"state": state})
        assert already(view(ended), command()) is None
        assert accept(view(ended), command(), CONTRACT).version == 2


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        pytest.param({"cores": tuple(range(1, 1000))}, "cores", id="a build for every core count"),
        pytest.param({"cores": (257,)}, "cores", id="more cores than any machine has"),
        pytest.param({"labels": tuple(str(n) for n in range(10_001))}, "labels", id="too many labels"),
        pytest.param({"generators": ("onnx", "onnx")}, "generators", id="twice the same"),
    ],
)
def test_what_a_registration_asks_for_has_limits_that_are_named(asked, field):
    check(view(), command())
    with pytest.raises(BadModel) as refused:
        check(view(), command(**asked))
    assert refused.value.field == field


def test_a_contract_fits_into_every_record_that_holds_it():
    long = CONTRACT.model_copy(update={"labels": ("x" * CONTRACT_BYTES,)})
    with pytest.raises(BadModel, match="contract"):
        accept(view(), command(), long)
    fits = CONTRACT.model_copy(update={"labels": ("x" * (CONTRACT_BYTES - 1000),)})
    accepted = accept(view(), command(cores=tuple(range(1, 9))), fits)
    assert all(len(encode(r)) < 1_000_000 for r in (accepted, *plan(accepted)))


OTHER = "sha256:" + "2" * 64


@pytest.mark.parametrize("state", ["accepted", "building", "ready"])
def test_another_model_of_a_name_has_to_say_that_it_replaces_it(state):
    present = accept(view(), command(), CONTRACT).model_copy(update={"state": state})
    with pytest.raises(
        AlreadyRegistered, match=r"version 1, application app, sha256:11111111….*sha256:22222222…"
    ) as no:
        check(view(present), command(artifact=OTHER))
    assert no.value.field == "replace"
    check(view(present), command(artifact=OTHER, replace=True))
    check(view(present), command(architecture="b", artifact=OTHER))
    for same in (command(), command(max_batch=2), command(cores=(4,))):
        check(view(present), same)


def test_a_name_whose_model_is_gone_is_free_and_one_that_serves_is_not():
    failed, retired = (architecture(state, version=2) for state in ("failed", "retired"))
    served = plan(architecture())[0].model_copy(update={"state": "ready"})
    check(view(failed), command(artifact=OTHER))
    check(view(retired, served), command(artifact=OTHER))
    check(view(failed, served), command(artifact=served.recipe.source_digest))
    with pytest.raises(AlreadyRegistered):
        check(view(failed, served), command(artifact=OTHER))


def test_a_command_of_before_there_was_replace_is_still_one():
    bare = {
        "command": "register_model",
        "architecture": "a",
        "application": "app",
        "artifact": DIGEST,
        "validation_set": DIGEST,
    }
    assert decode(orjson.dumps(bare)).replace is False


def test_a_registration_says_which_version_it_takes_over_from():
    accepted = accept(view(), command(), CONTRACT)
    assert replaced(view(), command()) is None
    assert replaced(view(accepted), command()) == 1
    assert replaced(view(accepted.model_copy(update={"state": "retired"})), command()) is None


def test_a_failed_version_frees_the_contract_only_if_none_before_it_is_served():
    failed = architecture("failed", version=2)
    served = plan(architecture())[0].model_copy(update={"state": "ready"})
    other = CONTRACT.model_copy(update={"labels": ("x",)})
    assert accept(view(failed), command(), other).version == 3
    with pytest.raises(BadModel, match="labels"):
        accept(view(failed, served), command(), other)


def test_peak_memory_is_a_processes_own_and_not_its_parents():
    held = np.ones(400_000_000, np.uint8)
    code = "from infaas.registrar.memory import peak_bytes; print(peak_bytes())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert 5_000_000 < int(said) < len(held) // 2 < peak_bytes()


def test_a_registrar_loads_no_library_that_reads_models():
    code = "import sys, infaas.registrar.loop; print([m for m in ('onnx', 'onnxruntime', 'torch') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert said.strip() == b"[]"


def test_a_build_that_waits_says_why_as_long_as_its_worker_has_it():
    variant = plan(architecture(cores=(1,)))[0]
    waiting = Built(variant=variant.variant, worker="w", outcome="waiting", reason="no room in /cache")
    placed = Placement(worker="w", variant=variant.variant, build=True)
    others = [v.model_copy(update={"state": "failed"}) for v in plan(architecture(cores=(1,)))[1:]]
    before = view(architecture("building"), variant, *others, waiting, placed, worker(1))
    (told,) = fold(before, topic_gone=lambda _: False).records
    assert (told.state, told.reason) == ("building", "w: no room in /cache")
    elsewhere = Placement(worker="large", variant=variant.variant, build=True)
    large = worker(1).model_copy(update={"worker": "large"})
    after = view(architecture("building"), told, *others, waiting, elsewhere, large)
    (moved,) = fold(after, topic_gone=lambda _: False).records
    assert (moved.state, moved.reason) == ("building", "")
    unregistered = view(architecture("retired"), waiting)
    assert fold(unregistered, topic_gone=lambda _: True).deleted == (waiting.key,)
