"""Hooks on the port: who may call them, in which order they are judged, what they start."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import pytest

from loong_channels.waiting import StopToken
from loong_gateway.api.auth import Auth
from loong_gateway.api.hooks import hook_auth, hook_routes
from loong_gateway.api.peers import peer_of
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.control.runs import ReplyTarget, RunRefused
from tests.gateway.api.port_kit import CONTROL, SECRET, Answer, Port, request
from tests.gateway.api.small_runs import NOW_MS
from tests.gateway.api.whole_port import HOOK_TOKEN, WholeGateway, whole_port
from tests.waiting import wait_until

AGENT = "/hooks/agent"
WAKE = "/hooks/wake"


class Hooked:
    """A port with hooks, and short ways to call them."""

    def __init__(self, more: str = "") -> None:
        self.port, self.control, self.auth = whole_port(more)

    def post(self, path: str, document: object, *, token: str | None = HOOK_TOKEN, **fields: str) -> Answer:
        return self.port.post(path, document, token=token, **fields)


@pytest.fixture(name="hooked")
def _hooked() -> Iterator[Hooked]:
    hooked = Hooked()
    with hooked.port:
        yield hooked


def test_a_run_is_started_on_disk_and_answered_with_its_id(hooked: Hooked) -> None:
    hooked.control.runs.gate.clear()
    answer = hooked.post(AGENT, {"message": "look at the build", "name": "ci", "timeoutSeconds": 30})
    assert answer.status == 200
    (asked,) = hooked.control.runs.requests
    assert answer.json == {"ok": True, "runId": asked.run_id}
    assert str(uuid.UUID(asked.run_id)) == asked.run_id
    assert (asked.text, asked.label, asked.origin, asked.timeout_s) == ("look at the build", "ci", "hook", 30)
    assert asked.durable
    assert asked.session is None
    assert asked.deliver is None


def test_a_run_may_send_its_answer_somewhere(hooked: Hooked) -> None:
    told = {"message": "hi", "channel": "telegram", "to": "1001"}
    assert hooked.post(AGENT, told).status == 200
    assert hooked.post(AGENT, {**told, "deliver": False}).status == 200
    first, second = hooked.control.runs.requests
    assert first.deliver == ReplyTarget("telegram", "bot_110201543", "1001")
    assert second.deliver is None


@pytest.mark.parametrize("path", [AGENT, WAKE, "/hooks", "/hooks/", "/hooks/nothing", "/hooks/agent/x"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE"])
def test_the_query_then_the_method_then_the_token_then_the_path(
    hooked: Hooked, path: str, method: str
) -> None:
    def status(target: str, token: str | None) -> int:
        return hooked.port.ask(request(method, target, token=token)).status

    assert status(f"{path}?token={HOOK_TOKEN}", HOOK_TOKEN) == 400
    if method != "POST":
        assert status(path, HOOK_TOKEN) == 405
        return
    assert status(path, None) == 401
    assert status(path, "wrong") == 401
    # Without a body there is no message either.
    assert status(path, HOOK_TOKEN) == (400 if path in (AGENT, WAKE) else 404)


def test_refusals_are_plain_text_and_end_the_connection(hooked: Hooked) -> None:
    def told(raw: bytes) -> tuple[int, bytes, str, str]:
        answer = hooked.port.ask(raw)
        fields = answer.headers
        return answer.status, answer.body, fields["content-type"], fields["connection"]

    plain = "text/plain; charset=utf-8"
    assert told(request("GET", AGENT)) == (405, b"Method Not Allowed\n", plain, "close")
    assert hooked.port.get(AGENT).headers["allow"] == "POST"
    assert told(request("POST", AGENT)) == (401, b"Unauthorized\n", plain, "close")
    assert hooked.post(AGENT, {}, token=None).headers["www-authenticate"] == "Bearer"
    assert told(request("POST", "/hooks/x", token=HOOK_TOKEN)) == (404, b"Not Found\n", plain, "close")
    in_query = hooked.post(f"{AGENT}?Access-Token=x", {})
    assert in_query.status == 400
    assert in_query.body.startswith(b"Hook token must be provided via Authorization: Bearer <token>")


def test_the_unread_body_of_a_refused_hook_is_never_the_next_request(hooked: Hooked) -> None:
    inner = request("POST", "/api/gateway/stop", token=SECRET, document={})
    head = request(
        "POST", AGENT, token="wrong", Content_Type="application/json", Content_Length=str(len(inner))
    )
    with hooked.port.client() as client:
        assert client.send(head + inner).answer().status == 401
        assert client.rest() == b""
    assert hooked.control.stops == []


@pytest.mark.parametrize("field", ["X_Loong_Token", "X_OpenClaw_Token"])
def test_the_token_may_stand_in_a_field_of_its_own(hooked: Hooked, field: str) -> None:
    assert hooked.post(AGENT, {"message": "x"}, token=None, **{field: HOOK_TOKEN}).status == 200
    assert hooked.post(AGENT, {"message": "x"}, token=None, **{field: "no"}).status == 401
    # Two that differ: nobody guesses which one is meant.
    assert hooked.post(AGENT, {"message": "x"}, token="no", **{field: HOOK_TOKEN}).status == 401


def test_neither_token_opens_what_the_other_one_does(hooked: Hooked) -> None:
    assert hooked.post(AGENT, {"message": "x"}, token=SECRET).status == 401
    assert hooked.post(AGENT, {"message": "x"}, token=CONTROL).status == 401
    assert hooked.port.get("/v1/status", token=HOOK_TOKEN).status == 401


def test_pages_and_foreign_hosts_get_no_further_than_anywhere_else(hooked: Hooked) -> None:
    assert hooked.post(AGENT, {"message": "x"}, Origin="http://127.0.0.1:3000").status == 403
    assert hooked.post(AGENT, {"message": "x"}, Host="evil.example").status == 421
    assert hooked.post(AGENT, {"message": "x"}, Content_Type="text/plain").status == 415
    assert hooked.control.runs.requests == []


def test_twenty_wrong_tokens_shut_even_this_host_out_for_a_minute() -> None:
    now = [1000.0]
    auth = Auth(
        secret=HOOK_TOKEN,
        control_token="",
        attempts=20,
        window_s=60.0,
        lockout_s=60.0,
        exempt_loopback=False,
        clock=lambda: now[0],
    )
    control = WholeGateway()
    with Port(control=control, routes=hook_routes(control, control.applied.hooks, auth)) as port:
        for _ in range(20):
            assert port.post(AGENT, {}, token="guess").status == 401
        locked = port.post(AGENT, {"message": "x"}, token=HOOK_TOKEN)
        assert (locked.status, locked.body) == (429, b"Too Many Requests\n")
        assert locked.headers["retry-after"] == "60"
        now[0] += 60.5
        assert port.post(AGENT, {"message": "x"}, token=HOOK_TOKEN).status == 200


def test_the_usual_judge_of_hooks_counts_to_twenty_and_exempts_nobody() -> None:
    auth, peer = hook_auth(HOOK_TOKEN), peer_of("127.0.0.1")
    verdicts = [auth.judge(b"guess", peer, stop=StopToken()).outcome for _ in range(21)]
    assert verdicts == ["wrong"] * 20 + ["locked"]
    assert auth.judge(HOOK_TOKEN.encode(), peer, stop=StopToken()).outcome == "locked"


def test_a_hook_may_have_a_quarter_of_a_mebibyte(hooked: Hooked) -> None:
    fits = {"message": "x" * (256 * 1024 - 100)}
    assert hooked.post(AGENT, fits).status == 200
    raw = request("POST", AGENT, token=HOOK_TOKEN, Content_Type="application/json", Content_Length="262145")
    answer = hooked.port.ask(raw)
    assert (answer.status, answer.headers["content-type"]) == (413, "text/plain; charset=utf-8")


@pytest.mark.parametrize(
    ("path", "document", "said"),
    [
        (AGENT, {}, "message required"),
        (AGENT, {"message": ""}, "message required"),
        (AGENT, {"message": "   "}, "message: must be"),
        (AGENT, {"message": 7}, "message: must be a string"),
        (AGENT, {"message": "x", "sessionKey": "main"}, "hooks.allowRequestSessionKey"),
        (AGENT, {"message": "x", "agentId": "other"}, "agentId"),
        (AGENT, {"message": "x", "channel": "telegram"}, "channel and to"),
        (AGENT, {"message": "x", "to": "1001"}, "channel and to"),
        (AGENT, {"message": "x", "deliver": True}, "deliver: needs"),
        (AGENT, {"message": "x", "deliver": "yes"}, "deliver: must be"),
        (AGENT, {"message": "x", "channel": "nowhere", "to": "1"}, "channel: this gateway has no such"),
        (AGENT, {"message": "x", "channel": "telegram", "accountId": "b", "to": "1"}, "channel: this"),
        (AGENT, {"message": "x", "sessionMode": "odd"}, "sessionMode"),
        (AGENT, {"message": "x", "wakeMode": "odd"}, "wakeMode"),
        (AGENT, {"message": "x", "thinking": "odd"}, "thinking"),
        (AGENT, {"message": "x", "timeoutSeconds": 0}, "timeoutSeconds"),
        (AGENT, {"message": "x", "idempotencyKey": "k" * 257}, "idempotencyKey"),
        (WAKE, {}, "text required"),
        (WAKE, {"text": "x", "mode": "later"}, "mode"),
        (WAKE, {"text": "x", "sessionKey": "main"}, "hooks.allowRequestSessionKey"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else None,
)
def test_what_makes_no_sense_is_named(hooked: Hooked, path: str, document: object, said: str) -> None:
    answer = hooked.post(path, document)
    assert answer.status == 400
    assert answer.json["ok"] is False
    assert said in str(answer.json["error"])
    assert hooked.control.runs.requests == []


def test_a_body_that_is_no_object_is_refused(hooked: Hooked) -> None:
    for body in (b"[]", b"{", b'{"a":1,"a":2}'):
        raw = request("POST", AGENT, token=HOOK_TOKEN, Content_Type="application/json")
        raw = raw.replace(b"\r\n\r\n", b"\r\nContent-Length: %d\r\n\r\n" % len(body)) + body
        assert hooked.port.ask(raw).status == 400


@pytest.mark.parametrize("where", ["body", "field"])
def test_a_repeated_key_means_the_same_run(where: str) -> None:
    now = [NOW_MS // 300_000 * 300_000 + 290_000]
    control = WholeGateway()
    routes = hook_routes(control, control.applied.hooks, hook_auth(HOOK_TOKEN), now_ms=lambda: now[0])

    def start() -> object:
        key = {"idempotencyKey": "nightly"} if where == "body" else {}
        field = {} if where == "body" else {"Idempotency_Key": "nightly"}
        return port.post(AGENT, {"message": "x", **key}, token=HOOK_TOKEN, **field).json["runId"]

    with Port(control=control, routes=routes) as port:
        first = start()
        assert start() == first
        now[0] += 299_000
        assert start() == first
        assert len(control.runs.requests) == 1
        now[0] += 600_000
        assert start() != first
        assert len(control.runs.requests) == 2
        assert port.post(AGENT, {"message": "x"}, token=HOOK_TOKEN).json["runId"] != first


def test_sessions_are_what_the_settings_allow() -> None:
    hooked = Hooked('allowRequestSessionKey = true\ndefaultSessionKey = "hooks"\n')
    with hooked.port:
        for document in (
            {"message": "x"},
            {"message": "x", "sessionKey": "mine"},
            {"message": "x", "sessionMode": "isolated"},
        ):
            assert hooked.post(AGENT, document).status == 200
        assert [one.session for one in hooked.control.runs.requests] == [
            "agent:main:hooks",
            "agent:main:mine",
            None,
        ]
        assert hooked.post(AGENT, {"message": "x", "sessionKey": "agent:other:main"}).status == 400


def test_a_model_may_be_asked_for_by_profile(hooked: Hooked) -> None:
    profile = next(iter(hooked.control.applied.providers))
    for model in (f"{profile}:small", "small:latest", "off"):
        assert hooked.post(AGENT, {"message": "x", "model": model, "thinking": "low"}).status == 200
    asked = [(one.profile, one.model) for one in hooked.control.runs.requests]
    assert asked == [(profile, "small"), (None, "small:latest"), (None, "off")]
    assert {one.options.reasoning_effort for one in hooked.control.runs.requests} == {"low"}


@pytest.mark.parametrize(
    ("code", "status"),
    [("busy", 503), ("stopping", 503), ("store_unwritable", 503), ("unknown_profile", 400)],
)
def test_a_run_that_is_not_admitted_is_not_promised(hooked: Hooked, code: str, status: int) -> None:
    hooked.control.runs.refuse = RunRefused(code, "not now")
    answer = hooked.post(AGENT, {"message": "x"})
    assert (answer.status, answer.json) == (status, {"ok": False, "error": "not now"})
    assert ("retry-after" in answer.headers) == (status == 503)


def test_a_wake_asks_the_model_in_the_main_session(hooked: Hooked) -> None:
    answer = hooked.post(WAKE, {"text": "the backup is done"})
    assert answer.status == 200
    assert (answer.json["mode"], answer.json["eventOutcome"]) == ("now", "started")
    (asked,) = hooked.control.runs.requests
    assert (asked.text, asked.session, asked.durable) == ("the backup is done", "agent:main:main", True)
    assert asked.run_id == answer.json["runId"]


def test_a_wake_for_later_is_kept_for_the_next_question(hooked: Hooked) -> None:
    answer = hooked.post(WAKE, {"text": "the disk is full", "mode": "next-heartbeat"})
    assert answer.json == {"ok": True, "mode": "next-heartbeat", "eventOutcome": "kept"}
    assert hooked.control.sessions.said["agent:main:main"][-1] == ("system", "the disk is full")
    assert hooked.control.runs.requests == []


def test_nothing_is_taken_while_the_store_refuses(hooked: Hooked) -> None:
    hooked.control.sessions.fault = StoreUnwritable("disk full")
    for mode in ("now", "next-heartbeat"):
        answer = hooked.post(WAKE, {"text": "x", "mode": mode})
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert b"disk full" not in answer.body


def test_a_hook_is_counted_as_a_client_once_its_token_was_right(hooked: Hooked) -> None:
    with hooked.port.client() as client:
        client.send(request("POST", AGENT, token=HOOK_TOKEN, document={"message": "x"}))
        assert client.answer().status == 200
        assert hooked.port.listener.counts() == (0, 1)
    wait_until(lambda: hooked.port.listener.counts() == (0, 0))
