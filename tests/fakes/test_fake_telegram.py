"""The double of Telegram refuses what the platform refuses."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.telegram import TOKEN, FakeTelegram
from tests.fakes.telegram_html import CannotParse, parse_html
from tests.fakes.telegram_methods import REACTIONS


@pytest.fixture
def fake() -> Iterator[FakeTelegram]:
    with FakeTelegram(conflict_delay_s=0.05) as server:
        yield server
        assert server.server.crashes == []


def ask(fake: FakeTelegram, method: str, token: str = TOKEN, **params: Any) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", fake.server.port, timeout=10)
    try:
        connection.request(
            "POST", f"/bot{token}/{method}", json.dumps(params), {"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        body = json.loads(answer.read())
        assert body["ok"] or body["error_code"] == answer.status
        return body["result"] if body["ok"] else (answer.status, body["description"])
    finally:
        connection.close()


def ids(updates: list[dict[str, Any]]) -> list[int]:
    return [update["update_id"] for update in updates]


def test_an_offset_confirms_and_nothing_comes_back_to_life(fake: FakeTelegram) -> None:
    first, second, third = (fake.say(text).update_id or 0 for text in ("a", "b", "c"))
    assert ids(ask(fake, "getUpdates")) == [first, second, third]
    assert ids(ask(fake, "getUpdates", offset=second)) == [second, third]
    assert fake.confirmed(first)
    assert not fake.confirmed(second)
    assert ids(ask(fake, "getUpdates", offset=first)) == [second, third]
    assert ids(ask(fake, "getUpdates", offset=third + 50)) == [second, third]
    assert ids(ask(fake, "getUpdates", offset=-1)) == [third]
    assert ids(ask(fake, "getUpdates", offset=1)) == [third]
    fake.advance(25 * 3600)
    fake.say("d")
    assert ids(ask(fake, "getUpdates", offset=2)) == [third + 1]


def test_update_types_are_filtered_when_the_update_is_made(fake: FakeTelegram) -> None:
    written = fake.say("a")
    fake.edit(1001, written.message_id, "b")
    ask(fake, "getUpdates", offset=-2, allowed_updates=["message"])
    assert fake.edit(1001, written.message_id, "c").update_id is None
    assert len(ask(fake, "getUpdates", offset=1, allowed_updates="{broken")) == 2


def test_of_two_waiting_polls_the_older_one_gets_the_conflict(fake: FakeTelegram) -> None:
    answers: list[Any] = []
    older = threading.Thread(target=lambda: answers.append(ask(fake, "getUpdates", timeout=20)))
    older.start()
    fake.wait_for(lambda: fake.bot.waiting)
    younger = threading.Thread(target=lambda: answers.append(ask(fake, "getUpdates", timeout=20)))
    younger.start()
    older.join(10)
    assert answers[0][0] == 409
    fake.say("for the younger")
    younger.join(10)
    assert answers[1][0]["message"]["text"] == "for the younger"


def test_a_webhook_keeps_polls_out(fake: FakeTelegram) -> None:
    fake.set_webhook("https://example.org/hook")
    status, description = ask(fake, "getUpdates")
    assert status == 409
    assert "deleteWebhook" in description
    assert ask(fake, "deleteWebhook", drop_pending_updates=False) is True
    assert ask(fake, "getUpdates") == []


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"text": ""}, "Bad Request: message text is empty"),
        ({"text": "  \n"}, "Bad Request: text must be non-empty"),
        ({"text": "x" * 4097}, "Bad Request: message is too long"),
        ({"text": "😀" * 2049}, "Bad Request: message is too long"),
        ({"text": "<b>" + "x" * 32768 + "</b>", "parse_mode": "HTML"}, "Bad Request: text is too long"),
        ({"text": "a", "chat_id": 77}, "Bad Request: chat not found"),
        ({"text": "a", "message_thread_id": 9}, "Bad Request: message thread not found"),
        (
            {"text": "a", "reply_parameters": {"message_id": 99}},
            "Bad Request: message to be replied not found",
        ),
        (
            {"text": "é<x>", "parse_mode": "HTML"},
            'Bad Request: can\'t parse entities: Unsupported start tag "x" at byte offset 2',
        ),
    ],
)
def test_bad_messages_are_refused(fake: FakeTelegram, params: dict[str, Any], expected: str) -> None:
    fake.say("hello")
    assert ask(fake, "sendMessage", **{"chat_id": 1001, **params}) == (400, expected)
    assert fake.messages == []


def test_good_messages_are_shown(fake: FakeTelegram) -> None:
    question = fake.say("hello")
    full = "<b>" + "😀" * 2048 + "</b>"
    reply = {"message_id": question.message_id}
    sent = ask(fake, "sendMessage", chat_id=1001, text=full, parse_mode="html", reply_parameters=reply)
    assert sent["entities"] == [{"type": "bold", "offset": 0, "length": 4096}]
    assert fake.messages[0].reply_to == question.message_id
    edit = {"chat_id": 1001, "message_id": sent["message_id"]}
    assert ask(fake, "editMessageText", text=full, parse_mode="HTML", **edit)[1].startswith(
        "Bad Request: message is not modified"
    )
    assert ask(fake, "editMessageText", text="short", **edit)["text"] == "short"
    assert fake.texts(1001) == ["short"]
    assert fake.complaints == []


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("<b>a", 'Can\'t find end tag corresponding to start tag "b"'),
        ("<b>a</i>", 'Unmatched end tag at byte offset 4, expected "</b>", found "</i>"'),
        ("a</b>", "Unexpected end tag at byte offset 1"),
        ("1 < 2", 'Unsupported start tag "" at byte offset 2'),
        ('<a href="x>y</a>', 'Unclosed start tag "a" at byte offset 0'),
        ("<code><b>x</b></code>", 'Tag "b" inside of "code" at byte offset 6'),
    ],
)
def test_markup_that_the_server_cannot_read(source: str, error: str) -> None:
    with pytest.raises(CannotParse) as caught:
        parse_html(source)
    assert str(caught.value) == error


def test_markup_that_the_server_reads() -> None:
    source = '😀<b>a<i>&lt;&#x263a;</i></b> &amp;amp; &nbsp; <pre><code class="language-py">x</code></pre>'
    text, entities = parse_html(source)
    assert text == "😀a<☺ &amp; &nbsp; x"
    assert entities[0] == {"type": "bold", "offset": 2, "length": 3}
    assert entities[1] == {"type": "italic", "offset": 3, "length": 2}
    assert entities[2] == {"type": "pre", "offset": 19, "length": 1, "language": "py"}


def test_topics_migration_and_bans(fake: FakeTelegram) -> None:
    fake.add_supergroup(-1001234567890, topics=(7,))
    fake.add_group(-55)
    assert ask(fake, "sendMessage", chat_id=-1001234567890, text="a", message_thread_id=7)["is_topic_message"]
    assert ask(fake, "sendMessage", chat_id=-1001234567890, text="a", message_thread_id=1)[0] == 400
    assert ask(fake, "sendChatAction", chat_id=-1001234567890, action="typing", message_thread_id=1) is True
    assert ask(fake, "sendMessageDraft", chat_id=-55, draft_id=1, text="x")[1].endswith(
        "TEXTDRAFT_PEER_INVALID"
    )
    fake.migrate(-55, -1009876543210)
    assert "upgraded to a supergroup" in ask(fake, "sendMessage", chat_id=-55, text="a")[1]
    fake.say("hi")
    fake.forbid(1001)
    assert ask(fake, "sendMessage", chat_id=1001, text="a") == (403, "Forbidden: bot was blocked by the user")


def test_a_send_during_a_flood_wait_is_counted(fake: FakeTelegram) -> None:
    fake.say("hi")
    fake.say("hi", 1002)
    fake.fault("sendMessage", "too_many", retry_after=30, where={"chat_id": 1001})
    assert ask(fake, "sendMessage", chat_id=1002, text="a")["text"] == "a"
    assert ask(fake, "sendMessage", chat_id=1001, text="a")[0] == 429
    assert fake.early_sends == {}
    assert ask(fake, "sendMessage", chat_id=1001, text="a")[0] == 429
    assert fake.early_sends == {1001: 1}


def test_tokens_reactions_and_unknown_methods(fake: FakeTelegram) -> None:
    written = fake.say("hi")
    assert len(REACTIONS) == 73
    assert ask(fake, "getMe", token="12:short") == (404, "Not Found")
    assert ask(fake, "getMe", token="12:" + "x" * 35) == (401, "Unauthorized")
    assert ask(fake, "getChat", chat_id=1001) == (404, "Not Found: method not found")
    react = {"chat_id": 1001, "message_id": written.message_id}
    assert ask(fake, "setMessageReaction", **react, reaction=[{"type": "emoji", "emoji": "👀"}]) is True
    assert ask(fake, "setMessageReaction", **react, reaction=[{"type": "emoji", "emoji": "🙌"}])[0] == 400
    fake.revoke()
    assert ask(fake, "getMe") == (401, "Unauthorized")


def test_a_lost_answer_was_processed_all_the_same(fake: FakeTelegram) -> None:
    fake.say("hi")
    fake.fault("sendMessage", "lost")
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        ask(fake, "sendMessage", chat_id=1001, text="a")
    fake.fault("sendMessage", "reset")
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        ask(fake, "sendMessage", chat_id=1001, text="b")
    assert fake.texts() == ["a"]
