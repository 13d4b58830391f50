"""What some worker could hold: as if each were asked."""

from hypothesis import given
from hypothesis import strategies as st

from infaas.router.places import Places
from infaas.schemas.contract import Contract, TensorSpec
from infaas.schemas.metadata import Hardware, Recipe, Variant, Worker
from infaas.schemas.profile import BatchPoint, Profile

SPEC = TensorSpec(name="x", datatype="FP32", shape=(-1, 4))


def variant(platform, cores, memory_bytes, state="ready"):
    return Variant(
        variant=f"a.v1.onnxruntime-{platform}{cores}-fp32", architecture="a", application="app", state=state,
        recipe=Recipe(
            source_digest="s", generator="onnx", engine="onnxruntime", platform=platform, cores=cores, precision="fp32"
        ),
        contract=Contract(inputs=(SPEC,), outputs=(SPEC,), validation_digest="d"), validation_digest="d", cost_per_hour=0.1,
        profile=Profile(
            load_ms=1, peak_memory_bytes=memory_bytes, accuracy=1, slope=0, intercept=1,
            points=(BatchPoint(batch=1, p50_ms=1, p99_ms=1),),
        ),
    )  # fmt: skip


def worker(number, platforms, cores, memory_bytes):
    hardware = Hardware(platforms=platforms, cores=cores, memory_bytes=memory_bytes)
    return Worker(worker=f"w{number}", boot_id="b", machine_type="local", hardware=hardware, price_per_hour=0.1)


machines = st.tuples(st.sampled_from([("cpu",), ("cpu", "cuda")]), st.integers(1, 4), st.integers(1, 4))
wanted = st.builds(variant, st.sampled_from(["cpu", "cuda"]), st.integers(1, 4), st.integers(1, 4))


@given(st.lists(machines, max_size=6), wanted)
def test_it_is_held_exactly_where_one_worker_has_all_of_it(there, one):
    places = Places(worker(n, *machine) for n, machine in enumerate(there))
    need = one.recipe.platform, one.recipe.cores, one.profile.peak_memory_bytes
    assert places.hold(one) == any(need[0] in p and need[1] <= c and need[2] <= m for p, c, m in there)


def test_what_is_no_longer_served_is_held_nowhere():
    assert not Places([worker(0, ("cpu",), 4, 4)]).hold(variant("cpu", 1, 1, state="retired"))
