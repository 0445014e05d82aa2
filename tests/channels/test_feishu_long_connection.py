"""The long connection against its double: stored before acknowledged, alive or ended, never in between."""

from __future__ import annotations

import contextlib
import json
import random
import threading
from typing import Any

import pytest

from loong_channels import faults
from loong_channels.contract import Inbound
from loong_channels.feishu.endpoint import Endpoint, ping_interval_s, read_endpoint
from loong_channels.feishu.identity import BotIdentity
from loong_channels.feishu.long_connection import Timing
from loong_gateway.messaging.backoff import Backoff
from tests.channels.feishu_inbound_rig import BOT, Receiving, StubApi, message, receiving
from tests.channels.telegram_rig import RecordingHost
from tests.clocks import HandClock
from tests.fakes.feishu_long_connection import FakeLongConnection, Link, Push
from tests.fakes.feishu_wire import pack


def quick(clock: HandClock, **times: float) -> Timing:
    """The times of production on a clock that a test moves."""
    return Timing(clock=clock.monotonic_s, look_s=0.02, **times)


def events_of(host: RecordingHost) -> list[str]:
    return [inbound.event_id for inbound in host.messages]


def note_names(host: RecordingHost) -> list[str]:
    return [name for name, _ in host.notes]


def test_connects_pings_at_once_is_ready_at_the_pong_and_takes_an_event() -> None:
    with FakeLongConnection() as fake:
        host = RecordingHost()
        with receiving(StubApi(fake), host):
            host.wait_for(lambda: host.identities)
            assert host.identities[0] == "loong-bot"
            assert len(fake.link().pings) == 1
            assert host.rounds >= 1
            one = fake.push(message(1, 'quoted "text"\n😀'))
            assert one.codes == [200]
            assert host.texts == ['quoted "text"\n😀']
        assert fake.complaints == []
        assert one.acks[0]["payload"] == b'{"code":200}'


def test_a_silent_handshake_is_no_readiness() -> None:
    clock = HandClock()
    with FakeLongConnection() as fake:
        fake.pongs = False
        host = RecordingHost()
        run = Receiving(StubApi(fake), host, quick(clock))
        fake.wait_for(lambda: fake.links and fake.links[0].pings)
        assert host.identities == []
        clock.advance(21)
        error = run.ended()
        assert isinstance(error, faults.Unreachable)
        assert host.identities == []


def test_the_acknowledgement_leaves_only_when_the_event_is_stored() -> None:
    class SlowHost(RecordingHost):
        def __init__(self) -> None:
            super().__init__()
            self.entered = threading.Event()
            self.go_on = threading.Event()

        def accept(self, batch: Any, cursor: Any = None) -> None:
            self.entered.set()
            assert self.go_on.wait(10)
            super().accept(batch, cursor)

    with FakeLongConnection() as fake:
        host = SlowHost()
        with receiving(StubApi(fake), host):
            one = fake.push(message(1), wait=False)
            assert host.entered.wait(10)
            assert one.codes == []
            assert host.messages == []
            host.go_on.set()
            fake.wait_for(lambda: one.codes == [200])
            assert events_of(host) == ["ev-1"]
        assert fake.complaints == []


@pytest.mark.parametrize("refusal", [faults.Busy("full"), faults.NotStored("no room")])
def test_what_is_not_taken_is_answered_500_and_taken_when_it_comes_again(refusal: faults.Fault) -> None:
    with FakeLongConnection() as fake:
        host = RecordingHost()
        host.refusals = [refusal]
        with receiving(StubApi(fake), host):
            one = fake.push(message(1))
            assert one.codes == [500]
            assert host.messages == []
            assert fake.redeliver() == 1
            fake.wait_for(lambda: one.codes == [500, 200])
            assert events_of(host) == ["ev-1"]
        assert fake.complaints == []


def test_a_redelivery_hours_later_is_offered_again_under_the_same_id() -> None:
    clock = HandClock()
    with FakeLongConnection() as fake:
        host = RecordingHost()
        with receiving(StubApi(fake), host, quick(clock, max_age_s=0)):
            one = fake.push(message(1))
            for hours in (0.1, 1, 6):
                heard, pings = host.heard_count, len(fake.link().pings)
                clock.advance(hours * 3600)
                # The clock may only move on when the ping that was due is answered.
                fake.wait_for(lambda pings=pings: len(fake.link().pings) > pings)
                host.wait_for(lambda heard=heard: host.heard_count > heard)
                fake.push_again(one)
                fake.wait_for(lambda: len(one.codes) == one.pushed)
            assert one.codes == [200] * 4
            assert events_of(host) == ["ev-1"] * 4
            replayed = message(1, event_id="ev-new")
            fake.push(replayed)
            assert [inbound.message_id for inbound in host.messages] == ["om_1"] * 5
        assert fake.complaints == []


def test_fragments_in_any_order_are_one_event_acknowledged_once() -> None:
    rng = random.Random(4)
    with FakeLongConnection() as fake:
        host = RecordingHost()
        with receiving(StubApi(fake), host):
            for pieces in range(2, 18):
                order = rng.sample(range(pieces), pieces)
                one = fake.push(message(pieces, "漢字😀" * 40), pieces=pieces, order=order)
                assert one.codes == [200]
                last = next(f for f in one.acks[0]["headers"] if f[0] == "seq")
                assert last == ("seq", str(order[-1]))
            assert host.texts == ["漢字😀" * 40] * 16
        assert fake.complaints == []


def test_an_incomplete_push_is_not_acknowledged_and_its_redelivery_is_taken() -> None:
    clock = HandClock()
    with FakeLongConnection() as fake:
        host = RecordingHost()
        with receiving(StubApi(fake), host, quick(clock)):
            one = Push("ev-1", json.dumps(message(1)).encode(), pieces=3)
            fake.push_again(one, only=[0, 2])
            fake.push(message(2))
            assert one.codes == []
            # Ten seconds after its last piece it is forgotten, which is told once.
            clock.advance(11)
            _, details = host.wait_for(lambda: [n for n in host.notes if n[0] == "push_incomplete"])[0]
            assert (details["pieces"], len(str(details["push"]))) == ("2/3", 36)
            assert fake.redeliver() == 1
            fake.wait_for(lambda: one.codes == [200])
            assert events_of(host) == ["ev-2", "ev-1"]
        assert note_names(host).count("push_incomplete") == 1
        assert fake.complaints == []


def test_events_that_are_no_messages_are_acknowledged_and_start_nothing() -> None:
    with FakeLongConnection() as fake:
        host = RecordingHost()
        with receiving(StubApi(fake), host):
            pushes = [
                fake.push({"schema": "2.0", "header": {"event_type": "of.the_future", "event_id": "a"}}),
                fake.push(message(1, app_id="cli_other")),
                fake.push(
                    {"schema": "2.0", "header": {"event_type": "im.message.message_read_v1"}, "event": {}}
                ),
                fake.push([1, 2]),
                fake.push({"open_id": "x", "action": {}}, kind="card"),
            ]
            assert [one.codes for one in pushes] == [[200]] * 5
            assert host.messages == []
            reasons = [details["reason"] for name, details in host.notes if name == "event_skipped"]
            assert reasons == ["of.the_future", "foreign_app", "no_object"]
        assert fake.complaints == []


def test_a_payload_that_is_no_json_is_asked_for_again() -> None:
    with FakeLongConnection() as fake:
        host = RecordingHost()
        with receiving(StubApi(fake), host):
            for payload in (b"{", b"", b"\xff\xfe", b"[" * 100_000):
                assert fake.push(payload).codes == [500]
            assert all(len(str(d["push"])) == 36 for n, d in host.notes if n == "event_unreadable")
            assert note_names(host).count("event_unreadable") == 4
            fake.push(message(1))
        assert events_of(host) == ["ev-1"]
        assert fake.complaints == []


def test_garbage_is_survived_on_the_same_connection() -> None:
    rng = random.Random(3)

    def frame(*headers: tuple[str, str], **fields: Any) -> bytes:
        return pack({"method": 1, "headers": [("type", "event"), ("message_id", "g"), *headers], **fields})

    with FakeLongConnection() as fake:
        host = RecordingHost()
        with receiving(StubApi(fake), host):
            garbage: list[str | bytes] = [
                "text",
                "",
                b"",
                b"\xff" * 40,
                pack({"method": 1})[:-1],
                pack({"method": 7, "headers": [("type", "event")]}),
                pack({"method": 1, "headers": [("type", "of the future")]}),
                pack({"method": 1}),
                pack({"method": 0, "headers": [("type", "ping")]}),
                pack({"method": 0}),
                frame(("sum", "2000000000"), ("seq", "5")),
                frame(("sum", "2"), ("seq", "2")),
                frame(("sum", "2"), ("seq", "-1")),
                frame(("sum", "x")),
                frame(("sum", "0")),
            ]
            garbage += [rng.randbytes(rng.randrange(1, 200)) for _ in range(300)]
            for data in garbage:
                fake.send_raw(data)
            for pong in (b"{", b"[1]", b"null", b'{"PingInterval":0}', b'{"PingInterval":"x"}', b"\xff"):
                fake.send_pong(pong)
            one = fake.push(message(1))
            assert one.codes == [200]
            assert fake.connected == 1
        # An acknowledgement of something random would be one of nothing.
        assert [c for c in fake.complaints if "of nothing" not in c] == []
        assert events_of(host) == ["ev-1"]
        assert "frame_ignored" in note_names(host)


def test_pings_follow_the_interval_of_the_server_and_a_pong_changes_it_without_a_reconnect() -> None:
    clock = HandClock()
    with FakeLongConnection() as fake:
        host = RecordingHost()
        with receiving(StubApi(fake), host, quick(clock)):
            pings = fake.link().pings
            fake.wait_for(lambda: len(pings) == 1)
            host.wait_for(lambda: host.identities)
            clock.advance(119)
            fake.push(message(1))
            assert len(pings) == 1
            clock.advance(2)
            fake.wait_for(lambda: len(pings) == 2)
            fake.send_pong(b'{"PingInterval":30}')
            fake.push(message(2))
            clock.advance(31)
            fake.wait_for(lambda: len(pings) == 3)
            fake.send_pong(b'{"PingInterval":0,"ReconnectCount":"x"}')
            fake.push(message(3))
            clock.advance(29)
            fake.push(message(4))
            assert len(pings) == 3
            assert fake.connected == 1
        assert fake.complaints == []


def test_a_link_that_does_not_answer_a_ping_is_given_up_but_not_before_its_time() -> None:
    clock = HandClock()
    with FakeLongConnection() as fake:
        fake.config["PingInterval"] = 600
        host = RecordingHost()
        run = Receiving(StubApi(fake), host, quick(clock))
        host.wait_for(lambda: host.identities)
        fake.pongs = False
        clock.advance(601)
        fake.wait_for(lambda: len(fake.link().pings) == 2)
        # A tenth of the interval, which is longer than 20 s; any frame counts as an answer.
        clock.advance(59)
        run.thread.join(0.2)
        assert run.thread.is_alive()
        fake.push(message(1))
        clock.advance(59)
        fake.push(message(2))
        clock.advance(600)
        fake.wait_for(lambda: len(fake.links[0].pings) == 3)
        clock.advance(61)
        assert isinstance(run.ended(), faults.Unreachable)
        fake.wait_for(lambda: not fake.alive)


@pytest.mark.parametrize("how", [1000, 1001, 1011, 4999, "gone", "reset", "half"])
def test_every_end_of_the_connection_is_a_fault_to_try_again_after(how: object) -> None:
    with FakeLongConnection() as fake:
        host = RecordingHost()
        api = StubApi(fake)
        run = Receiving(api, host)
        host.wait_for(lambda: host.identities)
        one = Push("ev-1", json.dumps(message(1)).encode(), pieces=2)
        fake.push_again(one, only=[0])
        connection = fake.link().connection
        if how == "half":
            connection.raw(b"\x82\x7e\x10\x00half")
        if isinstance(how, int):
            connection.close(how, "server says so")
        else:
            fake.cut(reset=how != "gone")
        error = run.ended()
        assert isinstance(error, faults.Unreachable), error
        assert "ticket" not in str(error)
        fake.wait_for(lambda: not fake.alive)
        with receiving(api, host):
            fake.redeliver()
            fake.wait_for(lambda: one.codes == [200])
        assert fake.connected == 2
        assert fake.complaints == []
        assert events_of(host) == ["ev-1"]


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"code": 514, "msg": "auth failed"}, faults.BadCredentials),
        (200, {"code": 403, "msg": "forbidden"}, faults.BadCredentials),
        (200, {"code": 1000040344, "msg": "no credential"}, faults.BadCredentials),
        (200, {"code": 424242, "msg": "?"}, faults.BadCredentials),
        (200, {"code": 1000040350, "msg": "limit"}, faults.Conflict),
        (200, {"code": 1, "msg": "busy"}, faults.Overloaded),
        (200, {"code": 1000040343}, faults.Overloaded),
        (200, {"code": 99991400, "msg": "slow down"}, faults.Throttled),
        (200, {"code": 0, "data": {"URL": ""}}, faults.Unreachable),
        (200, {"code": 0}, faults.Unreachable),
        (200, {"code": 0, "data": {"URL": "http://x/"}}, faults.Unreachable),
        (200, {"code": 0, "data": {"URL": "ws://[::1"}}, faults.Unreachable),
        (200, {"code": "x"}, faults.BadAnswer),
        (200, [], faults.BadAnswer),
        (500, {}, faults.Unreachable),
    ],
)
def test_what_the_endpoint_request_says_has_a_name(
    status: int, body: object, expected: type[faults.Fault]
) -> None:
    with FakeLongConnection() as fake:
        fake.answer_next_endpoint(body, status)
        error = Receiving(StubApi(fake), RecordingHost()).ended()
        assert type(error) is expected
        assert fake.endpoint_requests == 1
        # What only a person can change is tried again slowly.
        slowly = isinstance(error, (faults.BadCredentials, faults.Conflict))
        assert Backoff(5.0).next_s(error) >= 270 if slowly else Backoff(5.0).next_s(error) <= 60


def test_a_wrong_secret_and_too_many_connections_are_named() -> None:
    with FakeLongConnection() as fake:
        error = Receiving(StubApi(fake, "wrong-secret"), RecordingHost()).ended()
        assert isinstance(error, faults.BadCredentials)
        assert "wrong-secret" not in str(error)
        fake.max_connections = 0
        assert isinstance(Receiving(StubApi(fake), RecordingHost()).ended(), faults.Conflict)


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (502, {}, faults.Unreachable),
        (403, {}, faults.Unreachable),
        (400, {"handshake-status": "514", "handshake-autherrcode": "1000040350"}, faults.Conflict),
        (400, {"Handshake-Status": "514", "Handshake-Msg": "expired"}, faults.Unreachable),
        (400, {"Handshake-Status": "403", "Handshake-Msg": "forbidden"}, faults.BadCredentials),
        (400, {"Handshake-Status": "x"}, faults.Unreachable),
    ],
)
def test_a_refused_handshake_has_a_name(
    status: int, headers: dict[str, str], expected: type[faults.Fault]
) -> None:
    with FakeLongConnection() as fake:
        fake.server.refuse_next(status, headers)
        error = Receiving(StubApi(fake), RecordingHost()).ended()
        assert isinstance(error, expected)
        assert "ticket" not in f"{error!r}"


def test_every_connection_gets_an_endpoint_of_its_own() -> None:
    with FakeLongConnection() as fake:
        api, host = StubApi(fake), RecordingHost()
        for _ in range(3):
            with receiving(api, host):
                fake.push(message(1))
        assert (fake.endpoint_requests, fake.connected) == (3, 3)
        assert fake.complaints == []


def test_an_old_connection_is_replaced_by_a_new_one_before_it_ends() -> None:
    clock = HandClock()
    with FakeLongConnection() as fake:
        host = RecordingHost()
        with receiving(StubApi(fake), host, quick(clock, max_age_s=3600)):
            fake.push(message(1))
            first = fake.link()
            clock.advance(3601)
            fake.wait_for(lambda: fake.connected == 2 and not first.alive)
            fake.push(message(2))
            fake.wait_for(lambda: fake.link().pings)
        assert events_of(host) == ["ev-1", "ev-2"]
        assert fake.complaints == []


def test_a_connection_is_not_replaced_while_half_an_event_is_here_and_kept_when_there_is_no_other() -> None:
    clock = HandClock()
    with FakeLongConnection() as fake:
        host = RecordingHost()
        with receiving(StubApi(fake), host, quick(clock, max_age_s=5)):
            fake.push(message(1))
            one = Push("ev-2", json.dumps(message(2)).encode(), pieces=2)
            fake.push_again(one, only=[0])
            # Acknowledged after the piece, so the piece is here.
            fake.push(message(3))
            fake.answer_next_endpoint({"code": 514}, times=1)
            clock.advance(6)
            fake.push(message(4))
            assert fake.endpoint_requests == 1
            # Ten seconds after its last piece the push is forgotten.
            clock.advance(6)
            host.wait_for(lambda: "connection_not_renewed" in note_names(host))
            fake.push(message(5))
            assert (fake.connected, fake.endpoint_requests) == (1, 2)
            clock.advance(301)
            fake.wait_for(lambda: fake.connected == 2 and len(fake.alive) == 1)
            fake.push(message(6))
        assert fake.complaints == []


def test_events_that_wait_on_the_old_connection_are_taken_before_it_ends() -> None:
    clock = HandClock()
    with FakeLongConnection() as fake:
        host = RecordingHost()
        api = StubApi(fake)
        with receiving(api, host, quick(clock, max_age_s=3600)):
            fake.push(message(1))
            first = fake.link()
            api.hold = threading.Event()
            clock.advance(3601)
            fake.wait_for(lambda: len(api.deadlines) == 2)
            late = fake.push(message(2), link=first, wait=False)
            api.hold.set()
            fake.wait_for(lambda: late.codes == [200])
            fake.wait_for(lambda: not first.alive)
            assert fake.connected == 2
            assert api.deadlines[1] <= 2.0
        assert fake.complaints == []


def both_open(fake: FakeLongConnection, host: RecordingHost, clock: HandClock) -> tuple[Link, Link]:
    """The old and the new connection of a renewal that waits for the first pong on the new one."""
    fake.push(message(1))
    first = fake.link()
    fake.pongs = False
    clock.advance(3601)
    fake.wait_for(lambda: fake.connected == 2 and fake.link().pings)
    return first, fake.link()


def test_the_old_connection_goes_on_until_the_platform_has_spoken_on_the_new_one() -> None:
    clock = HandClock()
    with FakeLongConnection() as fake:
        host = RecordingHost()
        with receiving(StubApi(fake), host, quick(clock, max_age_s=3600)):
            first, second = both_open(fake, host, clock)
            for number in range(2, 6):
                assert fake.push(message(number), link=first).codes == [200]
            assert first.alive
            # What comes on both is offered twice; it is the store that knows.
            assert fake.push(message(5), link=second).codes == [200]
            fake.wait_for(lambda: not first.alive)
            fake.pongs = True
            assert fake.push(message(6)).codes == [200]
        assert events_of(host) == ["ev-1", "ev-2", "ev-3", "ev-4", "ev-5", "ev-5", "ev-6"]
        assert fake.connected == 2
        assert fake.complaints == []


def test_a_new_connection_that_stays_silent_is_given_up_and_the_old_one_kept() -> None:
    clock = HandClock()
    with FakeLongConnection() as fake:
        host = RecordingHost()
        with receiving(StubApi(fake), host, quick(clock, max_age_s=3600)):
            first, second = both_open(fake, host, clock)
            # The old one is heard of meanwhile, so only the new one is silent.
            fake.push(message(2), link=first)
            clock.advance(21)
            fake.wait_for(lambda: not second.alive)
            fake.pongs = True
            assert fake.push(message(3)).codes == [200]
            assert fake.alive == [first]
            host.wait_for(lambda: "connection_not_renewed" in note_names(host))
            clock.advance(301)
            fake.wait_for(lambda: fake.connected == 3 and len(fake.alive) == 1)
        assert fake.complaints == []


def test_an_old_connection_that_ends_during_the_renewal_is_no_loss() -> None:
    clock = HandClock()
    with FakeLongConnection() as fake:
        host = RecordingHost()
        with receiving(StubApi(fake), host, quick(clock, max_age_s=3600)):
            first, second = both_open(fake, host, clock)
            first.connection.close(1001, "bye")
            host.wait_for(lambda: "old_connection_ended" in note_names(host))
            assert fake.push(message(2), link=second).codes == [200]
            fake.wait_for(lambda: fake.alive == [second])
        assert fake.complaints == []


def test_when_both_connections_are_lost_it_is_over() -> None:
    clock = HandClock()
    with FakeLongConnection() as fake:
        host = RecordingHost()
        run = Receiving(StubApi(fake), host, quick(clock, max_age_s=3600))
        first, second = both_open(fake, host, clock)
        first.connection.close(1001, "bye")
        host.wait_for(lambda: "old_connection_ended" in note_names(host))
        second.connection.close(1001, "bye")
        assert isinstance(run.ended(), faults.Unreachable)


def test_half_an_event_on_the_old_connection_is_waited_for() -> None:
    clock = HandClock()
    with FakeLongConnection() as fake:
        host = RecordingHost()
        with receiving(StubApi(fake), host, quick(clock, max_age_s=3600)):
            first, second = both_open(fake, host, clock)
            one = Push("ev-2", json.dumps(message(2)).encode(), pieces=2)
            fake.push_again(one, link=first, only=[0])
            fake.push(message(3), link=first)
            fake.pongs = True
            assert fake.push(message(4), link=second).codes == [200]
            assert first.alive
            rest = next(frames for push, frames, _ in first.open_pushes.values() if push is one)[1]
            first.connection.send(pack(rest))
            fake.wait_for(lambda: one.codes == [200])
            fake.wait_for(lambda: not first.alive)
        assert events_of(host) == ["ev-1", "ev-3", "ev-4", "ev-2"]
        assert fake.complaints == []


def test_a_stop_during_the_renewal_ends_both_connections() -> None:
    clock = HandClock()
    with FakeLongConnection() as fake:
        host = RecordingHost()
        run = Receiving(StubApi(fake), host, quick(clock, max_age_s=3600))
        both_open(fake, host, clock)
        run.stop.set("over")
        assert run.ended(2) is None
        fake.wait_for(lambda: not fake.alive)


def test_an_age_of_0_means_never() -> None:
    clock = HandClock()
    with FakeLongConnection() as fake:
        host = RecordingHost()
        with receiving(StubApi(fake), host, quick(clock, max_age_s=0)):
            fake.push(message(1))
            pings = fake.link().pings
            clock.advance(10 * 86_400)
            fake.wait_for(lambda: len(pings) == 2)
            fake.push(message(2))
            assert (fake.connected, fake.endpoint_requests) == (1, 1)


def test_an_answer_that_came_while_nobody_looked_is_an_answer() -> None:
    """A disk that holds the commit up for a minute is no silence of the platform."""
    clock = HandClock()

    class SlowHost(RecordingHost):
        def accept(self, batch: Any, cursor: Any = None) -> None:
            fake.send_pong(None)
            clock.advance(60)
            super().accept(batch, cursor)

    with FakeLongConnection() as fake:
        host = SlowHost()
        fake.pongs = False
        with receiving(StubApi(fake), host, quick(clock)):
            for number in range(1, 4):
                assert fake.push(message(number)).codes == [200]
            assert fake.connected == 1


def test_a_stop_ends_it_in_every_state() -> None:
    with FakeLongConnection() as fake:
        api, host = StubApi(fake), RecordingHost()
        api.hold = threading.Event()
        with receiving(api, host):
            host.wait_for(lambda: True)
        api.hold = None
        with receiving(api, host):
            fake.push(message(1))
        already = Receiving(api, host)
        already.stop.set("at once")
        assert already.ended(2) is None


@pytest.mark.parametrize(
    "fault",
    [
        faults.Refused("no scope"),
        faults.BadAnswer("?"),
        faults.Overloaded("busy"),
        faults.Throttled("quota", retry_after_s=60),
    ],
)
def test_a_bot_without_a_name_still_receives(fault: faults.Fault) -> None:
    with FakeLongConnection() as fake:
        host = RecordingHost()
        with receiving(StubApi(fake, bot=fault), host):
            fake.push(message(1))
        assert events_of(host) == ["ev-1"]
        assert ("bot_identity_unknown", {"reason": type(fault).__name__}) in host.notes


@pytest.mark.parametrize(
    "fault", [faults.BadCredentials("no"), faults.Unreachable("x", maybe_processed=False)]
)
def test_without_credentials_or_a_network_nothing_is_tried(fault: faults.Fault) -> None:
    with FakeLongConnection() as fake:
        assert Receiving(StubApi(fake, bot=fault), RecordingHost()).ended() is fault
        assert fake.endpoint_requests == 0


def test_the_account_s_own_messages_are_dropped_and_bots_are_marked() -> None:
    with FakeLongConnection() as fake:
        host = RecordingHost()
        with receiving(StubApi(fake, bot=BotIdentity("ou_sender", "me")), host):
            assert fake.push(message(1)).codes == [200]
        assert host.messages == []
        by_bot = message(2)
        by_bot["event"]["sender"]["sender_type"] = "app"
        with receiving(StubApi(fake, bot=BOT), host):
            fake.push(by_bot)
        assert [inbound.sender_is_bot for inbound in host.messages] == [True]


def test_a_burst_is_taken_in_order() -> None:
    with FakeLongConnection() as fake:
        host = RecordingHost()
        with receiving(StubApi(fake), host):
            pushes = [fake.push(message(n), wait=False) for n in range(300)]
            fake.wait_for(lambda: all(one.codes == [200] for one in pushes))
        assert host.texts == [f"m{n}" for n in range(300)]
        assert all(isinstance(one, Inbound) for one in host.messages)
        assert fake.complaints == []


def test_figures_of_the_server_are_believed_as_far_as_they_make_sense() -> None:
    assert [ping_interval_s({"PingInterval": one}, 7) for one in (30, "45", 1, 600)] == [30, 45, 1, 600]
    for value in (None, 0, -1, 601, 2**80, 1e9, True, [], "x", "9" * 99):
        assert ping_interval_s({"PingInterval": value}, 7) == 7
    for config in (None, [], "x", {}):
        assert ping_interval_s(config) == 120


def test_an_endpoint_is_read_and_does_not_show_its_secrets() -> None:
    url = "wss://host.example/ws/v2?device_id=7&access_key=AK&service_id=-5&ticket=TT"
    found = read_endpoint({"code": 0, "data": {"URL": url, "ClientConfig": {"PingInterval": 90}}})
    assert found == Endpoint(url, -5, 90)
    assert "TT" not in repr(found)
    assert "AK" not in repr(found)
    for query in ("", "?service_id=x", "?service_id=99999999999"):
        assert read_endpoint({"code": 0, "data": {"URL": f"wss://h/{query}"}}).service_id == 0


def test_no_credential_and_no_text_is_ever_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with FakeLongConnection() as fake:
        api, host = StubApi(fake), RecordingHost()
        with receiving(api, host):
            fake.push(message(1, "a private word"))
            fake.push(
                {"schema": "2.0", "header": {"event_type": "of.the_future"}, "event": {"x": "a private word"}}
            )
            fake.push(b'{"a private word')
            fake.send_raw(b"a private word")
            ticket = fake.link().connection.path.partition("ticket=")[2]
        errors = [Receiving(StubApi(fake, "wrong-secret"), host).ended()]
        fake.server.refuse_next(400, {"Handshake-Status": "514", "Handshake-Msg": "x"})
        errors.append(Receiving(api, host).ended())
        run = Receiving(api, host)
        fake.link().connection.close(1011, "bye")
        errors.append(run.ended())
    assert len(ticket) == 32
    shown = f"{caplog.text} {host.notes} {errors!r} {host.identities}"
    for secret in (ticket, "access_key", "ticket=", fake.app_secret, "wrong-secret", "a private word"):
        assert secret not in shown, secret


def test_an_event_that_is_longer_than_a_message_may_be_ends_the_connection_and_nothing_else() -> None:
    with FakeLongConnection() as fake:
        host = RecordingHost()
        run = Receiving(StubApi(fake), host)
        host.wait_for(lambda: host.identities)
        fake.push(message(1, "x" * 600_000))
        # In fragments more fits than in one message, up to a bound of its own.
        fake.push(message(2, "x" * 3_000_000), pieces=4)
        with contextlib.suppress(OSError):
            # It may be gone before everything was sent.
            fake.push(message(3, "x" * 2_200_000), wait=False)
        error = run.ended()
        assert isinstance(error, faults.Fault)
        assert [len(inbound.text) for inbound in host.messages] == [600_000, 3_000_000]
