"""What commands print: at every width the columns that matter are whole, what is left out is named, data is never markup."""

import io

import pytest
import typer
from cell import CONTRACT, VARIANT, profile
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from infaas.cli import console
from infaas.cli.hindrances import hindrance
from infaas.cli.listing import Column, Listing
from infaas.cli.tables import replies_table, variants_table
from infaas.client import Reply
from infaas.schemas.errors import BadInput
from infaas.schemas.metadata import Hardware, Recipe, Variant, Worker

WIDTHS = [60, 80, 120, console.WIDE]
LONG = "committee-of-many.v12.onnxruntime-cpu2-int8"
GIB = 1024**3


def printed(what, width):
    out = io.StringIO()
    Console(file=out, width=width).print(what)
    return out.getvalue()


def variant(name=VARIANT, *, state="ready", cores=1, found=None, reason=""):
    recipe = Recipe(
        source_digest="sha256:0", generator="onnx", engine="onnxruntime", platform="cpu", cores=cores, precision="fp32"
    )
    return Variant(
        variant=name, architecture=name.partition(".")[0], application="numbers", recipe=recipe, state=state, contract=CONTRACT,
        validation_digest="sha256:0", profile=found, cost_per_hour=0.05, reason=reason,
    )  # fmt: skip


def worker(cores, memory=GIB, platforms=("cpu",)):
    return Worker(
        worker="w", boot_id="b", machine_type="local", price_per_hour=0.05,
        hardware=Hardware(platforms=platforms, cores=cores, memory_bytes=memory),
    )  # fmt: skip


@pytest.mark.parametrize("width", WIDTHS)
def test_the_variant_is_whole_at_every_width(width):
    text = printed(variants_table([variant(LONG, found=profile()), variant(found=profile())]), width)
    assert LONG in text
    assert VARIANT in text
    assert "ready" in text
    assert all(len(line) <= width for line in text.splitlines())
    assert ("not shown at this width" in text) == (width < console.WIDE)


@pytest.mark.parametrize("width", WIDTHS)
def test_who_answered_is_whole_at_every_width(width):
    answered = Reply(outcome="ok", query_id="q", variant=LONG, worker="worker-1", accuracy=0.9, latency_ms=12.0)
    text = printed(replies_table([(Text(), answered)]), width)
    assert LONG in text
    assert "worker-1" in text
    assert "0.9000" in text or "accuracy" in text.rpartition("not shown")[2]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_refusal_is_told_whole_at_every_width(width):
    refused = Reply(
        outcome="rejected", query_id="q", reason="latency", message="nothing is quick enough " * 5, suggestion=LONG
    )
    text = printed(replies_table([(Text("asked"), refused)]), width)
    words = " ".join(text.translate(dict.fromkeys(map(ord, "│┃"))).split())
    assert "rejected (latency): nothing" in words
    assert words.count("enough") == 5


@given(
    cells=st.lists(st.tuples(*[st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=40)] * 4), max_size=4),
    ranks=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    folds=st.lists(st.sampled_from([0, 12]), min_size=4, max_size=4),
    width=st.integers(24, 200),
)  # fmt: skip
@example(cells=[("0" * 21, "", "", "")], ranks=[1] * 4, folds=[0] * 4, width=24)
def test_it_fits_and_what_is_left_out_is_named_and_what_is_always_shown_is(cells, ranks, folds, width):
    table = Listing(
        "", [Column(f"c{n}", rank, folds=fold) for n, (rank, fold) in enumerate(zip(ranks, folds, strict=True))]
    )
    for row in cells:
        table.add(*row)
    kept = table.shown(width)
    assert {n for n, rank in enumerate(ranks) if rank == 0} <= set(kept)
    dropped = [rank for n, rank in enumerate(ranks) if n not in kept]
    assert not dropped or min(dropped) >= max(ranks[n] for n in kept)
    text = printed(table, width)
    assert all(len(line) <= width for line in text.splitlines())
    for n in set(range(4)) - set(kept):
        assert f"c{n}" in text.rpartition("not shown at this width")[2]


@pytest.mark.parametrize("data", ["labels of shape [-1], or [-1, 1]", "[red]not[/] a style", "[/]", "a [bold"])
def test_data_is_never_markup(data, monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=shown, width=200))
    monkeypatch.setattr(console, "out", Console(file=shown, width=200))
    console.progress(data)
    console.say(data)

    @console.told
    def command():
        raise BadInput("labels", data)

    with pytest.raises(typer.Exit):
        command()
    assert shown.getvalue().count(data) == 3
    assert data in printed(variants_table([variant(state="failed", reason=data)]), 200)
    refused = Reply(outcome="failed", query_id="q", message=data, suggestion=data)
    assert printed(replies_table([(Text(data), refused)]), 200).count(data) == 3


@pytest.mark.parametrize(
    ("wanted", "workers", "said"),
    [
        (variant(), [], "no worker is alive"),
        (variant(cores=2), [worker(1), worker(1)], "no live worker has 2 cores for it: the largest has 1"),
        (variant(), [worker(4, platforms=("cuda",))], "no live worker has the platform cpu"),
        (variant(found=profile()), [worker(1, memory=1000)], "no live worker has the 0.0 GiB that it takes"),
        (variant(cores=2, found=profile()), [worker(1), worker(2)], ""),
    ],
    ids=["nobody", "too few cores", "another platform", "too little memory", "somebody can"],
)
def test_why_nothing_can_run_it_is_told(wanted, workers, said):
    assert hindrance(wanted, workers).startswith(said)
    assert bool(hindrance(wanted, workers)) == bool(said)
    assert said in printed(variants_table([wanted], {wanted.variant: hindrance(wanted, workers)}), 160)
