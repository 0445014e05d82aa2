"""The port of a running gateway: its token is replaced, its configuration shown and changed."""

from __future__ import annotations

import json
import pathlib
import urllib.error
import urllib.request

from tests.e2e.gateway import Gateway
from tests.gateway.api.rpc.rpc_kit import WsClient


def connected(gateway: Gateway, token: str, *scopes: str) -> WsClient:
    client = WsClient(f"ws://127.0.0.1:{gateway.port}/")
    client.next()
    answer = client.connect(token=token, scopes=list(scopes) or ["operator.admin"])
    assert answer["ok"] is True, answer
    return client


def status_with(gateway: Gateway, token: str) -> int:
    fields = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{gateway.url}/api/gateway/status", headers=fields)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_new_token_is_taken_without_a_restart(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "token"
    file.write_text("first-token-0123456789\n")
    file.chmod(0o600)
    with Gateway(tmp_path, f'[gateway.auth]\ntoken = {{ file = "{file}" }}\n') as gateway:
        gateway.start()
        assert status_with(gateway, "first-token-0123456789") == 200
        file.write_text("second-token-0123456789\n")
        # The control token of this home is what the command proves.
        done = gateway.run("secrets", "reload", "--json")
        assert done.returncode == 0, done.stderr
        (own,) = json.loads(done.stdout)["accounts"]
        assert (own["channel"], own["account"], own["outcome"]) == ("gateway", "auth", "replaced")
        assert status_with(gateway, "first-token-0123456789") == 401
        assert status_with(gateway, "second-token-0123456789") == 200
        assert "token-0123456789" not in gateway.output()


def test_who_has_it_replaced_is_answered_before_the_end(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "token"
    file.write_text("first-token-0123456789")
    file.chmod(0o600)
    with Gateway(tmp_path, f'[gateway.auth]\ntoken = {{ file = "{file}" }}\n') as gateway:
        gateway.start()
        with open(gateway.document()["token_path"], encoding="ascii") as own:
            control = own.read().strip()
        with connected(gateway, "first-token-0123456789") as old, connected(gateway, control) as kept:
            file.write_text("second-token-0123456789")
            assert old.ask("secrets.reload")["payload"] == {"ok": True, "warningCount": 0}
            assert old.closed() == (4001, "gateway auth changed")
            assert kept.ask("secrets.reload")["ok"] is True
            connected(gateway, "second-token-0123456789").close()


def test_the_port_shows_and_changes_the_running_gateways_config(tmp_path: pathlib.Path) -> None:
    text = '# mine\n[gateway.auth]\ntoken = "shared-token-0123456789"\n[provider]\nkind = "echo"\nmodel = "echo"\n'
    with Gateway(tmp_path, text) as gateway:
        gateway.start()
        token = "shared-token-0123456789"
        with connected(gateway, token) as admin, connected(gateway, token, "operator.write") as reader:
            shown = reader.ask("config.get")["payload"]
            assert "shared-token" not in json.dumps(shown)
            change = {"raw": '{"gateway": {"workers": 5}}', "baseHash": shown["hash"]}
            refused = reader.ask("config.patch", change)
            assert refused["error"]["code"] == "FORBIDDEN"
            written = admin.ask("config.patch", change)["payload"]
            assert written["restart"] == {"required": True, "paths": ["gateway.workers"]}
            assert written["appliedConfigHash"] == shown["hash"] != written["hash"]
            assert pathlib.Path(gateway.config_path).read_text() == text + "\n[gateway]\nworkers = 5\n"
            rows = reader.ask("models.list")["payload"]["models"]
            assert [(row["provider"], row["id"], row["available"]) for row in rows] == [
                ("default", "echo", True)
            ]
            tail = reader.ask("logs.tail", {"limit": 5})["payload"]
            assert tail["file"] == str(pathlib.Path(gateway.home) / "logs" / "gateway.log")
            assert all(json.loads(line)["_meta"]["logLevelName"] for line in tail["lines"])
            assert admin.ask("system-event", {"text": "hello there"})["ok"] is True
            listed = reader.event("presence")["payload"]["presence"]
            assert "hello there" in [one["text"] for one in listed]
