from __future__ import annotations

import dataclasses

import pytest

from loong_channels.contract import Address, Cursor
from loong_channels.faults import Busy, NotStored
from loong_channels.telegram.spec import SPEC
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.messaging.drops import Drops
from loong_gateway.messaging.intake import Intake
from loong_gateway.messaging.terminal import TERMINAL_SPEC
from loong_gateway.messaging.trust import TrustPolicy
from loong_gateway.storage import cursors
from tests.gateway.messaging.engine_rig import CONFIG, rig_at

POLICY = TrustPolicy(frozenset({"7", "8"}), frozenset(), require_mention=False)


class RecordingLanes:
    """Takes every offer; full lanes are set by the test."""

    def __init__(self):
        self.offers = []
        self.full_lanes = set()
        self.interrupted = []

    def full(self, lanes):
        return any(lane in self.full_lanes for lane in lanes)

    def offer(self, lane, task):
        self.offers.append((lane, task))

    def interrupt(self, lane, reason):
        self.interrupted.append((lane, reason))
        return True


class World:
    def __init__(self, rig):
        self.rig = rig
        self.lanes = RecordingLanes()
        self.intake = Intake(
            rig.store,
            self.lanes,
            config=lambda: rig.config,
            turn_task=lambda row: ("turn", row.seq),
            delivery_task=lambda group: ("delivery", group),
            approvals=rig.approvals,
            metrics=rig.metrics,
            clock=rig.clock,
        )

    def accept(self, *batch, cursor=None, spec=SPEC):
        return self.intake.accept(spec, POLICY, batch, cursor)


@pytest.fixture
def world(tmp_path):
    with rig_at(tmp_path / "store.sqlite3") as rig:
        yield World(rig)


def test_what_is_allowed_is_on_disk_with_its_cursor_before_it_is_worked_on(world):
    message = world.rig.message("hello")
    assert world.accept(message, cursor=Cursor("telegram=work:offset:1", "56")) == 1
    assert list(world.rig.inbox_states().values()) == ["new"]
    assert world.rig.store.read(lambda conn: cursors.get(conn, "telegram=work:offset:1")) == "56"
    seq = next(iter(world.rig.inbox_states()))
    assert world.lanes.offers == [("telegram:work:7", ("turn", seq))]


def test_what_was_seen_before_is_taken_silently(world):
    message = world.rig.message("hello")
    assert world.accept(message) == 1
    assert world.accept(message, message) == 0
    assert len(world.lanes.offers) == 1
    assert world.rig.metrics.get("duplicates:telegram=work") == 2


def test_a_stranger_leaves_a_count_and_no_row(world):
    stranger = world.rig.message("let me in", address=Address("telegram", "work", "99"))
    assert world.accept(stranger, cursor=Cursor("c", "1")) == 0
    assert world.rig.inbox_states() == {}
    assert world.lanes.offers == []
    assert world.rig.metrics.get("dropped:conversation_not_allowed:telegram=work") == 1
    assert world.rig.store.read(lambda conn: cursors.get(conn, "c")) == "1"


def test_drops_name_the_ids_once_a_minute_and_never_the_text(world, caplog):
    caplog.set_level("INFO", logger="loong.trust")
    for number in range(5):
        world.accept(world.rig.message(f"secret {number}", address=Address("telegram", "work", "99")))
    world.rig.clock.advance(61)
    world.accept(world.rig.message("secret", address=Address("telegram", "work", "99")))
    assert caplog.text.count("conversation=99 sender=42 reason=conversation_not_allowed") == 2
    assert "secret" not in caplog.text


def test_a_full_lane_takes_nothing_and_counts_nothing(world):
    world.lanes.full_lanes = {"telegram:work:8"}
    batch = [world.rig.message(), world.rig.message(address=Address("telegram", "work", "8"))]
    with pytest.raises(Busy):
        world.accept(*batch, cursor=Cursor("c", "1"))
    assert world.rig.inbox_states() == {}
    assert world.rig.store.read(lambda conn: cursors.get(conn, "c")) is None
    assert world.rig.metrics.snapshot() == {}
    world.lanes.full_lanes = set()
    assert world.accept(*batch) == 2


def test_where_nothing_comes_again_what_finds_no_room_is_recorded_and_told_once(world):
    world.lanes.full_lanes = {"telegram:work:8"}
    full = Address("telegram", "work", "8")
    deaf = dataclasses.replace(SPEC, redelivers=False)
    assert world.accept(world.rig.message(), world.rig.message(address=full), spec=deaf) == 1
    assert world.accept(world.rig.message(address=full), world.rig.message(address=full), spec=deaf) == 0
    assert sorted(world.rig.inbox_states().values()) == ["new", "rejected", "rejected", "rejected"]
    assert world.rig.metrics.get("rejected:telegram=work") == 3
    assert list(world.rig.outbox_states().values()) == ["queued"]
    # It does not stand behind what fills the lane.
    assert [lane for lane, _ in world.lanes.offers] == ["telegram:work:7", "notice:telegram:work:8"]
    world.accept(world.rig.message("/stop", address=full), spec=deaf)
    assert world.lanes.interrupted == [("telegram:work:8", "user")]
    world.rig.clock.advance(601)
    world.accept(world.rig.message(address=full), spec=deaf)
    assert len(world.rig.outbox_states()) == 2


def test_a_channel_outside_the_catalogue_has_budgets_as_well(tmp_path):
    config = CONFIG + b"\n[limits]\nsender_per_min = 1\n"
    with rig_at(tmp_path / "store.sqlite3", config) as rig:
        world = World(rig)
        typed = Address("cli", "local", "7")
        for _ in range(2):
            world.accept(rig.message(address=typed), spec=TERMINAL_SPEC)
        assert sorted(rig.inbox_states().values()) == ["new", "rejected"]


def test_stop_ends_the_running_turn_and_is_answered_in_its_place(world):
    world.accept(world.rig.message("/stop"))
    assert world.lanes.interrupted == [("telegram:work:7", "user")]
    assert len(world.lanes.offers) == 1


def test_over_budget_is_recorded_and_told_once(tmp_path):
    config = CONFIG + b"\n[limits]\nconversation_per_min = 2\n"
    with rig_at(tmp_path / "store.sqlite3", config) as rig:
        world = World(rig)
        for _ in range(5):
            world.accept(rig.message())
        assert sorted(rig.inbox_states().values()) == ["new", "new", "rejected", "rejected", "rejected"]
        assert list(rig.outbox_states().values()) == ["queued"]
        assert [task[0] for _, task in world.lanes.offers] == ["turn", "turn", "delivery"]
        rig.clock.advance(61)
        assert world.accept(rig.message()) == 1


def test_the_budget_of_one_person_does_not_touch_another(tmp_path):
    config = CONFIG + b"\n[limits]\nsender_per_min = 1\n"
    with rig_at(tmp_path / "store.sqlite3", config) as rig:
        world = World(rig)
        assert world.accept(rig.message()) == 1
        assert world.accept(rig.message()) == 0
        assert world.accept(rig.message(sender_id="43")) == 1


def test_every_reason_has_its_own_count(world):
    drops = Drops(world.rig.metrics, world.rig.clock)
    drops.record(world.rig.message(), "bot_message")
    drops.record(dataclasses.replace(world.rig.message(), sender_id=None), "sender_not_allowed")
    assert world.rig.metrics.get("dropped:bot_message:telegram=work") == 1
    assert world.rig.metrics.get("dropped:sender_not_allowed:telegram=work") == 1


def test_a_batch_that_comes_again_is_not_counted_twice(tmp_path):
    config = CONFIG + b"\n[limits]\nconversation_per_min = 3\n"
    with rig_at(tmp_path / "store.sqlite3", config) as rig:
        world = World(rig)
        batch = [rig.message() for _ in range(3)]
        real = world.intake._store
        world.intake._store = FullDisk(real)
        for _ in range(3):
            with pytest.raises(NotStored):
                world.accept(*batch)
        world.intake._store = real
        assert world.accept(*batch) == 3
        assert set(rig.inbox_states().values()) == {"new"}


class FullDisk:
    """Says that it can be written, and refuses."""

    def __init__(self, store):
        self.store = store

    def unwritable_reason(self):
        return None

    def write(self, operation, **options):
        raise StoreUnwritable("database or disk is full")


class Decisions:
    """Stands for the calls that wait: keeps what was decided."""

    def __init__(self):
        self.made = []

    def resolve_in_chat(self, id, lane, sender, *, approved):
        self.made.append((id, lane, sender, approved))
        return True


def test_decisions_are_taken_at_once_and_only_from_whom_they_are(world):
    decisions = world.intake._approvals = Decisions()
    message = world.rig.message
    world.accept(
        message("/approve k3n7qx"),
        message("/deny@loong_bot K3N7QX", sender_id="43"),
        message("/approve k3n7qx", forwarded=True),
        message("/approve k3n7qx", edited=True, message_id="1"),
        message("/approve"),
        message("/approve k3n7qx now"),
        message("> /approve k3n7qx"),
        message("please /approve k3n7qx"),
        message("/approve k3n7qx", address=Address("telegram", "work", "9")),
    )
    assert decisions.made == [
        ("k3n7qx", "telegram:work:7", "42", True),
        ("k3n7qx", "telegram:work:7", "43", False),
    ]
