"""The HTTP side of the port of a real gateway: hooks, figures, what is refused at the start."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request

from tests.e2e.gateway import MODEL_VARIABLE, Gateway, config_for

SECRET = "secret-of-the-port-0001"
HOOK = "token-of-the-hooks-0001"
MORE = """
[gateway.auth]
token = { env = "PORT_SECRET" }
[gateway.auth.rateLimit]
exemptLoopback = false
maxAttempts = 2
[hooks]
enabled = true
token = { env = "HOOK_TOKEN" }
[gateway.tools]
allow = ["time"]
"""


def ask(gateway: Gateway, path: str, token: str | None, document: object = None) -> tuple[int, str]:
    fields = {} if token is None else {"Authorization": f"Bearer {token}"}
    body = None if document is None else json.dumps(document).encode()
    if body is not None:
        fields["Content-Type"] = "application/json"
    asked = urllib.request.Request(gateway.url + path, data=body, headers=fields)
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def control_token(gateway: Gateway) -> str:
    with open(os.path.join(gateway.home, "gateway-runtime", "control-token"), encoding="ascii") as file:
        return file.read().strip()


def test_a_token_of_the_hooks_that_opens_the_port_is_refused_at_the_start(tmp_path) -> None:
    environ = {"PORT_SECRET": SECRET, "HOOK_TOKEN": SECRET}
    with Gateway(tmp_path, config_for(None, "http://127.0.0.1:9/v1", more=MORE), environ=environ) as gateway:
        gateway.spawn()
        assert gateway.wait_exit() == 78
        assert "the token of the hooks is the secret of the port" in gateway.output()
        assert SECRET not in gateway.output()


def test_the_parts_of_the_port_are_wired_to_the_gateway(tmp_path) -> None:
    environ = {"PORT_SECRET": SECRET, "HOOK_TOKEN": HOOK}
    with Gateway(tmp_path, config_for(None, "http://127.0.0.1:9/v1", more=MORE), environ=environ) as gateway:
        gateway.start()
        status, page = ask(gateway, "/metrics", SECRET)
        assert status == 200
        figures = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
        assert figures["loong_up"] == figures["loong_ready"] == "1"
        assert float(figures["loong_store_commit_seconds_count"]) > 0
        assert float(figures["loong_owner_heartbeat_age_seconds"]) < 60
        assert float(figures["loong_oldest_unprocessed_seconds"]) == 0
        assert figures['loong_connections{state="proven"}'] == "1"
        assert figures["loong_auth_failures_total"] == "0"

        assert ask(gateway, "/api/gateway/operator-summary", SECRET)[0] == 200
        assert ask(gateway, "/v1/channels", SECRET)[0] == 200
        assert ask(gateway, "/tools/invoke", SECRET, {"name": "time"})[0] == 200
        assert ask(gateway, "/tools/invoke", SECRET, {"name": "exec"})[0] == 404
        assert ask(gateway, "/hooks/agent", SECRET, {"message": "x"})[0] == 401
        assert ask(gateway, "/hooks/agent", HOOK, {})[0] == 400

        # This host is locked out like any other where the setting says so; the control token is not.
        assert [ask(gateway, "/v1/status", "guess")[0] for _ in range(3)] == [401, 401, 429]
        assert ask(gateway, "/v1/status", SECRET)[0] == 429
        token = control_token(gateway)
        status, page = ask(gateway, "/metrics", token)
        assert "loong_auth_failures_total 2\n" in page
        assert "loong_hook_auth_failures_total 1\n" in page
        assert gateway.stop() == 0
        for value in (SECRET, HOOK, token, gateway.environ[MODEL_VARIABLE]):
            assert value not in gateway.output() + page
