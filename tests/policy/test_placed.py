"""A supervisor looks at what has changed of what is placed on it, however much is placed here and elsewhere."""

import pytest

from infaas.schemas.contract import Contract, TensorSpec
from infaas.schemas.metadata import Built, Placement, Recipe, Variant, encode, kind_of
from infaas.schemas.profile import BatchPoint, Profile
from infaas.store.picture import Change, Picture
from infaas.store.view import View
from infaas.workers.placed import Placed

HERE = "w"
POINT = BatchPoint(batch=1, p50_ms=1.0, p99_ms=1.0)
TENSOR = TensorSpec(name="x", datatype="FP32", shape=(-1, 2))
RECORD = Variant(
    variant="a.v1.onnxruntime-cpu1-fp32", architecture="a", application="numbers", state="ready", validation_digest="v",
    profile=Profile(load_ms=10.0, peak_memory_bytes=1, accuracy=0.9, points=(POINT,), slope=1.0, intercept=0.0),
    recipe=Recipe(source_digest="s", generator="onnx", engine="onnxruntime", platform="cpu", cores=1, precision="fp32"),
    contract=Contract(inputs=(TENSOR,), outputs=(TENSOR,), validation_digest="v"), artifact_digest="a",
)  # fmt: skip


def variant(number):
    return RECORD.model_copy(update={"variant": f"a{number}.v1.onnxruntime-cpu1-fp32"})


def name(number):
    return variant(number).variant


def change(record, *, key=None, ignored=False):
    return Change(0, key or record.key, record, "", ignored)


def placement(number, worker=HERE, instances=1, **more):
    return Placement(worker=worker, variant=name(number), instances=instances, **more)


def view(*records):
    kinds = {}
    for record in records:
        kinds.setdefault(kind_of(record.key), {})[record.key] = record
    return View(1, 0, kinds)


@pytest.fixture
def crowd():
    """A hundred placements here, all of them seen."""
    placed = Placed(HERE)
    for number in range(100):
        placed.notice(change(placement(number)))
    assert len(placed.take_changed()) == 100
    return placed


def test_what_stays_as_it_is_is_looked_at_once(crowd):
    assert crowd.take_changed() == []


def test_of_a_hundred_placements_only_the_one_that_changed_is_looked_at(crowd):
    crowd.notice(change(placement(7, instances=3)))
    assert crowd.take_changed() == [name(7)]
    assert crowd.instances(variant(7)) == range(3)


@pytest.mark.parametrize(
    "other",
    [change(placement(3, worker="elsewhere")), change(variant(200)), change(placement(3, instances=2), ignored=True)],
    ids=["a placement elsewhere", "a variant that is not placed here", "what was written by nobody who may"],
)
def test_what_changes_elsewhere_is_not_looked_at(crowd, other):
    crowd.notice(other)
    assert crowd.take_changed() == []


@pytest.mark.parametrize(
    "own", [change(variant(5)), change(Built(variant=name(5), worker=HERE, outcome="failed", reason="x"))],
    ids=["its record", "what its build found"],
)  # fmt: skip
def test_a_variant_placed_here_that_changes_is_looked_at(crowd, own):
    crowd.notice(own)
    assert crowd.take_changed() == [name(5)]


def test_a_placement_that_is_taken_away_leaves_nothing_to_run(crowd):
    crowd.notice(change(None, key=placement(5).key))
    assert crowd.take_changed() == [name(5)]
    assert crowd.instances(variant(5)) == range(0)
    assert not crowd.builds(variant(5))


def test_a_variant_that_is_not_measured_does_not_run_and_one_to_be_built_is_built():
    placed = Placed(HERE)
    placed.notice(change(placement(1, build=True)))
    unmeasured = variant(1).model_copy(update={"profile": None})
    assert placed.instances(unmeasured) == range(0)
    assert placed.builds(unmeasured)
    assert placed.instances(None) == range(0), "its record is not there"


def test_a_view_that_was_read_anew_counts_as_changed_with_what_is_no_longer_in_it(crowd):
    crowd.read(view(placement(1, instances=2), placement(2, worker="elsewhere")))
    assert set(crowd.take_changed()) == {name(number) for number in range(100)}
    assert crowd.instances(variant(1)) == range(2)
    assert crowd.instances(variant(2)) == crowd.instances(variant(3)) == range(0)


class Found:
    """A record as a picture reads it."""

    tombstone = False

    def __init__(self, offset, record):
        self.header_map = {}
        self.offset, self.key, self.value = offset, record.key.encode(), encode(record)


def test_what_a_view_works_out_is_kept_for_as_long_as_it_is_made_of_the_same():
    picture = Picture()
    picture.apply(picture.read(Found(0, placement(1))))
    before = picture.view()
    placements = before.placements
    picture.apply(picture.read(Found(1, variant(1))))
    assert picture.view().placements is placements
    assert set(picture.view().variants) == {name(1)}
    assert not before.variants, "an older view is as it was"
    picture.apply(picture.read(Found(2, placement(2))))
    assert len(picture.view().placements) == 2
    assert before.placements is placements
    assert len(placements) == 1
