"""The double of the open platform is as strict as the platform is documented to be. Spoken to without our client."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest

from tests.fakes.feishu import APP_ID, APP_SECRET, FakeFeishu
from tests.fakes.process import Remote

CHAT = "oc_room"
MESSAGES = "/open-apis/im/v1/messages"
SEND = f"{MESSAGES}?receive_id_type=chat_id"
CARD = {
    "schema": "2.0",
    "config": {"update_multi": True},
    "body": {"elements": [{"tag": "markdown", "content": "hi"}]},
}


@pytest.fixture
def fake():
    with FakeFeishu() as server:
        server.add_chat(CHAT, "ou_ann")
        yield server
        assert server.server.crashes == []


def ask(
    fake: FakeFeishu, method: str, path: str, body: object = None, token: str | None = None
) -> tuple[int, dict[str, Any], dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", fake.server.port, timeout=10)
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    found = json.loads(answer.read())
    connection.close()
    return answer.status, found, {name.lower(): value for name, value in answer.getheaders()}


def token_of(fake: FakeFeishu) -> str:
    path = "/open-apis/auth/v3/tenant_access_token/internal"
    status, body, _ = ask(fake, "POST", path, {"app_id": APP_ID, "app_secret": APP_SECRET})
    assert (status, body["code"]) == (200, 0)
    return str(body["tenant_access_token"])


def message(content: object, msg_type: str = "text", **more: object) -> dict[str, object]:
    encoded = content if isinstance(content, str) else json.dumps(content)
    return {"receive_id": CHAT, "msg_type": msg_type, "content": encoded, **more}


def code_of(fake: FakeFeishu, body: dict[str, object], path: str = SEND, method: str = "POST") -> int:
    return int(ask(fake, method, path, body, token_of(fake))[1]["code"])


def test_a_token_is_the_same_until_its_last_half_hour(fake: FakeFeishu) -> None:
    first = token_of(fake)
    fake.advance(5000)
    assert token_of(fake) == first
    fake.advance(600)
    second = token_of(fake)
    assert second != first
    # Both are good until their own end.
    assert ask(fake, "GET", "/open-apis/bot/v3/info", token=first)[1]["code"] == 0
    fake.advance(1700)
    assert ask(fake, "GET", "/open-apis/bot/v3/info", token=first)[1]["code"] == 99991663
    assert ask(fake, "GET", "/open-apis/bot/v3/info", token=second)[1]["bot"]["app_name"] == "loong-bot"


def test_calls_without_a_good_token_are_refused(fake: FakeFeishu) -> None:
    for token, code in ((None, 99991661), ("abc", 99991671), ("t-made-up", 99991663)):
        status, body, headers = ask(fake, "POST", SEND, message({"text": "x"}), token)
        assert (status, body["code"]) == (400, code)
        assert body["error"]["log_id"] == headers["x-tt-logid"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (message({"text": "x"}), 0),
        ({**message({"text": "x"}), "content": {"text": "x"}}, 9499),
        (message("no json"), 230001),
        (message("[]"), 230001),
        (message({"text": " "}), 230001),
        (message({"text": "x" * 150_001}), 230025),
        (message({"post": {"zh_cn": {"content": []}}}, "post"), 230001),
        (message({"zh_cn": {"content": [[{"tag": "md", "text": "x"}]]}}, "post"), 0),
        (message(CARD, "interactive"), 0),
        (message({**CARD, "body": {"elements": [{"tag": "note"}]}}, "interactive"), 230099),
        (message({"elements": []}, "interactive"), 230099),
        (message({"text": "x"}, uuid="u" * 51), 99992402),
        ({**message({"text": "x"}), "receive_id": "oc_other"}, 230002),
        ({**message({"text": "x"}), "receive_id": "ou_ann"}, 230001),
    ],
)
def test_messages_are_read_strictly(fake: FakeFeishu, body: dict[str, object], code: int) -> None:
    assert code_of(fake, body) == code
    assert len(fake.messages) == (code == 0)


def test_a_uuid_yields_one_message_for_an_hour(fake: FakeFeishu) -> None:
    token = token_of(fake)
    ids = [
        ask(fake, "POST", SEND, message({"text": "x"}, uuid="u"), token)[1]["data"]["message_id"]
        for _ in range(2)
    ]
    assert len(set(ids)) == len(fake.messages) == 1
    fake.advance(3601)
    ask(fake, "POST", SEND, message({"text": "x"}, uuid="u"), token)
    assert len(fake.messages) == 2


def test_replies_know_their_thread(fake: FakeFeishu) -> None:
    said = fake.say(CHAT)
    path = f"{MESSAGES}/{said.message_id}/reply"
    body = {"msg_type": "text", "content": '{"text":"x"}'}
    token = token_of(fake)
    plain = ask(fake, "POST", path, body, token)[1]["data"]
    assert "thread_id" not in plain
    threaded = ask(fake, "POST", path, {**body, "reply_in_thread": True}, token)[1]["data"]
    later = ask(fake, "POST", path, body, token)[1]["data"]
    assert threaded["thread_id"] == later["thread_id"]
    fake.recall(said.message_id)
    assert code_of(fake, body, path) == 230011


def test_cards_are_patched_and_texts_edited_twenty_times(fake: FakeFeishu) -> None:
    token = token_of(fake)
    text = ask(fake, "POST", SEND, message({"text": "x"}), token)[1]["data"]["message_id"]
    assert code_of(fake, {"content": json.dumps(CARD)}, f"{MESSAGES}/{text}", "PATCH") == 230001
    body = {"msg_type": "text", "content": '{"text":"y"}'}
    codes = [code_of(fake, body, f"{MESSAGES}/{text}", "PUT") for _ in range(21)]
    assert codes == [0] * 20 + [230072]
    card = ask(fake, "POST", SEND, message(CARD, "interactive"), token)[1]["data"]["message_id"]
    assert code_of(fake, {"content": json.dumps(CARD)}, f"{MESSAGES}/{card}", "PATCH") == 0
    assert code_of(fake, {"content": json.dumps(CARD)}, f"{MESSAGES}/om_unknown", "PATCH") == 230071


def test_emoji_are_case_sensitive(fake: FakeFeishu) -> None:
    path = f"{MESSAGES}/{fake.say(CHAT).message_id}/reactions"
    assert code_of(fake, {"reaction_type": {"emoji_type": "Typing"}}, path) == 0
    assert code_of(fake, {"reaction_type": {"emoji_type": "typing"}}, path) == 231001
    assert code_of(fake, {"reaction_type": {"emoji_type": "Typing"}}, f"{MESSAGES}/om_x/reactions") == 231003


def test_a_sixth_message_in_a_second_is_too_many(fake: FakeFeishu) -> None:
    fake.per_chat_per_s = 5
    codes = [code_of(fake, message({"text": str(number)})) for number in range(6)]
    assert codes == [0] * 5 + [230020]


def test_it_runs_as_a_program() -> None:
    with Remote("tests.fakes.feishu") as remote:
        remote.ask("add_chat", chat_id=CHAT)
        remote.ask("set_endpoint", url="ws://127.0.0.1:1/x?service_id=1")
        assert remote.ask("state")["messages"] == []
