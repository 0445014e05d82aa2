"""A real gateway, and a real serve, that a Feishu app calls."""

from __future__ import annotations

import http.client
import json
import pathlib
import time
from typing import Any

import pytest

from tests.channels.feishu_inbound_rig import encrypted, message, signed
from tests.e2e.gateway import Gateway, free_port
from tests.fakes.feishu import APP_ID, APP_SECRET, FakeFeishu
from tests.fakes.feishu_state import Said

pytest.importorskip("cryptography")

TOKEN, KEY, CHAT = "v-token", "hook-key", "oc_chat"
ENVIRON = {
    "FEISHU_APP_ID": APP_ID,
    "FEISHU_APP_SECRET": APP_SECRET,
    "FEISHU_VERIFICATION_TOKEN": TOKEN,
    "FEISHU_ENCRYPT_KEY": KEY,
}


def config(fake: FakeFeishu, extra: str = "") -> str:
    return f"""
[providers.main]
kind = "echo"
[feishu]
enabled = true
account_id = "work"
base_url = "{fake.base_url}"
mode = "webhook"
reply_format = "text"
allowed_chat_ids = ["{CHAT}"]
{extra}
"""


def call(port: int, event: object, *, path: str = "/feishu/events") -> tuple[int, Any]:
    """Call as the platform does, through a proxy that has a name of its own."""
    body = encrypted(event, key=KEY)
    fields = {
        "Host": "bot.example.com",
        "X-Forwarded-For": "203.0.113.7",
        "Content-Type": "application/json",
        **signed(body, at_s=int(time.time()), key=KEY),
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", path, body, fields)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def event(fake: FakeFeishu, number: int) -> dict[str, Any]:
    fake.add_chat(CHAT, "ou_sender")
    fake.said.setdefault(f"om_{number}", Said(f"om_{number}", CHAT))
    made = message(number, app_id=APP_ID, token=TOKEN)
    made["event"]["message"].update(chat_id=CHAT, create_time=str(time.time_ns() // 1_000_000))
    return made


def ready(gateway: Gateway) -> None:
    gateway.start()
    gateway.wait_status(lambda document: [one["phase"] for one in document["surfaces"]] == ["ready"])


def test_the_gateway_is_called_at_its_port_and_at_a_listener_that_is_written(tmp_path: pathlib.Path) -> None:
    own = free_port()
    with (
        FakeFeishu() as fake,
        Gateway(tmp_path, config(fake, f'webhook_bind = "127.0.0.1:{own}"'), environ=ENVIRON) as gateway,
    ):
        ready(gateway)
        challenge = {"challenge": "c-1", "token": TOKEN, "type": "url_verification"}
        for number, port in enumerate((gateway.port, own)):
            assert call(port, challenge) == (200, {"challenge": "c-1"})
            assert call(port, event(fake, number)) == (200, {})
        # The same event by the other way is the same event.
        assert call(gateway.port, event(fake, 1)) == (200, {})
        fake.wait_for(lambda: len(fake.texts()) == 2)
        assert call(gateway.port, event(fake, 2), path="/elsewhere")[0] == 421
        assert call(own, event(fake, 2), path="/elsewhere")[0] == 404
        assert len(gateway.status()[0]["surfaces"]) == 1
        assert gateway.stop() == 0
        assert len(fake.texts()) == 2
        shown = gateway.output() + "".join(
            path.read_text(encoding="utf-8") for path in pathlib.Path(gateway.home).rglob("*.log")
        )
        assert not [secret for secret in (APP_SECRET, TOKEN, KEY) if secret in shown]


def test_a_serve_listens_where_it_is_told_and_keeps_its_port_for_its_own(tmp_path: pathlib.Path) -> None:
    own = free_port()
    with (
        FakeFeishu() as fake,
        Gateway(
            tmp_path,
            config(fake),
            environ=ENVIRON,
            arguments=("channels", "serve", "feishu", "--bind", f"127.0.0.1:{own}", "--path", "/hook"),
        ) as gateway,
    ):
        ready(gateway)
        assert call(own, event(fake, 1), path="/hook") == (200, {})
        assert call(own, event(fake, 1))[0] == 404
        assert call(gateway.port, event(fake, 1), path="/hook")[0] == 421
        fake.wait_for(lambda: len(fake.texts()) == 1)
        assert gateway.terminate() == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--bind", "nowhere"), "--bind: expected host:port"),
        (("--path", "/healthz"), "--path: is a path of the gateway itself"),
    ],
)
def test_a_serve_refuses_a_place_that_cannot_be(
    tmp_path: pathlib.Path, flags: tuple[str, ...], said: str
) -> None:
    with FakeFeishu() as fake, Gateway(tmp_path, config(fake), environ=ENVIRON) as gateway:
        ran = gateway.run("feishu", "serve", *flags)
        assert ran.returncode == 2
        assert said in ran.stderr


def without_cryptography(tmp_path: pathlib.Path) -> dict[str, str]:
    """The environment of an installation without the package."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['cryptography'] = None\n")
    return {**ENVIRON, "PYTHONPATH": str(tmp_path)}


def test_without_the_package_webhook_mode_is_refused_by_name(tmp_path: pathlib.Path) -> None:
    with (
        FakeFeishu() as fake,
        Gateway(tmp_path, config(fake), environ=without_cryptography(tmp_path)) as gateway,
    ):
        served = gateway.run("channels", "serve", "feishu")
        assert served.returncode == 2
        assert "the Python package cryptography is missing" in served.stderr
        assert "pip install 'loong[crypto]'" in served.stderr
        checked = gateway.run("doctor", "--skip-model-probe")
        assert checked.returncode == 1
        assert "cryptography is missing" in checked.stdout
        gateway.start()
        document = gateway.wait_status(lambda document: document["degraded_reasons"])
        assert document["degraded_reasons"] == ["crypto_missing:feishu=work"]
        (surface,) = document["surfaces"]
        assert (surface["phase"], surface["where"]) == ("degraded", "feishu.mode")
        assert "pip install" in surface["fix"]
        assert call(gateway.port, event(fake, 1))[0] == 503
        assert "cryptography is missing" in gateway.output()
        assert gateway.stop() == 0
        gateway.write_config(config(fake).replace("webhook", "websocket"))
        served = gateway.run("doctor", "--skip-model-probe")
        assert "cryptography" not in served.stdout
