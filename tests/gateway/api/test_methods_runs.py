"""`agent`, `agent.wait` and `chat.*` over real runs; what they answer is checked against the shapes clients expect."""

from __future__ import annotations

import base64

import pytest

from loong_gateway.api.rpc import methods_runs, methods_sessions
from loong_gateway.api.rpc.calls import RpcFault
from loong_gateway.api.rpc.params import BadParam
from loong_gateway.providers.contract import Completion, ProviderFault, Usage
from tests.gateway.api.rpc_kit import Rpc, SmallCall, SmallControl
from tests.gateway.messaging.engine_rig import WAIT_S
from tests.gateway.messaging.run_rig import SESSION, runs_at
from tests.gateway.messaging.test_runs import Held
from tests.waiting import wait_until

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 20


@pytest.fixture
def rig(tmp_path):
    with runs_at(tmp_path / "store.sqlite3") as made:
        yield made


@pytest.fixture
def control(rig):
    return SmallControl(rig)


@pytest.fixture
def rpc(control):
    return Rpc(methods_runs.methods(control), methods_sessions.methods(control, lambda: 5))


def refused(rpc, name, **params):
    with pytest.raises((RpcFault, BadParam)) as fault:
        rpc.begin(name, **params)
    return str(fault.value)


def test_agent_answers_twice_and_a_repetition_once(rig, rpc):
    rig.listen()
    rig.provider.script = [lambda *_: Completion("Hello.", "m1", Usage(10, 6, 16))]
    call = rpc.begin("agent", message="hi", idempotencyKey="k1")
    first, second = call.payload(), call.payload()
    assert first == {
        "runId": "k1",
        "status": "accepted",
        "acceptedAt": rig.clock.wall_ms(),
        "sessionKey": SESSION,
        "agentId": "main",
    }
    assert (second["status"], second["summary"]) == ("ok", "completed")
    assert second["result"]["payloads"] == [{"text": "Hello.", "mediaUrl": None}]
    meta = second["result"]["meta"]["agentMeta"]
    assert (meta["model"], meta["sessionId"], meta["usage"]["total"]) == ("m1", SESSION, 16)
    # Everything of the run was told before its last answer.
    assert rig.told("chat")[-1]["state"] == "final"
    again = rpc.begin("agent", message="hi", idempotencyKey="k1")
    assert again.payload() == second
    assert again.answers.empty()
    assert len(rig.provider.calls) == 1


def test_a_repetition_while_it_runs_is_in_flight(rig, rpc):
    held = Held()
    rig.provider.script = [held]
    first = rpc.begin("agent", message="hi", idempotencyKey="k1")
    assert held.began.wait(WAIT_S)
    again = rpc.begin("agent", message="hi", idempotencyKey="k1")
    assert again.payload() == {
        "runId": "k1",
        "status": "in_flight",
        "sessionKey": SESSION,
        "agentId": "main",
    }
    assert rpc.call("chat.abort", sessionKey="main") == {"ok": True, "aborted": True, "runIds": ["k1"]}
    assert first.payload()["status"] == "accepted"
    assert first.payload() == {"runId": "k1", "status": "timeout", "summary": "aborted", "stopReason": "rpc"}
    waited = rpc.call("agent.wait", runId="k1")
    assert (waited["status"], waited["error"], waited["stopReason"]) == ("error", "aborted", "rpc")
    assert rpc.call("chat.abort", sessionKey="main") == {"ok": True, "aborted": False, "runIds": []}


def test_a_failed_run_has_an_error_and_a_payload(rig, rpc):
    rig.provider.script = [ProviderFault("auth_rejected", "the key was refused")]
    call = rpc.begin("agent", message="hi", idempotencyKey="k1")
    call.payload()
    kind, fault = call.next()
    assert (kind, fault.code, str(fault)) == ("fault", "UNAVAILABLE", "the key was refused")
    assert fault.payload == {"runId": "k1", "status": "error", "summary": "the key was refused"}
    assert rpc.call("agent.wait", runId="k1")["error"] == "the key was refused"


@pytest.mark.parametrize("known", [True, False])
def test_agent_wait_times_out_without_an_error(rig, rpc, known):
    held = Held()
    rig.provider.script = [held]
    if known:
        rpc.begin("agent", message="hi", idempotencyKey="k1")
        assert held.began.wait(WAIT_S)
    call = rpc.begin("agent.wait", runId="k1", timeoutMs=50)
    (after_s, expire) = call.timers[0]
    assert after_s == 0.05
    expire()
    assert call.payload() == {"runId": "k1", "status": "timeout"}
    rig.runs.abort()
    wait_until(lambda: not rig.runs.active(), what="the end")
    assert call.answers.empty()


def test_a_wait_that_is_refused_is_not_answered_again(rig, rpc, monkeypatch):
    held = Held()
    rig.provider.script = [held]
    first = rpc.begin("agent", message="hi", idempotencyKey="k1")
    assert held.began.wait(WAIT_S)

    def refuse(*_):
        raise RpcFault("UNAVAILABLE", "too many requests in progress", retryable=True)

    call = SmallCall("agent.wait", {"runId": "k1", "timeoutMs": 60_000})
    monkeypatch.setattr(call, "later", refuse)
    with pytest.raises(RpcFault):
        rpc.table["agent.wait"].handler(call)
    held.release.set()
    assert [first.payload()["status"] for _ in range(2)] == ["accepted", "ok"]
    assert call.answers.empty()


def test_agent_wait_is_answered_by_a_run_that_starts_meanwhile(rpc):
    waits = rpc.begin("agent.wait", runId="k1", timeoutMs=30_000)
    call = rpc.begin("agent", message="hi", idempotencyKey="k1")
    call.payload(), call.payload()
    assert waits.payload()["status"] == "ok"


def test_what_is_injected_is_told(rig, rpc):
    rig.listen()
    added = rpc.call("chat.inject", sessionKey="main", message="note")
    (told,) = rig.told("chat")
    assert told["message"].pop("timestamp") == rig.clock.wall_ms()
    assert told == {
        "runId": f"inject-{added['messageId']}",
        "sessionKey": SESSION,
        "agentId": "main",
        "seq": 0,
        "state": "final",
        "message": {"role": "assistant", "content": [{"type": "text", "text": "note"}]},
    }


def test_a_run_that_the_next_process_goes_on_with_has_no_end_for_who_waits(rig, rpc):
    held = Held()
    rig.provider.script = [held]
    for run in ("k1", "k2"):
        rpc.begin("agent", message="hi", idempotencyKey=run)
    assert held.began.wait(WAIT_S)
    call = rpc.begin("agent.wait", runId="k2")
    rig.runs.close()
    # Its connection ends, and whoever asks the next process has the result.
    assert call.answers.empty()
    held.release.set()


def test_chat_send_answers_once(rig, rpc):
    held = Held()
    rig.provider.script = [held]
    asked = {"sessionKey": "main", "message": "hi", "idempotencyKey": "k1"}
    call = rpc.begin("chat.send", **asked)
    assert call.payload() == {"runId": "k1", "status": "started"}
    assert held.began.wait(WAIT_S)
    assert rpc.call("chat.send", **asked) == {"runId": "k1", "status": "in_flight"}
    held.release.set()
    wait_until(lambda: not rig.runs.active(), what="the end")
    assert rpc.call("chat.send", **asked) == {"runId": "k1", "status": "ok"}
    assert call.answers.empty()


def test_what_is_wrong_with_a_request_is_said(rpc):
    assert refused(rpc, "agent", message="x") == "must have required property 'idempotencyKey'"
    unknown = refused(rpc, "agent", message="x", idempotencyKey="k", agentId="zzz")
    assert unknown == 'invalid agent params: unknown agent id "zzz"'
    gone = refused(rpc, "agent", message="x", idempotencyKey="k", sessionKey="agent:other:main")
    assert gone == 'Agent "other" no longer exists in configuration'
    empty = refused(rpc, "chat.send", sessionKey="main", message=" ", idempotencyKey="k")
    assert empty == "message or attachment required"
    nowhere = {"deliver": True, "channel": "nowhere", "to": "1"}
    assert refused(rpc, "agent", message="x", idempotencyKey="k", **nowhere)
    assert "deliver needs" in refused(rpc, "agent", message="x", idempotencyKey="k", deliver=True)
    assert "no provider profile" in refused(rpc, "agent", message="x", idempotencyKey="k", provider="none")


def test_history_shows_what_was_said_and_what_was_added(rig, rpc):
    assert rpc.call("chat.history", sessionKey="main")["messages"] == []
    for number in (1, 2):
        call = rpc.begin("agent", message=f"m{number}", idempotencyKey=f"k{number}")
        call.payload(), call.payload()
    added = rpc.call("chat.inject", sessionKey="main", message="note", label="ops")
    assert added["ok"] is True
    assert added["messageId"].isdigit()
    found = rpc.call("chat.history", sessionKey="main", limit=2)
    assert [one["content"][0]["text"] for one in found["messages"]] == ["re: m2", "[ops]\n\nnote"]
    assert (found["sessionKey"], found["sessionId"]) == ("main", SESSION)
    assert (found["hasMore"], found["totalMessages"]) == (True, 5)
    assert found["sessionInfo"]["key"] == SESSION
    earlier = rpc.call("chat.history", sessionKey="main", limit=2, offset=2, maxChars=2)
    assert [one["content"][0]["text"] for one in earlier["messages"]] == ["re", "m2"]


def test_attachments_become_pictures_and_texts(rig, rpc, control):
    files = [
        {"fileName": "a.txt", "mimeType": "text/plain", "content": base64.b64encode(b"inside").decode()},
        {"fileName": "p.png", "content": "data:image/png;base64," + base64.b64encode(PNG).decode()},
    ]
    asked = {"sessionKey": "main", "message": "look", "attachments": files}
    assert "not shown pictures" in refused(rpc, "chat.send", **asked, idempotencyKey="k0")
    control.changes = {"images": True}
    rpc.begin("chat.send", **asked, idempotencyKey="k1")
    wait_until(lambda: rig.provider.calls, what="the call")
    said = rig.provider.calls[0].messages[-1]
    assert said.content.startswith("look")
    assert "inside" in said.content
    assert [image.content for image in said.images] == [PNG]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("!!!", "not base64"),
        ("", "no content"),
        (base64.b64encode(b"\x00\x01\x02\xff").decode(), "neither a picture"),
        ("A" * 28_000_000, "more than 20971520 bytes"),
        (base64.b64encode(PNG + b"0" * 6_291_456).decode(), "a picture of more than 6291456"),
    ],
    ids=["base64", "empty", "kind", "total", "picture"],
)
def test_an_attachment_that_is_of_no_use_is_refused(rpc, control, content, why):
    control.changes = {"images": True}
    asked = {"sessionKey": "main", "message": "look", "attachments": [{"content": content}]}
    assert why in refused(rpc, "chat.send", **asked, idempotencyKey="k1")


def test_sessions_are_listed_looked_at_and_ended(rig, rpc):
    for key in ("agent:main:telegram:work:group:-5", "agent:main:demo", "agent:main:main"):
        rig.clock.advance(1)
        rpc.begin("chat.send", sessionKey=key, message="hello there", idempotencyKey=key)
        wait_until(lambda: not rig.runs.active(), what="the end")
    page = rpc.call("sessions.list", limit=2, includeLastMessage=True)
    assert [row["key"] for row in page["sessions"]] == ["agent:main:main", "agent:main:demo"]
    assert (page["count"], page["totalCount"], page["hasMore"], page["nextOffset"]) == (2, 3, True, 2)
    assert page["sessions"][0]["lastMessagePreview"] == "re: hello there"
    group = rpc.call("sessions.list", search="TELEGRAM")["sessions"][0]
    assert (group["kind"], group["channel"], group["displayName"]) == (
        "group",
        "telegram",
        "telegram:work:group:-5",
    )
    assert rpc.call("sessions.resolve", key="main") == {"ok": True, "key": SESSION, "agentId": "main"}
    assert rpc.call("sessions.resolve", key="telegram:work:-5")["key"] == group["key"]
    shown = rpc.call("sessions.preview", keys=["main", "nobody"], maxChars=20)["previews"]
    assert [one["status"] for one in shown] == ["ok", "missing"]
    assert shown[0]["items"][0] == {"role": "user", "text": "hello there"}
    assert rpc.call("sessions.describe", key="nobody") == {"session": None}
    assert rpc.call("sessions.fork", key="main", target="copy")["messages"] == 2
    assert rpc.call("sessions.fork", key="main", target="copy")["ok"] is False
    assert rpc.call("sessions.archive", key="copy")["archived"] is True
    assert rpc.call("sessions.list")["totalCount"] == 3
    assert rpc.call("sessions.list", includeArchived=True)["sessions"][0]["archivedAt"] > 0
    assert rpc.call("sessions.archive", key="nobody")["found"] is False
    assert rpc.call("sessions.delete", key="copy")["deleted"] is True
    assert rpc.call("sessions.usage", key="main")["totals"]["calls"] == 1
    assert rpc.call("usage.status")["totals"]["silent"] == 3
    fresh = rpc.call("sessions.reset", key="main")
    assert fresh["entry"]["sessionId"] != SESSION
    assert rpc.call("chat.history", sessionKey="main")["messages"] == []
    gone = rpc.call("sessions.delete", key="demo")
    assert gone == {"ok": True, "key": "agent:main:demo", "deleted": True, "archived": []}
    assert rpc.call("sessions.delete", key="demo")["deleted"] is False
    assert rpc.call("sessions.list")["totalCount"] == 2
    assert rpc.call("agents.list")["agents"] == [{"id": "main", "name": "loong"}]
    assert rpc.call("agent.identity.get", sessionKey="main")["agentId"] == "main"
