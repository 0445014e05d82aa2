"""What each route answers, with and without a credential, over a real port."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from loong_gateway.base.faults import CommandError, StoreUnwritable
from loong_gateway.control import SendFile
from tests.gateway.api.port_kit import CONTROL, SECRET, Port, request

SEND = {"channel": "telegram", "target": "42", "text": "hi"}
TURN = {"session_id": "demo", "input": "hello"}


@pytest.fixture(name="port")
def running_port() -> Iterator[Port]:
    with Port() as port:
        yield port


@pytest.mark.parametrize("path", ["/health", "/healthz"])
def test_liveness_is_open_and_tiny(port: Port, path: str) -> None:
    answer = port.get(path)
    assert (answer.status, answer.json) == (200, {"ok": True, "status": "live"})
    assert answer.headers["server"] == "loong"
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_liveness_does_not_even_look_at_a_credential(port: Port) -> None:
    for _ in range(30):
        assert port.get("/healthz", token="wrong!").status == 200
    assert port.auth.failures == 0


@pytest.mark.parametrize("path", ["/ready", "/readyz"])
def test_reasons_are_told_to_authenticated_callers_only(port: Port, path: str) -> None:
    assert (port.get(path).status, port.get(path).json) == (200, {"ready": True})
    port.control.failing = ("store_unwritable",)
    assert (port.get(path).status, port.get(path).json) == (503, {"ready": False})
    known = port.get(path, token=SECRET)
    assert known.status == 503
    assert known.json == {"ready": False, "failing": ["store_unwritable"], "uptimeMs": 1234}
    assert port.get(path, token="wrong!").status == 401


@pytest.mark.parametrize("path", ["/startup", "/startupz"])
def test_startup_says_started_starting_or_draining(port: Port, path: str) -> None:
    assert (port.get(path).status, port.get(path).json) == (200, {"ok": True, "status": "started"})
    assert port.get(path, token=CONTROL).json["version"] == "9.9.9"
    port.control.failing = ("stopping",)
    assert (port.get(path).status, port.get(path).json) == (503, {"ok": False, "status": "draining"})
    port.control.failing, port.control.has_started = (), False
    assert (port.get(path).status, port.get(path).json) == (503, {"ok": False, "status": "starting"})


@pytest.mark.parametrize("path", ["/api/gateway/status", "/v1/status"])
def test_status_needs_a_credential(port: Port, path: str) -> None:
    refused = port.get(path)
    assert refused.status == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.json["error"]["code"] == refused.json["error"]["type"] == "unauthorized"
    for token in (SECRET, CONTROL):
        answer = port.get(path, token=token)
        assert (answer.status, answer.json["phase"]) == (200, "running")


@pytest.mark.parametrize(
    "target",
    [
        f"/v1/status?token={SECRET}",
        f"/v1/status?access_token={SECRET}",
        f"/v1/status?auth={CONTROL}",
        f"/v1/status?Authorization=Bearer%20{SECRET}",
    ],
)
def test_no_credential_counts_in_a_query(port: Port, target: str) -> None:
    assert port.get(target).status == 401


def test_a_credential_counts_in_its_own_field_only(port: Port) -> None:
    for field in ("X_Api_Key", "Cookie", "X_Loong_Token", "Proxy_Authorization"):
        assert port.get("/v1/status", **{field: f"Bearer {SECRET}"}).status == 401
    assert port.get("/v1/status", Authorization=f"Basic {SECRET}").status == 401
    assert port.get("/v1/status", X_Openclaw_Scopes="operator.admin").status == 401


def test_stop_is_requested_once_and_told_apart(port: Port) -> None:
    first = port.post("/api/gateway/stop", {})
    assert (first.status, first.json) == (
        200,
        {"outcome": "requested", "message": "gateway stop requested"},
    )
    again = port.ask(request("POST", "/api/gateway/stop", token=CONTROL))
    assert again.json == {"outcome": "already_requested", "message": "gateway stop already requested"}


def test_stop_without_a_credential_stops_nothing(port: Port) -> None:
    assert port.post("/api/gateway/stop", {}, token=None).status == 401
    assert port.post("/api/gateway/stop", {}, token="wrong!").status == 401
    assert port.control.stops == []


def test_send_hands_over_every_member(port: Port) -> None:
    answer = port.post(
        "/api/gateway/send",
        {**SEND, "account": "work", "target_kind": "address", "wait_s": 5, "idempotency_key": "k1"},
    )
    assert answer.status == 200
    assert answer.json == {
        "id": "send-1",
        "state": "sent",
        "account": "work",
        "message_ids": ["77"],
        "error": "",
    }
    asked = port.control.sends[0]
    assert (asked.channel, asked.account, asked.target, asked.target_kind) == (
        "telegram",
        "work",
        "42",
        "address",
    )
    assert (asked.text, asked.wait_s, asked.idempotency_key) == ("hi", 5.0, "k1")


def test_send_leaves_kind_and_options_to_the_channel_unless_they_are_given(port: Port) -> None:
    bodies: list[dict[str, object]] = [{}, {"options": {"uuid": "u"}}, {"card": True}, {"card": False}]
    for body in bodies:
        port.post("/api/gateway/send", {**SEND, **body})
    assert [(asked.target_kind, asked.options) for asked in port.control.sends] == [
        ("", {}),
        ("", {"uuid": "u"}),
        ("", {"card": True}),
        ("", {}),
    ]


def test_send_takes_files_by_the_names_of_their_copies_and_then_needs_no_text(port: Port) -> None:
    file = {"copy": "ab" * 16, "name": "报告.pdf", "kind": "image"}
    body = {"channel": "telegram", "target": "42", "files": [file, {"copy": "x", "name": "y"}]}
    assert port.post("/api/gateway/send", body).status == 200
    (asked,) = port.control.sends
    assert (asked.text, asked.files) == (
        "",
        (SendFile("ab" * 16, "报告.pdf", "image"), SendFile("x", "y", "file")),
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"card": "yes"}, "card: must be true or false"),
        ({"options": [1]}, "options: must be an object"),
        ({"options": {str(n): 1 for n in range(33)}}, "options: must be an object of at most 32 members"),
        ({"files": {}}, "files: must be a list"),
        ({"files": ["/etc/passwd"]}, "files: must be a list of at most 10 objects"),
        ({"files": [{"copy": "a", "name": "b"}] * 11}, "files: must be a list of at most 10 objects"),
        ({"files": [{"name": "b"}]}, "copy: must be a non-empty string"),
        ({"files": [{"copy": "a", "name": 1}]}, "name: must be a string"),
        ({"text": 1}, "text: must be a string"),
    ],
)
def test_send_refuses_options_and_files_of_another_shape(
    port: Port, body: dict[str, object], message: str
) -> None:
    refused = port.post("/api/gateway/send", {**SEND, **body})
    assert refused.status == 400
    assert message in refused.json["error"]["message"]
    assert port.control.sends == []


def test_send_reports_what_the_gateway_refuses(port: Port) -> None:
    port.control.send_error = CommandError("port.no_tailnet")
    refused = port.post("/api/gateway/send", SEND)
    assert refused.status == 400
    error = refused.json["error"]
    assert (error["code"], error["exit_code"]) == ("port.no_tailnet", 78)
    assert error["fix"] == "loong gateway run --bind loopback"
    port.control.send_error = StoreUnwritable("disk full")
    unwritable = port.post("/api/gateway/send", SEND)
    assert (unwritable.status, unwritable.json["error"]["code"]) == (503, "store_unwritable")
    assert unwritable.headers["retry-after"] == "5"


def test_a_handler_that_fails_costs_one_answer_and_tells_nothing(port: Port) -> None:
    port.control.send_error = ZeroDivisionError("private detail")
    failed = port.post("/api/gateway/send", SEND)
    assert (failed.status, failed.json["error"]["message"]) == (500, "internal error")
    assert b"private" not in failed.body
    assert port.get("/healthz").status == 200


def test_a_turn_is_answered_in_the_shape_of_its_route(port: Port) -> None:
    answer = port.post("/v1/turn", {**TURN, "timeout_ms": 5000, "metadata": {}, "channel_id": None})
    assert (answer.status, answer.json) == (
        200,
        {
            "output_text": "an answer",
            "state": "completed",
            "stop_reason": "completed",
            "usage": {"input": 3},
            "event_count": 0,
        },
    )
    asked = port.control.runs.requests[0]
    assert (asked.session, asked.text, asked.timeout_s) == ("agent:main:demo", "hello", 5.0)
    assert port.post("/v1/turn", {**TURN, "model": "local:llama3:8b"}).status == 200
    asked = port.control.runs.requests[1]
    assert (asked.profile, asked.model) == ("local", "llama3:8b")
    assert port.post("/v1/turn", TURN, token="wrong!").json == {"error": "Unauthorized"}


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("auth_rejected", 502),
        ("model_mismatch", 502),
        ("transport_failure", 502),
        ("provider_missing", 502),
        ("rate_limited", 429),
        ("timed_out", 504),
        ("interrupted", 503),
        ("unknown_profile", 400),
    ],
)
def test_a_provider_that_fails_is_never_our_clients_fault(port: Port, code: str, status: int) -> None:
    port.control.runs.fault = (code, "the provider said no")
    answer = port.post("/v1/turn", TURN)
    assert (answer.status, answer.json) == (status, {"error": "the provider said no"})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b'{"session_id": "demo"}',
        b'{"session_id": "demo", "input": ""}',
        b'{"session_id": "demo", "input": "  "}',
        b'{"session_id": "demo", "input": 1}',
        b'{"session_id": ["demo"], "input": "x"}',
        b'{"session_id": "' + b"d" * 513 + b'", "input": "x"}',
        b'{"session_id": "demo", "input": "x", "input": "y"}',
        b'{"session_id": "demo", "input": "x", "timeout_ms": NaN}',
        b'{"session_id": "demo", "input": "x", "timeout_ms": Infinity}',
        b'{"session_id": "demo", "input": "x", "timeout_ms": true}',
        b'{"session_id": "demo", "input": "x", "timeout_ms": 1e999}',
        b'{"session_id": "demo", "input": "x", "timeout_ms": 10}',
        b'{"session_id": "demo", "input": "x", "timeout_ms": "5"}',
        b'{"session_id": "demo", "input": "x", "n": ' + b"9" * 500_000 + b"}",
        b'{"session_id": "demo", "input": "\\ud800"}',
        b'{"session_id": "demo", "input": "x", "account_id": 7}',
        b'{"session_id": "demo", "input": "\xff"}',
        b"\xef\xbb\xbf{}",
        '{"session_id": "demo", "input": "x"}'.encode("utf-16"),
        b"[" * 100_000,
        b'{"a":' * 50_000,
    ],
    ids=lambda body: repr(body[:60]),
)
def test_bodies_that_are_no_such_object_are_refused_by_name(port: Port, body: bytes) -> None:
    raw = request(
        "POST", "/v1/turn", token=SECRET, Content_Type="application/json", Content_Length=str(len(body))
    )
    answer = port.ask(raw + body)
    assert answer.status == 400
    assert isinstance(answer.json["error"], str)
    assert port.control.runs.requests == []


@pytest.mark.parametrize(
    ("media_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("text/plain", 415),
        ("text/plain; application/json", 415),
        ("application/jsonx", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("", 415),
    ],
)
def test_only_json_changes_anything(port: Port, media_type: str, status: int) -> None:
    assert port.post("/api/gateway/stop", {}, Content_Type=media_type).status == status
    assert len(port.control.stops) == (1 if status == 200 else 0)


def test_a_body_without_a_media_type_is_refused(port: Port) -> None:
    answer = port.ask(request("POST", "/api/gateway/stop", token=SECRET, Content_Length="2") + b"{}")
    assert answer.status == 415


def test_large_bodies_are_refused_before_they_are_read(port: Port) -> None:
    raw = request(
        "POST", "/v1/turn", token=SECRET, Content_Type="application/json", Content_Length=str(1024 * 1024 + 1)
    )
    assert port.ask(raw).status == 413
    body = json.dumps({**TURN, "input": "x" * (1024 * 1024 - 100)}).encode()
    assert len(body) <= 1024 * 1024
    raw = request(
        "POST", "/v1/turn", token=SECRET, Content_Type="application/json", Content_Length=str(len(body))
    )
    assert port.ask(raw + body).status == 200


def test_unknown_paths_and_wrong_methods_are_told_apart(port: Port) -> None:
    assert port.get("/").status == 404
    assert port.get("/healthz/").status == 404
    assert port.get("/%68ealthz").status == 404
    assert port.get("/api/gateway/../gateway/status", token=SECRET).status == 404
    wrong = port.post("/healthz", {})
    assert (wrong.status, wrong.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    wrong = port.get("/api/gateway/stop")
    assert (wrong.status, wrong.headers["allow"]) == (405, "OPTIONS, POST")
    for method in ("PUT", "PATCH", "DELETE"):
        assert port.ask(request(method, "/v1/status")).status == 405


def test_head_is_get_without_the_body(port: Port) -> None:
    answer = port.ask(request("HEAD", "/healthz"))
    assert answer.status == 200
    assert answer.headers["content-length"] == port.get("/healthz").headers["content-length"]
    assert port.ask(request("HEAD", "/v1/status")).status == 401
    assert port.ask(request("HEAD", "/nothing")).status == 404
    assert port.ask(request("HEAD", "/v1/turn", token=SECRET)).status == 405


def test_options_names_the_methods_and_opens_nothing(port: Port) -> None:
    answer = port.ask(request("OPTIONS", "/v1/turn", Access_Control_Request_Method="POST"))
    assert (answer.status, answer.headers["allow"]) == (204, "OPTIONS, POST")
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert port.ask(request("OPTIONS", "*")).headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert port.ask(request("OPTIONS", "/nothing")).status == 404


def test_error_pages_reflect_nothing_of_the_request(port: Port) -> None:
    mark = "mark-0815"
    requests = [
        request("GET", f"/{mark}"),
        request("GET", f"/v1/status?{mark}", token=mark),
        request("GET", "/healthz", Host=f"{mark}.example"),
        request("GET", "/healthz", Origin=f"http://{mark}.example"),
        request("POST", "/v1/turn", token=SECRET, document={mark: mark, "input": [mark]}),
        request("GET", "/healthz", Expect=mark),
        f"{mark} / HTTP/1.1\r\n\r\n".encode(),
    ]
    for raw in requests:
        answer = port.ask(raw)
        assert answer.status >= 400
        assert mark.encode() not in answer.body
        assert mark not in str(answer.headers)


def test_secrets_are_taken_out_of_error_answers() -> None:
    with Port(listener_options={"scrub": lambda text: text.replace("hush-hush", "***")}) as port:
        port.control.runs.fault = ("auth_rejected", "refused key hush-hush")
        assert port.post("/v1/turn", TURN).json == {"error": "refused key ***"}


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/startupz", "/v1/status", "/nothing", "/"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE"])
def test_foreign_hosts_and_pages_are_refused_on_every_route_before_anything_else(
    port: Port, path: str, method: str
) -> None:
    with_token = {"token": "wrong!"}
    assert port.ask(request(method, path, Host="evil.example", **with_token)).status == 421
    assert port.ask(request(method, path, Origin="http://evil.example", **with_token)).status == 403
    assert port.ask(request(method, path, Origin="http://127.0.0.1:1", **with_token)).status == 403
    assert port.ask(request(method, path, Sec_Fetch_Site="cross-site", **with_token)).status == 403
    assert port.auth.failures == 0


def test_forwarding_fields_are_refused_save_on_probes(port: Port) -> None:
    assert port.get("/healthz", X_Forwarded_For="192.0.2.1").status == 200
    refused = port.get("/v1/status", token=SECRET, X_Forwarded_For="127.0.0.1")
    assert (refused.status, refused.json["error"]["type"]) == (403, "proxy_attribution_required")


CHANNEL = {"action": "restart", "channel": "telegram", "account": "work"}


def test_one_account_is_restarted(port: Port) -> None:
    answer = port.post("/api/gateway/channel", CHANNEL)
    assert answer.status == 200
    assert answer.json == {
        "outcome": "restarted",
        "channel": "telegram",
        "account": "work",
        "phase": "ready",
        "identity": "@bot",
        "last_error": None,
    }
    assert port.control.channel_requests[0].wait_s == 20.0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"action": "explode"}, "action must be one of start, stop, restart"),
        ({"action": None}, "action"),
        ({"channel": ""}, "channel"),
        ({"wait_s": 1e9}, "wait_s"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(port: Port, changes: dict, said: str) -> None:
    answer = port.post("/api/gateway/channel", {**CHANNEL, **changes})
    assert answer.status == 400
    assert said in answer.json["error"]["message"]
    assert port.control.channel_requests == []


def test_an_account_that_is_not_served_is_named(port: Port) -> None:
    answer = port.post("/api/gateway/channel", {"action": "stop", "channel": "nowhere"})
    assert answer.status == 400
    assert answer.json["error"]["code"] == "channels.not_served"
    assert "which serves telegram=work" in answer.json["error"]["message"]


def test_a_probe_and_a_reload_of_the_secrets(port: Port) -> None:
    probed = port.post("/api/gateway/probe", {"channel": "telegram", "account": "work", "timeout_s": 2})
    assert probed.json == {"outcome": "ok", "detail": "ok 3 ms as @bot", "identity": "@bot", "elapsed_ms": 3}
    assert port.control.probes == [("telegram", "work", 2.0)]
    reloaded = port.post("/api/gateway/secrets/reload", {})
    assert reloaded.json["accounts"][0]["outcome"] == "restarted"


@pytest.mark.parametrize(
    "path", ["/api/gateway/channel", "/api/gateway/probe", "/api/gateway/secrets/reload"]
)
def test_accounts_are_not_touched_without_a_credential(port: Port, path: str) -> None:
    assert port.post(path, CHANNEL, token=None).status == 401
    assert port.post(path, CHANNEL, token="wrong!").status == 401
    assert port.control.channel_requests == port.control.probes == []
