"""`loong channels send feishu` in all its spellings, its config, and the way through an owner."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import pathlib
import sqlite3
import urllib.error
import urllib.request

import pytest

from tests.commands.loong_cli import Loong, running_owner, telegram_config
from tests.e2e.gateway import Gateway
from tests.fakes.feishu import APP_ID, APP_SECRET, FakeFeishu
from tests.fakes.telegram import FakeTelegram
from tests.waiting import wait_until

CHAT = "oc_room"
VARIABLES = {"FEISHU_APP_ID": APP_ID, "FEISHU_APP_SECRET": APP_SECRET}


def feishu_config(base_url: str, *, more: str = "", chats: str = f'["{CHAT}"]') -> str:
    return f"""
[feishu]
enabled = true
default_account = "work"
base_url = "{base_url}"
[feishu.accounts.work]
allowed_chat_ids = {chats}
{more}
"""


def home(tmp_path: pathlib.Path, config: str) -> Loong:
    loong = Loong(tmp_path, config)
    loong.environ.update(VARIABLES)
    return loong


@pytest.fixture
def fake():
    with FakeFeishu() as server:
        server.add_chat(CHAT)
        yield server
        assert server.complaints == []


def rows(loong: Loong) -> list[str]:
    with contextlib.closing(sqlite3.connect(loong.places.store)) as conn, conn:
        return [state for (state,) in conn.execute("SELECT state FROM outbox ORDER BY n")]


@pytest.mark.parametrize(
    "spelling",
    [
        ("channels", "send", "feishu", "--target", CHAT),
        ("channels", "send", "--channel", "Lark", "--receive-id", CHAT),
        ("feishu-send", "--receive-id", CHAT, "--account", "Work"),
        ("feishu", "send", "--receive-id", CHAT, "--target-kind", "receive-id"),
        ("lark", "send", "--target", CHAT),
        ("lark-send", "--target", CHAT),
    ],
)
def test_every_spelling_sends(tmp_path: pathlib.Path, fake: FakeFeishu, spelling: tuple[str, ...]) -> None:
    loong = home(tmp_path, feishu_config(fake.base_url))
    ran = loong(*spelling, "--text", "hello **you**")
    assert ran.code == 0, ran.err
    assert [(sent.msg_type, sent.text) for sent in fake.messages] == [("text", "hello **you**")]
    by_default = str("--account" not in spelling).lower()
    assert ran.out == (
        f"feishu message sent (config={loong.config}, configured_account=work, account=work, "
        f"selected_by_default={by_default}, default_source=explicit_default, target_kind=receive_id)\n"
    )
    assert ran.err == ""
    assert rows(loong) == ["sent"]


def test_a_card_shows_markdown(tmp_path: pathlib.Path, fake: FakeFeishu) -> None:
    loong = home(tmp_path, feishu_config(fake.base_url))
    ran = loong("channels", "send", "feishu", "--target", CHAT, "--text", "no markup", "--card", "--json")
    assert ran.code == 0, ran.err
    assert [(sent.msg_type, sent.text) for sent in fake.messages] == [("interactive", "no markup")]
    assert ran.document["message_ids"] == [fake.messages[0].message_id]
    assert (ran.document["channel"], ran.document["target_kind"]) == ("feishu", "receive_id")


def test_every_known_flag_works(tmp_path: pathlib.Path, fake: FakeFeishu) -> None:
    fake.add_chat("oc_own", "ann")
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    (tmp_path / "a.bin").write_bytes(b"sound")
    loong = home(tmp_path, feishu_config(fake.base_url))
    to = ("feishu-send", "--account", "work", "--target-kind", "receive_id", "--receive-id")
    post = '{"zh_cn": {"title": "T", "content": [[{"tag": "text", "text": "rich"}]]}}'
    for arguments in (
        (*to, CHAT, "--text", "see:", "--image-path", "a.png", "--file-path", "a.bin", "--file-type", "opus"),
        (*to, "ann", "--receive-id-type", "user_id", "--post-json", post),
        (*to, CHAT, "--text", "once", "--uuid", "deploy-42"),
        (*to, CHAT, "--text", "once", "--uuid", "deploy-42"),
    ):
        ran = loong(*arguments)
        assert ran.code == 0, ran.err
    image, sound = fake.uploads
    for flags in (("--image-key", image), ("--file-key", sound, "--file-type", "opus")):
        ran = loong(*to, CHAT, *flags)
        assert ran.code == 0, ran.err
    assert [(sent.chat_id, sent.msg_type, sent.text) for sent in fake.messages] == [
        (CHAT, "text", "see:"),
        (CHAT, "image", ""),
        (CHAT, "audio", ""),
        ("oc_own", "post", "rich"),
        (CHAT, "text", "once"),
        (CHAT, "image", ""),
        (CHAT, "audio", ""),
    ]
    assert fake.messages[4].uuid == "deploy-42"
    assert set(rows(loong)) == {"sent"}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "there is nothing to send; give --text, --file or --image"),
        (("--card", "--image-key", "img_1"), "--card needs --text"),
        (("--text", "x", "--file-type", "pdf"), "--file-type needs --file"),
        (("--text", "x", "--uuid", "u" * 51), "--uuid has at most 50 characters"),
        (("--post-json", "{"), "--post-json is not valid JSON"),
        (("--text", "x", "--receive-id-type", "chat"), "--receive-id-type is one of chat_id, open_id"),
    ],
)
def test_flags_that_make_no_sense_are_refused_before_anything_is_asked(
    tmp_path: pathlib.Path, flags: tuple[str, ...], words: str
) -> None:
    loong = home(tmp_path, feishu_config("http://127.0.0.1:9"))
    ran = loong("feishu-send", "--target", CHAT, *flags)
    assert ran.code == 2
    assert words in ran.err
    assert not pathlib.Path(loong.places.store).exists()


def test_the_help_of_a_channel_explains_its_flags_and_the_general_one_names_them(
    tmp_path: pathlib.Path,
) -> None:
    loong = home(tmp_path, feishu_config("http://127.0.0.1:9"))
    of_feishu = loong("feishu-send", "--help").out
    general = loong("channels", "send", "--help").out
    for flag in ("--card", "--post-json JSON", "--file-type KIND", "--uuid KEY"):
        assert f"  {flag}  " in of_feishu
        assert f"  {flag}  " not in general
        assert flag.split()[0] in general
    assert "feishu: send the text as Markdown in a card" in of_feishu
    assert "--card" not in loong("channels", "send", "telegram", "--help").out


def test_a_message_is_answered_by_its_id(tmp_path: pathlib.Path, fake: FakeFeishu) -> None:
    said = fake.say(CHAT)
    loong = home(tmp_path, feishu_config(fake.base_url))
    ran = loong(
        "lark", "send", "--target", said.message_id, "--target-kind", "message_reply", "--text", "hello"
    )
    assert (ran.code, ran.err) == (0, "")
    assert [(sent.chat_id, sent.parent_id) for sent in fake.messages] == [(CHAT, said.message_id)]
    assert "target_kind=message_reply" in ran.out


@pytest.mark.parametrize(
    ("target", "kind", "words"),
    [
        (
            "om_1",
            "receive_id",
            "no chat id of feishu: expected oc_..., ou_..., on_..., a user id or an address",
        ),
        ("oc_1", "message_reply", "no message reply of feishu: expected om_..."),
        ("oc 1", "receive_id", "no chat id of feishu"),
        (
            "oc_1",
            "conversation",
            "feishu --target-kind does not support `conversation`; use `receive_id or message_reply`",
        ),
    ],
)
def test_a_target_of_the_wrong_kind_is_refused_before_anything_is_asked(
    tmp_path: pathlib.Path, target: str, kind: str, words: str
) -> None:
    loong = home(tmp_path, feishu_config("http://127.0.0.1:9"))
    ran = loong("channels", "send", "feishu", "--target", target, "--target-kind", kind, "--text", "x")
    assert ran.code == 2
    assert words in ran.err
    assert not pathlib.Path(loong.places.store).exists()


def test_a_message_without_its_kind_is_told_the_kind(tmp_path: pathlib.Path) -> None:
    ran = home(tmp_path, feishu_config("http://127.0.0.1:9"))(
        "feishu-send", "--target", "om_1", "--text", "x"
    )
    assert ran.code == 2
    assert "fix: loong channels send feishu --target om_1 --target-kind message_reply --text hello" in ran.err


@pytest.mark.parametrize("target", ["ou_1", "on_1", "a@b.example"])
def test_nobody_is_warned_about_chats_where_a_person_is_the_target(
    tmp_path: pathlib.Path, target: str
) -> None:
    loong = home(tmp_path, feishu_config("http://127.0.0.1:9"))
    with running_owner(loong) as owner:
        answer = {"id": "send-1", "state": "sent", "account": "work", "message_ids": ["om_5"], "error": ""}
        owner.answers["/api/gateway/send"] = (200, answer)
        said = [loong("feishu-send", "--target", one, "--text", "x").err for one in (target, "oc_other")]
    assert said[0] == ""
    assert "oc_other is not in feishu.allowed_chat_ids" in said[1]


def test_what_the_platform_refuses_is_exit_1_with_a_fix(tmp_path: pathlib.Path, fake: FakeFeishu) -> None:
    loong = home(tmp_path, feishu_config(fake.base_url))
    ran = loong("channels", "send", "feishu", "--target", "oc_other", "--text", "x")
    assert ran.code == 1
    assert ran.err.startswith("error: feishu/work refused the message: send: 230002 ")
    assert "fix: add the bot to the chat" in ran.err
    assert rows(loong) == ["failed"]


def test_wrong_credentials_are_told_without_the_secret(tmp_path: pathlib.Path, fake: FakeFeishu) -> None:
    loong = home(tmp_path, feishu_config(fake.base_url))
    loong.environ["FEISHU_APP_SECRET"] = "AnotherSecretThatIsWrong"
    ran = loong("channels", "send", "feishu", "--target", CHAT, "--text", "x")
    assert ran.code == 1
    assert "10014" in ran.err
    assert "AnotherSecret" not in ran.err


def test_a_chat_that_asks_to_wait_gets_everything_in_order(tmp_path: pathlib.Path, fake: FakeFeishu) -> None:
    fake.per_chat_per_s = 5
    text = "\n".join(f"line {number} of a long text" for number in range(1200))
    ran = home(tmp_path, feishu_config(fake.base_url))(
        "channels", "send", "feishu", "--target", CHAT, "--text", "-", stdin=text
    )
    assert ran.code == 0, ran.err
    assert len(fake.messages) > 5
    assert "\n".join(fake.texts()).split() == text.split()


@pytest.mark.parametrize("name", ["FEISHU_APP_ID", "FEISHU_APP_SECRET"])
def test_a_missing_credential_is_named(tmp_path: pathlib.Path, name: str) -> None:
    loong = home(tmp_path, feishu_config("http://127.0.0.1:9"))
    del loong.environ[name]
    ran = loong("channels", "send", "feishu", "--target", CHAT, "--text", "x")
    assert ran.code == 2
    assert f"env {name} is not set; nothing was sent" in ran.err


UNSET = 'verification_token = { env = "NOT_THERE" }\nencrypt_key = { env = "NOT_THERE" }'


@pytest.mark.parametrize("more", ["", UNSET, f'mode = "webhook"\n{UNSET}', 'mode = "webhook"'])
def test_sending_never_asks_for_the_secrets_of_the_webhook(
    tmp_path: pathlib.Path, fake: FakeFeishu, more: str
) -> None:
    ran = home(tmp_path, feishu_config(fake.base_url, more=more))(
        "channels", "send", "feishu", "--target", CHAT, "--text", "x"
    )
    assert ran.code == 0, ran.err


@pytest.mark.parametrize(
    ("more", "issues"),
    [
        ("", []),
        (UNSET, []),
        (
            'mode = "webhook"',
            ["env FEISHU_VERIFICATION_TOKEN is not set", "env FEISHU_ENCRYPT_KEY is not set"],
        ),
    ],
)
def test_receiving_asks_for_them_in_webhook_mode_only(
    tmp_path: pathlib.Path, more: str, issues: list[str]
) -> None:
    loong = home(tmp_path, feishu_config("http://127.0.0.1:9", more=more))
    document = loong("channels", "list", "--json").document
    (snapshot,) = document["channels"]
    found = {operation["id"]: operation["issues"] for operation in snapshot["operations"]}
    if "webhook" in more and importlib.util.find_spec("cryptography") is None:
        issues = [*issues, "the Python package cryptography is missing; webhook mode needs it"]
    assert found == {"send": [], "serve": issues}


def test_an_account_without_a_name_is_called_after_its_app(tmp_path: pathlib.Path, fake: FakeFeishu) -> None:
    config = (
        f'[feishu]\nenabled = true\ndomain = "lark"\nbase_url = "{fake.base_url}"\nallowed_chat_ids = ["*"]\n'
    )
    ran = home(tmp_path, config)("lark", "send", "--target", CHAT, "--text", "x")
    assert (ran.code, ran.err) == (0, "")
    assert f"account=lark_{APP_ID}," in ran.out


def test_a_probe_asks_who_the_bot_is(tmp_path: pathlib.Path, fake: FakeFeishu) -> None:
    ran = home(tmp_path, feishu_config(fake.base_url))("channels", "status", "--probe")
    assert "loong-bot" in ran.out


def test_a_running_owner_is_told_kind_and_card(tmp_path: pathlib.Path) -> None:
    loong = home(tmp_path, feishu_config("http://127.0.0.1:9"))
    with running_owner(loong) as owner:
        answer = {"id": "send-1", "state": "sent", "account": "work", "message_ids": ["om_5"], "error": ""}
        owner.answers["/api/gateway/send"] = (200, answer)
        ran = loong("feishu-send", "--receive-id", CHAT, "--text", "hello", "--card")
    assert ran.code == 0, ran.err
    ((_, body),) = owner.requests
    assert (body["channel"], body["target_kind"], body["options"]) == ("feishu", "receive_id", {"card": True})


def ask_for_file(gateway: Gateway, copy: str) -> str:
    """What the port says to a request for a file of that name."""
    token = pathlib.Path(gateway.home, "gateway-runtime", "control-token").read_text().strip()
    body = {"channel": "feishu", "target": CHAT, "files": [{"copy": copy, "name": "a"}]}
    request = urllib.request.Request(
        f"{gateway.url}/api/gateway/send",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    with caught.value as answer:
        assert answer.code == 400
        return answer.read().decode()


def test_a_real_owner_sends_texts_cards_replies_and_files(tmp_path: pathlib.Path, fake: FakeFeishu) -> None:
    said = fake.say(CHAT)
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    with FakeTelegram() as telegram:
        config = telegram_config(telegram.base_url) + feishu_config(fake.base_url)
        with Gateway(
            tmp_path, config, environ=VARIABLES, arguments=("channels", "serve", "telegram")
        ) as gateway:
            gateway.start()
            words = ("feishu", "send", "--target")
            for arguments in (
                (*words, CHAT, "--text", "**plain**"),
                (*words, CHAT, "--text", "a card", "--card"),
                (*words, said.message_id, "--target-kind", "message_reply", "--text", "a reply"),
                (*words, CHAT, "--file", "a.pdf"),
            ):
                done = gateway.run(*arguments)
                assert done.returncode == 0, done.stderr
            for copy in ("../config.toml", gateway.config_path, "0" * 32):
                assert "no such file among those that wait" in ask_for_file(gateway, copy)
            assert APP_SECRET not in gateway.output()
            assert list(pathlib.Path(gateway.home, "outgoing").iterdir()) == []
    assert [(sent.msg_type, sent.text) for sent in fake.messages] == [
        ("text", "**plain**"),
        ("interactive", "a card"),
        ("text", "a reply"),
        ("file", ""),
    ]
    assert [data for _, data in fake.uploads.values()] == [b"%PDF"]
    assert fake.messages[2].parent_id == said.message_id


def test_an_owner_that_died_leaves_the_file_to_the_next_one(tmp_path: pathlib.Path, fake: FakeFeishu) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    order = fake.fault("send", "hang")
    with FakeTelegram() as telegram:
        config = telegram_config(telegram.base_url) + feishu_config(fake.base_url)
        arguments = ("channels", "serve", "telegram")
        with Gateway(tmp_path, config, environ=VARIABLES, arguments=arguments) as gateway:
            gateway.start()
            sent = gateway.run("feishu-send", "--target", CHAT, "--file", "a.pdf", "--no-wait")
            assert sent.returncode == 0, sent.stderr
            (tmp_path / "a.pdf").unlink()
            fake.wait_for(lambda: order.hits == 1)
            gateway.kill()
            assert len(list(pathlib.Path(gateway.home, "outgoing").iterdir())) == 1
            fake.release()
            # Whether it was dead or slow, the platform knows the part by its key.
            gateway.start()
            fake.wait_for(lambda: len(fake.calls("send")) == 2)
            wait_until(
                lambda: not list(pathlib.Path(gateway.home, "outgoing").iterdir()), 10, "the copy is gone"
            )
    assert [sent.msg_type for sent in fake.messages] == ["file"]
