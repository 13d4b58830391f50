"""`python -m infaas.examples.demo`: trains, registers, asks, ramps, reports. `make demo` runs it."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from infaas.bus.settings import BusSettings
from infaas.cli.console import complain, err, out, progress
from infaas.cli.register import watch
from infaas.cli.stack import Shape, Stack
from infaas.cli.tables import replies_table, variants_table
from infaas.client import Client, Reply
from infaas.examples.demo import decided, report
from infaas.examples.demo.ramp import WHOLE_S, Ramp
from infaas.examples.demo.tally import Kind, summary, unmet
from infaas.examples.digits import INPUT, LABELS, Digits, prepare
from infaas.policy.capacity import capacity
from infaas.policy.usable import rates, tolerable_rate, usable_rate
from infaas.scaler.fill import Option
from infaas.scaler.greedy import best_fleet
from infaas.scaler.headroom import SLACK
from infaas.schemas.errors import InfaasError
from infaas.schemas.metadata import SERVABLE, Variant

APPLICATION = "digits"
MAX_BATCH = 16
SHORT_MODELS, SHORT_BATCH = frozenset({"logistic", "svc"}), 4
QUICK_MS, EXACT_MS = 150.0, 60.0
PEAK = 0.97  # of what one instance takes: with the slack of 1.05 it needs a second
MOST_PER_S = 150.0  # what one caller sends beside a cell on two cores; a quick model would take thousands
REPORT = Path("demo-report")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo; exit status 1 if a query was lost or an answer missed its floor."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument(
        "--chaos", action="store_true", help="kill an instance and the router with SIGKILL during the ramp"
    )
    parser.add_argument("--report", type=Path, default=REPORT, help="folder for the report")
    parser.add_argument(
        "--seconds", type=float, default=WHOLE_S, help=f"how long the load lasts; below {WHOLE_S:g} two models will do"
    )
    asked = parser.parse_args(arguments)
    if asked.seconds <= 0:
        parser.error("--seconds has to be above 0")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # also where a shell has made us ignore SIGINT
    folder = Path(tempfile.mkdtemp(prefix="infaas-demo-"))
    begun = time.monotonic()
    try:
        return _run(folder, chaos=asked.chaos, seconds=asked.seconds, target=asked.report, begun=begun)
    except InfaasError as error:
        complain(f"error ({error.code}): {error}")
        return 1
    except KeyboardInterrupt:
        progress("stopped; nothing is left running")
        return 130
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(folder: Path, *, chaos: bool, seconds: float, target: Path, begun: float) -> int:
    _phase("1. Train four classifiers on scikit-learn's handwritten digits, and export them to ONNX")
    digits = prepare(progress)
    _phase("2. Start Apache Kafka, registrar, scaler, router and two workers: what `infaas up` does")
    stack = Stack(
        data_dir=folder,
        shape=Shape(workers=2, cores=2, idle_s=10.0),
        settings=BusSettings(),
        repository_url=(folder / "repository").as_uri(),
        progress=progress,
        extra={"INFAAS_WORKER_CACHE_DIR": str(folder / "cache")},
    )
    with stack, Client(stack.settings, repository_url=stack.repository_url) as client:
        variants = _register(client, stack, digits, short=seconds < WHOLE_S)
        kinds = _kinds(variants)
        _ask(client, digits, variants, kinds)
        _phase("5. A load that rises and falls, Poisson; the scaler starts and stops what it takes")
        for kind in kinds:
            progress(
                f"{kind.name}: up to {kind.peak:.0f} queries/s, "
                + ", ".join(f"{k} {v:.4g}" for k, v in kind.asked.items() if k != "application")
            )
        ramp = Ramp(client=client, stack=stack, digits=digits, kinds=kinds, chaos=chaos, seconds=seconds)
        began_ms = time.time() * 1000.0
        ramp.run()
        steps = decided.by_scaler(decided.read(client.settings), began_ms)
        _phase("6. What became of it")
        found = summary(
            ramp.answers, duplicates=client.duplicates, moments=ramp.moments, static_per_hour=_static(variants, kinds)
        )
    wrong = unmet(ramp.answers, {kind.name: kind for kind in kinds})
    out.print(decided.as_table(steps))
    out.print(report.as_table(found))
    paths = report.write(target, found, steps, ramp.answers, ramp.moments)
    progress("written: " + ", ".join(str(path) for path in paths))
    progress(f"{time.monotonic() - begun:.0f} s in all; everything is stopped again")
    for line in wrong[:5]:
        complain(f"below-the-floor: {line}")
    return 1 if wrong or found["lost"] else 0


def _register(client: Client, stack: Stack, digits: Digits, *, short: bool) -> list[Variant]:
    _phase("3. Register them under one application: variants are made, checked and measured")
    registered = [
        client.register(
            name,
            application=APPLICATION,
            model=path,
            validation_set=digits.validation_set,
            labels=LABELS,
            max_batch=SHORT_BATCH if short else MAX_BATCH,
            cores=(1,) if short else None,
        )
        for name, path in digits.models.items()
        if not short or name in SHORT_MODELS
    ]
    variants = watch(client.settings, registered, timeout=600.0)
    stack.step()
    out.print(variants_table(variants))
    return [v for v in variants if v.state in SERVABLE]


def _kinds(variants: Sequence[Variant]) -> list[Kind]:
    """Callers who differ in what they need; floors and rates follow from what was measured here."""
    best = _most_accurate(variants)
    assert best.profile is not None
    others = [v for v in variants if v.architecture != best.architecture and v.profile is not None]
    middle = max(v.profile.accuracy for v in others if v.profile is not None)
    exact = _rounded_down(best.profile.accuracy)
    return [
        Kind("anything quick", {"application": APPLICATION, "latency_ms": QUICK_MS}, 140.0),
        Kind(
            "accurate",
            {"application": APPLICATION, "latency_ms": QUICK_MS, "min_accuracy": _rounded_down(middle)},
            30.0,
        ),
        Kind(
            "most accurate",
            {"application": APPLICATION, "latency_ms": EXACT_MS, "min_accuracy": exact},
            min(PEAK * (usable_rate(best.profile, EXACT_MS) or tolerable_rate(best.profile, EXACT_MS)), MOST_PER_S),
        ),
    ]


def _rounded_down(accuracy: float) -> float:
    return int(accuracy * 1000) / 1000


def _most_accurate(variants: Sequence[Variant]) -> Variant:
    """Of the most accurate ones that meet its callers' objective the cheapest."""
    found = [v for v in variants if v.profile is not None and capacity(v.profile, EXACT_MS) > 0]
    return max(found, key=lambda v: (v.profile.accuracy if v.profile else 0.0, -(v.cost_per_hour or 0.0)))


def _static(variants: Sequence[Variant], kinds: Sequence[Kind]) -> float:
    """USD an hour of the most accurate variant alone, with enough fixed instances for the peak of all callers."""
    best = _most_accurate(variants)
    assert best.profile is not None
    price = best.cost_per_hour or 0.0
    classes = []
    for kind in kinds:
        limit = kind.asked["latency_ms"]
        own = (rates(best.profile, limit).own or rates(best.profile, limit, tolerable=True).own) or (
            (1, capacity(best.profile, None)),
        )
        classes.append((kind.peak, [Option(best.variant, own[0][1], price, own)]))
    return price * sum(best_fleet(classes, SLACK).values())


def _ask(client: Client, digits: Digits, variants: Sequence[Variant], kinds: Sequence[Kind]) -> None:
    _phase("4. Single queries that differ only in what they ask for")
    image = {INPUT: digits.test_images[:1]}
    exact = kinds[-1].asked["min_accuracy"]
    named = next((v.variant for v in variants if v.recipe.precision == "int8"), variants[0].variant)
    asked: list[tuple[str, dict[str, Any]]] = [
        ("anything, and nothing runs yet", {"application": APPLICATION, "latency_ms": 30_000}),
        ("tight latency: 50 ms", {"application": APPLICATION, "latency_ms": 50}),
        (f"accuracy {exact:g}, patient", {"application": APPLICATION, "latency_ms": 30_000, "min_accuracy": exact}),
        ("the most accurate there is", {"application": APPLICATION, "latency_ms": 30_000, "optimize": "accuracy"}),
        ("low cost: 0.0001 USD per 1,000", {"application": APPLICATION, "latency_ms": 30_000, "max_cost": 0.0001}),
        ("any variant of svc", {"application": None, "architecture": "svc", "latency_ms": 30_000}),
        ("one variant by name", {"application": None, "variant": named, "latency_ms": 30_000}),
        ("accuracy 0.99999: impossible", {"application": APPLICATION, "min_accuracy": 0.99999}),
        (f"accuracy {exact:g} within 1 ms: impossible", {"application": APPLICATION, "latency_ms": 1, "min_accuracy": exact}),
        ("the same, not strict", {"application": APPLICATION, "latency_ms": 1, "min_accuracy": exact, "strict": False, "late_limit_ms": 30_000}),
    ]  # fmt: skip
    replies: list[tuple[str, Reply]] = []
    for name, how in asked:
        replies.append((name, client.infer(inputs=image, explain=True, raise_for_outcome=False, **how)))
    why = decided.reasons(decided.read(client.settings), {reply.query_id for _, reply in replies})
    out.print(replies_table((_asked(name, why.get(reply.query_id, ""), reply), reply) for name, reply in replies))


def _asked(name: str, reason: str, reply: Reply) -> Text:
    return Text.assemble(name, (f"\n{reason}", "dim")) if reply.outcome == "ok" and reason else Text(name)


def _phase(text: str) -> None:
    err.print(f"\n[bold]{text}[/]", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
