"""What the scaler remembers of those that report: of those that are there, and of nobody that has gone."""

import pickle

import pytest

from infaas.scaler.fold import Fold
from infaas.schemas.reports import Backlog, ClassCount, RouterReport, VariantWanted, WorkerReport

REPORT_S = 0.5
LIFE_S = 30


def reports(life, sequence):
    """Those of one life of a router, and of a worker under a name of its own, as containers have."""
    seen = {"eligible": (f"v{life}",), "latency_ms": 10.0, "offered": sequence}
    offered = (ClassCount(scope="application", name="app", **seen),)
    router = {"router": "r", "boot_id": f"router-{life}", "member_id": f"member-{life}", "view_offset": 1}
    worker = {"worker": f"host-{life}", "boot_id": f"b{life}"}
    return [
        RouterReport(**router, sequence=sequence, classes=offered, dispatched=1, rejected=0),
        WorkerReport(**worker, sequence=sequence, cores_used=0.1),
        Backlog(**worker, entries=()),
        VariantWanted(variant=f"v{life}", router="r"),
    ]


@pytest.mark.parametrize("leads", [False, True])
def test_of_those_that_have_gone_nothing_is_kept_whether_or_not_it_leads(leads):
    fold, sizes = Fold(silence_s=3.0), []
    for life in range(1, 101):
        for sequence in range(1, int(LIFE_S / REPORT_S)):
            at_s = life * LIFE_S + sequence * REPORT_S
            for report in reports(life, sequence):
                fold.take(report, at_s, at_s, epoch=1)
            if leads:
                fold.demand.classes(at_s)
                fold.liveness.dead({f"host-{life}": f"b{life}"})
        sizes.append(len(pickle.dumps(fold)))
    assert max(sizes[10:]) < 2 * max(sizes[:10])
    assert set(fold.routers()) >= {"member-100"}
    assert [demand.eligible for demand in fold.demand.classes(at_s)] == [("v100",)]
