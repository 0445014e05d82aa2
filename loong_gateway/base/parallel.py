"""Asks several that may be slow at the same time, and takes what has come when the time is over."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import TypeVar

from loong_channels.waiting import Deadline
from loong_gateway.base.threads import ThreadRegistry

__all__ = ["gather"]

MOST = 8
_K = TypeVar("_K")
_T = TypeVar("_T")


def gather(
    threads: ThreadRegistry, name: str, tasks: Mapping[_K, Callable[[], _T]], deadline: Deadline
) -> dict[_K, _T]:
    """What the tasks returned by the deadline; a late one is missing. Blocks.

    At most 8 run at once, and one after the other in this thread when the system gives no more. A task must not raise
    and must end by itself soon after the deadline; what it returns then is dropped.
    """
    waiting = deque(tasks.items())
    results: dict[_K, _T] = {}
    guard = threading.Lock()

    def work() -> None:
        while not deadline.expired:
            try:
                key, task = waiting.popleft()
            except IndexError:
                return
            result = task()
            with guard:
                results[key] = result

    started = []
    for number in range(min(MOST, len(tasks))):
        try:
            started.append(threads.spawn(f"{name}:{number}", work))
        except RuntimeError:
            work()
            break
    for thread in started:
        thread.join(deadline.remaining())
    with guard:
        return dict(results)
