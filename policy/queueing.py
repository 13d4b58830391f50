"""How much of its time a pool of servers may be busy, so that less than one query in a hundred waits too long. Pure.

Poisson arrivals at `servers` like servers whose service time is lognormal (median 1: all times here are in medians; its 99th
percentile is the `tail`), or always the same if the tail is 1. The wait of a query that finds all busy obeys the renewal equation

    V(t) = (1 - rho) (1 - (1 - E(t))^m) + rho * integral of V(t - u) dE(m u)

with `E` the distribution of what is left of a service under way. One server: that is Pollaczek and Khinchine's, and exact. More:
the first of `m` that are under way ends, then they work as one that is `m` times as quick. All are busy with Erlang's C. It is
solved on a grid once a tail and number of servers, for all loads at once, and looked up from then on.
Source: Tijms, A First Course in Stochastic Models, 9.6.2; Tijms, van Hoorn and Federgruen 1981.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

MISSES = 0.008
"""Share of the queries that may be late; 1 % with those that a router refuses though they would have been in time."""
Z99 = 2.3263478740
"""Of the normal distribution: the 99th percentile."""
POOLS = (1, 2, 3, 4, 6, 8, 16, 32)
"""Numbers of servers that are worked out; one between two counts as the lower, more than the last as the last."""
TAIL_STEP = math.log(1.02)
"""Tails are worked out in steps of 2 %; one between two counts as the higher."""
STEP = 24
"""Of the grid, in a median."""
LENGTH = 12 * STEP
LEAST, MOST, LEVELS = 1e-4, 0.998, 56
ENOUGH = 1.0 - 1e-9

Floats = NDArray[np.float64]


def usable_share(tail: float, room: float, servers: int) -> float:
    """The most of their time that servers may be busy, 0 to 1, if at most MISSES of the queries take longer than `room`.

    Args:
        tail: 99th percentile of the service time over its median.
        room: for wait and service together, in medians.
        servers: that share one queue.
    """
    steps = math.ceil(math.log(max(1.0, tail)) / TAIL_STEP - 1e-9)
    return _looked_up(steps, pool_of(servers), room) if room >= math.exp(steps * TAIL_STEP) else 0.0


def pool_of(servers: int) -> int:
    """As how many servers so many count."""
    return POOLS[bisect_right(POOLS, max(1, servers)) - 1]


def shared_share(tail: float, slack: float, servers: int, misses: float = MISSES) -> float:
    """The most of their time that servers may be busy with what is due later, if those in a hurry come seldom.

    These run before all that waits, but wait for the first of the services under way.

    Args:
        tail: of the services of those that are due later.
        slack: of those in a hurry, in medians of these services.
        servers: that share one queue.
        misses: share of those in a hurry that may be late.
    """
    if misses <= 0.0 or slack <= 0.0:
        return 0.0
    pool = pool_of(servers)
    too_long = (1.0 - float(_left(np.array([slack]), _sigma(tail))[0])) ** pool
    return 1.0 if too_long <= misses else _busy_at(pool, misses / too_long)


def late_alone(tail: float, room: float) -> float:
    """Share of the services that alone take longer than `room` medians."""
    return 1.0 - float(_service(np.array([room]), _sigma(tail))[0])


def mean_of(tail: float) -> float:
    """Mean of the service time, in medians."""
    return math.exp(_sigma(tail) ** 2 / 2.0)


def tail_of(variation: float) -> float:
    """The tail of a service whose squared coefficient of variation this is."""
    return math.exp(Z99 * math.sqrt(math.log1p(variation)))


def _sigma(tail: float) -> float:
    return math.log(max(1.0, tail)) / Z99


@lru_cache(maxsize=1 << 16)
def _looked_up(steps: int, servers: int, room: float) -> float:
    shares = _shares(steps, servers)
    at = room * STEP
    if at < LENGTH:
        below = int(at)
        return float(shares[below] + (at - below) * (shares[below + 1] - shares[below]))
    # Beyond the grid the wait falls off exponentially, and so slowly only near full use: as it does at the end of the grid.
    last, end = float(shares[LENGTH]), LENGTH / STEP - 1.0
    return (room - 1.0) / (room - 1.0 + end * (1.0 / last - 1.0)) if last > 0 else 0.0


@cache
def _shares(steps: int, servers: int) -> Floats:
    """The usable share at each step of the grid, for a tail of so many steps."""
    sigma, levels = _sigma(math.exp(steps * TAIL_STEP)), _levels()
    late = 1.0 - _done(sigma, servers, levels)
    alone = 1.0 - _service(np.arange(LENGTH + 1) / STEP, sigma)
    late, levels = np.vstack([alone, late]), np.concatenate([[0.0], levels])
    fits = np.minimum.accumulate(late <= MISSES, axis=0)
    below = fits.sum(axis=0) - 1  # -1: not even by itself
    high = np.clip(below + 1, 1, len(levels) - 1)
    at = np.arange(LENGTH + 1)
    lower, upper = late[high - 1, at], late[high, at]
    share = np.clip((MISSES - lower) / np.maximum(upper - lower, 1e-15), 0.0, 1.0)
    found = levels[high - 1] + share * (levels[high] - levels[high - 1])
    return np.asarray(np.maximum.accumulate(np.where(below < 0, 0.0, found)))


def _done(sigma: float, servers: int, levels: Floats) -> Floats:
    """Share of the queries answered by each step of the grid, by level of use."""
    waits, busy = _waits(sigma, servers, levels), _erlang_c(servers, levels)[:, None]
    times = np.arange(LENGTH + 1) / STEP
    service = _service(times, sigma)
    if sigma == 0.0:
        after = np.zeros_like(waits)
        after[:, STEP:] = waits[:, :-STEP]
    else:
        mass = np.diff(service)
        middle = (waits[:, 1:] + waits[:, :-1]) / 2.0
        after = np.zeros_like(waits)
        after[:, 1:] = [np.convolve(row, mass)[:LENGTH] for row in middle]
    return np.asarray((1.0 - busy) * service + busy * after)


def _waits(sigma: float, servers: int, levels: Floats) -> Floats:
    """`V` by level of use and step of the grid, by the trapezoidal rule."""
    times = np.arange(LENGTH + 1) / STEP
    first = 1.0 - (1.0 - _left(times, sigma)) ** servers
    mass = np.diff(_left(times * servers, sigma))
    mass = mass[: max(2, int(np.searchsorted(np.cumsum(mass), ENOUGH)) + 2)]
    kernel = (mass + np.append(mass[1:], 0.0)) / 2.0
    waits = np.zeros((len(levels), LENGTH + 1))
    scale = 1.0 - levels * mass[0] / 2.0
    backwards = kernel[::-1].copy()
    for at in range(1, LENGTH + 1):
        since = max(0, at - len(kernel))
        behind = waits[:, since:at] @ backwards[len(kernel) - (at - since) :]
        waits[:, at] = ((1.0 - levels) * first[at] + levels * behind) / scale
    return waits


def _service(times: Floats, sigma: float) -> Floats:
    """Distribution of the service time."""
    if sigma == 0.0:
        return (times >= 1.0).astype(float)
    return _normal(_log(times) / sigma)


def _left(times: Floats, sigma: float) -> Floats:
    """`E`: distribution of what is left of a service that is under way."""
    if sigma == 0.0:
        return np.minimum(times, 1.0)
    over = times * (1.0 - _service(times, sigma))
    return np.asarray(np.minimum(1.0, over / math.exp(sigma**2 / 2.0) + _normal(_log(times) / sigma - sigma)))


def _log(times: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(times, 1e-300)))


def _normal(at: Floats) -> Floats:
    return np.array([math.erfc(-one / math.sqrt(2.0)) / 2.0 for one in at.tolist()])


@cache
def _levels() -> Floats:
    low, high = math.log(LEAST / (1 - LEAST)), math.log(MOST / (1 - MOST))
    return np.asarray(1.0 / (1.0 + np.exp(-np.linspace(low, high, LEVELS))))


def _erlang_c(servers: int, levels: Floats) -> Floats:
    """How probable it is that all servers are busy."""
    offered, blocked = levels * servers, np.ones_like(levels)
    for count in range(1, servers + 1):
        blocked = offered * blocked / (count + offered * blocked)
    return np.asarray(blocked / (1.0 - levels * (1.0 - blocked)))


def _busy_at(servers: int, probability: float) -> float:
    """The use at which all servers are busy with this probability."""
    levels, busy = _erlang_levels(servers)
    return float(np.exp(np.interp(math.log(probability), busy, levels)))


@cache
def _erlang_levels(servers: int) -> tuple[Floats, Floats]:
    levels = _levels()
    return np.log(np.append(levels, 1.0)), np.log(np.append(_erlang_c(servers, levels), 1.0))
