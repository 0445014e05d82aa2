from __future__ import annotations

import json
import logging
import threading

import pytest

from loong_channels.waiting import Deadline
from loong_gateway.api.auth import Auth
from loong_gateway.api.rpc.calls import ADMIN, DEFERRED, READ, WRITE, Method, RpcFault
from loong_gateway.base.bus import GATEWAY_CHANGED, Event
from loong_gateway.base.faults import CommandError, StoreUnwritable
from tests.gateway.api.port_kit import CONTROL, PATIENCE_S, SECRET
from tests.gateway.api.rpc.rpc_kit import Held, RpcPort, WsClient, connect_params
from tests.gateway.api.rpc.schema import HEALTH, PERSON, Each, check
from tests.waiting import wait_until


@pytest.fixture
def port():
    with RpcPort() as port:
        yield port


def refused(answer: dict[str, object]) -> tuple[str, str]:
    assert answer["ok"] is False
    return answer["error"]["code"], answer["error"]["message"]


# Requests


def test_what_is_wrong_with_a_request_after_hello(port: RpcPort) -> None:
    with port.client() as client:
        client.send("no json")
        client.send(b"\xff\xfe")
        for frame, frame_id in (
            ({"type": "req", "id": "\u9f99\U0001f409", "method": "health", "more": 1}, "\u9f99\U0001f409"),
            ([1], "invalid"),
            ({"type": "req", "id": 4, "method": "health"}, "invalid"),
        ):
            client.send(frame)
            answer = client.next()
            assert answer["id"] == frame_id
            code, message = refused(answer)
            assert code == "INVALID_REQUEST"
            assert message.startswith("invalid request frame: ")
        assert client.ask("health")["ok"] is True
        assert port.control.metrics.get("rpc_frames_refused") == 5


def test_an_unknown_method_and_a_second_connect(port: RpcPort) -> None:
    with port.client() as client:
        assert refused(client.ask("no.such")) == ("INVALID_REQUEST", "unknown method: no.such")
        message = "connect is only valid as the first request"
        assert refused(client.connect()) == ("INVALID_REQUEST", message)
        assert client.ask("health", frame_id="after")["ok"] is True


def test_a_binary_message_is_a_request_as_well(port: RpcPort) -> None:
    with port.client() as client:
        client.send(json.dumps({"type": "req", "id": "b", "method": "health"}).encode())
        assert client.next()["id"] == "b"


def test_the_order_of_the_checks_is_method_scope_parameters(port: RpcPort) -> None:
    with port.client(scopes=[]) as client:
        assert refused(client.ask("no.such", 3)) == ("INVALID_REQUEST", "unknown method: no.such")
        answer = client.ask("system-presence", 3)
        assert refused(answer) == ("FORBIDDEN", "missing scope: operator.read")
        assert answer["error"]["details"] == {
            "code": "MISSING_SCOPE",
            "missingScope": "operator.read",
            "requiredScopes": ["operator.read"],
        }
        assert refused(client.ask("health", 3)) == (
            "INVALID_REQUEST",
            "invalid health params: must be object",
        )
        assert refused(client.ask("health", {"probe": 1})) == (
            "INVALID_REQUEST",
            "invalid health params: at /probe: must be boolean",
        )
        assert client.ask("health", {"unknown": 1})["ok"] is True


def test_who_keeps_calling_what_it_may_not_is_closed(port: RpcPort) -> None:
    with port.client(scopes=[]) as client:
        for number in range(10):
            client.send({"type": "req", "id": str(number), "method": "status"})
        assert client.closed() == (1008, "repeated unauthorized calls")
        assert [answer["error"]["code"] for answer in client.last] == ["FORBIDDEN"] * 10


def raising(error: Exception) -> Method:
    def handler(call: object) -> object:
        raise error

    return Method("fails", READ, handler)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RpcFault("UNAVAILABLE", "later\nperhaps"), ("UNAVAILABLE", "later perhaps")),
        (
            CommandError("channels.not_served", given="x", served="telegram=work"),
            ("INVALID_REQUEST", None),
        ),
        (CommandError("run.not_up", phase="stopping"), ("UNAVAILABLE", None)),
        (StoreUnwritable("full"), ("UNAVAILABLE", None)),
        (RuntimeError(f"{SECRET} and what the client sent"), ("UNAVAILABLE", "internal error")),
    ],
    ids=["fault", "command", "moment", "store", "bug"],
)
def test_how_a_method_fails(
    error: Exception, told: tuple[str, str | None], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), RpcPort(methods=[raising(error)]) as port, port.client() as client:
        code, message = refused(client.ask("fails"))
        assert code == told[0]
        assert message == (told[1] or message)
        assert "\n" not in message
        assert client.ask("health")["ok"] is True
    assert SECRET not in caplog.text
    assert ("method fails failed with RuntimeError" in caplog.text) == isinstance(error, RuntimeError)


def test_no_secret_leaves_in_a_fault() -> None:
    with RpcPort(methods=[raising(RpcFault("UNAVAILABLE", f"no {SECRET}"))]) as port, port.client() as client:
        assert refused(client.ask("fails")) == ("UNAVAILABLE", "no ***")


def test_an_answer_that_json_cannot_say_is_a_bug() -> None:
    with RpcPort(methods=[Method("odd", READ, lambda _: float("nan"))]) as port, port.client() as client:
        assert refused(client.ask("odd")) == ("UNAVAILABLE", "internal error")


def test_methods_that_wait_leave_the_reader_free_and_are_bounded() -> None:
    held = Held()
    with RpcPort(methods=[Method("held", READ, held, waits=True)]) as port, port.client() as client:
        for number in range(33):
            client.send({"type": "req", "id": str(number), "method": "held"})
        answer = client.next()
        assert answer["id"] == "32"
        assert refused(answer) == ("UNAVAILABLE", "too many requests in progress")
        assert answer["error"]["retryable"] is True
        assert client.ask("health")["ok"] is True
        with port.client() as other:
            assert other.ask("health")["ok"] is True
        held.gate.set()
        assert {client.next()["id"] for _ in range(32)} == {str(number) for number in range(32)}
        assert client.ask("held")["payload"] == {"held": True}


def test_a_full_pool_says_so() -> None:
    held = Held()
    with RpcPort(methods=[Method("held", READ, held, waits=True)]) as port:
        clients = [port.client() for _ in range(3)]
        for client in clients[:2]:
            for number in range(32):
                client.send({"type": "req", "id": str(number), "method": "held"})
            client.ask("health")
        for number in range(32):
            clients[2].send({"type": "req", "id": str(number), "method": "held"})
        # Sixteen run and sixty-four wait.
        for _ in range(16):
            assert refused(clients[2].next()) == ("UNAVAILABLE", "the gateway is busy")
        held.gate.set()
        for client in clients:
            client.socket.shutdown()


def test_an_answer_may_come_in_several_parts_and_later() -> None:
    def deferred(call: object) -> object:
        call.respond({"status": "accepted"})
        call.later(0.01, lambda: call.fail(RpcFault("UNAVAILABLE", "no", payload={"status": "error"})))
        call.later(0.005, lambda: call.respond("never"))()
        return DEFERRED

    with RpcPort(methods=[Method("twice", WRITE, deferred)]) as port, port.client() as client:
        assert client.ask("twice", frame_id="t")["payload"] == {"status": "accepted"}
        answer = client.next()
        assert (answer["id"], answer["ok"], answer["payload"]) == ("t", False, {"status": "error"})


def test_a_client_may_not_have_any_number_of_things_due() -> None:
    def many(call: object) -> object:
        for _ in range(256):
            call.later(3600.0, lambda: None)
        call.later(3600.0, lambda: None)
        return "not reached"

    with RpcPort(methods=[Method("many", READ, many)]) as port, port.client() as client:
        assert refused(client.ask("many")) == ("UNAVAILABLE", "too many requests in progress")


def test_what_is_due_for_a_client_is_due_when_it_leaves() -> None:
    done = threading.Event()

    def method(call) -> object:
        call.later(3600.0, done.set)
        return {}

    with RpcPort(methods=[Method("test.due", READ, method)]) as port:
        with port.client() as client:
            assert client.ask("test.due")["ok"] is True
            assert not done.is_set()
        assert done.wait(PATIENCE_S)


def test_a_request_that_is_answered_later_does_not_keep_its_parameters() -> None:
    kept = []

    def method(call) -> object:
        given = call.params.text("text")
        kept.append(call)
        return given if given == "now" else DEFERRED

    with RpcPort(methods=[Method("test.keeps", READ, method)]) as port, port.client() as client:
        client.send({"type": "req", "id": "1", "method": "test.keeps", "params": {"text": "later"}})
        assert client.ask("test.keeps", {"text": "now"})["payload"] == "now"
        assert [call.params.raw("text") for call in kept] == [None, None]


def test_work_is_not_begun_while_the_gateway_stops() -> None:
    work = Method("work", WRITE, lambda _: {}, starts_work=True)
    with RpcPort(methods=[work]) as port, port.client() as client:
        assert client.ask("work")["ok"] is True
        port.control.failing = ("stopping",)
        answer = client.ask("work")
        assert refused(answer) == ("UNAVAILABLE", "the gateway is stopping")
        assert answer["error"]["retryable"] is True
        assert client.ask("health")["ok"] is True


def test_writes_of_the_configuration_are_limited_over_connections() -> None:
    write = Method("config.patch", ADMIN, lambda _: {}, writes_config=True)
    with RpcPort(methods=[write]) as port:
        with port.client() as client:
            for _ in range(30):
                assert client.ask("config.patch")["ok"] is True
        with port.client() as client:
            error = client.ask("config.patch")["error"]
            assert error["message"] == "rate limit exceeded for config.patch; retry after 60s"
            assert error["retryable"] is True
            assert 50_000 < error["retryAfterMs"] <= 60_000


def test_after_hello_messages_may_be_large_up_to_a_limit() -> None:
    with RpcPort(ws={"max_payload_bytes": 200_000}) as port, port.client() as client:
        assert client.ask("health", {"filler": "x" * 150_000})["ok"] is True
        client.send(json.dumps({"type": "req", "id": "a", "method": "health", "params": "x" * 200_000}))
        assert client.closed()[0] == 1009


# What is told


def test_the_three_methods_have_the_published_shapes(port: RpcPort) -> None:
    with port.client() as client:
        health = client.ask("health")["payload"]
        check(health, HEALTH)
        assert health["channelOrder"] == sorted(health["channels"], key=health["channelOrder"].index)
        assert health["channels"]["wecom"]["running"] is True
        assert health["channels"]["telegram"]["accounts"]["home"]["running"] is False
        assert health["channelLabels"]["wecom"]
        for rows in (health["sessions"], health["agents"][0]["sessions"]):
            assert rows["count"] == 1
            (latest,) = rows["recent"]
            assert (latest["key"], latest["updatedAt"]) == ("agent:main:main", 2)
        check(client.ask("system-presence")["payload"], Each(PERSON))
        status = client.ask("status", {"includeChannelSummary": False})["payload"]
        assert status["runtimeVersion"] == "9.9.9"
        assert status["sessions"]["count"] == 1
        assert status["sessions"]["recent"][0]["key"] == "agent:main:main"
        assert status["sessions"]["defaults"] == {"model": None, "contextTokens": None}


def test_health_asks_the_platforms_when_it_is_told_to(port: RpcPort) -> None:
    with port.client(scopes=[]) as client:
        known = client.ask("health")["payload"]
        assert "probe" not in known["channels"]["wecom"]
        # Keys of sessions name conversations; who may not read those is told how many there are.
        assert known["sessions"] == {"path": "", "count": 1, "recent": []}
        assert port.control.probes == []
        health = client.ask("health", {"probe": True})["payload"]
        check(health, HEALTH)
        assert health["sessions"]["recent"] == []
        assert health["channels"]["wecom"]["probe"] == {"ok": True, "elapsedMs": 3}
        assert sorted(port.control.probes) == [("telegram", "home", 8.0), ("wecom", "work", 8.0)]


def test_numbers_count_per_connection_and_scopes_decide(port: RpcPort) -> None:
    with (
        port.client() as admin,
        port.client(scopes=[]) as stranger,
        port.client(scopes=["operator.read"]) as reader,
    ):
        bus = port.control.bus
        bus.publish(Event("chat", {"n": 1}))
        bus.publish(Event("agent", {"stream": "tool"}))
        bus.publish(Event("unheard", {}, scope=None))
        bus.publish(Event("shutdown", {"reason": "test"}, scope=None))
        for client in (admin, reader):
            assert [(e["event"], e["seq"]) for e in (client.next(), client.next())] == [
                ("chat", 1),
                ("shutdown", 2),
            ]
        found = stranger.next()
        assert (found["event"], found["seq"]) == ("shutdown", 1)
        assert "stateVersion" not in found


def test_tool_events_go_to_those_who_asked_for_them(port: RpcPort) -> None:
    with port.client(caps=["tool-events"]) as client:
        port.control.bus.publish(Event("agent", {"stream": "tool"}))
        assert client.next()["payload"] == {"stream": "tool"}


def test_hello_is_first_and_nothing_is_lost_after_it(port: RpcPort) -> None:
    stop = threading.Event()

    def publish() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            port.control.bus.publish(Event("chat", {"n": number}))
            stop.wait(0.0005)

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        for _ in range(5):
            with port.client() as client:
                assert client.events == []
                events = [client.next() for _ in range(10)]
                assert [event["seq"] for event in events] == list(range(1, 11))
                numbers = [event["payload"]["n"] for event in events]
                assert numbers == list(range(numbers[0], numbers[0] + 10))
    finally:
        stop.set()
        publisher.join()


def test_ticks_come_and_count() -> None:
    with RpcPort(ws={"tick_interval_ms": 30, "ping_interval_ms": 20}) as port:
        with port.client(scopes=[]) as client, port.client() as other:
            assert client.hello["policy"]["tickIntervalMs"] == 30
            ticks = [client.event("tick") for _ in range(3)]
            assert [tick["seq"] for tick in ticks] == [1, 2, 3]
            assert ticks[0]["payload"].keys() == {"ts"}
            assert other.event("tick")["payload"]["ts"] > 0
        # Whoever has left takes the timers along.
        wait_until(lambda: "rpc-timers" not in port.threads.alive())
        assert not port.control.bus.has_listeners


def test_pings_come_without_a_pong_being_needed() -> None:
    with RpcPort(ws={"ping_interval_ms": 10}) as port, port.client() as client:
        opcodes = [client.socket.recv_frame().opcode for _ in range(3)]
        assert opcodes == [9, 9, 9]
        assert client.ask("health")["ok"] is True


def test_people_are_listed_and_programs_are_not(port: RpcPort) -> None:
    with port.client() as watcher:
        person = {
            "id": "openclaw-macos",
            "displayName": "Ann",
            "instanceId": "i-1",
            "timeZone": "Asia/Shanghai",
        }
        with port.client(client=person, mode="ui") as ann:
            event = watcher.event("presence")
            listed = event["payload"]["presence"]
            check(listed, Each(PERSON))
            assert [(one["mode"], one["reason"]) for one in listed] == [
                ("gateway", "self"),
                ("ui", "connect"),
            ]
            assert listed[1]["host"] == "Ann"
            assert event["stateVersion"]["presence"] == ann.hello["snapshot"]["stateVersion"]["presence"]
            assert len(ann.hello["snapshot"]["presence"]) == 2
            with port.client(client=person, mode="ui"):
                watcher.event("presence")
        with port.client(mode="cli"), port.client(mode="probe"):
            pass
        event = watcher.event("presence")
        assert [one["reason"] for one in event["payload"]["presence"]] == ["self", "disconnect"]
        answer = watcher.ask("system-presence")["payload"]
        assert [one["reason"] for one in answer] == ["self", "disconnect"]


def test_a_change_of_health_is_told_with_its_version(port: RpcPort) -> None:
    with port.client(scopes=[]) as client:
        before = client.hello["snapshot"]["stateVersion"]["health"]
        bus = port.control.bus
        bus.publish(Event(GATEWAY_CHANGED, {}, is_kept=False))
        port.control.phases["wecom", "work"] = "auth_failed"
        bus.publish(Event(GATEWAY_CHANGED, {}, is_kept=False))
        event = client.event("health")
        check(event["payload"], HEALTH)
        assert event["payload"]["channels"]["wecom"]["running"] is False
        assert event["stateVersion"]["health"] == before + 1
        assert client.ask("health")["payload"]["channels"]["wecom"]["running"] is False


# The end


def test_a_stop_tells_everybody_and_closes_with_1012(port: RpcPort) -> None:
    with port.client() as one, port.client(scopes=[]) as other:
        port.control.bus.publish(Event("shutdown", {"reason": "gateway stopping"}, scope=None))
        stopping = threading.Thread(target=port.listener.stop, args=(Deadline(PATIENCE_S),))
        stopping.start()
        for client in (one, other):
            assert client.closed() == (1012, "service restart")
            assert [(e["event"], e["payload"]) for e in client.last] == [
                ("shutdown", {"reason": "gateway stopping"})
            ]
        stopping.join(PATIENCE_S)
        assert not stopping.is_alive()
    assert port.threads.alive() == []


def test_a_client_in_its_handshake_is_told_of_a_stop_as_well(port: RpcPort) -> None:
    with WsClient(port.url) as client:
        assert client.next()["event"] == "connect.challenge"
        port.listener.stop(Deadline(PATIENCE_S))
        assert client.closed() == (1012, "service restart")


def test_a_changed_secret_closes_those_who_came_in_by_the_old_one(port: RpcPort) -> None:
    with port.client() as by_secret, port.client(token=CONTROL) as by_control:
        port.rpc.secret_changed()
        assert by_secret.closed() == (4001, "gateway auth changed")
        assert by_control.ask("health")["ok"] is True


def test_a_client_that_does_not_read_is_closed_and_harms_nobody() -> None:
    big = Method("big", READ, lambda _: "x" * 300_000)
    limits = {"max_buffered_bytes": 100_000}
    with RpcPort(methods=[big], ws=limits) as port, port.client() as slow, port.client() as other:
        for number in range(60):
            slow.send({"type": "req", "id": str(number), "method": "big"})
        assert other.ask("health")["ok"] is True
        assert slow.closed() == (1008, "slow consumer")
        assert len(slow.last) < 60


def test_many_clients_at_once_get_their_own_answers() -> None:
    echo = Method("echo", READ, lambda call: call.params.text("text"), waits=True)
    with RpcPort(methods=[echo]) as port:
        failures: list[str] = []

        def talk(name: str) -> None:
            with port.client() as client:
                for number in range(20):
                    text = f"{name}-{number}"
                    if client.ask("echo", {"text": text})["payload"] != text:
                        failures.append(text)

        threads = [threading.Thread(target=talk, args=(str(number),)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []


def test_a_secret_that_changes_while_it_is_proven_lets_nobody_in() -> None:
    class Changing(Auth):
        """The secret is replaced just after it was found right."""

        def judge(self, *given: object, **named: object) -> object:
            verdict = super().judge(*given, **named)
            port.rpc.secret_changed()
            return verdict

    with RpcPort(auth=Changing(secret=SECRET, control_token=CONTROL)) as port:
        with port.open() as client:
            client.send({"type": "req", "id": "c", "method": "connect", "params": connect_params()})
            assert client.closed() == (4001, "gateway auth changed")
        with port.client(token=CONTROL) as client:
            assert client.ask("health")["ok"] is True


def test_a_stop_does_not_wait_for_a_method_that_does_not_end() -> None:
    held = Held()
    port = RpcPort(methods=[Method("held", READ, held, waits=True)])
    with port, port.client() as client:
        client.send({"type": "req", "id": "h", "method": "held"})
        assert held.began.acquire(timeout=PATIENCE_S)
        stopping = threading.Thread(target=port.listener.stop, args=(Deadline(PATIENCE_S),))
        stopping.start()
        assert client.closed() == (1012, "service restart")
        stopping.join(PATIENCE_S)
        assert not stopping.is_alive()
        assert port.threads.alive() == ["rpc-1"]
        held.gate.set()
