"""Sending: the whole text arrives exactly once, in the right place, whatever Telegram refuses."""

from __future__ import annotations

import random
import threading

import pytest

from loong_channels import faults
from loong_channels.contract import Inbound, Outbound, Receipt
from loong_channels.telegram.channel import Channel
from loong_channels.telegram.pacing import PreviewPaces
from loong_channels.text import code_blocks, split
from loong_channels.waiting import Deadline, StopToken
from tests.blocked_call import raised_when_woken
from tests.channels.telegram_rig import RecordingHost, address, make_channel, running, send
from tests.fakes.telegram import TOKEN, FakeTelegram
from tests.fakes.telegram_html import utf16_length

GROUP = -1001234567890


@pytest.fixture
def fake():
    with FakeTelegram() as server:
        server.add_private(1001)
        server.add_private(1002)
        yield server
        assert server.complaints == []


def methods(fake: FakeTelegram) -> list[str]:
    return [request.method for request in fake.requests]


def inbound(chat: int, message_id: int) -> Inbound:
    number = f"{chat}:{message_id}"
    return Inbound(address(chat), number, number, "1", "hi", 0)


def test_markdown_arrives_as_entities_and_the_receipt_names_the_message(fake: FakeTelegram) -> None:
    receipt = send(make_channel(fake), 1001, "**bold** and `code` < 5")
    (message,) = fake.messages
    assert message.text == "bold and code < 5"
    assert [entity["type"] for entity in message.entities] == ["bold", "code"]
    assert receipt == Receipt((str(message.message_id),))


def test_plain_text_is_sent_as_it_is(fake: FakeTelegram) -> None:
    channel = make_channel(fake)
    send(channel, 1001, "no markup < here")
    send(channel, 1001, "**not** for me", markup="plain")
    assert [(m.source, m.parse_mode) for m in fake.messages] == [
        ("no markup < here", ""),
        ("**not** for me", ""),
    ]


def test_the_answer_replies_to_the_message_and_a_missing_one_does_not_hold_it_up(fake: FakeTelegram) -> None:
    channel = make_channel(fake)
    said = fake.say("question")
    send(channel, 1001, "answer", reply_to=f"1001:{said.message_id}")
    send(channel, 1001, "late", reply_to="1001:999")
    send(channel, 1001, "elsewhere", reply_to=f"-77:{said.message_id}")
    assert [(m.text, m.reply_to) for m in fake.messages] == [
        ("answer", said.message_id),
        ("late", None),
        ("elsewhere", None),
    ]
    assert all(r.params["reply_parameters"]["allow_sending_without_reply"] for r in fake.requests[:2])


def test_a_server_that_insists_on_the_reply_gets_the_message_without_it(fake: FakeTelegram) -> None:
    fake.fault(
        "sendMessage", "status", status=400, description="Bad Request: message to be replied not found"
    )
    send(make_channel(fake), 1001, "answer", reply_to="1001:7")
    assert fake.texts(1001) == ["answer"]
    assert "reply_parameters" not in fake.requests[-1].params


def test_answers_land_in_their_topic_and_general_has_no_number(fake: FakeTelegram) -> None:
    fake.add_supergroup(GROUP, topics=(77,))
    channel = make_channel(fake)
    host = RecordingHost()
    with running(channel, host):
        fake.say("in a topic", GROUP, thread_id=77)
        fake.say("in general", GROUP)
        host.wait_for(lambda: len(host.messages) == 2)
    for message in host.messages:
        channel.show_typing(message.address, deadline=Deadline(5))
        outbound = Outbound(message.address, "ok", message.event_id, reply_to=message.message_id)
        channel.send(outbound, deadline=Deadline(5), stop=StopToken())
    send(channel, GROUP, "explicitly general", thread="1")
    assert [m.thread_id for m in fake.messages] == [77, None, None]
    assert [m.reply_to for m in fake.messages[:2]] == [1, 2]
    assert [r.params["message_thread_id"] for r in fake.calls("sendChatAction")] == [77, 1]


def test_a_deleted_topic_is_reported_not_guessed_around(fake: FakeTelegram) -> None:
    fake.add_supergroup(GROUP, topics=(77,))
    with pytest.raises(faults.Refused) as caught:
        send(make_channel(fake), GROUP, "x", thread="78")
    assert caught.value.code == "no_thread"
    assert len(fake.requests) == 1


@pytest.mark.parametrize("target", ["abc", "", "--5", "12 34", "@", "7/../8", "1.5"])
def test_a_target_that_can_be_no_chat_costs_no_request(fake: FakeTelegram, target: str) -> None:
    with pytest.raises(faults.Refused) as caught:
        send(make_channel(fake), target, "x")
    assert caught.value.code == "bad_target"
    assert fake.requests == []


def answer_of(units: int, seed: int) -> str:
    """A long answer with paragraphs, emoji, and code."""
    rng = random.Random(seed)
    parts: list[str] = []
    while utf16_length("".join(parts)) < units:
        kind = rng.randrange(4)
        if kind == 0:
            lines = "".join(f"print({rng.random()})  # \U0001f40d\n" for _ in range(rng.randrange(5, 60)))
            parts.append(f"```python\n{lines}```\n\n")
        elif kind == 1:
            parts.append("\U0001f468\u200d\U0001f469\u200d\U0001f467 " * rng.randrange(20, 80) + "\n\n")
        else:
            parts.append(
                " ".join(rng.choice(["alpha", "**beta**", "_x_", "gamma.", "漢字。"]) for _ in range(90))
                + "\n\n"
            )
    return "".join(parts)


@pytest.mark.parametrize("units", [5000, 9000, 20000])
def test_long_answers_arrive_complete_in_order_and_within_the_limit(fake: FakeTelegram, units: int) -> None:
    channel = make_channel(fake)
    answer = answer_of(units, units)
    pieces = split(answer, 4000, "utf16")
    for number, piece in enumerate(pieces):
        send(channel, 1001, piece, key=f"k{number}")
    assert len(fake.messages) == len(pieces) > units // 4000
    assert all(utf16_length(message.text) <= 4096 for message in fake.messages)
    assert all(message.parse_mode == "HTML" for message in fake.messages)

    def spoken(text: str) -> str:
        return "".join(char for char in text if char not in "*_` \n")

    visible = "".join(message.text for message in fake.messages)
    without_fences = answer
    for block in reversed(code_blocks(answer)):
        code = answer[block.body : block.body_end]
        without_fences = without_fences[: block.start] + code + without_fences[block.end :]
    assert spoken(visible) == spoken(without_fences)


def test_markup_that_the_server_refuses_arrives_as_plain_text(fake: FakeTelegram) -> None:
    host = RecordingHost()
    channel = make_channel(fake)
    refusal = 'Bad Request: can\'t parse entities: Unsupported start tag "secret" at byte offset 3'
    fake.fault("sendMessage", "status", status=400, description=refusal)
    with running(channel, host):
        host.wait_for(lambda: host.identities)
        send(channel, 1001, "**all** of it")
        host.wait_for(lambda: ("markup_refused", {}) in host.notes)
    assert [(m.text, m.parse_mode) for m in fake.messages] == [("**all** of it", "")]


def test_a_refusal_never_quotes_the_message(fake: FakeTelegram) -> None:
    refusal = 'Bad Request: can\'t parse entities: Unsupported start tag "secret" at byte offset 3'
    fake.fault("sendMessage", "status", status=400, description=refusal)
    with pytest.raises(faults.Refused) as caught:
        send(make_channel(fake), 1001, "plain secret")
    assert "secret" not in str(caught.value)


def test_a_text_that_the_server_finds_too_long_is_sent_in_smaller_pieces(fake: FakeTelegram) -> None:
    fake.fault("sendMessage", "status", status=400, description="Bad Request: message is too long")
    text = "word " * 780 + "end"
    receipt = send(make_channel(fake), 1001, text, reply_to="1001:1")
    assert [utf16_length(m.source) <= 2000 for m in fake.messages] == [True, True]
    assert "".join(m.source for m in fake.messages) == text
    assert receipt.message_ids == tuple(str(m.message_id) for m in fake.messages)
    replies = ["reply_parameters" in r.params for r in fake.calls("sendMessage")]
    assert replies == [True, True, False]


def test_smaller_pieces_that_were_sent_are_not_repeated_by_another_try(fake: FakeTelegram) -> None:
    channel = make_channel(fake)
    fake.fault("sendMessage", "status", status=400, description="Bad Request: message is too long")
    fake.fault("sendMessage", "status", skip=1, status=500)
    text = "word " * 780 + "end"
    with pytest.raises(faults.Overloaded):
        send(channel, 1001, text, key="same")
    receipt = send(channel, 1001, text, key="same")
    assert "".join(m.source for m in fake.messages) == text
    assert len(receipt.message_ids) == 2


@pytest.mark.parametrize("text", ["", "  \n", "\u3000"])
def test_white_space_is_taken_as_sent_without_a_request(fake: FakeTelegram, text: str) -> None:
    assert send(make_channel(fake), 1001, text) == Receipt(())
    assert fake.requests == []


@pytest.mark.parametrize("text", ["```\n```", "**\u200b**", "a\ud83d b", "\x00x", "`\n`", "# "])
def test_odd_texts_arrive_somehow(fake: FakeTelegram, text: str) -> None:
    send(make_channel(fake), 1001, text)
    assert len(fake.messages) == 1


def test_a_told_wait_is_passed_on_and_a_retry_at_the_told_moment_reaches_the_platform(
    fake: FakeTelegram,
) -> None:
    channel = make_channel(fake, ack_reactions=True)
    said = fake.say("x")
    fake.fault("sendMessage", "too_many", retry_after=7, where={"chat_id": 1001})
    with pytest.raises(faults.Throttled) as caught:
        send(channel, 1001, "a")
    assert (caught.value.retry_after_s, caught.value.whole_account) == (7, False)
    send(channel, 1002, "c")
    fake.chats[1001].flood_until = 0
    send(channel, 1001, "a")
    channel.show_typing(address(1001), deadline=Deadline(5))
    channel.acknowledge(inbound(1001, said.message_id), deadline=Deadline(5))
    assert fake.texts() == ["c", "a"]


def test_a_chat_whose_preview_was_told_to_wait_shows_none_until_then() -> None:
    now = [100.0]
    paces = PreviewPaces(lambda: now[0])
    paces.hold("1", 7)
    assert not paces.claim("1")
    assert paces.claim("2")
    now[0] += 6.9
    paces.hold("1", 0)
    assert not paces.claim("1")
    now[0] += 0.2
    assert paces.claim("1")


def test_the_table_of_paces_stays_small() -> None:
    now = [0.0]
    paces = PreviewPaces(lambda: now[0])
    for chat in range(10_000):
        now[0] += 0.01
        paces.claim(str(chat))
        paces.hold(str(-chat), 5)
    assert len(paces._next) <= 4096
    assert not paces.claim("-9999")


@pytest.mark.parametrize(
    "reason",
    ["bot was blocked by the user", "user is deactivated", "bot was kicked from the supergroup chat"],
)
def test_a_chat_that_is_closed_to_us_is_refused_and_the_account_stays_well(
    fake: FakeTelegram, reason: str
) -> None:
    host = RecordingHost()
    channel = make_channel(fake)
    with running(channel, host) as run:
        fake.wait_for(lambda: fake.bot.waiting is not None)
        fake.forbid(1001, reason)
        with pytest.raises(faults.Refused) as caught:
            send(channel, 1001, "x")
        assert type(caught.value) is faults.Refused
        assert caught.value.code == "forbidden"
        send(channel, 1002, "others go on")
        assert run.error is None
    assert fake.texts() == ["others go on"]


@pytest.mark.parametrize(
    ("description", "code"),
    [("not enough rights to send text messages to the chat", "no_rights"), ("", "chat_not_found")],
)
def test_other_refusals_carry_their_reason(fake: FakeTelegram, description: str, code: str) -> None:
    if description:
        fake.forbid(1001, description)
    with pytest.raises(faults.Refused) as caught:
        send(make_channel(fake), 1001 if description else 4242, "x")
    assert caught.value.code == code


def test_a_group_that_moved_says_where_to(fake: FakeTelegram) -> None:
    channel = make_channel(fake)
    fake.add_group(-77)
    fake.migrate(-77, GROUP)
    with pytest.raises(faults.Moved) as caught:
        send(channel, -77, "hello")
    assert caught.value.conversation == str(GROUP)
    send(channel, caught.value.conversation, "hello")
    assert fake.texts(GROUP) == ["hello"]


@pytest.mark.parametrize(
    ("kind", "details", "expected", "maybe"),
    [
        ("lost", {}, faults.Unreachable, True),
        ("reset", {}, faults.Unreachable, True),
        ("html", {}, faults.Unreachable, True),
        ("hang", {}, faults.TimedOut, True),
        ("null", {}, faults.BadAnswer, None),
        ("status", {"status": 500}, faults.Overloaded, None),
        ("status", {"status": 401, "description": "Unauthorized"}, faults.BadCredentials, None),
        ("status", {"status": 404, "description": "Not Found"}, faults.BadCredentials, None),
    ],
)
def test_what_happened_to_a_send_is_said_exactly_and_never_tried_again_here(
    fake: FakeTelegram,
    kind: str,
    details: dict[str, object],
    expected: type[faults.Fault],
    maybe: bool | None,
) -> None:
    fake.fault("sendMessage", kind, **details)
    with pytest.raises(expected) as caught:
        send(make_channel(fake), 1001, "**x**", seconds=1.0)
    assert getattr(caught.value, "maybe_processed", None) is maybe
    assert TOKEN not in repr(caught.value)
    assert methods(fake) == ["sendmessage"]


def test_a_send_that_never_left_says_so() -> None:
    with FakeTelegram() as fake:
        channel = make_channel(fake)
    with pytest.raises(faults.Unreachable) as caught:
        send(channel, 1001, "x")
    assert not caught.value.maybe_processed


def test_a_send_never_waits_behind_a_poll(fake: FakeTelegram) -> None:
    channel = make_channel(fake, polling_timeout_s=50)
    with running(channel, RecordingHost()):
        fake.wait_for(lambda: fake.bot.waiting is not None)
        send(channel, 1001, "at once", seconds=5.0)
        assert fake.bot.waiting is not None


def test_many_threads_may_send_at_once(fake: FakeTelegram) -> None:
    channel = make_channel(fake)
    errors: list[BaseException] = []

    def work(chat: int) -> None:
        try:
            for n in range(10):
                send(channel, chat, f"{chat} {n}", key=f"{chat}-{n}")
        except faults.Fault as error:
            errors.append(error)

    chats = range(2001, 2013)
    for chat in chats:
        fake.add_private(chat)
    threads = [threading.Thread(target=work, args=(chat,)) for chat in chats]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert errors == []
    for chat in chats:
        assert fake.texts(chat) == [f"{chat} {n}" for n in range(10)]


def test_a_stop_ends_a_send_that_hangs(fake: FakeTelegram) -> None:
    fake.fault("sendMessage", "hang")
    channel, stop = make_channel(fake), StopToken()
    raised = raised_when_woken(
        lambda: channel.send(Outbound(address(1001), "x", "k"), deadline=Deadline(60), stop=stop),
        blocked=lambda: methods(fake) == ["sendmessage"],
        wake=lambda: stop.set("over"),
    )
    assert type(raised) is faults.Interrupted


def test_a_reaction_is_set_only_when_wanted(fake: FakeTelegram) -> None:
    said = fake.say("x")
    make_channel(fake).acknowledge(inbound(1001, said.message_id), deadline=Deadline(5))
    assert fake.requests == []
    make_channel(fake, ack_reactions=True).acknowledge(inbound(1001, said.message_id), deadline=Deadline(5))
    assert fake.reactions == [(1001, said.message_id, ["\U0001f440"])]


def test_a_probe_says_who_we_are_without_touching_the_queue(fake: FakeTelegram) -> None:
    one = fake.say("x")
    assert make_channel(fake).probe(deadline=Deadline(5)) == "@test_bot"
    assert methods(fake) == ["getme"]
    assert not fake.confirmed(one.update_id)
    fake.revoke()
    with pytest.raises(faults.BadCredentials):
        make_channel(fake).probe(deadline=Deadline(5))


def test_interrupt_ends_sends_for_good(fake: FakeTelegram) -> None:
    channel: Channel = make_channel(fake)
    channel.interrupt()
    with pytest.raises(faults.Interrupted):
        send(channel, 1001, "x")
