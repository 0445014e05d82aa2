"""`loong channels send`: spellings, refusals, the way through a running gateway."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import sqlite3
import threading
import types
from collections.abc import Iterator
from typing import Any

import pytest

from loong_channels.contract import OutboundFile
from loong_channels.telegram.spec import SPEC
from loong_gateway.base.faults import CommandError
from loong_gateway.base.process import identity
from loong_gateway.commands import channels_send
from loong_gateway.messaging.parts import Contents
from loong_gateway.owner.files import publish, write_control_token
from loong_gateway.owner.lock import OwnerLock
from loong_gateway.owner.paths import Places
from tests.commands.loong_cli import TOKEN, Loong, running_owner, telegram_config
from tests.fakes.telegram import FakeTelegram

SEND = ("channels", "send", "telegram", "--target", "1001", "--text", "hello")


def rows(loong: Loong) -> list[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(loong.places.store)) as conn, conn:
        return conn.execute("SELECT state, coalesce(last_error, '') FROM outbox ORDER BY n").fetchall()


@pytest.mark.parametrize(
    "spelling",
    [
        ("channels", "send", "telegram", "--target", "1001"),
        ("channels", "send", "--channel", "Telegram", "--receive-id", "1001"),
        ("telegram-send", "--target", "1001", "--account", "Work", "--target-kind", "conversation"),
    ],
)
def test_every_spelling_sends(tmp_path: pathlib.Path, spelling: tuple[str, ...]) -> None:
    with FakeTelegram() as telegram:
        telegram.add_private(1001)
        loong = Loong(tmp_path, telegram_config(telegram.base_url))
        ran = loong(*spelling, "--text", "hello")
        assert ran.code == 0, ran.err
        assert [sent.text for sent in telegram.messages] == ["hello"]
    by_default = str("--account" not in spelling).lower()
    assert ran.out == (
        f"telegram message sent (config={loong.config}, configured_account=work, account=work, "
        f"selected_by_default={by_default}, default_source=explicit_default, target_kind=conversation)\n"
    )
    assert rows(loong) == [("sent", "")]


def test_json_carries_the_message_ids(tmp_path: pathlib.Path) -> None:
    with FakeTelegram() as telegram:
        telegram.add_private(1001)
        ran = Loong(tmp_path, telegram_config(telegram.base_url))(*SEND, "--json")
        assert ran.document["message_ids"] == [str(telegram.messages[0].message_id)]
    assert ran.document["state"] == "sent"
    assert list(ran.document)[:6] == [
        "channel",
        "configured_account",
        "account",
        "target",
        "target_kind",
        "message_ids",
    ]


def test_a_long_text_from_standard_input_goes_out_in_order(tmp_path: pathlib.Path) -> None:
    text = "\n".join(f"line {number} of a long text" for number in range(400))
    with FakeTelegram() as telegram:
        telegram.add_private(1001)
        loong = Loong(tmp_path, telegram_config(telegram.base_url))
        ran = loong(*SEND[:-1], "-", stdin=text + "\n")
        assert ran.code == 0, ran.err
        sent = [message.text for message in telegram.messages]
    assert len(sent) > 1
    assert "\n".join(sent).split() == text.split()
    assert {state for state, _ in rows(loong)} == {"sent"}


def test_a_target_that_is_not_listed_is_sent_with_one_warning(tmp_path: pathlib.Path) -> None:
    with FakeTelegram() as telegram:
        telegram.add_private(1001)
        ran = Loong(tmp_path, telegram_config(telegram.base_url, chats="[7]"))(*SEND)
    assert ran.code == 0
    assert ran.err.count("warning:") == 1
    assert "1001 is not in telegram.allowed_chat_ids" in ran.err


def test_what_the_platform_refuses_is_exit_1_and_recorded(tmp_path: pathlib.Path) -> None:
    with FakeTelegram() as telegram:
        loong = Loong(tmp_path, telegram_config(telegram.base_url))
        ran = loong(*SEND)
    assert ran.code == 1
    assert ran.err.startswith("error: telegram/work refused the message: ")
    assert "fix: let the person write to the bot first" in ran.err
    assert "warning" not in ran.err
    assert [state for state, _ in rows(loong)] == ["failed"]


def test_a_platform_that_cannot_be_reached_is_exit_2(tmp_path: pathlib.Path) -> None:
    loong = Loong(tmp_path, telegram_config("http://127.0.0.1:9"))
    ran = loong(*SEND)
    assert ran.code == 2
    assert "nothing was sent" in ran.err
    assert [state for state, _ in rows(loong)] == ["failed"]


def test_a_missing_token_is_named_and_nothing_is_stored(tmp_path: pathlib.Path) -> None:
    loong = Loong(tmp_path, telegram_config("http://127.0.0.1:9"))
    del loong.environ["TELEGRAM_BOT_TOKEN"]
    ran = loong(*SEND)
    assert ran.code == 2
    assert ran.err.splitlines()[0] == "error: env TELEGRAM_BOT_TOKEN is not set; nothing was sent"
    assert not pathlib.Path(loong.places.store).exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--target", "1", "--text", "x"), "canonical grouped channel commands require a channel id"),
        (("telegrm", "--target", "1", "--text", "x"), "did you mean telegram?"),
        (("matrix", "--target", "1", "--text", "x"), "channel `matrix` is not supported in this build"),
        (("telegram", "--channel", "feishu", "--target", "1", "--text", "x"), "two channels are named"),
        (("telegram", "--target", "1", "--text", " \n"), "must not be empty"),
        (("telegram", "--target", " ", "--text", "x"), "--target must not be empty"),
        (
            ("telegram", "--target", "1", "--text", "x", "--target-kind", "address"),
            "telegram --target-kind does not support `address`; use `conversation`",
        ),
        (
            ("telegram", "--target", "1", "--text", "x", "--account", "wrk"),
            "requested account `wrk` is not configured (configured accounts: work); did you mean work?",
        ),
        (
            ("telegram", "--target", "1", "--text", "x", "--card"),
            "telegram does not take --card; feishu would",
        ),
        (("telegram", "--target", "1"), "there is nothing to send; give --text, --file or --image"),
        (("telegram", "--target", "1", "--file", "/nonexistent/x"), "no such file or directory"),
        (("telegram", "--target", "1", *["--file", "x"] * 11), "11 files are named; at most 10 are sent"),
        (("telegram", "--target", "1", "--text", "x", "--text", "y"), "--text: is given more than once"),
        (("telegram", "--target", "1", "--target", "2", "--text", "x"), "--target: is given more than once"),
    ],
)
def test_a_wrong_call_is_one_error_and_touches_nothing(
    tmp_path: pathlib.Path, args: tuple[str, ...], message: str
) -> None:
    loong = Loong(tmp_path, telegram_config("http://127.0.0.1:9"))
    ran = loong("channels", "send", *args)
    assert ran.code == 2
    assert message in ran.err
    assert ran.out == ""
    assert sorted(path.name for path in loong.home.iterdir()) == ["config.toml"]


def test_bytes_that_are_no_text_are_refused(tmp_path: pathlib.Path) -> None:
    ran = Loong(tmp_path, telegram_config("http://127.0.0.1:9"))(*SEND[:-1], "-", stdin=b"abc\xff")
    assert ran.code == 2
    assert "not UTF-8: byte 3" in ran.err
    (tmp_path / "again").mkdir()
    ran = Loong(tmp_path / "again", telegram_config("http://127.0.0.1:9"))(
        *SEND[:-1], os.fsdecode(b"abc\xff")
    )
    assert ran.code == 2
    assert "not UTF-8: character 3" in ran.err


@pytest.mark.parametrize(
    ("state", "code", "said"),
    [
        ("sent", 0, "telegram message sent ("),
        ("queued", 0, "telegram message queued ("),
        ("unknown", 1, "did not confirm the message: lost; the outcome is unknown"),
        ("of a later version", 1, "the outcome is unknown"),
        ("failed", 1, "refused the message: lost"),
        ("expired", 1, "refused the message: lost"),
        ("refused", 2, "could not be reached: lost; nothing was sent"),
    ],
)
def test_a_running_gateway_does_the_sending(tmp_path: pathlib.Path, state: str, code: int, said: str) -> None:
    loong = Loong(tmp_path, telegram_config("http://127.0.0.1:9"))
    with running_owner(loong) as owner:
        answer = {"id": "send-1", "state": state, "account": "work", "message_ids": ["5"], "error": "lost"}
        owner.answers["/api/gateway/send"] = (200, answer)
        ran = loong(*SEND)
    assert ran.code == code
    assert said in ran.out + ran.err
    ((path, body),) = owner.requests
    assert path == "/api/gateway/send"
    assert (body["channel"], body["account"], body["target"]) == ("telegram", "work", "1001")
    assert body["wait_s"] == 30


@pytest.mark.parametrize(
    ("named", "asked"), [((), None), (("--account", "bot_7"), "bot_7")], ids=["by default", "named"]
)
def test_an_account_whose_name_only_the_gateway_knows_is_left_to_it(
    tmp_path: pathlib.Path, named: tuple[str, ...], asked: str | None
) -> None:
    loong = Loong(tmp_path, "[telegram]\nenabled = true\nallowed_chat_ids = [1001]\n")
    if asked is None:
        del loong.environ["TELEGRAM_BOT_TOKEN"]
    else:
        loong.environ["TELEGRAM_BOT_TOKEN"] = "7:secret"
    with running_owner(loong) as owner:
        answer = {"id": "send-1", "state": "sent", "account": "bot_7", "message_ids": ["5"], "error": ""}
        owner.answers["/api/gateway/send"] = (200, answer)
        ran = loong(*SEND, *named)
    assert ran.code == 0, ran.err
    assert "configured_account=bot_7, account=bot_7, " in ran.out
    ((_, body),) = owner.requests
    assert body["account"] == asked


def test_a_message_that_waits_says_why(tmp_path: pathlib.Path) -> None:
    loong = Loong(tmp_path, telegram_config("http://127.0.0.1:9"))
    with running_owner(loong) as owner:
        answer = {"id": "send-1", "state": "queued", "message_ids": [], "error": "HTTP 401"}
        owner.answers["/api/gateway/send"] = (200, answer)
        ran = loong(*SEND)
    assert ran.code == 0
    assert ran.err == "the gateway keeps it and sends it as soon as it can: HTTP 401\n"


def test_an_answer_without_an_id_is_never_called_sent(tmp_path: pathlib.Path) -> None:
    loong = Loong(tmp_path, telegram_config("http://127.0.0.1:9"))
    with running_owner(loong) as owner:
        owner.answers["/api/gateway/send"] = (200, {"state": "sent", "message_ids": []})
        ran = loong(*SEND)
    assert (ran.code, ran.out) == (1, "")
    assert "the outcome is unknown" in ran.err


@contextlib.contextmanager
def deaf_owner(loong: Loong, *, answers_health: bool) -> Iterator[None]:
    """An owner whose port takes connections and says nothing, or nothing beyond the health check."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while not ended.is_set():
                    connection, _ = listener.accept()
                    with connection:
                        if connection.recv(65536).startswith(b"GET /healthz"):
                            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        thread = threading.Thread(target=serve)
        if answers_health:
            thread.start()
        places = loong.places
        lock = OwnerLock.acquire(places)
        try:
            write_control_token(places)
            publish(places, {**identity(), "bind_address": "127.0.0.1", "port": listener.getsockname()[1]})
            yield
        finally:
            lock.release()
            ended.set()
            if answers_health:
                with contextlib.suppress(OSError):
                    socket.create_connection(listener.getsockname(), 1).close()
                thread.join()


def test_a_frozen_gateway_is_asked_for_nothing(tmp_path: pathlib.Path) -> None:
    loong = Loong(tmp_path, telegram_config("http://127.0.0.1:9"))
    with deaf_owner(loong, answers_health=False):
        ran = loong(*SEND)
    assert ran.code == 2
    assert "no answer within 1 s; nothing was sent" in ran.err


def test_a_gateway_that_falls_silent_after_it_was_asked_leaves_the_outcome_unknown(
    tmp_path: pathlib.Path,
) -> None:
    loong = Loong(tmp_path, telegram_config("http://127.0.0.1:9"))
    with deaf_owner(loong, answers_health=True):
        ran = loong(*SEND, "--json")
    assert ran.code == 1
    assert "the outcome is unknown" in ran.err
    assert ran.document["error"]["code"] == "channels.no_outcome"


@pytest.mark.parametrize("target", ["abc", "@a", "12a", "1:x", "-", "https://t.me/x"])
def test_a_target_that_no_chat_can_have_is_refused_before_anything_is_asked(
    tmp_path: pathlib.Path, target: str
) -> None:
    loong = Loong(tmp_path, telegram_config("http://127.0.0.1:9"))
    ran = loong("channels", "send", "telegram", f"--target={target}", "--text", "x")
    assert ran.code == 2
    assert f'--target "{target}" is no chat id of telegram: expected a number or @name' in ran.err
    assert "warning" not in ran.err
    assert not pathlib.Path(loong.places.store).exists()


def test_a_thread_of_a_chat_goes_to_the_platform_as_one(tmp_path: pathlib.Path) -> None:
    with FakeTelegram() as telegram:
        telegram.add_private(1001)
        ran = Loong(tmp_path, telegram_config(telegram.base_url))(*SEND[:4], "1001:7", *SEND[5:])
    # The chat is found, the topic is not.
    assert "message thread not found" in ran.err


def test_no_wait_asks_the_gateway_only_to_keep_it(tmp_path: pathlib.Path) -> None:
    loong = Loong(tmp_path, telegram_config("http://127.0.0.1:9"))
    with running_owner(loong) as owner:
        owner.answers["/api/gateway/send"] = (200, {"id": "send-1", "state": "queued", "message_ids": []})
        ran = loong(*SEND, "--no-wait", "--json")
    assert ran.code == 0
    assert owner.requests[0][1]["wait_s"] == 0
    assert ran.document["state"] == "queued"


def test_a_gateway_that_refuses_says_why(tmp_path: pathlib.Path) -> None:
    loong = Loong(tmp_path, telegram_config("http://127.0.0.1:9"))
    with running_owner(loong) as owner:
        owner.answers["/api/gateway/send"] = (503, {"error": {"message": "the store cannot be written"}})
        ran = loong(*SEND)
    assert ran.code == 2
    assert "the store cannot be written" in ran.err
    assert TOKEN not in ran.err


# --- files

PNG = b"\x89PNG\r\n\x1a\n" + bytes(500)


def copies(loong: Loong) -> list[str]:
    outgoing = pathlib.Path(loong.places.outgoing)
    return sorted(path.name for path in outgoing.iterdir()) if outgoing.exists() else []


def test_files_go_out_after_the_text_and_their_copies_are_gone(tmp_path: pathlib.Path) -> None:
    (tmp_path / "报告.pdf").write_bytes(b"%PDF-1.4")
    (tmp_path / "a.png").write_bytes(PNG)
    with FakeTelegram() as telegram:
        telegram.add_private(1001)
        loong = Loong(tmp_path, telegram_config(telegram.base_url))
        ran = loong(*SEND, "--file", "报告.pdf", "--image", "a.png", "--json")
        assert ran.code == 0, ran.err
        sent = [
            (one.kind, one.text, one.file and (one.file.name, one.file.data)) for one in telegram.messages
        ]
    assert sent == [
        ("text", "hello", None),
        ("photo", "", ("a.png", PNG)),
        ("document", "", ("报告.pdf", b"%PDF-1.4")),
    ]
    assert len(ran.document["message_ids"]) == 3
    assert rows(loong) == [("sent", "")] * 3
    assert copies(loong) == []


def test_several_files_go_out_in_the_order_in_which_they_are_given(tmp_path: pathlib.Path) -> None:
    for name in ("b.pdf", "a.pdf", "c.pdf"):
        (tmp_path / name).write_bytes(b"%PDF")
    for name in ("2.png", "1.png"):
        (tmp_path / name).write_bytes(PNG)
    with FakeTelegram() as telegram:
        telegram.add_private(1001)
        loong = Loong(tmp_path, telegram_config(telegram.base_url))
        files = ("--file", "b.pdf", "--file-path", "a.pdf", "--file", "c.pdf")
        ran = loong(*SEND[:5], *files, "--image", "2.png", "--image", "1.png")
        assert ran.code == 0, ran.err
        assert [sent.file and sent.file.name for sent in telegram.messages] == [
            "2.png",
            "1.png",
            "b.pdf",
            "a.pdf",
            "c.pdf",
        ]
    assert copies(loong) == []


def test_a_file_needs_no_text(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.mp3").write_bytes(b"ID3")
    with FakeTelegram() as telegram:
        telegram.add_private(1001)
        ran = Loong(tmp_path, telegram_config(telegram.base_url))(*SEND[:5], "--file-path", "a.mp3")
        assert ran.code == 0, ran.err
        assert [sent.kind for sent in telegram.messages] == ["audio"]


@pytest.mark.parametrize(
    ("flag", "name", "words"),
    [
        ("--file", "link", "it is a symbolic link"),
        ("--file", ".", "it is not a regular file"),
        ("--file", "empty", "it is empty"),
        ("--image", "large", "it has more than 10 MB"),
        ("--image", "large", "name a file that is not empty and has at most 10 MB"),
    ],
)
def test_a_file_that_cannot_be_sent_is_refused_before_anything_is_asked(
    tmp_path: pathlib.Path, flag: str, name: str, words: str
) -> None:
    (tmp_path / "empty").touch()
    with open(tmp_path / "large", "wb") as large:
        large.truncate((10 << 20) + 1)
    (tmp_path / "link").symlink_to("large")
    loong = Loong(tmp_path, telegram_config("http://127.0.0.1:9"))
    ran = loong(*SEND, flag, name)
    assert ran.code == 2
    assert words in ran.err
    assert not pathlib.Path(loong.places.store).exists()
    assert copies(loong) == []


def test_a_file_that_the_platform_refuses_leaves_no_copy(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    with FakeTelegram() as telegram:
        loong = Loong(tmp_path, telegram_config(telegram.base_url))
        ran = loong(*SEND, "--file", "a.pdf")
    assert ran.code == 1
    assert [state for state, _ in rows(loong)] == ["failed", "failed"]
    assert copies(loong) == []


@pytest.mark.parametrize(
    ("status", "answer", "left"),
    [
        (200, {"id": "send-1", "state": "queued", "message_ids": []}, 1),
        (200, {"id": "send-1", "state": "unknown", "message_ids": []}, 1),
        (200, {"id": "", "state": "refused", "message_ids": []}, 0),
        (503, {"error": {"message": "the store cannot be written"}}, 0),
        (502, {"error": {"message": "nobody knows"}}, 1),
    ],
)
def test_an_owner_is_told_the_name_of_a_copy_that_stays_as_long_as_it_may_be_needed(
    tmp_path: pathlib.Path, status: int, answer: dict[str, object], left: int
) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    loong = Loong(tmp_path, telegram_config("http://127.0.0.1:9"))
    with running_owner(loong) as owner:
        owner.answers["/api/gateway/send"] = (status, answer)
        loong(*SEND[:5], "--file", "a.pdf")
    ((_, body),) = owner.requests
    (file,) = body["files"]
    assert (file["name"], file["kind"], body["text"]) == ("a.pdf", "file", "")
    assert "/" not in file["copy"]
    assert str(tmp_path) not in str(body)
    assert copies(loong) == [file["copy"]] * left


def test_a_command_that_is_ended_while_the_owner_sends_leaves_it_the_copy(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    loong = Loong(tmp_path, "")
    context: Any = types.SimpleNamespace(places=loong.places)
    file = OutboundFile(str(tmp_path / "a.pdf"), "a.pdf")
    account = types.SimpleNamespace(id="work", name="telegram", default_source="fallback")
    order: Any = channels_send.Order(
        None, account, account, SPEC, "1", "conversation", Contents(files=(file,)), selected_by_default=True
    )

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(channels_send, "_outcome_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        channels_send._through_owner(context, None, order, wait=True)
    assert len(copies(loong)) == 1


class SlowOwner:
    """A client of an owner that can be asked from the `after`th look on."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.looks = 0

    def __call__(self, places: Places) -> SlowOwner:
        return self

    def available(self) -> bool:
        self.looks += 1
        return self.looks > self.after


@pytest.fixture
def held(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The surroundings of a command whose home somebody holds."""
    monkeypatch.setattr(channels_send, "OWNER_LOOK_S", 0.001)
    places = Loong(tmp_path, "").places
    places.create()
    lock = OwnerLock.acquire(places)
    yield types.SimpleNamespace(places=places)
    lock.release()


def test_an_owner_that_is_about_to_open_its_port_is_waited_for(
    held: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = SlowOwner(3)
    monkeypatch.setattr(channels_send, "ControlClient", client)
    assert channels_send._owner(held) is client


def test_beside_an_owner_that_cannot_be_asked_nothing_is_sent(
    held: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels_send, "OWNER_WAIT_S", 0.05)
    with pytest.raises(CommandError) as caught:
        channels_send._owner(held)
    assert (caught.value.code, caught.value.exit_code) == ("channels.gateway_silent", 2)
    assert "it has not opened a port; nothing was sent" in caught.value.message


def test_without_an_owner_the_command_sends_by_itself(tmp_path: pathlib.Path) -> None:
    places: Any = types.SimpleNamespace(places=Loong(tmp_path, "").places)
    assert channels_send._owner(places) is None
