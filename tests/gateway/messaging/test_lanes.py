from __future__ import annotations

import random
import threading

import pytest

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.messaging.lanes import Lanes, Later
from tests.clocks import HandClock

LONG_S = 20.0


class Step:
    """A task made of a function; remembers whether it was abandoned."""

    limit_s = 10.0

    def __init__(self, body=lambda stop: None, *, user_may_stop=True, instead=None):
        self.body = body
        self.user_may_stop = user_may_stop
        self.instead = instead
        self.was_abandoned = threading.Event()

    def run(self, stop: StopToken):
        return self.body(stop)

    def abandoned(self):
        self.was_abandoned.set()
        return self.instead


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


def both(first, second):
    def run(stop):
        first()
        second()

    return run


def finished(events):
    return all(event.wait(LONG_S) for event in events)


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
    release = threading.Event()
    lanes.offer("stuck", Step(lambda stop: release.wait(LONG_S) and None))
    others = [threading.Event() for _ in range(50)]
    for index, event in enumerate(others):
        lanes.offer(f"lane-{index}", Step(lambda stop, event=event: event.set()))
    assert finished(others)
    assert lanes.snapshot().running == 1
    release.set()


def test_workers_are_started_on_demand_and_not_beyond_the_limit(make):
    lanes = make(workers=3)
    assert lanes.snapshot().workers == 0
    release = threading.Event()
    started = [threading.Event() for _ in range(5)]

    def body(event):
        def run(stop):
            event.set()
            release.wait(LONG_S)

        return run

    for index, event in enumerate(started):
        lanes.offer(f"lane-{index}", Step(body(event)))
    assert finished(started[:3])
    assert lanes.snapshot().workers == 3
    assert lanes.snapshot().running == 3
    release.set()
    assert finished(started)


def test_workers_that_a_burst_needed_end_although_a_trickle_goes_on(make):
    lanes = make(workers=4, worker_idle_s=0.3)
    together = threading.Barrier(4, timeout=LONG_S)
    for index in range(4):
        lanes.offer(f"lane-{index}", Step(both(together.wait, lambda: None)))
    deadline = Deadline(LONG_S)
    while lanes.snapshot().workers != 1:
        assert not deadline.expired
        done = threading.Event()
        lanes.offer("trickle", Step(lambda stop, done=done: done.set()))
        assert done.wait(LONG_S)
        threading.Event().wait(0.02)


def test_a_lane_takes_turns_with_the_others(make):
    lanes = make(workers=1)
    gate = threading.Event()
    ran = []
    last = threading.Event()
    lanes.offer("first", Step(lambda stop: gate.wait(LONG_S) and None))
    for number in range(3):
        lanes.offer("first", Step(lambda stop, n=number: ran.append(f"first-{n}")))
    lanes.offer("second", Step(lambda stop: ran.append("second")))
    lanes.offer("third", Step(lambda stop: ran.append("third")))
    lanes.offer("first", Step(lambda stop: last.set()))
    gate.set()
    assert last.wait(LONG_S)
    assert ran.index("second") < ran.index("first-0") or ran.index("second") < ran.index("first-1")
    assert ran.index("third") < ran.index("first-1")


def test_a_parked_lane_waits_for_its_time_and_keeps_its_order(make, clock):
    lanes = make()
    ran = []
    parked = threading.Event()
    done = threading.Event()
    again = Step(lambda stop: ran.append("again"))

    def first(stop):
        ran.append("first")
        parked.set()
        return Later(again, 30.0)

    lanes.offer("lane", Step(first))
    lanes.offer("lane", Step(both(lambda: ran.append("second"), done.set)))
    assert parked.wait(LONG_S)
    assert lanes.wait_idle(Deadline(LONG_S)) == 0
    clock.advance(29.0)
    lanes.tick()
    assert ran == ["first"]
    clock.advance(2.0)
    lanes.tick()
    assert done.wait(LONG_S)
    assert ran == ["first", "again", "second"]


def test_opening_a_gate_wakes_the_lanes_that_wait_for_it(make):
    lanes = make()
    woken = threading.Event()
    other = threading.Event()
    lanes.offer("waits", Step(lambda stop: Later(Step(lambda s: woken.set()), 900.0, gate="telegram=work")))
    lanes.offer("other", Step(lambda stop: Later(Step(lambda s: other.set()), 900.0, gate="telegram=home")))
    assert lanes.wait_idle(Deadline(LONG_S)) == 0
    while lanes.snapshot().parked < 2:
        assert lanes.wait_idle(Deadline(LONG_S)) == 0
    lanes.open_gate("telegram=work")
    assert woken.wait(LONG_S)
    assert not other.is_set()


def test_what_follows_at_once_runs_before_another_lane_gets_the_worker(make):
    lanes = make(workers=1)
    gate = threading.Event()
    ran = []
    done = threading.Event()
    lanes.offer(
        "a", Step(lambda stop: gate.wait(LONG_S) and Later(Step(lambda s: ran.append("follow")), 0.0))
    )
    lanes.offer("b", Step(both(lambda: ran.append("b"), done.set)))
    gate.set()
    assert done.wait(LONG_S)
    assert ran == ["follow", "b"]


def test_full_counts_a_lane_and_the_whole(make):
    lanes = make(workers=1, lane_limit=2, total_limit=4)
    release = threading.Event()
    hold = Step(lambda stop: release.wait(LONG_S) and None)
    lanes.offer("a", hold)
    assert not lanes.full(["a"])
    lanes.offer("a", hold)
    assert lanes.full(["b", "a"])
    assert not lanes.full(["b"])
    lanes.offer("b", hold)
    lanes.offer("c", hold)
    assert lanes.full([])
    release.set()


def test_a_stuck_task_is_stopped_and_then_abandoned(make, clock):
    lanes = make(workers=1)
    release = threading.Event()
    started = threading.Event()
    asked = threading.Event()

    def stubborn(stop):
        started.set()
        with stop.watch(asked.set):
            release.wait(LONG_S)

    stuck = Step(stubborn)
    after = threading.Event()
    lanes.offer("lane", stuck)
    assert started.wait(LONG_S)
    lanes.offer("lane", Step(lambda stop: after.set()))
    clock.advance(stuck.limit_s + 31)
    lanes.tick()
    assert asked.wait(LONG_S)
    assert not stuck.was_abandoned.is_set()
    clock.advance(31)
    lanes.tick()
    assert stuck.was_abandoned.is_set()
    assert after.wait(LONG_S)
    assert lanes.snapshot().abandoned == 1
    release.set()


def test_closing_lets_running_tasks_end_and_takes_no_new_heads(make):
    lanes = make(workers=1)
    release = threading.Event()
    started = threading.Event()
    ended = []

    def body(stop):
        started.set()
        release.wait(LONG_S)
        ended.append("first")
        return Later(Step(lambda s: ended.append("follow")), 0.0)

    lanes.offer("lane", Step(body))
    lanes.offer("lane", Step(lambda stop: ended.append("second")))
    assert started.wait(LONG_S)
    lanes.close()
    release.set()
    assert lanes.wait_idle(Deadline(LONG_S)) == 0
    assert ended == ["first", "follow"]


def test_cut_stops_what_runs(make):
    lanes = make()
    started = threading.Event()
    reasons = []

    def body(stop):
        started.set()
        stop.wait(LONG_S)
        reasons.append(stop.reason)

    lanes.offer("lane", Step(body))
    assert started.wait(LONG_S)
    lanes.close()
    lanes.cut()
    assert lanes.wait_idle(Deadline(LONG_S)) == 0
    assert reasons == ["stopping"]


def test_interrupt_stops_only_the_named_lane(make):
    lanes = make()
    started = [threading.Event(), threading.Event()]
    reasons = {}
    ended = threading.Event()

    def body(name, event, finished_event=None):
        def run(stop):
            event.set()
            stop.wait(LONG_S)
            reasons[name] = stop.reason
            if finished_event is not None:
                finished_event.set()

        return run

    lanes.offer("a", Step(body("a", started[0], ended)))
    lanes.offer("b", Step(body("b", started[1])))
    assert finished(started)
    assert lanes.interrupt("a", "user")
    assert not lanes.interrupt("nobody", "user")
    assert ended.wait(LONG_S)
    assert reasons == {"a": "user"}


def test_a_task_that_raises_does_not_take_the_worker_or_the_lane_with_it(make, caplog):
    lanes = make(workers=1)
    after = threading.Event()

    def broken(stop):
        raise ValueError("a bug")

    lanes.offer("lane", Step(broken))
    lanes.offer("lane", Step(lambda stop: after.set()))
    assert after.wait(LONG_S)
    assert "a task failed unexpectedly" in caplog.text


def test_interrupt_leaves_a_task_alone_that_no_user_may_stop(make):
    lanes = make()
    started = threading.Event()
    stopped = threading.Event()
    release = threading.Event()

    def body(stop):
        started.set()
        with stop.watch(stopped.set):
            release.wait(LONG_S)

    lanes.offer("lane", Step(body, user_may_stop=False))
    assert started.wait(LONG_S)
    assert not lanes.interrupt("lane", "user")
    assert not stopped.is_set()
    release.set()


def test_what_follows_an_interrupted_task_is_not_interrupted(make):
    lanes = make()
    started = threading.Event()
    reasons = []
    done = threading.Event()

    def follow(stop):
        reasons.append(stop.reason)
        done.set()

    def body(stop):
        started.set()
        stop.wait(LONG_S)
        return Later(Step(follow), 0.0)

    lanes.offer("lane", Step(body))
    assert started.wait(LONG_S)
    assert lanes.interrupt("lane", "user")
    assert done.wait(LONG_S)
    assert reasons == [""]


def test_what_follows_a_cut_is_cut_as_well(make):
    lanes = make()
    started = threading.Event()
    reasons = []

    def body(stop):
        started.set()
        stop.wait(LONG_S)
        return Later(Step(lambda follow_stop: reasons.append(follow_stop.reason)), 0.0)

    lanes.offer("lane", Step(body))
    assert started.wait(LONG_S)
    lanes.close()
    lanes.cut()
    assert lanes.wait_idle(Deadline(LONG_S)) == 0
    assert reasons == ["stopping"]


def test_the_only_worker_stuck_for_ever_is_replaced_for_the_other_lanes(make, clock):
    lanes = make(workers=1)
    release = threading.Event()
    started = threading.Event()
    other = threading.Event()

    def stubborn(stop):
        started.set()
        release.wait(LONG_S)

    stuck = Step(stubborn)
    lanes.offer("stuck", stuck)
    assert started.wait(LONG_S)
    lanes.offer("other", Step(lambda stop: other.set()))
    clock.advance(stuck.limit_s + 61)
    lanes.tick()
    assert other.wait(LONG_S)
    release.set()


def test_an_abandoned_task_may_leave_another_in_its_place(make, clock):
    lanes = make(workers=1)
    release = threading.Event()
    started = threading.Event()
    instead = threading.Event()

    def stubborn(stop):
        started.set()
        release.wait(LONG_S)

    stuck = Step(stubborn, instead=Step(lambda stop: instead.set()))
    lanes.offer("lane", stuck)
    assert started.wait(LONG_S)
    clock.advance(stuck.limit_s + 61)
    lanes.tick()
    assert instead.wait(LONG_S)
    release.set()


def test_a_gate_that_opens_while_the_task_decides_to_wait_is_not_missed(make):
    lanes = make()
    deciding = threading.Event()
    opened = threading.Event()
    woken = threading.Event()

    def body(stop):
        deciding.set()
        opened.wait(LONG_S)
        return Later(Step(lambda s: woken.set()), 900.0, gate="telegram=work")

    lanes.offer("lane", Step(body))
    assert deciding.wait(LONG_S)
    lanes.open_gate("telegram=work")
    opened.set()
    assert woken.wait(LONG_S)


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
    done = threading.Event()
    lanes.offer("lane", Step(lambda stop: done.set()))
    lanes.tick()
    assert not done.is_set()
    lanes.tick()
    assert done.wait(LONG_S)
    lanes.close()


def test_closing_hands_back_what_will_not_be_run(make):
    lanes = make(workers=1)
    release = threading.Event()
    started = threading.Event()
    waiting = [Step(), Step()]

    def body(stop):
        started.set()
        release.wait(LONG_S)

    lanes.offer("lane", Step(body))
    assert started.wait(LONG_S)
    lanes.offer("lane", waiting[0])
    lanes.offer("other", waiting[1])
    assert lanes.close() == waiting
    release.set()
