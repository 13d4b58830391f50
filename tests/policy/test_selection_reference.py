"""The rules of selection (DESIGN.md §5) once more, naively, against `select`: on thousands of random scenes that go on in time.

All times are small binary fractions, so that both add up the same and ties are ties.
"""

import math
import random
from collections import Counter
from zlib import crc32

import pytest
from candidates import catalogue, profile, variant

from infaas.policy.capacity import capacity
from infaas.policy.price import query_cost
from infaas.router.drain import Drain
from infaas.router.lineup import Lineup
from infaas.router.live import Live
from infaas.router.policy import Dispatch, NotYet, Query, Reject, Scene, select
from infaas.router.running import RunningAt
from infaas.schemas.headers import Objective

SCENES, STEPS = 150, 12
CROWDED_SCENES, CROWDED_STEPS = 8, 200
OVERHEAD_MS = 3.0
NAMES = [f"a{n}.v1.onnxruntime-cpu1-fp32" for n in range(4)]


class World:
    """Some variants, of which some run, and a clock."""

    running = 0.75
    """Share of the variants."""
    pauses = (0.0, 0.25, 1.0, 1.0, 7.5)
    """Between two steps, ms."""

    def __init__(self, random):
        self.random, self.now = random, 1024.0
        names = random.sample(NAMES, random.randint(1, 4))
        self.variants = [self.variant(name) for name in names]
        self.catalogue = catalogue(self.variants)
        self.servables = {one.variant: one for one in self.catalogue.all_of("application", "app")}
        self.lives = {name: self.instances() for name in names if random.random() < self.running}
        self.not_yet = {
            name: NotYet(
                random.choice([0.0, 8.0, 512.0]), random.randrange(9), random.random() < 0.5, random.random() < 0.7
            )
            for name in names
            if name not in self.lives
        }
        self.scene = Scene(
            {name: Lineup(lives, self.now) for name, lives in self.lives.items()}, self.not_yet, OVERHEAD_MS
        )

    def variant(self, name):
        p50, accuracy = self.random.choice([0.5, 1.0, 4.0]), self.random.choice([0.5, 0.75, 0.875])
        return variant(name, profile(p50, 2 * p50, accuracy=accuracy), self.random.choice([0.125, 0.25, 1.0]))

    def instances(self):
        places = self.random.sample([(w, n) for w in ("w", "w1", "w2") for n in range(6)], self.random.randint(1, 12))
        return [Live("b", self.seen(*place), self.drain()) for place in places]

    def seen(self, worker, number):
        condition = self.random.choice(["active", "active", "active", "overloaded", "interfered"])
        slowdown, query_ms = self.random.choice([0.5, 1.0, 1.0, 4.0]), self.random.choice([0.5, 1.0, 1.0, 4.0])
        return RunningAt(worker, number, condition, 0.0, query_ms, slowdown, (0,))

    def drain(self):
        work, until = self.random.choice([0, 0, 1, 2, 3, 24]), self.random.choice([-64.0, 0.0, 4.0, 16.0, 1024.0])
        drain = Drain(work, self.now - self.random.choice([0.0, 0.25, 2.0]), self.now + until)
        drain.deadlines = sorted(
            self.now + self.random.choice([2.0, 16.0, 64.0]) for _ in range(self.random.randint(0, work))
        )
        return drain

    def step(self):
        """Time goes on, and something happens to an instance."""
        self.now += self.random.choice(self.pauses)
        if not self.lives:
            return
        live = self.random.choice(self.random.choice(list(self.lives.values())))
        match self.random.choice(["nothing", "sent", "sent", "failed", "reported"]):
            case "sent":
                live.drain.add(self.now, live.seen.query_ms, self.now + self.random.choice([4.0, 64.0, 1024.0]))
            case "failed":
                live.drain.withdraw(self.random.choice([*live.drain.deadlines, 0.0]))
            case "reported":
                live.seen.query_ms, live.seen.slowdown = self.random.choice([0.5, 1.0]), self.random.choice([0.5, 2.0])
                live.drain = self.drain()
        live.moved()

    def query(self):
        latency = self.random.choice([None, 4.0, 8.0, 32.0, 128.0, 2048.0])
        objective = Objective(
            "application",
            "app",
            latency_ms=latency,
            min_accuracy=self.random.choice([0.0, 0.75, 0.875, 1.0]),
            max_cost=self.random.choice([math.inf, math.inf, 1e-5, 1e-4]),
            optimize=self.random.choice(["cost", "accuracy", "latency"]),
            strict=self.random.random() < 0.6,
        )
        budget = math.inf if latency is None else latency - self.random.choice([0.0, 0.5])
        excluded = frozenset(self.random.sample(NAMES, self.random.choice([0, 0, 1])))
        return Query(objective, budget, excluded, 4 * budget, self.now)


class Crowded(World):
    """All instances are full, of what is due soon beside what is due late, and what is asked is about as urgent as either."""

    running = 1.0
    pauses = (0.0, 0.0, 0.25, 1.0)

    def instances(self):
        places = [(w, n) for w in ("w", "w1", "w2") for n in range(6)]
        return [Live("b", self.seen(*p), self.drain()) for p in self.random.sample(places, self.random.randint(6, 18))]

    def drain(self):
        work, until = self.random.choice([16, 24.5, 40, 80]), self.random.choice([0.0, 16.0, 1024.0, 4096.0])
        drain = Drain(work, self.now - self.random.choice([0.0, 0.25, 2.0]), self.now + until)
        due = [2.0, 4.0, 4.0, 6.0, 8.0, 9.0, 10.0, 16.0, 17.0, 64.0, 512.0]
        drain.deadlines = sorted(self.now + self.random.choice(due) for _ in range(self.random.randint(0, int(work))))
        return drain

    def query(self):
        latency = self.random.choice([6.0, 8.0, 8.0, 10.0, 12.0, 14.0, 16.0, 24.0, 32.0, 2048.0])
        optimize, strict = self.random.choice(["cost", "accuracy", "latency"]), self.random.random() < 0.8
        objective = Objective("application", "app", latency_ms=latency, optimize=optimize, strict=strict)
        budget = latency - self.random.choice([0.0, 0.5, 1.5, 4.0])
        return Query(objective, budget, frozenset(), 4 * latency, self.now)

    def send(self, name, seen, query):
        """What was decided is done."""
        live = next(live for live in self.lives[name] if live.seen is seen)
        live.drain.add(self.now, seen.query_ms, self.now + query.budget_ms)
        live.moved()


class Rules:
    """The rules, for one query: everything is looked at."""

    def __init__(self, world, query, salt):
        self.world, self.query, self.salt = world, query, salt
        self.objective = query.objective

    def decide(self):
        rest = [v.variant for v in self.world.variants if v.variant not in self.query.excluded]
        good = [name for name in rest if self.accurate(name) and self.cheap(name)]
        running = [
            (*self.order(name, *pick), name, *pick) for name in good if (pick := self.pick(name, self.query.budget_ms))
        ]
        if running:
            *_, name, live, predicted = min(running, key=lambda option: option[:-2])
            return name, live.seen, predicted, ""
        waiting = [(not self.world.not_yet[n].starting, self.ready(n), n) for n in good if n in self.world.not_yet]
        in_time = [option for option in waiting if option[1] <= self.query.budget_ms and option[1] < math.inf]
        if in_time:
            _, predicted, name = min(in_time)
            return name, None, predicted, ""
        if not self.objective.strict and (nearest := [o for name in rest if (o := self.nearest(name))]):
            (short, dear, predicted, name), seen = min(nearest, key=lambda option: option[0])
            return name, seen, predicted, "accuracy" if short else "cost" if dear else "latency"
        return self.code(rest, good)

    def accurate(self, name):
        return self.world.servables[name].accuracy >= self.objective.min_accuracy

    def cost(self, name):
        return query_cost(self.world.servables[name], self.objective.latency_ms)

    def cheap(self, name):
        return self.cost(name) <= self.objective.max_cost

    def own_ms(self, name):
        return self.world.servables[name].profile.latency_ms(1)

    def left(self, live):
        return live.drain.left(self.query.now_ms, live.seen.query_ms)

    def work_ms(self, live):
        return (self.left(live) + 1) * live.seen.query_ms

    def done_ms(self, name, live):
        """What is due earlier, or under way already; then the query; then the way there and back."""
        waiting, due = self.left(live), self.query.now_ms + self.query.budget_ms
        known = live.drain.deadlines[max(0, len(live.drain.deadlines) - math.ceil(waiting)) :]
        at_once = self.world.servables[name].profile.max_batch
        begun = min(waiting, waiting - math.ceil(waiting) + 1 + at_once - 1) if waiting else 0
        before = max(begun, waiting - sum(deadline > due for deadline in known))
        return before * live.seen.query_ms + self.own_ms(name) * live.seen.slowdown + OVERHEAD_MS

    def pick(self, name, budget_ms):
        """Of those in time the active ones, of these the least work, of these the quicker, of these what the salt says."""
        lives = self.world.lives.get(name, [])
        rank = {id(i): (i.seen.condition != "active", self.work_ms(i), i.seen.slowdown) for i in lives}
        in_time = [i for i in lives if self.done_ms(name, i) <= budget_ms]
        if not in_time:
            return None
        best = min(rank[id(i)] for i in in_time)
        equal = sorted((i for i in lives if rank[id(i)] == best), key=lambda i: (i.seen.worker, i.seen.instance))
        first = crc32(self.salt.encode()) % len(equal)
        live = next(i for i in equal[first:] + equal[:first] if i in in_time)
        return live, self.done_ms(name, live)

    def order(self, name, live, predicted):
        wish = {"cost": (self.cost(name), -self.accuracy(name)), "accuracy": (-self.accuracy(name), self.cost(name))}
        return live.seen.condition != "active", *wish.get(self.objective.optimize, (predicted, self.cost(name)))

    def accuracy(self, name):
        return self.world.servables[name].accuracy

    def ready(self, name):
        state = self.world.not_yet[name]
        each_ms = 1000.0 / capacity(self.world.servables[name].profile)
        whole = state.ready_in_ms + state.waiting * each_ms + self.own_ms(name) + OVERHEAD_MS
        return whole if state.placeable else math.inf

    def nearest(self, name):
        pick = self.pick(name, self.query.late_budget_ms)
        if pick is None and (name in self.world.lives or self.ready(name) > self.query.late_budget_ms):
            return None
        predicted = self.ready(name) if pick is None else pick[1]
        if math.isinf(predicted):
            return None
        short = max(0.0, self.objective.min_accuracy - self.accuracy(name))
        dear = max(0.0, self.cost(name) - self.objective.max_cost)
        return (short, dear, predicted, name), None if pick is None else pick[0].seen

    def code(self, rest, good):
        if not rest:
            return "no_variant"
        if not good:
            return "cost" if any(map(self.accurate, rest)) else "accuracy"
        soonest = [
            min(self.done_ms(n, i) for i in self.world.lives[n]) if n in self.world.lives else self.ready(n)
            for n in good
        ]
        return "no_room" if math.isinf(min(soonest)) else f"latency {min(soonest):.1f}"


def told(decision):
    """What `select` said, in the words of the reference."""
    if isinstance(decision, Reject):
        soonest = decision.suggestion.split(": in ")[1].removesuffix(" ms") if decision.code == "latency" else ""
        return f"{decision.code} {soonest}".strip()
    assert isinstance(decision, Dispatch)
    return decision.variant, decision.instance, decision.predicted_ms, decision.mark


@pytest.mark.parametrize("seed", range(4))
def test_select_says_what_the_rules_say_if_everything_is_looked_at(seed):
    chosen = random.Random(seed)
    seen = set()
    for _ in range(SCENES):
        world = World(chosen)
        for step in range(STEPS):
            world.step()
            query, salt = world.query(), f"q-0-{chosen.randrange(1000)}"
            plan = world.catalogue.plan(query.objective)
            expected = Rules(world, query, salt).decide()
            decision = select(plan, world.scene, query, salt)
            assert told(decision) == expected, f"step {step}: {query}"
            seen.add(expected.split()[0] if isinstance(expected, str) else (expected[1] is None, expected[3]))
    assert {"latency", "cost", "accuracy", (False, ""), (True, ""), (False, "latency")} <= seen, "all kinds came up"


@pytest.mark.parametrize("seed", range(4))
def test_what_is_remembered_of_who_is_in_time_is_what_is_found_if_all_are_looked_at(seed):
    chosen, kinds = random.Random(seed), Counter()
    for _ in range(CROWDED_SCENES):
        world = Crowded(chosen)
        for step in range(CROWDED_STEPS):
            world.step()
            query, salt = world.query(), f"q-0-{chosen.randrange(1000)}"
            expected = Rules(world, query, salt).decide()
            decision = select(world.catalogue.plan(query.objective), world.scene, query, salt)
            assert told(decision) == expected, f"step {step}: {query}"
            if isinstance(decision, Dispatch) and decision.instance is not None and chosen.random() < 0.7:
                world.send(decision.variant, decision.instance, query)
            kinds[type(decision)] += 1
    assert min(kinds.values()) > 0.05 * kinds.total(), "both are said often"
