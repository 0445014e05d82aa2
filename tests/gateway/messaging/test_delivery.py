from __future__ import annotations

import dataclasses
import os

import pytest

from loong_channels.contract import Address, Outbound, OutboundFile
from loong_channels.faults import (
    BadAnswer,
    BadCredentials,
    Interrupted,
    Moved,
    Overloaded,
    Refused,
    Throttled,
    TimedOut,
    Unreachable,
)
from loong_channels.waiting import StopToken
from loong_gateway.messaging.delivery import Fate
from loong_gateway.messaging.parts import Contents, operator_parts
from loong_gateway.storage import outbox
from loong_gateway.storage.outbox import Part
from loong_gateway.storage.outgoing import Outgoing
from tests.gateway.messaging.engine_rig import CONFIG, rig_at

CHAT = Address("telegram", "work", "7")
LOST = TimedOut("no answer", maybe_processed=True)
NOT_SENT = Unreachable("refused", maybe_processed=False)


@pytest.fixture
def rig(tmp_path):
    with rig_at(tmp_path / "store.sqlite3") as made:
        yield made


def put(rig, *texts, group="g", inbox_seq=None, ttl_s=3600, first_sending=False):
    parts = [
        Part(
            f"{group}-{n}",
            group,
            n,
            inbox_seq,
            Outbound(CHAT, text, f"{group}-{n}"),
            rig.clock.wall_ms() + ttl_s * 1000,
        )
        for n, text in enumerate(texts)
    ]
    rig.store.write(
        lambda conn: outbox.add(conn, parts, now_ms=rig.clock.wall_ms(), first_sending=first_sending)
    )
    return group


def test_parts_go_out_in_order_and_are_recorded_with_the_platforms_ids(rig):
    fates = []
    group = put(rig, "one", "two", "three")
    rig.delivery.watch(group, fates.append)
    assert rig.deliver(group) is None
    assert rig.channel.texts() == ["one", "two", "three"]
    assert set(rig.outbox_states().values()) == {"sent"}
    assert fates == [Fate("sent", ("m1", "m2", "m3"))]


def test_a_part_is_sending_on_disk_before_it_leaves(rig):
    seen = []
    rig.channel.faults = [
        lambda _: seen.append(rig.outbox_states()),
        lambda _: seen.append(rig.outbox_states()),
    ]
    rig.deliver(put(rig, "one", "two"))
    assert seen == [{"g-0": "sending", "g-1": "queued"}, {"g-0": "sent", "g-1": "sending"}]


def test_a_refused_part_fails_its_group_and_the_later_parts_stay_unsent(rig):
    fates = []
    rig.delivery.watch("g", fates.append)
    rig.channel.faults = [Refused("bot was blocked", code="403")]
    assert rig.deliver(put(rig, "one", "two")) is None
    assert rig.channel.sent == []
    assert rig.outbox_states() == {"g-0": "failed", "g-1": "failed"}
    assert fates[0].state == "failed"
    assert "blocked" in fates[0].error


def test_a_throttled_conversation_is_silent_for_exactly_as_long_as_told(rig):
    rig.channel.faults = [Throttled("429", retry_after_s=7.0)]
    later = rig.deliver(put(rig, "one"))
    assert later.after_s == 7.0
    assert rig.parking.wait_s(CHAT) == 7.0
    rig.clock.advance(6.5)
    again = rig.run(later.task)
    assert len(rig.channel.tried) == 1
    assert again.after_s == pytest.approx(0.5)
    rig.clock.advance(0.5)
    assert rig.run(again.task) is None
    assert rig.channel.texts() == ["one"]
    assert rig.rows("g")[0].attempts == 1


def test_another_group_to_a_throttled_conversation_waits_too(rig):
    rig.channel.faults = [Throttled("429", retry_after_s=7.0)]
    rig.deliver(put(rig, "one"))
    later = rig.deliver(put(rig, "two", group="h"))
    assert later.after_s == 7.0
    assert len(rig.channel.tried) == 1


def test_a_throttled_account_parks_its_other_conversations(rig):
    rig.channel.faults = [Throttled("429", retry_after_s=7.0, whole_account=True)]
    rig.deliver(put(rig, "one"))
    assert rig.parking.wait_s(Address("telegram", "work", "8")) == 7.0


def test_what_surely_was_not_sent_is_tried_again_quickly_and_then_waits(rig):
    rig.channel.faults = [NOT_SENT, NOT_SENT, NOT_SENT]
    later = rig.deliver(put(rig, "one"))
    assert len(rig.channel.tried) == 3
    assert later.gate == "telegram=work"
    assert 0 < later.after_s <= 10
    assert rig.outbox_states() == {"g-0": "queued"}
    # The gate opens before the wait is over: the line is back, so nothing is waited out.
    assert rig.run(later.task) is None
    assert rig.channel.texts() == ["one"]


def test_an_overloaded_platform_is_given_the_time_it_asks_for(rig):
    rig.channel.faults = [Overloaded("502", retry_after_s=40.0)] * 3
    later = rig.deliver(put(rig, "one"))
    assert later.after_s == 40.0
    assert later.gate is None
    assert rig.run(later.task).after_s == pytest.approx(40.0)


@pytest.mark.parametrize("fault", [LOST, BadAnswer("half an answer"), RuntimeError("a bug in the channel")])
def test_a_send_of_unknown_fate_is_repeated_once_with_the_same_key(rig, fault):
    rig.channel.faults = [fault]
    later = rig.deliver(put(rig, "one"))
    assert rig.outbox_states() == {"g-0": "queued"}
    rig.clock.advance(later.after_s)
    assert rig.run(later.task) is None
    assert {outbound.idempotency_key for outbound in rig.channel.tried} == {"g-0"}
    assert rig.outbox_states() == {"g-0": "sent"}
    assert rig.metrics.get("send_unknown:telegram=work") == 1


def test_a_send_that_stays_unknown_is_held_and_nothing_goes_past_it(rig):
    fates = []
    rig.delivery.watch("g", fates.append)
    rig.channel.faults = [LOST, LOST]
    later = rig.deliver(put(rig, "one", "two"))
    rig.clock.advance(later.after_s)
    assert rig.run(later.task) is None
    assert rig.outbox_states() == {"g-0": "unknown", "g-1": "failed"}
    assert rig.channel.texts() == []
    assert [fate.state for fate in fates] == ["unknown"]


@pytest.mark.parametrize("ends_well", [True, False])
def test_while_connections_break_a_part_is_repeated_with_growing_pauses_up_to_a_bound(rig, ends_well):
    broken = Unreachable("the proxy closed the connection", maybe_processed=True)
    rig.channel.faults = [broken] * (outbox.MAX_RESENDS + (0 if ends_well else 1))
    later = rig.deliver(put(rig, "one"))
    pauses = []
    while later is not None:
        pauses.append(later.after_s)
        rig.clock.advance(later.after_s)
        later = rig.run(later.task)
    assert len(pauses) == outbox.MAX_RESENDS
    assert pauses[0] <= 0.5
    assert all(16 <= pause <= 60 for pause in pauses[3:])
    assert {outbound.idempotency_key for outbound in rig.channel.tried} == {"g-0"}
    assert rig.outbox_states() == {"g-0": "sent" if ends_well else "unknown"}


def test_the_hold_policy_never_repeats(tmp_path):
    config = CONFIG + b'\n[delivery]\nambiguous = "hold"\n'
    with rig_at(tmp_path / "store.sqlite3", config) as rig:
        fates = []
        rig.delivery.watch("g", fates.append)
        rig.channel.faults = [LOST]
        assert rig.deliver(put(rig, "one")) is None
        assert rig.outbox_states() == {"g-0": "unknown"}
        assert len(rig.channel.tried) == 1
        assert [fate.state for fate in fates] == ["unknown"]


@pytest.fixture
def idempotent(tmp_path):
    """A platform that takes a repetition for the same message for an hour, under the policy that never guesses."""
    config = CONFIG + b'\n[delivery]\nambiguous = "hold"\n'
    with rig_at(tmp_path / "store.sqlite3", config) as rig:
        rig.surface.spec = dataclasses.replace(rig.surface.spec, idempotent_s=3600.0)
        yield rig


def test_within_its_window_a_repetition_is_harmless_and_sent_until_it_is_confirmed(idempotent):
    rig = idempotent
    rig.channel.faults = [LOST] * 15
    later = rig.deliver(put(rig, "one"))
    while later is not None:
        rig.clock.advance(later.after_s)
        later = rig.run(later.task)
    assert len(rig.channel.tried) == 16
    assert rig.outbox_states() == {"g-0": "sent"}


def test_a_part_that_waited_beyond_its_window_is_not_repeated_blindly(idempotent):
    rig = idempotent
    fates = []
    rig.delivery.watch("g", fates.append)
    rig.channel.faults = [LOST]
    later = rig.deliver(put(rig, "one", ttl_s=7200))
    # The account was away for so long that the platform has forgotten the key.
    rig.clock.advance(3601)
    assert rig.run(later.task) is None
    assert len(rig.channel.tried) == 1
    assert rig.outbox_states() == {"g-0": "unknown"}
    assert [(fate.state, fate.error) for fate in fates] == [("unknown", str(LOST))]


def test_a_part_that_surely_never_arrived_has_a_window_yet(idempotent):
    rig = idempotent
    rig.channel.faults = [Throttled("slow", retry_after_s=5000.0), LOST]
    later = rig.deliver(put(rig, "one", ttl_s=7200))
    rig.clock.advance(later.after_s)
    later = rig.run(later.task)
    rig.clock.advance(later.after_s)
    assert rig.run(later.task) is None
    assert rig.outbox_states() == {"g-0": "sent"}


def test_beyond_its_window_the_policy_may_still_risk_a_second_copy(rig):
    rig.surface.spec = dataclasses.replace(rig.surface.spec, idempotent_s=3600.0)
    rig.channel.faults = [LOST, LOST]
    later = rig.deliver(put(rig, "one", ttl_s=7200))
    rig.clock.advance(3601)
    assert rig.run(later.task) is None
    assert len(rig.channel.tried) == 2
    assert rig.outbox_states() == {"g-0": "unknown"}


def test_what_was_held_stays_held_over_a_restart(tmp_path):
    config = CONFIG + b'\n[delivery]\nambiguous = "hold"\n'
    with rig_at(tmp_path / "store.sqlite3", config) as rig:
        rig.channel.faults = [LOST]
        rig.deliver(put(rig, "one"))
        rig.store.write(outbox.recover)
        assert rig.outbox_states() == {"g-0": "unknown"}


def test_the_fate_of_a_group_that_is_over_is_the_stored_one(rig):
    rig.channel.faults = [Refused("blocked")]
    rig.deliver(put(rig, "one"))
    fates = []
    rig.delivery.watch("g", fates.append)
    assert rig.deliver("g") is None
    assert [fate.state for fate in fates] == ["failed"]


def test_everybody_who_waits_for_a_group_hears_of_it(rig):
    first, second, gone = [], [], []
    rig.delivery.watch("g", first.append)
    rig.delivery.watch("g", second.append)
    rig.delivery.watch("g", gone.append)
    rig.delivery.forget("g", gone.append)
    rig.deliver(put(rig, "one"))
    assert (len(first), len(second), len(gone)) == (1, 1, 0)


def test_waiting_for_an_account_costs_no_attempt(rig):
    rig.surface.sendable = False
    later = rig.deliver(put(rig, "one", first_sending=True))
    assert later.gate == "telegram=work"
    assert rig.outbox_states() == {"g-0": "queued"}
    assert rig.rows("g")[0].attempts == 0
    rig.surface.sendable = True
    assert rig.run(later.task) is None
    assert rig.rows("g")[0].state == "sent"


def test_a_refused_credential_keeps_the_reply_and_tells_the_surface(rig):
    rig.channel.faults = [BadCredentials("401")]
    later = rig.deliver(put(rig, "one"))
    assert later.gate == "telegram=work"
    assert rig.outbox_states() == {"g-0": "queued"}
    assert [str(fault) for fault in rig.surface.troubles] == ["401"]


def test_a_moved_conversation_gets_the_part_once_under_its_new_id(rig):
    rig.channel.faults = [Moved("upgraded", conversation="-1007")]
    assert rig.deliver(put(rig, "one")) is None
    assert [outbound.address.conversation for outbound in rig.channel.sent] == ["-1007"]
    assert rig.surface.moves == {"7": "-1007"}
    rig.deliver(put(rig, "two", group="h"))
    assert rig.channel.sent[1].address.conversation == "-1007"


def test_an_expired_part_is_never_sent_and_is_counted(rig):
    group = put(rig, "one", "two", ttl_s=10)
    rig.clock.advance(11)
    assert rig.deliver(group) is None
    assert rig.channel.tried == []
    assert set(rig.outbox_states().values()) == {"expired"}
    assert rig.metrics.get("expired:telegram=work") == 1


def test_a_reply_to_a_conversation_that_is_no_longer_allowed_is_cancelled(rig):
    seq = rig.put(rig.message())
    rig.surface.allowed = False
    assert rig.deliver(put(rig, "one", inbox_seq=seq)) is None
    assert rig.outbox_states() == {"g-0": "cancelled"}
    assert rig.channel.tried == []


def test_an_operators_own_send_is_not_gated_by_the_allow_list(rig):
    rig.surface.allowed = False
    assert rig.deliver(put(rig, "one")) is None
    assert rig.channel.texts() == ["one"]


def test_a_stop_leaves_the_rest_queued(rig):
    stop = StopToken()
    rig.channel.faults = [lambda _: stop.set("stopping")]
    later = rig.deliver(put(rig, "one", "two"), stop)
    assert rig.outbox_states() == {"g-0": "sent", "g-1": "queued"}
    assert later.gate == "telegram=work"


def test_after_a_death_a_part_that_was_being_sent_is_sent_once_more(rig):
    put(rig, "one", "two", first_sending=True)
    rig.store.write(outbox.recover)
    assert rig.deliver("g") is None
    assert rig.channel.texts() == ["one", "two"]
    assert rig.rows("g")[0].resends == 1


# --- files


def put_files(rig, tmp_path, count=2):
    """A text and `count` files in one group; the paths of their copies."""
    source = tmp_path / "report.pdf"
    source.write_bytes(b"data")
    copies = Outgoing(str(tmp_path / "outgoing"))
    paths = [copies.path_of(copies.keep(str(source), limit_bytes=100), limit_bytes=100) for _ in range(count)]
    contents = Contents("see:", {}, tuple(OutboundFile(path, "report.pdf") for path in paths))
    parts = operator_parts(
        rig.surface.spec, CHAT, contents, group="g", expires_ms=rig.clock.wall_ms() + 60_000
    )
    rig.store.write(lambda conn: outbox.add(conn, parts, now_ms=rig.clock.wall_ms(), first_sending=False))
    return paths


def test_a_copy_goes_when_the_platform_has_it_and_not_before(rig, tmp_path):
    first, second = put_files(rig, tmp_path)
    seen = []

    def look(_):
        rig.settle()
        seen.append((os.path.exists(first), os.path.exists(second)))

    rig.channel.faults = [look, look, look]
    assert rig.deliver("g") is None
    assert seen == [(True, True), (True, True), (False, True)]
    assert not os.path.exists(second)
    assert set(rig.outbox_states().values()) == {"sent"}


def test_a_copy_stays_as_long_as_its_part_may_be_sent_again(rig, tmp_path):
    (path,) = put_files(rig, tmp_path, 1)
    rig.channel.faults = [lambda _: None, Throttled("slow", retry_after_s=5.0), LOST]
    later = rig.deliver("g")
    for _ in range(2):
        assert os.path.exists(path)
        rig.clock.advance(later.after_s)
        later = rig.run(later.task)
    assert later is None
    assert not os.path.exists(path)


@pytest.mark.parametrize("fault", [Refused("no"), None])
def test_the_copies_of_a_group_that_ended_go_with_it(rig, tmp_path, fault):
    paths = put_files(rig, tmp_path)
    if fault is None:
        rig.clock.advance(61)
    rig.channel.faults = [fault] if fault else []
    assert rig.deliver("g") is None
    assert [os.path.exists(path) for path in paths] == [False, False]


def test_the_copy_of_a_part_that_is_held_stays_for_whoever_decides(tmp_path):
    config = CONFIG + b'\n[delivery]\nambiguous = "hold"\n'
    with rig_at(tmp_path / "store.sqlite3", config) as rig:
        paths = put_files(rig, tmp_path)
        rig.channel.faults = [lambda _: None, LOST]
        assert rig.deliver("g") is None
        assert [os.path.exists(path) for path in paths] == [True, False]
        assert rig.outbox_states() == {"g-0": "sent", "g-1": "unknown", "g-2": "failed"}


def test_a_file_that_is_not_a_copy_is_never_removed(rig, tmp_path):
    own = tmp_path / "report.pdf"
    own.write_bytes(b"data")
    part = Part("g-0", "g", 0, None, Outbound(CHAT, "", "g-0", file=OutboundFile(str(own), "r")), 1 << 60)
    rig.store.write(lambda conn: outbox.add(conn, [part], now_ms=0, first_sending=False))
    assert rig.deliver("g") is None
    assert own.exists()


@pytest.mark.parametrize(
    ("fault", "is_told"),
    [
        (LOST, True),
        (NOT_SENT, True),
        (Overloaded("HTTP 503", retry_after_s=5.0), True),
        (BadAnswer("no object"), True),
        (Refused("no such chat"), False),
        (Throttled("slow down", retry_after_s=5.0), False),
        (Interrupted("stopped"), False),
    ],
)
def test_the_surface_hears_of_failures_that_are_not_of_one_conversation(rig, fault, is_told):
    stop = StopToken()

    def fail(_):
        # Nobody need wait for the quick retries.
        stop.set("enough")
        raise fault

    rig.channel.faults = [fail]
    rig.deliver(put(rig, "one"), stop)
    assert rig.surface.failures == ([fault] if is_told else [])
