from __future__ import annotations

import random
import threading

import pytest

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.messaging.lanes import FAILED_WAIT_S, MAX_FAILURES, Lanes, Later
from tests.clocks import HandClock
from tests.waiting import wait_until

LONG_S = 20.0


class Step:
    """A task made of a function; tells when it began, when it ended and whether it was abandoned."""

    limit_s = 10.0

    def __init__(self, body=lambda stop: None, *, user_may_stop=True, instead=None):
        self.body = body
        self.user_may_stop = user_may_stop
        self.instead = instead
        self.began = threading.Event()
        self.ended = threading.Event()
        self.was_abandoned = threading.Event()

    def run(self, stop: StopToken):
        self.began.set()
        follows = self.body(stop)
        self.ended.set()
        return follows

    def abandoned(self):
        self.was_abandoned.set()
        return self.instead


class Held(Step):
    """Runs until the test lets it go; that it was asked to stop is noted and changes nothing."""

    def __init__(self, follows=None, **rest):
        super().__init__(self.hold, **rest)
        self.follows = follows
        self.asked = threading.Event()
        self.release = threading.Event()

    def hold(self, stop):
        with stop.watch(self.asked.set):
            self.release.wait(LONG_S)
        return self.follows


class Heedful(Step):
    """Runs until it is asked to stop, and notes the reason."""

    def __init__(self, follows=None):
        super().__init__(self.heed)
        self.follows = follows
        self.reasons = []

    def heed(self, stop):
        stop.wait(LONG_S)
        self.reasons.append(stop.reason)
        return self.follows


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def make(clock):
    made = []

    def build(workers=4, lane_limit=100, total_limit=10_000, **rest):
        lanes = Lanes(
            ThreadRegistry(),
            workers=workers,
            lane_limit=lane_limit,
            total_limit=total_limit,
            clock=clock,
            **rest,
        )
        made.append(lanes)
        return lanes

    yield build
    for lanes in made:
        lanes.close()
        lanes.cut()
        assert lanes.wait_idle(Deadline(LONG_S)) == 0


def happened(*events):
    return all(event.wait(LONG_S) for event in events)


def begun(lanes, lane, task):
    """The task, offered and under way."""
    lanes.offer(lane, task)
    assert task.began.wait(LONG_S)
    return task


def test_a_lane_keeps_its_order_and_never_has_two_workers(make):
    lanes = make(workers=8)
    seen = {f"lane-{n}": [] for n in range(9)}
    inside = dict.fromkeys(seen, 0)
    overlaps = []
    done = threading.Semaphore(0)
    order = [(lane, number) for number in range(60) for lane in seen]

    def body(lane, number):
        def run(stop):
            inside[lane] += 1
            if inside[lane] != 1:
                overlaps.append(lane)
            seen[lane].append(number)
            stop.wait(random.Random(number).random() / 2000)
            inside[lane] -= 1
            done.release()

        return run

    for lane, number in order:
        lanes.offer(lane, Step(body(lane, number)))
    for _ in order:
        assert done.acquire(timeout=LONG_S)
    assert overlaps == []
    assert all(numbers == list(range(60)) for numbers in seen.values())


def test_a_hanging_lane_does_not_hold_up_the_others(make):
    lanes = make(workers=4)
    stuck = Held()
    lanes.offer("stuck", stuck)
    others = [Step() for _ in range(50)]
    for index, task in enumerate(others):
        lanes.offer(f"lane-{index}", task)
    assert happened(*(task.ended for task in others))
    # A task tells that it ended before the lanes have heard of it.
    wait_until(lambda: lanes.snapshot().running == 1)
    stuck.release.set()


def test_workers_are_started_on_demand_and_not_beyond_the_limit(make):
    lanes = make(workers=3)
    assert lanes.snapshot().workers == 0
    tasks = [Held() for _ in range(5)]
    for index, task in enumerate(tasks):
        lanes.offer(f"lane-{index}", task)
    assert happened(*(task.began for task in tasks[:3]))
    assert lanes.snapshot().workers == 3
    assert lanes.snapshot().running == 3
    for task in tasks:
        task.release.set()
    assert happened(*(task.began for task in tasks))


def test_workers_that_a_burst_needed_end_although_a_trickle_goes_on(make):
    lanes = make(workers=4, worker_idle_s=0.3)
    together = threading.Barrier(4, timeout=LONG_S)

    def meet(stop):
        together.wait()

    for index in range(4):
        lanes.offer(f"lane-{index}", Step(meet))
    deadline = Deadline(LONG_S)
    while lanes.snapshot().workers != 1:
        assert not deadline.expired
        drop = Step()
        lanes.offer("trickle", drop)
        assert drop.ended.wait(LONG_S)
        threading.Event().wait(0.02)


def test_a_lane_takes_turns_with_the_others(make):
    lanes = make(workers=1)
    ran = []
    head, last = Held(), Step()
    lanes.offer("first", head)
    for number in range(3):
        lanes.offer("first", Step(lambda stop, n=number: ran.append(f"first-{n}")))
    lanes.offer("second", Step(lambda stop: ran.append("second")))
    lanes.offer("third", Step(lambda stop: ran.append("third")))
    lanes.offer("first", last)
    head.release.set()
    assert last.ended.wait(LONG_S)
    assert ran.index("second") < ran.index("first-0") or ran.index("second") < ran.index("first-1")
    assert ran.index("third") < ran.index("first-1")


def test_a_parked_lane_waits_for_its_time_and_keeps_its_order(make, clock):
    lanes = make()
    ran = []
    again = Step(lambda stop: ran.append("again"))
    second = Step(lambda stop: ran.append("second"))

    def wait(stop):
        ran.append("first")
        return Later(again, 30.0)

    first = Step(wait)
    lanes.offer("lane", first)
    lanes.offer("lane", second)
    assert first.ended.wait(LONG_S)
    assert lanes.wait_idle(Deadline(LONG_S)) == 0
    clock.advance(29.0)
    lanes.tick()
    assert ran == ["first"]
    clock.advance(2.0)
    lanes.tick()
    assert second.ended.wait(LONG_S)
    assert ran == ["first", "again", "second"]


def test_opening_a_gate_wakes_the_lanes_that_wait_for_it(make):
    lanes = make()
    woken, other = Step(), Step()
    lanes.offer("waits", Step(lambda stop: Later(woken, 900.0, gate="telegram=work")))
    lanes.offer("other", Step(lambda stop: Later(other, 900.0, gate="telegram=home")))
    assert lanes.wait_idle(Deadline(LONG_S)) == 0
    while lanes.snapshot().parked < 2:
        assert lanes.wait_idle(Deadline(LONG_S)) == 0
    lanes.open_gate("telegram=work")
    assert woken.ended.wait(LONG_S)
    assert not other.began.is_set()


def test_what_follows_at_once_runs_before_another_lane_gets_the_worker(make):
    lanes = make(workers=1)
    ran = []
    head = Held(Later(Step(lambda stop: ran.append("follow")), 0.0))
    other = Step(lambda stop: ran.append("b"))
    lanes.offer("a", head)
    lanes.offer("b", other)
    head.release.set()
    assert other.ended.wait(LONG_S)
    assert ran == ["follow", "b"]


def test_full_counts_a_lane_and_the_whole(make):
    lanes = make(workers=1, lane_limit=2, total_limit=4)
    hold = Held()
    lanes.offer("a", hold)
    assert not lanes.full(["a"])
    lanes.offer("a", hold)
    assert lanes.full(["b", "a"])
    assert not lanes.full(["b"])
    lanes.offer("b", hold)
    lanes.offer("c", hold)
    assert lanes.full([])
    hold.release.set()


def test_a_stuck_task_is_stopped_and_then_abandoned(make, clock):
    lanes = make(workers=1)
    stuck = begun(lanes, "lane", Held())
    after = Step()
    lanes.offer("lane", after)
    clock.advance(stuck.limit_s + 31)
    lanes.tick()
    assert stuck.asked.wait(LONG_S)
    assert not stuck.was_abandoned.is_set()
    clock.advance(31)
    lanes.tick()
    assert stuck.was_abandoned.is_set()
    assert after.ended.wait(LONG_S)
    assert lanes.snapshot().abandoned == 1
    stuck.release.set()


def test_closing_lets_running_tasks_end_and_takes_no_new_heads(make):
    lanes = make(workers=1)
    ran = []
    first = begun(lanes, "lane", Held(Later(Step(lambda stop: ran.append("follow")), 0.0)))
    lanes.offer("lane", Step(lambda stop: ran.append("second")))
    lanes.close()
    first.release.set()
    assert lanes.wait_idle(Deadline(LONG_S)) == 0
    assert first.ended.is_set()
    assert ran == ["follow"]


def test_cut_stops_what_runs(make):
    lanes = make()
    task = begun(lanes, "lane", Heedful())
    lanes.close()
    lanes.cut()
    assert lanes.wait_idle(Deadline(LONG_S)) == 0
    assert task.reasons == ["stopping"]


def test_interrupt_stops_only_the_named_lane(make):
    lanes = make()
    named, other = begun(lanes, "a", Heedful()), begun(lanes, "b", Heedful())
    assert lanes.interrupt("a", "user")
    assert not lanes.interrupt("nobody", "user")
    assert named.ended.wait(LONG_S)
    assert (named.reasons, other.reasons) == (["user"], [])


def test_a_task_that_raises_is_run_again_and_given_up_after_a_few_times(make, clock, caplog):
    lanes = make(workers=1)
    instead, after = Step(), Step()
    times = []

    def broken(stop):
        times.append(1)
        raise ValueError("a bug")

    lanes.offer("lane", Step(broken, instead=instead))
    lanes.offer("lane", after)
    for _ in range(MAX_FAILURES - 1):
        wait_until(lambda: lanes.snapshot().parked == 1)
        assert not after.ended.is_set()
        clock.advance(FAILED_WAIT_S)
        lanes.tick()
    assert after.ended.wait(LONG_S)
    assert instead.ended.is_set()
    assert len(times) == MAX_FAILURES
    assert "a task failed unexpectedly" in caplog.text


def test_a_task_that_failed_once_is_done_at_its_next_try(make, clock):
    lanes = make(workers=1)
    tries = [ValueError("a bug"), None]

    def shaky(stop):
        error = tries.pop(0)
        if error:
            raise error

    lanes.offer("lane", Step(shaky))
    wait_until(lambda: lanes.snapshot().parked == 1)
    clock.advance(FAILED_WAIT_S)
    lanes.tick()
    wait_until(lambda: lanes.snapshot().lanes == 0)
    assert tries == []


def test_interrupt_leaves_a_task_alone_that_no_user_may_stop(make):
    lanes = make()
    task = begun(lanes, "lane", Held(user_may_stop=False))
    assert not lanes.interrupt("lane", "user")
    assert not task.asked.is_set()
    task.release.set()


def test_what_follows_an_interrupted_task_is_not_interrupted(make):
    lanes = make()
    reasons = []
    follow = Step(lambda stop: reasons.append(stop.reason))
    begun(lanes, "lane", Heedful(Later(follow, 0.0)))
    assert lanes.interrupt("lane", "user")
    assert follow.ended.wait(LONG_S)
    assert reasons == [""]


def test_what_follows_a_cut_is_cut_as_well(make):
    lanes = make()
    reasons = []
    begun(lanes, "lane", Heedful(Later(Step(lambda stop: reasons.append(stop.reason)), 0.0)))
    lanes.close()
    lanes.cut()
    assert lanes.wait_idle(Deadline(LONG_S)) == 0
    assert reasons == ["stopping"]


def test_the_only_worker_stuck_for_ever_is_replaced_for_the_other_lanes(make, clock):
    lanes = make(workers=1)
    stuck = begun(lanes, "stuck", Held())
    other = Step()
    lanes.offer("other", other)
    for seconds in (stuck.limit_s + 31, 31):
        clock.advance(seconds)
        lanes.tick()
    assert other.ended.wait(LONG_S)
    stuck.release.set()


def test_an_abandoned_task_may_leave_another_in_its_place(make, clock):
    lanes = make(workers=1)
    instead = Step()
    stuck = begun(lanes, "lane", Held(instead=instead))
    # However late the owner looks, a task is asked to stop first and has time to do so.
    clock.advance(stuck.limit_s + 6100)
    lanes.tick()
    assert not stuck.was_abandoned.is_set()
    clock.advance(31)
    lanes.tick()
    assert instead.ended.wait(LONG_S)
    stuck.release.set()


def test_a_gate_that_opens_while_the_task_decides_to_wait_is_not_missed(make):
    lanes = make()
    woken = Step()
    deciding = begun(lanes, "lane", Held(Later(woken, 900.0, gate="telegram=work")))
    lanes.open_gate("telegram=work")
    deciding.release.set()
    assert woken.ended.wait(LONG_S)


class MissingThreads(ThreadRegistry):
    """Gives no thread for the first `missing` times."""

    def __init__(self, missing):
        super().__init__()
        self.missing = missing

    def spawn(self, name, body, **options):
        if self.missing:
            self.missing -= 1
            raise RuntimeError("can't start new thread")
        return super().spawn(name, body, **options)


def test_a_thread_that_could_not_be_had_is_tried_again_at_the_next_tick(clock):
    lanes = Lanes(MissingThreads(2), workers=4, lane_limit=10, total_limit=10, clock=clock)
    task = Step()
    lanes.offer("lane", task)
    lanes.tick()
    assert not task.began.is_set()
    lanes.tick()
    assert task.ended.wait(LONG_S)
    lanes.close()


def test_nothing_is_full_any_more_when_the_lanes_are_closed(make):
    lanes = make(lane_limit=1)
    held = Held()
    lanes.offer("a", held)
    assert lanes.full(["a"])
    # What comes during a drain goes to the store only: it must not be refused for want of room in memory.
    lanes.close()
    assert not lanes.full(["a"])
    held.release.set()
