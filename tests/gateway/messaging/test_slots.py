from __future__ import annotations

import threading

import pytest

from loong_channels.contract import Address, Cursor, Inbound
from loong_channels.faults import BadCredentials, Busy, Conflict, NotStored, Unreachable
from loong_channels.telegram.spec import SPEC
from loong_channels.waiting import Deadline
from loong_gateway.base.clock import Clock
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.base.metrics import Metrics
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.config.secrets import SecretUnavailable, resolve
from loong_gateway.config.snapshot import AccountConfig, SecretRef
from loong_gateway.messaging.moves import Moves
from loong_gateway.messaging.parking import Parking
from loong_gateway.messaging.slots import Slot, SlotServices
from loong_gateway.messaging.webhooks import Webhooks
from tests.clocks import HandClock
from tests.gateway.storage.store_help import opened

WAIT_S = 15.0
MESSAGE = Inbound(Address("telegram", "work", "7"), "1", "1", "42", "hi", 0)
TOKEN = SecretRef("env", "BOT_TOKEN", "telegram.bot_token")


class ScriptedLife:
    """A channel whose every `run` does the next thing of a script."""

    def __init__(self, *script):
        self.script = list(script)
        self.lives = 0
        self.interrupted = False

    def run(self, host, stop):
        self.lives += 1
        step = self.script.pop(0) if self.script else self.live
        if isinstance(step, BaseException):
            raise step
        step(host, stop)

    @staticmethod
    def live(host, stop):
        host.ready("@bot")
        stop.wait(WAIT_S)

    def interrupt(self):
        self.interrupted = True


class Watched:
    """Services around a slot; `wait_for` looks again whenever a state changed."""

    def __init__(self, store, channel):
        self.changed = threading.Condition()
        self.channel = channel
        self.opened_gates = []
        self.accepted = []
        self.recalls = []
        self.threads = ThreadRegistry()
        self.metrics = Metrics()
        self.problem = None
        self.opens = 0
        self.full = False
        self.clock = HandClock()
        self.services = SlotServices(
            open_channel=self.open,
            accept=self.accept,
            cursor={"telegram=work:offset:1": "55"}.get,
            opened=self.opened_gates.append,
            changed=self.note,
            recall=self.recall,
            webhooks=Webhooks(),
            moves=Moves(store),
            parking=Parking(Clock()),
            threads=self.threads,
            metrics=self.metrics,
            clock=self.clock,
        )

    def open(self, account):
        self.opens += 1
        if self.problem is not None:
            raise self.problem
        return self.channel

    def accept(self, policy, batch, cursor):
        if self.full:
            raise Busy("too many messages waiting")
        self.accepted.append((list(batch), cursor))
        return len(batch)

    def recall(self, *what):
        if self.full:
            raise StoreUnwritable("full")
        self.recalls.append(what)

    def note(self):
        with self.changed:
            self.changed.notify_all()

    def wait_for(self, slot, condition):
        with self.changed:
            assert self.changed.wait_for(lambda: condition(slot.state()), WAIT_S), slot.state()
        return slot.state()


@pytest.fixture
def make(tmp_path):
    made = []
    with opened(tmp_path / "store.sqlite3") as store:

        def build(channel, **settings):
            world = Watched(store, channel)
            values = {"allowed_chat_ids": ("7",), "bot_token": TOKEN, **settings}
            slot = Slot(
                SPEC, AccountConfig("telegram", "work", "work", enabled=True, settings=values), world.services
            )
            made.append((slot, world))
            return slot, world

        yield build
        for slot, world in made:
            slot.stop_receiving()
            assert slot.join(Deadline(WAIT_S))
            slot.close()
            assert world.threads.join_all(Deadline(WAIT_S)) == []


def test_a_slot_is_ready_when_the_platform_has_acknowledged_it(make):
    slot, world = make(ScriptedLife())
    assert slot.state().phase == "starting"
    assert not slot.can_send()
    slot.start()
    state = world.wait_for(slot, lambda s: s.phase == "ready")
    assert (state.identity, state.trouble, state.started) == ("@bot", "", True)
    assert slot.can_send()
    assert world.opened_gates == ["telegram=work"]


def test_a_lost_connection_is_tried_again_and_trouble_shows_until_it_works(make):
    lost = Unreachable("connection reset", maybe_processed=True)
    slot, world = make(ScriptedLife(lost))
    slot.start()
    state = world.wait_for(slot, lambda s: s.phase == "backoff")
    assert (state.trouble, state.last_error) == ("unreachable", "connection reset")
    assert state.next_try_ms is not None
    state = world.wait_for(slot, lambda s: s.phase == "ready")
    assert (state.trouble, state.last_error, state.restarts) == ("", None, 1)


def test_a_refused_credential_names_its_setting_and_is_read_again(make):
    slot, world = make(ScriptedLife(BadCredentials("the platform refused the token (HTTP 401)")))
    slot.start()
    state = world.wait_for(slot, lambda s: s.phase == "auth_failed")
    assert state.where == "telegram.bot_token (env BOT_TOKEN)"
    assert not slot.can_send()
    slot.try_now()
    world.wait_for(slot, lambda s: s.phase == "ready")
    assert world.opens == 2


def test_a_missing_secret_stops_only_this_surface_and_says_which(make):
    slot, world = make(ScriptedLife())
    with pytest.raises(SecretUnavailable) as unset:
        resolve(TOKEN, {})
    world.problem = unset.value
    slot.start()
    state = world.wait_for(slot, lambda s: s.trouble == "secret_missing")
    assert state.phase == "auth_failed"
    assert "BOT_TOKEN" in str(state.last_error)
    world.problem = None
    slot.try_now()
    world.wait_for(slot, lambda s: s.phase == "ready")


def test_an_empty_allow_list_serves_nobody(make):
    channel = ScriptedLife()
    slot, world = make(channel, allowed_chat_ids=())
    slot.start()
    state = world.wait_for(slot, lambda s: s.trouble == "allow_list_empty")
    assert "telegram.allowed_chat_ids is empty; configure at least one trusted chat id" in str(
        state.last_error
    )
    assert channel.lives == 0


def test_a_conflict_is_a_state_and_sending_goes_on(make):
    slot, world = make(ScriptedLife(Conflict("another poller")))
    slot.start()
    world.wait_for(slot, lambda s: s.phase == "conflict")
    assert slot.can_send()


def test_a_conflict_for_ever_ends_when_somebody_asks_for_it(make):
    channel = ScriptedLife(Conflict("taken over", retry_after_s=float("inf")))
    slot, world = make(channel)
    slot.start()
    state = world.wait_for(slot, lambda s: s.phase == "conflict")
    assert state.next_try_ms is None
    slot.try_now()
    world.wait_for(slot, lambda s: s.phase == "ready")
    assert channel.lives == 2


def test_a_bug_in_a_channel_is_survived(make):
    slot, world = make(ScriptedLife(ZeroDivisionError("oops")))
    slot.start()
    world.wait_for(slot, lambda s: s.trouble == "unreachable")
    world.wait_for(slot, lambda s: s.phase == "ready")


def test_a_connection_that_ends_without_a_reason_is_made_again(make):
    slot, world = make(ScriptedLife(lambda host, stop: None))
    slot.start()
    world.wait_for(slot, lambda s: s.phase == "ready")
    assert slot.state().restarts == 1


def test_a_lane_that_stays_full_is_shown_until_there_is_room(make):
    slot, world = make(ScriptedLife())
    world.full = True
    for seconds, trouble in ((0, ""), (9, ""), (2, "lane_full")):
        world.clock.advance(seconds)
        with pytest.raises(Busy):
            slot.accept([MESSAGE])
        assert slot.state().trouble == trouble
    slot.start()
    world.full = False
    slot.accept([MESSAGE])
    assert (slot.state().trouble, slot.state().last_error) == ("", None)


def test_stopping_ends_the_wait_for_the_next_try(make):
    slot, world = make(ScriptedLife(BadCredentials("401")))
    slot.start()
    world.wait_for(slot, lambda s: s.phase == "auth_failed")
    slot.stop_receiving()
    assert slot.join(Deadline(WAIT_S))
    assert slot.state().phase == "stopped"


def test_a_message_that_was_taken_back_is_passed_on_with_its_account(make):
    slot, world = make(ScriptedLife())
    slot.recalled("7", "m1")
    assert world.recalls == [("telegram", "work", "7", "m1")]
    world.full = True
    with pytest.raises(NotStored):
        slot.recalled("7", "m1")


def test_cursors_belong_to_the_account(make):
    slot, world = make(ScriptedLife())
    assert slot.cursor("offset:1") == "55"
    slot.accept([MESSAGE], Cursor("offset:1", "56"))
    assert world.accepted == [([MESSAGE], Cursor("telegram=work:offset:1", "56"))]
    assert slot.state().last_inbound_ms is not None


def test_a_moved_conversation_is_followed_only_if_the_old_one_was_allowed(make):
    slot, _ = make(ScriptedLife())
    slot.moved("7", "-1007")
    slot.moved("8", "-1008")
    assert slot.current(Address("telegram", "work", "7")).conversation == "-1007"
    assert slot.allows(Address("telegram", "work", "-1007"))
    assert not slot.allows(Address("telegram", "work", "-1008"))
