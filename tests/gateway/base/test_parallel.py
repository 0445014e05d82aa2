"""Several things at the same time, also where the system gives no more threads."""

from __future__ import annotations

import threading
from collections.abc import Callable

from loong_channels.waiting import Deadline
from loong_gateway.base.parallel import gather
from loong_gateway.base.threads import ThreadRegistry


class Scarce(ThreadRegistry):
    """Gives only so many threads."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def spawn(self, name: str, body: Callable[[], None]) -> threading.Thread:
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("can't start new thread")
        return super().spawn(name, body)


def test_all_are_done_and_the_late_ones_are_missing() -> None:
    go = threading.Event()
    threads = ThreadRegistry()
    tasks = {1: lambda: "one", 2: lambda: "late" if go.wait(20) else ""}
    assert gather(threads, "g", tasks, Deadline(0.05)) == {1: "one"}
    go.set()
    assert threads.join_all(Deadline(5)) == []


def test_without_threads_they_are_done_one_after_the_other() -> None:
    for left in (0, 1):
        done = gather(Scarce(left), "g", {n: lambda n=n: n * n for n in range(10)}, Deadline(20))
        assert done == {n: n * n for n in range(10)}
