from __future__ import annotations

import threading

import pytest

from loong_channels.waiting import Deadline
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.messaging.recalls import Recalls
from loong_gateway.messaging.turns import TurnTask
from loong_gateway.providers.contract import Completion, ProviderFault
from loong_gateway.storage import inbox
from tests.gateway.messaging.engine_rig import WAIT_S, lanes_for, rig_at
from tests.waiting import wait_until

LANE = "telegram:work:7"


class World:
    def __init__(self, rig):
        self.rig = rig
        self.lanes = lanes_for(rig)
        self.recalls = Recalls(rig.store, self.lanes, rig.turns, rig.metrics)
        self.began = threading.Event()
        self.go_on = threading.Event()

    def hold(self, call, stop, on_text):
        """A model that thinks until it is told to go on or stopped."""
        self.began.set()
        with stop.watch(self.go_on.set):
            assert self.go_on.wait(WAIT_S)
        if stop.is_set():
            raise ProviderFault("interrupted", "stopped")
        return Completion("an answer", "scripted")

    def arrive(self, text, *, fresh=False):
        inbound = self.rig.message(text)
        seq = self.rig.put(inbound)
        row = self.rig.store.read(lambda conn: inbox.load(conn, seq))
        task = self.rig.turns.task(row) if fresh else TurnTask(self.rig.turns, seq)
        self.lanes.offer(LANE, task)
        return seq, inbound.message_id

    def recall(self, message_id, conversation="7"):
        self.recalls.recall("telegram", "work", conversation, message_id)

    def rest(self):
        wait_until(lambda: self.lanes.snapshot().lanes == 0)
        self.rig.settle()

    def counted(self):
        return self.rig.metrics.get("recalled:telegram=work")


@pytest.fixture
def world(tmp_path):
    with rig_at(tmp_path / "store.sqlite3") as rig:
        made = World(rig)
        yield made
        made.go_on.set()
        made.lanes.close()
        assert made.lanes.wait_idle(Deadline(WAIT_S)) == 0


def test_a_turn_is_stopped_when_its_message_is_taken_back(world):
    world.rig.provider.script = [world.hold]
    seq, message_id = world.arrive("never mind")
    assert world.began.wait(WAIT_S)
    world.recall(message_id)
    world.rest()
    assert (world.rig.inbox_states()[seq], world.rig.channel.texts(), world.counted()) == ("done", [], 1)


@pytest.mark.parametrize("fresh", [True, False])
def test_a_message_that_waits_is_never_asked_about(world, fresh):
    world.rig.provider.script = [world.hold]
    world.arrive("first")
    assert world.began.wait(WAIT_S)
    second, message_id = world.arrive("second", fresh=fresh)
    world.arrive("third", fresh=fresh)
    world.recall(message_id)
    assert world.rig.inbox_states()[second] == "done"
    # What is being answered is another message, so it goes on.
    world.go_on.set()
    world.rest()
    assert world.rig.channel.texts() == ["an answer", "re: third"]
    assert len(world.rig.provider.calls) == 2
    assert set(world.rig.inbox_states().values()) == {"done"}
    assert world.counted() == 1


def test_a_message_that_waits_for_another_try_is_given_up(world):
    world.rig.provider.script = [ProviderFault("provider_overloaded", "busy")]
    seq, message_id = world.arrive("hello")
    wait_until(lambda: world.lanes.snapshot().parked == 1)
    world.rig.settle()
    world.recall(message_id)
    world.rig.clock.advance(60)
    world.lanes.tick()
    world.rest()
    assert (world.rig.inbox_states()[seq], world.rig.channel.texts()) == ("done", [])
    assert len(world.rig.provider.calls) == 1


def test_what_is_answered_or_unknown_or_elsewhere_is_left_alone(world):
    seq, message_id = world.arrive("hello")
    world.rest()
    for conversation, known in (("7", message_id), ("7", "unknown"), ("8", message_id)):
        world.recall(known, conversation)
    assert (world.rig.inbox_states()[seq], world.rig.channel.texts(), world.counted()) == (
        "done",
        ["re: hello"],
        0,
    )


def test_when_nothing_can_be_stored_the_caller_hears_of_it(world, monkeypatch):
    world.rig.provider.script = [world.hold]
    world.arrive("first")
    assert world.began.wait(WAIT_S)
    seq, message_id = world.arrive("second")

    def refuse(operation):
        raise StoreUnwritable("full")

    with monkeypatch.context() as patch:
        patch.setattr(world.rig.store, "write", refuse)
        with pytest.raises(StoreUnwritable):
            world.recall(message_id)
    assert world.rig.inbox_states()[seq] == "new"
