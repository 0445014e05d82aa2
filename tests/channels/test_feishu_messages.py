"""Sending through the REST side: where messages land, what happens once and only once, and what refusals lead to."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from loong_channels import faults
from loong_channels.feishu.content import text_content
from loong_channels.feishu.media import Media
from loong_channels.feishu.messages import Key, Messages, Style, uuid_of
from loong_channels.feishu.preview import GrowingCard
from loong_channels.feishu.reactions import Reactions
from loong_channels.feishu.targets import Target, receive_id_type
from loong_channels.waiting import Deadline, StopToken
from tests.channels.feishu_sending_rig import CHAT, Clock, address, make_api, make_channel, send
from tests.fakes.feishu import FakeFeishu


@pytest.fixture
def fake():
    with FakeFeishu() as server:
        server.add_chat(CHAT, "ou_ann", "ou_bob")
        yield server
        assert server.complaints == []
        assert server.early_sends == {}
        assert server.server.crashes == []


# --- where a message goes


@pytest.mark.parametrize(
    ("receive_id", "default", "expected"),
    [
        ("oc_1", "user_id", "chat_id"),
        ("ou_1", "chat_id", "open_id"),
        ("on_1", "chat_id", "union_id"),
        ("ann@example.com", "chat_id", "email"),
        ("e33ggbyz", "chat_id", "user_id"),
        ("e33ggbyz", "open_id", "user_id"),
        ("e33ggbyz", "user_id", "user_id"),
        ("e33ggbyz", "email", "email"),
    ],
)
def test_the_type_of_an_id_follows_from_its_form(receive_id: str, default: str, expected: str) -> None:
    assert receive_id_type(receive_id, default) == expected


def test_a_text_arrives_in_its_chat(fake: FakeFeishu) -> None:
    receipt = send(make_channel(fake), "hello", markup="plain")
    (sent,) = fake.messages
    assert (sent.chat_id, sent.msg_type, sent.text, sent.parent_id) == (CHAT, "text", "hello", None)
    assert receipt.message_ids == (sent.message_id,)
    (request,) = fake.calls("send")
    assert request.headers["content-type"] == "application/json; charset=utf-8"
    assert request.params["receive_id_type"] == "chat_id"
    assert len(str(request.params["uuid"])) <= 50


def test_a_person_is_written_to_by_open_id(fake: FakeFeishu) -> None:
    fake.add_chat("oc_anns_own", "ou_solo")
    send(make_channel(fake), "hello", "ou_solo")
    assert [sent.chat_id for sent in fake.messages] == ["oc_anns_own"]
    assert fake.messages[0].receive_id_type == "open_id"


@pytest.mark.parametrize("target", ["", "a b", "oc_\n", "ü", "x" * 300])
def test_a_target_that_can_be_none_costs_no_request(fake: FakeFeishu, target: str) -> None:
    with pytest.raises(faults.Refused) as caught:
        send(make_channel(fake), "x", target)
    assert caught.value.code == "bad_target"
    assert fake.requests == []


@pytest.mark.parametrize("text", ["", "  \n", "\u3000"])
def test_nothing_visible_is_not_sent(fake: FakeFeishu, text: str) -> None:
    assert send(make_channel(fake), text).message_ids == ()
    assert fake.requests == []


# --- replies and threads


def test_the_first_part_replies_and_the_next_does_not(fake: FakeFeishu) -> None:
    said = fake.say(CHAT)
    channel = make_channel(fake)
    send(channel, "one", reply_to=said.message_id, key="k-0")
    send(channel, "two", key="k-1")
    assert [(sent.parent_id, sent.thread_id) for sent in fake.messages] == [
        (said.message_id, None),
        (None, None),
    ]
    assert fake.names() == ["reply", "send"]


def test_every_part_in_a_thread_is_a_reply_in_it(fake: FakeFeishu) -> None:
    said = fake.say(CHAT, thread_id="omt_1", root_id="om_root")
    channel = make_channel(fake)
    extra = {"message_id": said.message_id}
    send(channel, "one", thread="omt_1", reply_to=said.message_id, extra=extra, key="k-0")
    send(channel, "two", thread="omt_1", extra=extra, key="k-1")
    assert [sent.thread_id for sent in fake.messages] == ["omt_1", "omt_1"]
    assert [one.params["reply_in_thread"] for one in fake.calls("reply")] == [True, True]


def test_a_thread_named_by_its_first_message_is_answered_there(fake: FakeFeishu) -> None:
    said = fake.say(CHAT)
    send(make_channel(fake), "one", thread=said.message_id)
    assert fake.messages[0].thread_id is not None
    assert fake.messages[0].parent_id == said.message_id


def test_a_thread_without_a_known_message_is_not_answered_in_the_open(fake: FakeFeishu) -> None:
    with pytest.raises(faults.Refused) as caught:
        send(make_channel(fake), "secret", thread="omt_1")
    assert caught.value.code == "no_thread"
    assert fake.requests == []


def test_an_operator_may_answer_a_message_by_its_id(fake: FakeFeishu) -> None:
    said = fake.say(CHAT)
    send(make_channel(fake), "hello", said.message_id)
    assert [(sent.chat_id, sent.parent_id) for sent in fake.messages] == [(CHAT, said.message_id)]


def test_the_answer_to_a_recalled_message_is_sent_afresh(fake: FakeFeishu) -> None:
    said = fake.say(CHAT)
    fake.recall(said.message_id)
    send(make_channel(fake), "answer", reply_to=said.message_id)
    assert [(sent.text, sent.parent_id) for sent in fake.messages] == [("answer", None)]
    assert fake.names() == ["reply", "send"]
    assert len({request.params["uuid"] for request in fake.calls("reply", "send")}) == 2


@pytest.mark.parametrize(
    ("code", "msg"), [(230019, "x"), (230110, "x"), (231003, "x"), (230001, "the message is Not Found")]
)
def test_every_way_of_being_gone_is_known(fake: FakeFeishu, code: int, msg: str) -> None:
    said = fake.say(CHAT)
    fake.refuse("reply", code, msg)
    send(make_channel(fake), "answer", reply_to=said.message_id)
    assert fake.texts() == ["answer"]


def test_the_answer_to_a_recalled_message_of_a_thread_goes_nowhere(fake: FakeFeishu) -> None:
    said = fake.say(CHAT, thread_id="omt_1")
    fake.recall(said.message_id)
    with pytest.raises(faults.Refused) as caught:
        send(make_channel(fake), "secret", thread="omt_1", reply_to=said.message_id)
    assert caught.value.code == "230011"
    assert fake.messages == []


def test_an_operator_hears_that_the_message_to_answer_is_gone(fake: FakeFeishu) -> None:
    said = fake.say(CHAT)
    fake.recall(said.message_id)
    with pytest.raises(faults.Refused):
        send(make_channel(fake), "hello", said.message_id)
    assert fake.names() == ["reply"]


# --- once and only once


def test_the_key_of_a_try_is_short_stable_and_its_own() -> None:
    assert uuid_of("a", "k" * 500, "new:text") == uuid_of("a", "k" * 500, "new:text")
    keys = {uuid_of(a, k, p) for a in "ab" for k in ("k", "l") for p in ("new:text", "reply:text")}
    assert len(keys) == 8
    assert {len(key) for key in keys} == {40}


@pytest.mark.parametrize("kind", ["lost", "truncated", "null", "empty"])
@pytest.mark.parametrize("name", ["send", "reply"])
def test_a_message_whose_answer_was_lost_is_there_once(fake: FakeFeishu, kind: str, name: str) -> None:
    said = fake.say(CHAT)
    channel = make_channel(fake)
    reply_to = said.message_id if name == "reply" else None
    fake.fault(name, kind)
    with pytest.raises((faults.Unreachable, faults.BadAnswer)) as caught:
        send(channel, "hello", reply_to=reply_to)
    assert getattr(caught.value, "maybe_processed", True)
    receipt = send(channel, "hello", reply_to=reply_to)
    assert fake.texts() == ["hello"]
    assert receipt.message_ids == (fake.messages[0].message_id,)


def test_the_same_words_under_another_key_are_another_message(fake: FakeFeishu) -> None:
    channel = make_channel(fake)
    send(channel, "hello", key="k-0")
    send(channel, "hello", key="k-1")
    assert fake.texts() == ["hello", "hello"]


def test_a_token_revoked_in_between_costs_nobody_a_message(fake: FakeFeishu) -> None:
    channel = make_channel(fake)
    send(channel, "one", key="a")
    fake.revoke_tokens()
    send(channel, "two", key="b")
    assert fake.texts() == ["one", "two"]
    assert len(fake.calls("token")) == 2


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ({"kind": "too_many", "retry_after": 3}, faults.Throttled),
        ({"kind": "status", "status": 400, "parameters": {"code": 99991400}}, faults.Throttled),
        ({"kind": "status", "status": 400, "parameters": {"code": 230020}}, faults.Throttled),
        ({"kind": "status", "status": 400, "parameters": {"code": 11232}}, faults.Overloaded),
        ({"kind": "status", "status": 500, "parameters": {"code": 2200}}, faults.Overloaded),
        ({"kind": "html"}, faults.Unreachable),
        ({"kind": "reset"}, faults.Unreachable),
        ({"kind": "hang_up"}, faults.Unreachable),
    ],
)
def test_trouble_is_told_to_the_gateway_and_the_next_try_succeeds(
    fake: FakeFeishu, order: dict[str, Any], expected: type[faults.Fault]
) -> None:
    channel = make_channel(fake)
    fake.fault("send", **order)
    with pytest.raises(expected):
        send(channel, "hello")
    fake._flood_until.clear()
    send(channel, "hello")
    assert fake.texts() == ["hello"]
    uuids = {request.params["uuid"] for request in fake.calls("send")}
    assert len(uuids) == 1


def test_a_full_chat_says_how_long_to_wait_and_only_for_itself(fake: FakeFeishu) -> None:
    fake.per_chat_per_s = 5
    channel = make_channel(fake)
    for number in range(5):
        send(channel, str(number), key=str(number))
    with pytest.raises(faults.Throttled) as caught:
        send(channel, "5", key="5")
    assert (caught.value.retry_after_s, caught.value.whole_account) == (1.0, False)


@pytest.mark.parametrize(
    "code", [230002, 230013, 230006, 230018, 230035, 230053, 232009, 99991672, 230027, 99991403]
)
def test_a_refusal_is_final_and_names_its_code_and_log_id(fake: FakeFeishu, code: int) -> None:
    fake.refuse("send", code, "because of this")
    with pytest.raises(faults.Refused) as caught:
        send(make_channel(fake), "hello")
    assert caught.value.code == str(code)
    assert "because of this" in str(caught.value)
    assert "(log id 2026" in str(caught.value)
    assert fake.names() == ["send"]


def test_a_send_ends_with_its_deadline_and_its_stop(fake: FakeFeishu) -> None:
    channel = make_channel(fake)
    order = fake.fault("send", "hang", times=2)
    with pytest.raises(faults.TimedOut) as caught:
        send(channel, "hello", seconds=0.3)
    assert caught.value.maybe_processed
    stop = StopToken()

    def stopping() -> None:
        fake.wait_for(lambda: order.hits == 2)
        stop.set()

    stopper = threading.Thread(target=stopping)
    stopper.start()
    with pytest.raises(faults.Interrupted):
        messages = Messages(make_api(fake), Style("work"), lambda event: None)
        content = text_content("hello")
        messages.send(Target(CHAT, "chat_id"), content, Key("k"), deadline=Deadline(20), stop=stop)
    stopper.join(10)


# --- formats


def test_markdown_arrives_as_a_card_and_plain_words_as_a_text(fake: FakeFeishu) -> None:
    channel = make_channel(fake)
    send(channel, "**bold**", key="a")
    send(channel, "plain", key="b")
    assert [(sent.msg_type, sent.text) for sent in fake.messages] == [
        ("interactive", "**bold**"),
        ("text", "plain"),
    ]


@pytest.mark.parametrize(("form", "msg_type"), [("post", "post"), ("text", "text"), ("card", "interactive")])
def test_the_account_says_what_markdown_becomes(fake: FakeFeishu, form: str, msg_type: str) -> None:
    send(make_channel(fake, reply_format=form), "**bold**")
    assert [(sent.msg_type, sent.text) for sent in fake.messages] == [(msg_type, "**bold**")]


def test_a_text_that_must_be_a_card_is_one(fake: FakeFeishu) -> None:
    send(make_channel(fake, reply_format="text"), "plain", extra={"card": True})
    assert fake.messages[0].msg_type == "interactive"


@pytest.mark.parametrize("code", [230001, 230025, 230099, 200861])
@pytest.mark.parametrize("form", ["card", "post"])
def test_markdown_that_is_refused_arrives_as_plain_text(fake: FakeFeishu, form: str, code: int) -> None:
    fake.refuse("send", code)
    send(make_channel(fake, reply_format=form), "**bold** words")
    assert [(sent.msg_type, sent.text) for sent in fake.messages] == [("text", "**bold** words")]
    assert len({request.params["uuid"] for request in fake.calls("send")}) == 2


def test_a_text_that_is_refused_is_not_tried_as_anything_else(fake: FakeFeishu) -> None:
    fake.refuse("send", 230001)
    with pytest.raises(faults.Refused):
        send(make_channel(fake), "plain")
    assert fake.names() == ["send"]


def test_a_wrong_address_is_not_taken_for_a_wrong_card(fake: FakeFeishu) -> None:
    fake.refuse("send", 230001, "ext=invalid receive_id")
    with pytest.raises(faults.Refused):
        send(make_channel(fake), "**bold**")
    assert fake.names() == ["send"]


def test_a_model_cannot_call_everybody(fake: FakeFeishu) -> None:
    send(make_channel(fake), 'hi <at user_id="all"></at>', key="a")
    send(make_channel(fake), "**hi** <at id=all></at>", key="b")
    assert [sent.pings for sent in fake.messages] == [[], []]
    assert fake.texts() == ['hi <at user_id="all"></at>', "**hi** <at id=all></at>"]


# --- previews


class Stage:
    """Previews on a clock that the test moves."""

    def __init__(self, fake: FakeFeishu) -> None:
        self.clock = Clock()
        self.messages = Messages(make_api(fake), Style("work"), lambda event: None)

    def preview(self, reply_to: str | None = None, thread: str | None = None) -> GrowingCard:
        target = Target.of(address(CHAT, thread), reply_to, {}, "chat_id")
        return GrowingCard(self.messages, target, self.clock)


def shown(fake: FakeFeishu) -> dict[str, object]:
    preview = Stage(fake).preview()
    preview.update("Half an ans")
    return dict(preview.finish())


def test_an_answer_grows_in_one_card_that_becomes_the_answer(fake: FakeFeishu) -> None:
    stage = Stage(fake)
    said = fake.say(CHAT, thread_id="omt_1")
    preview = stage.preview(said.message_id, "omt_1")
    for text in ("Hel", "Hello **wor", "Hello **world**"):
        preview.update(text)
        stage.clock.now += 0.7
    (card,) = fake.messages
    assert (card.msg_type, card.thread_id) == ("interactive", "omt_1")
    extra = {**preview.finish(), "message_id": said.message_id}
    receipt = send(
        make_channel(fake), "Hello **world**!", thread="omt_1", reply_to=said.message_id, extra=extra
    )
    assert fake.texts() == ["Hello **world**!"]
    assert receipt.message_ids == (card.message_id,)
    assert [text for _, text in card.patches] == ["Hello **wor", "Hello **world**", "Hello **world**!"]


def test_updates_that_come_too_early_are_left_out(fake: FakeFeishu) -> None:
    stage = Stage(fake)
    preview = stage.preview()
    text = ""
    for _ in range(80):
        text += "word "
        preview.update(text)
        stage.clock.now += 0.125
    assert 13 <= len(fake.names()) <= 15


def test_what_shows_nothing_new_costs_no_request(fake: FakeFeishu) -> None:
    stage = Stage(fake)
    preview = stage.preview()
    for text in ("", "  ", "a", "a ", "a\n"):
        preview.update(text)
        stage.clock.now += 1
    assert fake.names() == ["send"]


def test_a_first_card_whose_answer_was_lost_is_found_again(fake: FakeFeishu) -> None:
    stage = Stage(fake)
    preview = stage.preview()
    fake.fault("send", "lost")
    for text in ("one", "one two", "one two three"):
        preview.update(text)
        stage.clock.now += 1
    assert fake.names() == ["send", "send", "patch"]
    assert fake.texts() == ["one two three"]


def test_a_preview_that_is_told_to_wait_waits_and_then_goes_on(fake: FakeFeishu) -> None:
    stage = Stage(fake)
    preview = stage.preview()
    fake.fault("send", "too_many", retry_after=5)
    preview.update("one")
    stage.clock.now += 4
    preview.update("one two")
    assert fake.names() == ["send"]
    fake._flood_until.clear()
    stage.clock.now += 1
    preview.update("one two three")
    assert fake.texts() == ["one two three"]


@pytest.mark.parametrize("kind", ["html", "reset", "null", "status"])
def test_trouble_with_a_preview_is_never_raised_and_soon_ends_it(fake: FakeFeishu, kind: str) -> None:
    stage = Stage(fake)
    preview = stage.preview()
    fake.fault("send", kind, times=None)
    for number in range(6):
        preview.update(f"text {number}")
        stage.clock.now += 1
    assert 1 <= len(fake.names()) <= 2
    assert preview.finish() == {}
    preview.abandon()


def test_an_abandoned_preview_is_recalled(fake: FakeFeishu) -> None:
    stage = Stage(fake)
    preview = stage.preview()
    preview.update("half an ans")
    preview.abandon()
    stage.clock.now += 10
    preview.update("more")
    assert fake.texts() == []
    assert fake.names() == ["send", "recall"]
    assert preview.finish() == {}


@pytest.mark.parametrize(
    ("kind", "details"),
    [
        ("status", {"status": 400, "parameters": {"code": 230011}}),
        ("status", {"status": 400, "parameters": {"code": 230031}}),
        ("status", {"status": 400, "parameters": {"code": 230099}}),
        ("status", {"status": 500, "times": 2}),
        ("html", {"times": 2}),
        ("lost", {"times": 2}),
        ("null", {"times": 2}),
    ],
)
def test_whatever_fails_in_the_last_patch_the_answer_is_there_exactly_once(
    fake: FakeFeishu, kind: str, details: dict[str, object]
) -> None:
    extra = shown(fake)
    fake.fault("patch", kind, **details)
    send(make_channel(fake), "The **whole** answer", extra=extra)
    assert fake.texts() == ["The **whole** answer"]


def test_a_last_patch_whose_answer_was_lost_is_repeated(fake: FakeFeishu) -> None:
    extra = shown(fake)
    fake.fault("patch", "lost")
    receipt = send(make_channel(fake), "The whole answer", extra=extra)
    assert fake.texts() == ["The whole answer"]
    assert receipt.message_ids == (extra["preview_message_id"],)


def test_a_last_patch_that_must_wait_says_how_long_and_succeeds_later(fake: FakeFeishu) -> None:
    extra = shown(fake)
    fake.refuse("patch", 230020)
    with pytest.raises(faults.Throttled):
        send(make_channel(fake), "The whole answer", extra=extra)
    assert fake.texts() == ["Half an ans"]
    send(make_channel(fake), "The whole answer", extra=extra)
    assert fake.texts() == ["The whole answer"]


def test_a_preview_that_cannot_be_recalled_does_not_fail_the_answer(fake: FakeFeishu) -> None:
    extra = shown(fake)
    fake.refuse("patch", 230031)
    fake.fault("recall", "html")
    send(make_channel(fake), "The whole answer", extra=extra)
    assert fake.texts()[-1] == "The whole answer"


# --- marks


class Marks:
    """Reactions on clocks that the test moves."""

    def __init__(self, fake: FakeFeishu) -> None:
        self.clock = Clock()
        self.reactions = Reactions(make_api(fake), self.clock, lambda: 1_000_000_000.0)

    def mark(self, message_id: str, age_s: float = 0) -> None:
        self.reactions.mark(message_id, int(1_000_000_000 - age_s * 1000), deadline=Deadline(5))

    def clear(self, message_id: str | None) -> None:
        self.reactions.clear(message_id, deadline=Deadline(5))


def test_a_message_is_marked_once_until_it_is_answered(fake: FakeFeishu) -> None:
    said = fake.say(CHAT)
    marks = Marks(fake)
    marks.mark(said.message_id)
    marks.mark(said.message_id)
    assert list(said.reactions.values()) == ["Typing"]
    marks.clear(said.message_id)
    marks.clear(said.message_id)
    marks.clear(None)
    assert said.reactions == {}
    assert fake.names() == ["react", "unreact"]


def test_an_old_message_is_not_marked(fake: FakeFeishu) -> None:
    said = fake.say(CHAT)
    Marks(fake).mark(said.message_id, age_s=121)
    assert fake.names() == []


@pytest.mark.parametrize("code", [99991400, 99991403, 230020])
def test_marks_pause_when_requests_are_limited(fake: FakeFeishu, code: int) -> None:
    marks = Marks(fake)
    fake.refuse("react", code)
    with pytest.raises((faults.Throttled, faults.Refused)):
        marks.mark(fake.say(CHAT).message_id)
    said = fake.say(CHAT)
    marks.mark(said.message_id)
    assert fake.names() == ["react"]
    marks.clock.now += 301
    marks.mark(said.message_id)
    assert list(said.reactions.values()) == ["Typing"]


@pytest.mark.parametrize("kind", ["reset", "html"])
def test_marks_pause_when_they_get_lost(fake: FakeFeishu, kind: str) -> None:
    marks = Marks(fake)
    fake.fault("react", kind)
    with pytest.raises(faults.Unreachable):
        marks.mark(fake.say(CHAT).message_id)
    marks.mark(fake.say(CHAT).message_id)
    assert fake.names() == ["react"]


def test_a_mark_that_cannot_be_taken_away_is_left(fake: FakeFeishu) -> None:
    said = fake.say(CHAT)
    marks = Marks(fake)
    marks.mark(said.message_id)
    fake.fault("unreact", "reset")
    marks.clear(said.message_id)
    assert len(said.reactions) == 1


# --- media


@pytest.mark.parametrize(
    ("kind", "data", "mime", "name"),
    [
        ("image", b"\x89PNG" + bytes(5000), "image/png", "a.png"),
        ("file", b'{"code": 1, "msg": "a file of a user"}', "application/json", "Zahlen ü漢.json"),
    ],
)
def test_what_came_with_a_message_is_fetched(
    fake: FakeFeishu, kind: str, data: bytes, mime: str, name: str
) -> None:
    said = fake.say(CHAT)
    key = fake.attach(said, kind, data, mime, name)
    found = Media(make_api(fake)).resource(said.message_id, key, kind, deadline=Deadline(5))
    assert (found.content, found.mime, found.name) == (data, mime, name)


def test_of_the_name_of_a_file_no_path_is_believed(fake: FakeFeishu) -> None:
    said = fake.say(CHAT)
    key = fake.attach(said, "file", b"x", "text/plain", "../..\\etc/\x1bpasswd")
    assert Media(make_api(fake)).resource(said.message_id, key, "file", deadline=Deadline(5)).name == "passwd"


def test_a_download_is_bounded_and_its_refusals_are_faults(fake: FakeFeishu) -> None:
    said = fake.say(CHAT)
    key = fake.attach(said, "file", bytes(5000), "application/pdf", "a.pdf")
    media = Media(make_api(fake))
    with pytest.raises(faults.Refused) as caught:
        media.resource(said.message_id, key, "file", max_bytes=4999, deadline=Deadline(5))
    assert caught.value.code == "too_large"
    with pytest.raises(faults.Refused) as caught:
        media.resource(said.message_id, "file_other", "file", deadline=Deadline(5))
    assert caught.value.code == "234003"
    with pytest.raises(faults.BadAnswer):
        media.resource("om_unknown", key, "file", deadline=Deadline(5))
    fake.revoke_tokens()
    assert len(media.resource(said.message_id, key, "file", deadline=Deadline(5)).content) == 5000
