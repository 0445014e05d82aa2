"""How runs ended, for a while: for who asks again, or comes back and waits."""

from __future__ import annotations

from collections import OrderedDict

from loong_gateway.messaging.run import Run
from loong_gateway.storage.runs import KEPT_MS, KEPT_ROWS

__all__ = ["RunEnds"]

# What was said in all of them.
MOST_BYTES = 32 << 20


class RunEnds:
    """Runs that have ended, by their ids, in the order of their end. Not thread-safe: the table's guard is held.

    Of the oldest durable ones only how they ended is kept when all together said too much; the rest is on disk.
    """

    def __init__(self) -> None:
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._bytes = 0

    def get(self, run_id: str) -> Run | None:
        """The run of an id; see `Run.is_shed`."""
        return self._runs.get(run_id)

    def keep(self, run: Run) -> None:
        """Remember a run with its result, in place of one of the same id."""
        run_id = run.request.run_id
        self._forget(run_id)
        self._runs[run_id] = run
        self._bytes += run.result_bytes
        if len(self._runs) > KEPT_ROWS:
            self._forget(next(iter(self._runs)))
        if self._bytes > MOST_BYTES:
            # The newest stays whole, however large: somebody is about to be told of it.
            for oldest in list(self._runs.values())[:-1]:
                self._lighten(oldest)
                if self._bytes <= MOST_BYTES:
                    break

    def tick(self, now_s: float) -> None:
        """Forget what ended long ago. `now_s` is on the monotonic clock."""
        while self._runs:
            run_id, oldest = next(iter(self._runs.items()))
            if oldest.ended_s is None or now_s - oldest.ended_s < KEPT_MS / 1000:
                break
            self._forget(run_id)

    def _lighten(self, run: Run) -> None:
        if run.request.durable:
            self._bytes -= run.result_bytes
            run.shed()
        else:
            self._forget(run.request.run_id)

    def _forget(self, run_id: str) -> None:
        run = self._runs.pop(run_id, None)
        if run is not None:
            self._bytes -= run.result_bytes
