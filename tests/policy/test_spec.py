"""The model-checked protocol, at its smallest bounds: each rule is needed, and with all of them it holds (`make spec`: all)."""

import importlib
import sys
from pathlib import Path

import pytest

SPEC = Path(__file__).parents[2] / "docs" / "spec"
# Checks of more states than this are left to `make spec`.
STATES = 4_000


def module(name):
    """A module of the specification; its short names (`store`, `work`) stay out of everybody else's way."""
    before = set(sys.modules)
    sys.path.insert(0, str(SPEC))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(SPEC))
        for new in set(sys.modules) - before:
            if (SPEC / f"{new}.py").exists():
                del sys.modules[new]


RUN = module("run")
MODELS = {kind[0].__name__: kind for kind, *_ in RUN.NEEDED}
QUICK = [
    ("Store", dict(claim=2, write=1)),
    ("Retire", {}),
    ("Grow", dict(more=3, scaler=2)),
    ("Returns", dict(crash=2, noroom=1)),
    ("Boot", dict(second=1, write=3)),
    ("Poison", dict(kill=1, stop=2)),
    ("Poison", dict(machine=True, stop=1)),
    ("Work", dict(queries=2, move=1)),
    ("Work", dict(queries=1, move=1, lose=1)),
    ("Work", dict(queries=1, fail=1, lose=1)),
    ("Work", dict(queries=1, hang=1, lose=1)),
    ("Work", dict(queries=1, fail=2)),
]


def name(check):
    model, *rule, options = check
    what = f"without {rule[0]}" if rule else "all rules"
    return f"{model if isinstance(model, str) else model[0].__name__}: {what}, {options}"


def outcome(kind, rules, options):
    model, _ = kind
    return RUN.check(model(rules, **options), cap=10 * STATES)


@pytest.mark.parametrize("check", RUN.NEEDED, ids=name)
def test_without_a_rule_the_checker_shows_what_breaks(check):
    kind, rule, options = check
    found = outcome(kind, kind[1] - {rule}, options)
    assert found["error"].startswith(("SAFETY", "LIVENESS"))
    assert found["trace"], "from the start to what breaks"


@pytest.mark.parametrize("check", QUICK, ids=name)
def test_with_all_rules_it_holds(check):
    model, options = check
    found = outcome(MODELS[model], MODELS[model][1], options)
    assert found["error"] is None, found["trace"]
    assert found["states"] < STATES


def test_every_rule_of_every_model_is_shown_to_be_needed():
    shown = {(kind[0].__name__, rule) for kind, rule, _ in RUN.NEEDED if rule}
    assert shown == {(model, rule) for model, (_, rules) in MODELS.items() for rule in rules}


def test_no_model_is_left_out():
    models = {path.stem for path in SPEC.glob("*.py")} - {"mc", "run"}
    assert models == {kind[0].__module__ for kind in MODELS.values()}
