"""What may take long, beside a leader's loop: ticks and verdicts wait for nobody.

1. The loop starts a task in a lane; the lane's thread runs it. One task at a time: who finds the lane busy asks again.
2. The task touches nothing of the loop: it gets immutable pictures and clients of its own, and returns a value.
3. The loop looks at the lane in every step and applies the result, if it still leads under the epoch the task was started in.
4. A task past its deadline is too old to be applied: what it returns, or raises, is dropped.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from infaas.schemas.errors import InfaasError

log = logging.getLogger(__name__)
CLOSE_S = 5.0
Result = TypeVar("Result")


class _Task:
    """One task on its way through the thread."""

    def __init__(
        self, name: str, work: Callable[[], Any], apply: Callable[[Any], None], epoch: int, deadline: float
    ) -> None:
        self.name, self.work, self.apply, self.epoch, self.deadline = name, work, apply, epoch, deadline
        self.result: Any = None
        self.error: Exception | None = None
        self.finished = threading.Event()
        self.overdue = False

    def run(self) -> None:
        try:
            self.result = self.work()
        except Exception as error:  # noqa: BLE001 - the loop decides what it means
            self.error = error
        self.finished.set()


class Lane:
    """One thread and at most one task.

    Args:
        name: of the thread.
        deadline_s: how old a result may be.
        now: monotonic seconds.
    """

    def __init__(self, name: str, *, deadline_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._name, self._deadline_s, self._now = name, deadline_s, now
        self._queue: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._task: _Task | None = None
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """Whether a task is under way, or its result not fetched."""
        return self._task is not None

    def start(self, name: str, work: Callable[[], Result], apply: Callable[[Result], None], *, epoch: int) -> None:
        """Runs `work` in the lane's thread, and `apply` with its result in a later `step`; the lane must not be busy."""
        assert self._task is None, "one task at a time"
        self._task = _Task(name, work, apply, epoch, self._now() + self._deadline_s)
        if self._thread is None:
            self._thread = threading.Thread(target=self._main, daemon=True, name=self._name)
            self._thread.start()
        self._queue.put(self._task)

    def step(self, epoch: int) -> None:
        """Applies what has been finished under this epoch.

        Raises:
            Exception: what a task raised, unless trying again may help: then it is logged, and the loop starts it again.
        """
        task = self._task
        if task is None:
            return
        if not task.overdue and self._now() > task.deadline:
            task.overdue = True
            log.warning("a task is overdue", extra={"task": task.name, "lane": self._name})
        if not task.finished.is_set():
            return
        self._task = None
        if task.overdue or task.epoch != epoch:
            log.info("a task's result is dropped", extra={"task": task.name, "error": str(task.error or "")})
        elif task.error is None:
            task.apply(task.result)
        elif isinstance(task.error, InfaasError) and task.error.retryable:
            log.warning("a task is given up", extra={"task": task.name, "error": str(task.error)})
        else:
            raise task.error

    def close(self) -> bool:
        """Ends the thread once its task has ended; False if that takes too long."""
        if self._thread is None:
            return True
        self._queue.put(None)
        self._thread.join(CLOSE_S)
        return not self._thread.is_alive()

    def _main(self) -> None:
        while (task := self._queue.get()) is not None:
            task.run()
