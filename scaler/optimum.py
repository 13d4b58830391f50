"""The cheapest fleet there is, as an integer program solved by SciPy's HiGHS: what the greedy policy is measured against.

Minimise `sum C_v n_v` so that each class's load is split over its variants (`sum_v y_cv = 1`) and each variant's instances hold
their share (`sum_c y_cv load_c / Q_cv <= n_v`), n integer. Of variants whose instances take more each the more there are, the rate of a
step counts only with so many instances: one binary z a step, `y_cvs <= z_vs`, `s z_vs <= n_v`.
What classes with different objectives do to each other on one variant is not in it: it is a lower bound then.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import lil_array

from infaas.scaler.headroom import Class
from infaas.schemas.errors import InfaasError

TIME_LIMIT_S = 10.0


class Infeasible(InfaasError):
    """The solver found no fleet; with unlimited instances that is its time limit."""

    code = "infeasible"


def optimum(classes: Sequence[Class], slack: float = 1.0) -> dict[str, int]:
    """Instances by variant at the lowest cost.

    Raises:
        Infeasible: if the solver finds none within its time limit.
    """
    asked = [c for c in classes if c[0] > 0 and c[1]]
    if not asked:
        return {}
    solution = _Program(asked, slack).solve()
    return {name: count for name, count in solution.items() if count}


class _Program:
    """The matrices: a column for each variant's instances, then for each class's share of a step, then for each step above one."""

    def __init__(self, asked: Sequence[Class], slack: float) -> None:
        self._asked, self._slack = asked, slack
        self._prices = {o.variant: o.cost_per_hour for _, options in asked for o in options}
        self._names = sorted(self._prices)
        self._parts = [
            (c, o.variant, least, rate)
            for c, (_, options) in enumerate(asked)
            for o in options
            for least, rate in [(1, o.capacity), *((n, each) for n, each in o.pooled if n > 1)]
        ]
        self._steps = sorted({(name, least) for _, name, least, _ in self._parts if least > 1})

    def solve(self) -> dict[str, int]:
        """Instances by variant."""
        names, parts, steps = self._names, self._parts, self._steps
        solution = milp(
            # A trace of a price on each instance breaks ties to fewer of them.
            c=np.array([self._prices[v] + 1e-9 for v in names] + [0.0] * (len(parts) + len(steps))),
            constraints=self._constraints(),
            integrality=np.array([1] * len(names) + [0] * len(parts) + [1] * len(steps)),
            bounds=Bounds(0.0, np.array([np.inf] * len(names) + [1.0] * (len(parts) + len(steps)))),
            options={"time_limit": TIME_LIMIT_S},
        )
        if solution.x is None:
            raise Infeasible(str(solution.message))
        return {name: round(solution.x[at]) for at, name in enumerate(names)}

    def _constraints(self) -> list[LinearConstraint]:
        names, parts, steps = self._names, self._parts, self._steps
        first_part, first_step = len(names), len(names) + len(parts)
        width = first_step + len(steps)
        whole, share = lil_array((len(self._asked), width)), lil_array((len(names), width))
        opened = lil_array((len(parts) + len(steps), width))
        for at, (c, name, least, rate) in enumerate(parts):
            column, row = first_part + at, names.index(name)
            whole[c, column] = 1.0
            share[row, column] = self._asked[c][0] * self._slack / rate
            share[row, row] = -1.0
            if least > 1:
                opened[at, column], opened[at, first_step + steps.index((name, least))] = 1.0, -1.0
        for at, (name, least) in enumerate(steps):
            opened[len(parts) + at, first_step + at], opened[len(parts) + at, names.index(name)] = float(least), -1.0
        return [
            LinearConstraint(whole.tocsr(), 1.0, 1.0),
            LinearConstraint(share.tocsr(), -np.inf, 0.0),
            LinearConstraint(opened.tocsr(), -np.inf, 0.0),
        ]
