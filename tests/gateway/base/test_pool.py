from __future__ import annotations

import logging
import threading

import pytest

from loong_channels.waiting import Deadline
from loong_gateway.base.pool import Pool
from loong_gateway.base.threads import ThreadRegistry
from tests.waiting import wait_until

PATIENCE_S = 10.0


class Work:
    """A pool of two threads and two places to wait, of tasks that wait for `gate`."""

    def __init__(self, *, weight: int = 100) -> None:
        self.registry = ThreadRegistry()
        self.pool = Pool("work", self.registry, threads=2, waiting=2, weight=weight)
        self.gate = threading.Event()
        self.began = threading.Semaphore(0)
        self.done = threading.Semaphore(0)

    def submit(self, weight: int = 0) -> bool:
        return self.pool.submit(self.run, weight=weight)

    def run(self) -> None:
        self.began.release()
        self.gate.wait(PATIENCE_S)
        self.done.release()


@pytest.fixture
def work():
    work = Work()
    yield work
    work.gate.set()
    assert work.pool.close(Deadline(PATIENCE_S))
    assert wait_until(lambda: work.registry.alive() == [])


def test_there_is_no_thread_before_there_is_work(work: Work) -> None:
    assert work.registry.alive() == []


def test_what_has_no_room_is_refused_and_what_waits_is_done_later(work: Work) -> None:
    for _ in range(2):
        assert work.submit()
        assert work.began.acquire(timeout=PATIENCE_S)
    assert sorted(work.registry.alive()) == ["work-1", "work-2"]
    assert work.submit()
    assert work.submit()
    assert not work.submit()
    work.gate.set()
    for _ in range(4):
        assert work.done.acquire(timeout=PATIENCE_S)
    assert wait_until(work.submit)
    assert work.done.acquire(timeout=PATIENCE_S)


def test_what_is_too_heavy_is_refused_until_there_is_room() -> None:
    work = Work(weight=10)
    assert work.submit(8)
    assert not work.submit(3)
    assert work.submit(2)
    work.gate.set()
    assert wait_until(lambda: work.submit(10))
    assert work.pool.close(Deadline(PATIENCE_S))


def test_a_task_that_fails_ends_nothing(work: Work, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise LookupError("a bug")

    work.gate.set()
    with caplog.at_level(logging.ERROR):
        assert work.pool.submit(fail)
        assert work.submit()
        assert work.done.acquire(timeout=PATIENCE_S)
        assert wait_until(lambda: "a task of work failed" in caplog.text)


def test_a_closed_pool_does_what_it_took_and_takes_nothing(work: Work) -> None:
    for _ in range(3):
        assert work.submit()
    closer = threading.Thread(target=lambda: work.pool.close(Deadline(PATIENCE_S)))
    closer.start()
    wait_until(lambda: not work.submit())
    work.gate.set()
    closer.join(PATIENCE_S)
    assert not closer.is_alive()
    for _ in range(3):
        assert work.done.acquire(timeout=0.0)


def test_without_a_thread_nothing_is_taken(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(name: str, body: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(work.registry, "spawn", none_left)
        assert not work.submit()
    work.gate.set()
    assert work.submit()
    assert work.done.acquire(timeout=PATIENCE_S)
