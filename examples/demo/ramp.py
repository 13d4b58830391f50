"""The ramp: a Poisson load that rises and falls, while somebody watches. The scaler does the rest by itself."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np
import psutil
from rich.live import Live
from rich.table import Table

from infaas.bus.telemetry import TelemetryReader
from infaas.cli.console import interactive, out, progress
from infaas.cli.stack import Stack
from infaas.cli.tables import number
from infaas.client import Client, Reply
from infaas.examples.demo.tally import Answer, Kind, Moment, percentiles
from infaas.examples.digits import INPUT, OUTPUT, Digits
from infaas.schemas.errors import InfaasError
from infaas.schemas.metadata import SERVING
from infaas.schemas.reports import Tick

RISE_S, HOLD_S, FALL_S = 25.0, 15.0, 20.0
WHOLE_S = RISE_S + HOLD_S + FALL_S
LOWEST = 0.08
SHOW_EVERY_S, LINE_EVERY_S = 0.25, 5.0
LAST_S = 5.0
INSTANCE_MODULE = "infaas.workers.serve"
CHAOS_INSTANCE_S, CHAOS_ROUTER_S = 22.0, 32.0


def shape(at_s: float) -> float:
    """Share of the peak at a moment: a rise, a plateau, a fall."""
    if at_s < RISE_S:
        return LOWEST + (1 - LOWEST) * at_s / RISE_S
    if at_s < RISE_S + HOLD_S:
        return 1.0
    return max(LOWEST, 1 - (1 - LOWEST) * (at_s - RISE_S - HOLD_S) / FALL_S)


def arrivals(peak: float, seconds: float, rng: np.random.Generator) -> list[float]:
    """Arrival times of a Poisson process whose rate follows the shape, drawn out or together to `seconds`, by thinning."""
    arrivals: list[float] = []
    at = 0.0
    while True:
        at += rng.exponential(1.0 / peak)
        if at >= seconds:
            return arrivals
        if rng.random() < shape(at * WHOLE_S / seconds):
            arrivals.append(at)


class Ramp:
    """One run.

    Args:
        client: sends.
        stack: kept running meanwhile.
        digits: what is sent, and what would be right.
        kinds: of callers.
        chaos: kill an instance and the router on the way.
        seconds: how long it takes.
    """

    def __init__(
        self,
        *,
        client: Client,
        stack: Stack,
        digits: Digits,
        kinds: Sequence[Kind],
        chaos: bool,
        seconds: float = WHOLE_S,
    ) -> None:
        self._client, self._stack, self._digits, self._seconds = client, stack, digits, seconds
        self._kinds = {kind.name: kind for kind in kinds}
        self._chaos = (
            [
                (CHAOS_INSTANCE_S * seconds / WHOLE_S, self._kill_instance),
                (CHAOS_ROUTER_S * seconds / WHOLE_S, self._kill_router),
            ]
            if chaos
            else []
        )
        self.answers: list[Answer] = []
        self.moments: list[Moment] = []
        self.sent = 0
        self._recent: deque[float] = deque()
        self._headroom, self._cost = math.nan, 0.0

    def run(self, seed: int = 1) -> None:
        """Sends everything and waits for every answer."""
        seconds = self._seconds
        rng = np.random.default_rng(seed)
        plan = sorted((at, name) for name, kind in self._kinds.items() for at in arrivals(kind.peak, seconds, rng))
        rows = rng.integers(0, len(self._digits.test_labels), len(plan))
        telemetry = TelemetryReader(self._client.settings, client_id="demo", back_ms=1000)
        begun, nth = time.monotonic(), 0
        next_show = next_line = 0.0
        live = Live(console=out, refresh_per_second=4) if interactive() else contextlib.nullcontext()
        try:
            with live as screen:
                while nth < len(plan) or len(self.answers) < self.sent:
                    now = time.monotonic() - begun
                    while nth < len(plan) and plan[nth][0] <= now:
                        self._send(plan[nth][1], int(rows[nth]), now)
                        nth += 1
                    self._listen(telemetry)
                    for name in self._stack.step():
                        progress(f"{name} had ended and was started again")
                    while self._chaos and now >= self._chaos[0][0]:
                        self._chaos.pop(0)[1]()
                    if now >= next_show and now <= seconds + 1.0:
                        next_show = now + SHOW_EVERY_S
                        self._moment(now)
                        if screen is not None:
                            screen.update(self._picture(now, seconds))
                        elif now >= next_line:
                            next_line = now + LINE_EVERY_S
                            out.print(self._line(now), highlight=False)
                    next_at = plan[nth][0] - now if nth < len(plan) else 0.01
                    time.sleep(min(0.01, max(0.0005, next_at)))
        finally:
            telemetry.close()

    def _send(self, name: str, row: int, now: float) -> None:
        image, label = self._digits.test_images[row : row + 1], int(self._digits.test_labels[row])
        self.sent += 1
        self._recent.append(now)

        def ended(done: Future[Reply]) -> None:
            try:
                reply = done.result()
            except InfaasError as error:
                self.answers.append(Answer(name, now, None, error=str(error)))
                return
            correct = reply.outcome == "ok" and int(reply.outputs[OUTPUT].ravel()[0]) == label
            self.answers.append(Answer(name, now, reply, correct=correct))

        asked = self._kinds[name].asked
        self._client.submit(inputs={INPUT: image}, raise_for_outcome=False, **asked).add_done_callback(ended)

    def _listen(self, telemetry: TelemetryReader) -> None:
        for report, _ in telemetry.poll(0):
            if isinstance(report, Tick) and report.role == "scaler":
                self._headroom = min(report.headroom.values(), default=math.inf)
                self._cost = report.cost_per_hour

    def _moment(self, now: float) -> None:
        while self._recent and self._recent[0] < now - LAST_S:
            self._recent.popleft()
        running = Counter(i.variant for i in self._stack.view().instances.values() if i.state in SERVING)
        offered = len(self._recent) / min(LAST_S, max(now, 0.5))
        self.moments.append(Moment(now, offered, self._headroom, self._cost, dict(running)))

    # ---- what people see

    def _picture(self, now: float, seconds: float) -> Table:
        last = [a for a in self.answers[-2000:] if a.sent_s > now - LAST_S]
        p50, p99 = percentiles(last)
        moment = self.moments[-1]
        table = Table(title=f"ramp: {now:.0f} of {seconds:.0f} s", title_justify="left", show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, min_width=50)
        bar = "█" * round(40 * shape(now * WHOLE_S / seconds))
        table.add_row("load", f"{moment.offered:.0f} queries/s [cyan]{bar}[/]")
        table.add_row("headroom", number(moment.headroom, ".2f"))
        table.add_row("latency, last 5 s", f"p50 {number(p50, '.1f')} ms   p99 {number(p99, '.1f')} ms")
        table.add_row("violations", f"{sum(a.violated for a in self.answers)} of {len(self.answers)} answered")
        table.add_row("cost", f"{moment.cost_per_hour:.4f} USD/h")
        for variant, count in sorted(moment.instances.items()):
            table.add_row("instances" if variant == min(moment.instances) else "", f"{'■' * count} {variant}")
        return table

    def _line(self, now: float) -> str:
        p50, p99 = percentiles([a for a in self.answers[-2000:] if a.sent_s > now - LAST_S])
        moment = self.moments[-1]
        fleet = ", ".join(f"{n} x {v}" for v, n in sorted(moment.instances.items())) or "nothing"
        return (
            f"{now:5.1f} s  {moment.offered:4.0f} q/s  headroom {number(moment.headroom, '.2f'):>9}  p50 {number(p50, '.0f')} "
            f"p99 {number(p99, '.0f')} ms  violations {sum(a.violated for a in self.answers)}  {moment.cost_per_hour:.4f} USD/h  {fleet}"
        )

    # ---- chaos

    def _kill_instance(self) -> None:
        for name, service in self._stack.services.items():
            if not name.startswith("worker-") or not service.pid:
                continue
            for child in psutil.Process(service.pid).children():
                if INSTANCE_MODULE in child.cmdline():
                    os.kill(child.pid, signal.SIGKILL)
                    progress(f"chaos: killed an instance of {name} (process {child.pid})")
                    return

    def _kill_router(self) -> None:
        progress(f"chaos: killed router-1 (process {self._stack.kill('router-1')})")
