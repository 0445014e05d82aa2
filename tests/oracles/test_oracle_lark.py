"""The platform's own Python SDK (lark-oapi) against our double, and our codecs against its.

Skipped where it is not installed: pip install -e '.[dev,crypto,oracles]'.
"""

from __future__ import annotations

import base64
import io
import json
import random
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from loong_channels.contract import Host, WebhookRequest
from loong_channels.feishu import frames
from loong_channels.feishu.events import EventReader
from loong_channels.feishu.identity import BotIdentity
from loong_channels.feishu.receiving import EventDesk
from loong_channels.feishu.webhook import Webhook, WebhookSettings
from tests.channels.feishu_inbound_rig import message
from tests.channels.telegram_rig import RecordingHost
from tests.fakes import feishu_wire
from tests.fakes.feishu import FakeFeishu
from tests.fakes.feishu_long_connection import FakeLongConnection
from tests.fakes.feishu_sealing import sealed, signed_delivery
from tests.oracles.puppet import HERE, Puppet

lark = pytest.importorskip("lark_oapi")
pytestmark = pytest.mark.filterwarnings("ignore")

TOKEN = "v-token"
KEY = "encrypt-key"


class Platform:
    """Both sides of the double."""

    def __init__(self, **config: int) -> None:
        self.rest = FakeFeishu()
        self.pushes = FakeLongConnection(self.rest.app_id, self.rest.app_secret)
        self.pushes.config.update({"ReconnectNonce": 0, "ReconnectInterval": 1, **config})
        self.rest.find_endpoint = self.pushes.endpoint_answer

    def __enter__(self) -> Platform:
        return self

    def __exit__(self, *_: object) -> None:
        self.pushes.__exit__()
        self.rest.close()
        assert self.rest.server.crashes == []

    def client(self, secret: str | None = None) -> Puppet:
        script = str(HERE / "lark_client.py")
        return Puppet(
            [sys.executable, script, self.rest.base_url, self.rest.app_id, secret or self.rest.app_secret]
        )

    def event(self, number: int, text: str) -> dict[str, Any]:
        return message(number, text, app_id=self.rest.app_id)

    def complaints(self) -> list[str]:
        return self.rest.complaints + self.pushes.complaints


# --- the long connection


def test_the_client_connects_pings_takes_events_whole_and_in_pieces_and_comes_back() -> None:
    chance = random.Random(1)
    with Platform(PingInterval=1) as platform, platform.client() as client:
        link = platform.pushes.link()
        platform.pushes.wait_for(lambda: len(link.pings) >= 2)
        whole = platform.pushes.push(platform.event(1, "漢字 and more"))
        assert whole.codes == [200]
        assert client.wait("event", event="ev-1") == {
            "event": "ev-1",
            "message": "om_1",
            "chat": "oc_chat",
            "text": "漢字 and more",
        }
        for number, pieces in enumerate((2, 5, 17), start=2):
            order = chance.sample(range(pieces), pieces)
            pushed = platform.pushes.push(platform.event(number, "字" * 200), pieces=pieces, order=order)
            assert pushed.codes == [200]
            assert client.wait("event", event=f"ev-{number}")["text"] == "字" * 200
        failed = platform.pushes.push(platform.event(9, "fail"))
        assert failed.codes == [500]
        assert platform.pushes.redeliver() == 1
        client.wait("event", 2, event="ev-9")
        platform.pushes.wait_for(lambda: len(failed.codes) > 1)
        for junk in (b"\xff\xff", b"", "text", b"\x08"):
            platform.pushes.send_raw(junk)
        platform.pushes.send_pong(
            b'{"ReconnectCount":-1,"ReconnectInterval":1,"ReconnectNonce":0,"PingInterval":1}'
        )
        platform.pushes.cut(reset=True)
        client.wait("reconnected")
        assert platform.pushes.push(platform.event(10, "still there")).codes == [200]
        client.wait("event", event="ev-10")
        assert platform.pushes.endpoint_requests == 2
        assert platform.complaints() == []


def test_a_wrong_secret_is_its_client_error() -> None:
    with Platform() as platform, platform.client("wrong") as client:
        assert client.wait("refused") == {"refused": 514}


def test_frames_of_the_generated_class_and_of_both_codecs_are_the_same_bytes() -> None:
    from lark_oapi.ws.pb.pbbp2_pb2 import Frame as Generated

    chance = random.Random(2)
    for _ in range(300):
        theirs = Generated()
        theirs.SeqID, theirs.LogID = chance.getrandbits(64), chance.getrandbits(64)
        theirs.service, theirs.method = chance.randint(-(2**31), 2**31 - 1), chance.randrange(3)
        for number in range(chance.randrange(5)):
            header = theirs.headers.add()
            header.key, header.value = f"k{number}", "".join(chance.choices("aé漢😀", k=3))
        if chance.random() < 0.5:
            theirs.payload_encoding, theirs.payload_type = "gzip", ""
        if chance.random() < 0.7:
            theirs.payload = chance.randbytes(chance.randrange(300))
        if chance.random() < 0.5:
            theirs.LogIDNew = "L1"
        data = theirs.SerializeToString()
        assert frames.encode(frames.decode(data)) == data
        assert feishu_wire.pack(feishu_wire.unpack(data)) == data
        again = Generated()
        again.ParseFromString(frames.encode(frames.decode(data)))
        assert again == theirs
    ping = Generated()
    ping.ParseFromString(frames.encode(frames.ping(33554678)))
    assert (ping.service, ping.method, ping.headers[0].value) == (33554678, 0, "ping")


# --- REST


@pytest.fixture
def platform() -> Iterator[Platform]:
    with Platform() as both:
        both.rest.add_chat("oc_room", "ou_ann")
        yield both
        assert both.complaints() == []


def client_of(platform: Platform, secret: str | None = None) -> Any:
    # Its token cache is the process's, by app; each test has an app of its own.
    platform.rest.app_id = f"cli_{uuid.uuid4().hex[:16]}"
    builder = lark.Client.builder().app_id(platform.rest.app_id)
    builder = builder.app_secret(secret or platform.rest.app_secret).domain(platform.rest.base_url)
    return builder.log_level(lark.LogLevel.ERROR).build()


def create(client: Any, text: str = "hello", chat: str = "oc_room", **fields: str) -> Any:
    from lark_oapi.api.im.v1 import CreateMessageRequest, CreateMessageRequestBody

    body = CreateMessageRequestBody.builder().receive_id(chat).msg_type(fields.pop("msg_type", "text"))
    body = body.content(fields.pop("content", json.dumps({"text": text}))).uuid(fields.pop("uuid", None))
    request = CreateMessageRequest.builder().receive_id_type("chat_id").request_body(body.build()).build()
    return client.im.v1.message.create(request)


def test_it_fetches_one_token_and_sends_replies_changes_and_recalls(platform: Platform) -> None:
    from lark_oapi.api.im.v1 import (
        DeleteMessageRequest,
        PatchMessageRequest,
        PatchMessageRequestBody,
        ReplyMessageRequest,
        ReplyMessageRequestBody,
        UpdateMessageRequest,
        UpdateMessageRequestBody,
    )

    client = client_of(platform)
    sent = create(client)
    assert sent.success(), (sent.code, sent.msg)
    assert sent.data.chat_id == "oc_room"
    assert json.loads(sent.data.body.content) == {"text": "hello"}
    said = platform.rest.say("oc_room")
    body = ReplyMessageRequestBody.builder().msg_type("text").content('{"text":"in thread"}')
    request = ReplyMessageRequest.builder().message_id(said.message_id)
    reply = client.im.v1.message.reply(request.request_body(body.reply_in_thread(True).build()).build())
    assert reply.success()
    assert reply.data.thread_id.startswith("omt_")
    assert reply.data.root_id == said.message_id
    card = {
        "schema": "2.0",
        "config": {"update_multi": True},
        "body": {"elements": [{"tag": "markdown", "content": "a"}]},
    }
    sent = create(client, msg_type="interactive", content=json.dumps(card))
    assert sent.success(), sent.msg
    card["body"]["elements"][0]["content"] = "b"  # type: ignore[index]
    patch = PatchMessageRequestBody.builder().content(json.dumps(card)).build()
    request = PatchMessageRequest.builder().message_id(sent.data.message_id).request_body(patch).build()
    assert client.im.v1.message.patch(request).success()
    edit = UpdateMessageRequestBody.builder().msg_type("text").content('{"text":"new"}').build()
    edited = reply.data.message_id
    request = UpdateMessageRequest.builder().message_id(edited).request_body(edit).build()
    assert client.im.v1.message.update(request).success()
    assert platform.rest.texts() == ["hello", "new", "b"]
    request = DeleteMessageRequest.builder().message_id(edited).build()
    assert client.im.v1.message.delete(request).success()
    assert platform.rest.texts() == ["hello", "b"]
    assert len(platform.rest.calls("token")) == 1


def test_it_marks_uploads_and_downloads(platform: Platform) -> None:
    from lark_oapi.api.im.v1 import (
        CreateFileRequest,
        CreateFileRequestBody,
        CreateImageRequest,
        CreateImageRequestBody,
        CreateMessageReactionRequest,
        CreateMessageReactionRequestBody,
        DeleteMessageReactionRequest,
        Emoji,
        GetMessageResourceRequest,
    )

    client = client_of(platform)
    said = platform.rest.say("oc_room")
    kind = Emoji.builder().emoji_type("Typing").build()
    body = CreateMessageReactionRequestBody.builder().reaction_type(kind).build()
    request = CreateMessageReactionRequest.builder().message_id(said.message_id).request_body(body).build()
    reaction = client.im.v1.message_reaction.create(request)
    assert reaction.success()
    request = DeleteMessageReactionRequest.builder().message_id(said.message_id)
    assert client.im.v1.message_reaction.delete(
        request.reaction_id(reaction.data.reaction_id).build()
    ).success()
    assert said.reactions == {}

    image = CreateImageRequestBody.builder().image_type("message").image(io.BytesIO(b"\x89PNG..")).build()
    uploaded = client.im.v1.image.create(CreateImageRequest.builder().request_body(image).build())
    assert uploaded.success(), uploaded.msg
    assert platform.rest.uploads[uploaded.data.image_key][1] == b"\x89PNG.."
    file = CreateFileRequestBody.builder().file_type("pdf").file_name("资料.pdf").file(io.BytesIO(b"%PDF-1"))
    uploaded = client.im.v1.file.create(CreateFileRequest.builder().request_body(file.build()).build())
    assert uploaded.success(), uploaded.msg
    fields, data = platform.rest.uploads[uploaded.data.file_key]
    assert (fields["file_name"], fields["file_type"], data) == ("资料.pdf", "pdf", b"%PDF-1")

    key = platform.rest.attach(said, "file", b"abc", "text/plain", "n ä.txt")
    request = GetMessageResourceRequest.builder().message_id(said.message_id).file_key(key).type("file")
    resource = client.im.v1.message_resource.get(request.build())
    assert resource.success()
    assert resource.file.read() == b"abc"
    assert resource.file_name == "n ä.txt"
    request = GetMessageResourceRequest.builder().message_id(said.message_id).file_key("no").type("file")
    assert client.im.v1.message_resource.get(request.build()).code == 234003


def test_its_error_codes_are_those_of_the_double(platform: Platform) -> None:
    client = client_of(platform)
    assert create(client, chat="oc_nowhere").code == 230002
    assert create(client, chat="nonsense").code == 230001
    assert create(client, content="no json").code == 230001
    assert create(client, text=" ").code == 230001
    assert create(client, content=json.dumps({"text": "x" * 160_000})).code == 230025
    assert create(client, uuid="x" * 51).code == 99992402
    first, second = create(client, uuid="one-key"), create(client, text="changed", uuid="one-key")
    assert first.data.message_id == second.data.message_id
    platform.rest.forbid("oc_room", 230018, "not now")
    refused = create(client)
    assert (refused.code, refused.msg) == (230018, "not now")
    assert refused.get_log_id() == refused.error["log_id"]
    platform.rest.allow("oc_room")
    platform.rest.fault("send", "too_many", retry_after=3)
    limited = create(client)
    assert limited.code == 99991400
    assert limited.raw.status_code == 429
    assert limited.raw.headers["x-ogw-ratelimit-reset"] == "3"
    # It does not replace a token that was revoked early.
    platform.rest.revoke_tokens()
    assert create(client).code == 99991663


def test_a_wrong_secret_is_its_own_exception(platform: Platform) -> None:
    from lark_oapi.core.exception import ObtainAccessTokenException

    with pytest.raises(ObtainAccessTokenException) as caught:
        create(client_of(platform, "wrong"))
    assert caught.value.code == 10014


def test_who_the_bot_is_stands_beside_the_code(platform: Platform) -> None:
    request = lark.BaseRequest.builder().http_method(lark.HttpMethod.GET).uri("/open-apis/bot/v3/info")
    answer = client_of(platform).request(request.token_types({lark.AccessTokenType.TENANT}).build())
    assert answer.success()
    assert json.loads(answer.raw.content)["bot"]["open_id"] == platform.rest.bot["open_id"]


# --- webhooks


class Dispatcher:
    """The SDK's side of a webhook."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        builder = lark.EventDispatcherHandler.builder(KEY, TOKEN)
        self._handler = builder.register_p2_im_message_receive_v1(self._take).build()

    def _take(self, data: Any) -> None:
        self.texts.append(json.loads(data.event.message.content)["text"])

    def post(self, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        request = lark.RawRequest()
        request.uri, request.body, request.headers = "/feishu/events", body, headers
        answer = self._handler.do(request)
        return answer.status_code, json.loads(answer.content)


def hook() -> tuple[Webhook, RecordingHost]:
    host = RecordingHost()
    typed: Host = host
    desk = EventDesk(EventReader("work", "cli_a1b2c3", BotIdentity("ou_bot")), typed)
    settings = WebhookSettings(TOKEN, KEY)
    return Webhook(settings, typed, desk.take, identity="x", account="work"), host


def ours(webhook: Webhook, body: bytes, headers: dict[str, str]) -> int:
    fields = {"content-type": "application/json", **{name.lower(): value for name, value in headers.items()}}
    return webhook.answer(WebhookRequest("POST", fields, body)).status


def test_what_the_double_posts_is_taken_by_the_sdk_and_by_us_alike() -> None:
    event = message(1, "漢字", token=TOKEN)
    body, headers = signed_delivery(event, KEY)
    theirs, (webhook, host) = Dispatcher(), hook()
    assert theirs.post(body, headers)[0] == 200
    assert ours(webhook, body, headers) == 200
    assert theirs.texts == host.texts == ["漢字"]
    challenge = {"challenge": "c-1", "token": TOKEN, "type": "url_verification"}
    body, headers = signed_delivery(challenge, KEY)
    assert theirs.post(body, headers) == (200, {"challenge": "c-1"})
    assert theirs.post(body, {}) == (200, {"challenge": "c-1"})
    assert ours(webhook, body, headers) == ours(webhook, body, {}) == 200


def test_what_the_sdk_refuses_we_refuse_too() -> None:
    theirs, (webhook, host) = Dispatcher(), hook()
    good, headers = signed_delivery(message(1, "hi", token=TOKEN), KEY)
    signature = "X-Lark-Signature"
    cases = [
        signed_delivery(message(1, "hi", token="another"), KEY),
        signed_delivery(message(1, "hi", token=TOKEN), "another key"),
        (good, {}),
        (good + b" ", headers),
        (good, {**headers, signature: "0" * 64}),
        (good, {**headers, "X-Lark-Request-Nonce": "another"}),
        signed_delivery(b"no json", KEY),
        signed_delivery({"challenge": "c", "token": "another", "type": "url_verification"}, KEY),
    ]
    for body, fields in cases:
        assert theirs.post(body, fields)[0] == 500
        assert ours(webhook, body, fields) in (400, 401)
    assert theirs.texts == host.texts == []


def test_sealed_texts_open_with_its_cipher() -> None:
    from lark_oapi.core.utils.decryptor import AESCipher

    chance = random.Random(3)
    for size in (0, 1, 15, 16, 17, 1000):
        plain = chance.randbytes(size)
        assert AESCipher(KEY).decrypt(base64.b64decode(sealed(plain, KEY))) == plain
