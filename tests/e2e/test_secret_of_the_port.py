"""The configured token of the port is replaced while the gateway runs."""

from __future__ import annotations

import json
import pathlib
import urllib.error
import urllib.request

from tests.e2e.gateway import Gateway


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
        gateway.stop()
