"""What an operator's tools read over HTTP, with a credential and without secrets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateway.api.port_kit import SECRET, Port, request
from tests.gateway.api.whole_port import ENVIRON, whole_port

READ = (
    "/api/gateway/channels",
    "/v1/channels",
    "/api/gateway/runtime-snapshot",
    "/v1/runtime/snapshot",
    "/api/gateway/operator-summary",
    "/api/gateway/nodes",
    "/v1/nodes",
    "/api/gateway/acp/status",
    "/api/gateway/acp/sessions",
    "/v1/events",
    "/metrics",
    "/api/diagnostics/prometheus",
)


@pytest.fixture(name="port")
def _port() -> Iterator[Port]:
    port, _, _ = whole_port()
    with port:
        yield port


@pytest.mark.parametrize("path", READ)
def test_nothing_is_told_without_a_credential(port: Port, path: str) -> None:
    for raw in (
        request("GET", path),
        request("GET", f"{path}?token={SECRET}"),
        request("GET", path, token="x"),
    ):
        refused = port.ask(raw)
        assert refused.status == 401
        assert refused.headers["www-authenticate"] == "Bearer"
    # Another method is told apart before any credential.
    assert port.ask(request("DELETE", path)).status == 405


@pytest.mark.parametrize("path", READ[:9])
def test_no_secret_is_in_a_document(port: Port, path: str) -> None:
    answer = port.get(path, token=SECRET)
    assert answer.status == 200
    for value in (*ENVIRON.values(), SECRET):
        assert value.encode() not in answer.body


@pytest.mark.parametrize("path", ["/api/gateway/channels", "/v1/channels"])
def test_the_channels_are_those_of_the_command(port: Port, path: str) -> None:
    told = port.get(path, token=SECRET).json
    assert told["schema"]["version"] == 2
    (telegram,) = told["channels"]
    assert telegram["id"] == "telegram"
    assert {one["catalog"]["id"] for one in told["channel_surfaces"]} >= {"telegram", "feishu", "wecom"}


def test_the_summary_is_the_gateway_part_of_the_status(port: Port) -> None:
    told = port.get("/api/gateway/operator-summary", token=SECRET).json
    assert told["owner"]["phase"] == "running"
    assert told["owner"]["runtime_dir"] == "/nowhere/gateway-runtime"
    assert told["control_surface"] == {"base_url": "http://127.0.0.1:18789", "loopback_only": True}
    assert told["channels"]["configured_channel_count"] == 1
    assert port.get("/v1/runtime/snapshot", token=SECRET).json == told["runtime"]
    assert told["runtime"]["enabled_channel_ids"] == ["telegram"]


def test_what_is_not_in_this_build_is_empty_or_says_so(port: Port) -> None:
    nodes = port.get("/v1/nodes", token=SECRET).json
    assert nodes == {
        "devices": [],
        "bridges": [],
        "paired_device_count": 0,
        "managed_bridge_count": 0,
        "total_count": 0,
    }
    assert port.get("/api/gateway/acp/status", token=SECRET).json["availability"] == "disabled"
    (session,) = port.get("/api/gateway/acp/sessions?limit=200", token=SECRET).json["sessions"]
    assert (session["session_key"], session["state"], session["binding"]) == ("acp:codex:k", "ready", None)
    for query in (
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=1&limit=2",
        "other=1",
        "limit=%31%30%30%30",
        "token=x",
    ):
        assert port.get(f"/api/gateway/acp/sessions?{query}", token=SECRET).status == 400, query
    off = port.get("/api/gateway/acp/observability", token=SECRET)
    assert (off.status, off.json["error"]["code"]) == (503, "acp_disabled")
    assert port.post("/v1/acp/dispatch", {}).status == 503
