"""Which variants have found no place to be built for so long that nobody is to wait for them. Pure but for its own state.

The scaler gives every build room that the load does not need, and to a model that can't be served yet more than that; a further
variant of a model under load may wait as long as the load lasts. Time counts only while nothing is being built (else its turn may
come) and no machine is on its way. After a restart it only waits longer.
"""

from __future__ import annotations

from infaas.registrar.fold import builds_under_way
from infaas.store.view import View

STALLED_S = 120.0  # twice what the scaler waits before it makes room for a model that has none


class Stalls:
    """Remembers since when each variant could have been built, and was not."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def update(self, view: View, now_s: float) -> frozenset[str]:
        """Variants that are stalled.

        Args:
            view: the picture.
            now_s: monotonic seconds.
        """
        coming = any(m.wanted == "running" and n not in view.live_workers for n, m in view.machines.items())
        waiting = {v.variant for v in view.variants.values() if v.state == "planned" and v.variant not in view.built}
        begun = builds_under_way(view)
        stalled = {v for v, since_s in self._since.items() if now_s - since_s >= STALLED_S}
        since = self._since if not (begun or coming) else {v: self._since[v] for v in stalled}
        self._since = {v: since.get(v, now_s) for v in sorted(waiting - begun)}
        return frozenset(v for v, since_s in self._since.items() if now_s - since_s >= STALLED_S)
