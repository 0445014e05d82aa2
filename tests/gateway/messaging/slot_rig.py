"""A slot over a scripted channel, with services that a test can look into and spoil."""

from __future__ import annotations

import contextlib
import threading

from loong_channels.contract import Account, Address, Inbound
from loong_channels.faults import Busy
from loong_channels.telegram.spec import SPEC
from loong_channels.waiting import Deadline
from loong_gateway.base.clock import Clock
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.base.metrics import Metrics
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.config.snapshot import AccountConfig, SecretRef
from loong_gateway.messaging.channel_holder import OpenChannel
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
        self.token = "t1"
        self.full = False
        self.clock = HandClock()
        self.services = SlotServices(
            opening=OpenChannel(self.resolve, self.build),
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

    def resolve(self, spec, account):
        if self.problem is not None:
            raise self.problem
        return Account(
            account.channel, account.id, account.label, {**account.settings, "bot_token": self.token}
        )

    def build(self, account):
        self.opens += 1
        return self.channel

    def accept(self, spec, policy, batch, cursor):
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


@contextlib.contextmanager
def slots_in(directory):
    """Makes slots with their worlds; all of them are ended with the block."""
    made = []
    with opened(directory / "store.sqlite3") as store:

        def build(channel, spec=SPEC, **settings):
            world = Watched(store, channel)
            values = {"allowed_chat_ids": ("7",), "bot_token": TOKEN, **settings}
            slot = Slot(
                spec, AccountConfig("telegram", "work", "work", enabled=True, settings=values), world.services
            )
            made.append((slot, world))
            return slot, world

        yield build
        for slot, world in made:
            slot.stop()
            assert slot.join(Deadline(WAIT_S))
            slot.close()
            assert world.threads.join_all(Deadline(WAIT_S)) == []
