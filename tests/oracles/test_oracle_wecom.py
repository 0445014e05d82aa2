"""The platform's own SDKs against our double: wecom-aibot-python-sdk, and @wecom/aibot-node-sdk where it is found.

Skipped where they are not installed: pip install -e '.[dev,crypto,oracles]'; and for the other one
npm install @wecom/aibot-node-sdk, with NODE_PATH set to the node_modules that it is in.
"""

from __future__ import annotations

import base64
import importlib.util
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator

import pytest

from tests.fakes.certificates import make_certificates, server_context
from tests.fakes.wecom import FakeWeCom
from tests.oracles.puppet import HERE, Puppet

KICKED_S = 0.05


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    home = tmp_path_factory.mktemp("certs")
    make_certificates(home)
    return home


def node_sdk() -> bool:
    """Whether the Node SDK can be loaded."""
    places = os.environ.get("NODE_PATH", "").split(os.pathsep)
    found = any((pathlib.Path(place) / "@wecom/aibot-node-sdk").is_dir() for place in places if place)
    return found and shutil.which("node") is not None


@pytest.fixture(params=["python", "node"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "python":
        pytest.importorskip("aibot")
    elif not node_sdk():
        pytest.skip("needs node, and NODE_PATH with @wecom/aibot-node-sdk")
    return str(request.param)


@pytest.fixture
def fake(kind: str, certs: pathlib.Path) -> Iterator[FakeWeCom]:
    # The Python SDK speaks TLS only.
    tls = server_context(certs) if kind == "python" else None
    with FakeWeCom(tls=tls, closes_after_s=KICKED_S) as server:
        yield server
        assert server.complaints == []


def puppet(kind: str, fake: FakeWeCom, certs: pathlib.Path, secret: str | None = None) -> Puppet:
    secret = secret or fake.secret
    if kind == "python":
        script = str(HERE / "wecom_client.py")
        return Puppet([sys.executable, script, fake.url, str(certs / "ca.pem"), fake.bot_id, secret])
    return Puppet(["node", str(HERE / "wecom_client.js"), fake.url, fake.bot_id, secret])


def test_it_subscribes_pings_and_hears_every_kind_of_message(
    kind: str, fake: FakeWeCom, certs: pathlib.Path
) -> None:
    with puppet(kind, fake, certs) as client:
        client.wait("ready")
        assert fake.received[0].cmd == "aibot_subscribe"
        fake.wait_for(lambda: len(fake.frames("ping")) >= 3)
        assert all(one.code == 0 for one in fake.received)
        fake.say("漢字 😀")
        client.wait("kind", kind="text", text="漢字 😀", user="zhangsan")
        fake.say(None, msgtype="mixed", mixed={"msg_item": [{"msgtype": "text", "text": {"content": "a"}}]})
        client.wait("kind", kind="mixed")
        fake.say(None, msgtype="voice", voice={"content": "spoken"}, group="room")
        client.wait("kind", kind="voice")
        # An array ends the Python SDK itself.
        for junk in ("{{{", '{"cmd":"aibot_dance","headers":{"req_id":"x"}}'):
            fake.raw(junk)
        fake.say("still here")
        client.wait("kind", text="still here")


def test_streams_go_one_frame_at_a_time_and_end_once(kind: str, fake: FakeWeCom, certs: pathlib.Path) -> None:
    with puppet(kind, fake, certs) as client:
        client.wait("ready")
        fake.say("stream")
        client.wait("done", done="stream")
        bubble = fake.bubbles["s-1"]
        assert bubble.frames == ["…", "half", "half and whole"]
        assert bubble.finished
        assert fake.max_under_way == 1
        assert fake.texts() == ["half and whole"]


def test_refusals_and_pushes_are_told(kind: str, fake: FakeWeCom, certs: pathlib.Path) -> None:
    with puppet(kind, fake, certs) as client:
        client.wait("ready")
        fake.say("too long")
        assert "45002" in str(client.wait("done", done="too long")["results"])
        fake.say("text")
        assert "40008" in str(client.wait("done", done="text")["results"])
        fake.say("push")
        results = client.wait("done", done="push")["results"]
        assert "93006" in str(results[1])
        assert "93006" not in str(results[0])
        assert [(one.conversation, one.text) for one in fake.pushes] == [("zhangsan", "**pushed**")]


def test_a_welcome_in_time_is_taken(kind: str, fake: FakeWeCom, certs: pathlib.Path) -> None:
    with puppet(kind, fake, certs) as client:
        client.wait("ready")
        fake.event("enter_chat")
        client.wait("done", done="welcome")
        assert fake.welcomes == [("zhangsan", "hello")]


def test_a_reply_after_a_last_word_is_refused(kind: str, fake: FakeWeCom, certs: pathlib.Path) -> None:
    if kind == "node":
        pytest.skip("the same refusal as in Python")
    with puppet(kind, fake, certs) as client:
        client.wait("ready")
        fake.say("twice")
        results = client.wait("done", done="twice")["results"]
        assert results[0] == 0
        assert "846606" in results[1]
        # Something that a client of ours must never do, so the double complains of it.
        fake.complaints.clear()


def test_a_lost_connection_is_made_again_and_serves(kind: str, fake: FakeWeCom, certs: pathlib.Path) -> None:
    with puppet(kind, fake, certs) as client:
        client.wait("ready")
        fake.drop()
        client.wait("lost")
        client.wait("ready", 2)
        fake.wait_ready()
        fake.say("back")
        client.wait("kind", text="back")


def test_a_peer_that_answers_no_pings_is_left(kind: str, fake: FakeWeCom, certs: pathlib.Path) -> None:
    with puppet(kind, fake, certs) as client:
        client.wait("ready")
        fake.silence()
        client.wait("lost")
        fake.speak()
        client.wait("ready", 2)


def test_a_takeover_is_told_and_not_fought(kind: str, fake: FakeWeCom, certs: pathlib.Path) -> None:
    with puppet(kind, fake, certs) as client:
        client.wait("ready")
        fake.kick()
        client.wait("kicked")
        if kind == "node":
            # It says no more, and does not come back.
            fake.wait_for(lambda: all(one.ended for one in fake.clients))
            assert len(fake.clients) == 1


def test_a_wrong_secret_is_told(kind: str, fake: FakeWeCom, certs: pathlib.Path) -> None:
    with puppet(kind, fake, certs, secret="wrong") as client:
        assert "invalid bot_id or secret" in client.wait("error")["error"]


def test_an_upload_arrives_whole(kind: str, fake: FakeWeCom, certs: pathlib.Path) -> None:
    if kind == "python":
        pytest.skip("only the Node SDK uploads")
    uploads = getattr(fake, "uploads", None)
    if uploads is None:
        pytest.skip("the double takes no uploads")
    with puppet(kind, fake, certs) as client:
        client.wait("ready")
        fake.say("upload")
        result = client.wait("done", done="upload")["results"][0]
        assert uploads.files[result["media_id"]].content == b"x" * 1_200_000


def test_files_that_its_cipher_opens_are_opened_by_ours_alike() -> None:
    crypto = pytest.importorskip("aibot.crypto_utils")
    if importlib.util.find_spec("cryptography") is None:
        pytest.skip("needs cryptography")
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    from loong_channels.wecom.media import unlock

    for size in (1, 15, 16, 31, 32, 33, 5000):
        key, plain = os.urandom(32), os.urandom(size)
        count = 32 - size % 32
        cipher = Cipher(algorithms.AES(key), modes.CBC(key[:16])).encryptor()
        data = cipher.update(plain + bytes([count]) * count) + cipher.finalize()
        aeskey = base64.b64encode(key).decode().rstrip("=")
        assert crypto.decrypt_file(data, aeskey) == unlock(data, aeskey) == plain
