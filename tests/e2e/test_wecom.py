"""A real gateway, and the commands beside it, with a WeCom account.

python -m tests.e2e.test_wecom 100 4      100 turns of 4 seconds at once: how late were the pings meanwhile?
"""

from __future__ import annotations

import json
import pathlib
import re
import sys
import tempfile
from dataclasses import dataclass

import pytest

from tests.e2e.gateway import Gateway, config_for
from tests.fakes.model import FakeModel
from tests.fakes.process import Remote
from tests.fakes.telegram import FakeTelegram
from tests.fakes.wecom import BOT_ID, SECRET, FakeWeCom
from tests.waiting import wait_until

ECHO = '[provider]\nkind = "echo"\n'
ENVIRON = {"WECOM_BOT_ID": BOT_ID, "WECOM_SECRET": SECRET}


def wecom_config(fake: FakeWeCom | str, extra: str = "") -> str:
    url = fake if isinstance(fake, str) else fake.url
    return f"""
[wecom]
enabled = true
websocket_url = "{url}"
default_account = "work"
{extra}
[wecom.accounts.work]
allowed_conversation_ids = ["zhangsan", "room"]
"""


def gateway_of(
    tmp_path: pathlib.Path, fake: FakeWeCom, provider: str = ECHO, extra: str = "", more: str = ""
) -> Gateway:
    return Gateway(tmp_path, provider + more + wecom_config(fake, extra), environ=ENVIRON)


def ready(gateway: Gateway, fake: FakeWeCom) -> None:
    gateway.start()
    gateway.wait_status(lambda document: all(one["phase"] == "ready" for one in document["surfaces"]))
    fake.wait_ready()


def test_messages_are_answered_in_their_conversation_and_strangers_are_not(tmp_path: pathlib.Path) -> None:
    with FakeWeCom() as fake, gateway_of(tmp_path, fake) as gateway:
        ready(gateway, fake)
        assert gateway.surface("wecom")["account"] == "work"
        fake.say("from a stranger", user="mallory")
        fake.say("hello")
        fake.say("@Robot in the room", user="lisi", group="room")
        fake.wait_answers(2)
        assert "hello" in fake.texts("zhangsan")[0]
        assert "in the room" in fake.texts("room")[0]
        assert fake.texts("mallory") == []
        assert len(fake.frames("aibot_respond_msg")) == 2
        assert fake.complaints == []
        assert gateway.stop() == 0
        for secret in (SECRET,):
            assert secret not in gateway.output()
            for path in pathlib.Path(gateway.home).rglob("*.log"):
                assert secret not in path.read_text(encoding="utf-8")


def test_a_message_that_comes_twice_is_answered_once(tmp_path: pathlib.Path) -> None:
    with (
        FakeWeCom() as fake,
        FakeModel() as model,
        gateway_of(tmp_path, fake, config_for(None, model)) as gateway,
    ):
        ready(gateway, fake)
        model.set_delay(0.3)
        fake.say("same", msgid="m-1", req_id="r-1")
        model.wait_calls(1)
        # While it is being answered, and after.
        fake.say("same", msgid="m-1", req_id="r-2")
        fake.wait_answers(1)
        fake.say("same", msgid="m-1", req_id="r-3")
        fake.say("next")
        fake.wait_answers(2)
        assert [("same" in text, "next" in text) for text in fake.texts()] == [(True, False), (False, True)]
        assert len(model.calls) == 2


def test_what_finds_its_conversation_full_is_recorded_and_told_once(tmp_path: pathlib.Path) -> None:
    with (
        FakeWeCom() as fake,
        FakeModel() as model,
        gateway_of(tmp_path, fake, config_for(None, model), more="[limits]\nlane_waiting = 1\n") as gateway,
    ):
        ready(gateway, fake)
        model.set_delay(1.0)
        fake.say("first")
        model.wait_calls(1)
        for number in range(3):
            fake.say(f"too much {number}")
        fake.say("@Robot elsewhere", user="lisi", group="room")
        fake.wait_answers(3)
        told, answer = fake.texts("zhangsan")
        assert "did not take this one" in told
        assert "first" in answer
        assert "elsewhere" in fake.texts("room")[0]
        # The document is published now and then, not with every message.
        wait_until(lambda: gateway.surface("wecom")["inbox"]["rejected"] == 3)
        model.set_delay(0)
        fake.say("again")
        assert "again" in fake.wait_answers(4)[3]


def test_a_long_message_that_the_client_splits_is_answered_part_by_part_in_order(
    tmp_path: pathlib.Path,
) -> None:
    with FakeWeCom() as fake, gateway_of(tmp_path, fake) as gateway:
        ready(gateway, fake)
        for number in range(4):
            fake.say(f"part {number}: " + "x" * 3900)
        fake.wait_answers(4)
        assert [re.findall(r"part (\d)", text)[-1] for text in fake.texts()] == ["0", "1", "2", "3"]


def test_strangers_get_no_frame_at_all_and_nothing_of_theirs_is_fetched(tmp_path: pathlib.Path) -> None:
    extra = 'streaming_mode = "stream"\nwelcome_text = "Hello!"'
    with FakeWeCom() as fake, gateway_of(tmp_path, fake, extra=extra) as gateway:
        ready(gateway, fake)
        url = fake.add_media(b"x" * 32, "a.png", "a")
        fake.event("enter_chat", user="mallory")
        fake.say("hello", user="mallory")
        fake.say("@Robot hello", user="mallory", group="elsewhere")
        fake.say(None, user="mallory", msgtype="image", image={"url": url, "aeskey": "k"})
        fake.say("hello")
        fake.wait_answers(1)
        assert fake.fetched == []
        assert {one.cmd for one in fake.received} == {"aibot_subscribe", "aibot_respond_msg"}
        assert {one.req_id for one in fake.frames("aibot_respond_msg")} == {fake.injected[-1].req_id}


def test_a_bubble_is_ended_by_a_short_apology_when_the_provider_fails(tmp_path: pathlib.Path) -> None:
    with (
        FakeWeCom() as fake,
        FakeModel() as model,
        gateway_of(tmp_path, fake, config_for(None, model), 'streaming_mode = "stream"') as gateway,
    ):
        ready(gateway, fake)
        model.set_delay(1.2)
        model.fault("status", status=400)
        fake.say("what?")
        (text,) = fake.wait_answers(1)
        (bubble,) = fake.bubbles.values()
        assert bubble.frames == ["…", text]
        assert bubble.finished
        assert 0 < len(text) < 200
        assert "Traceback" not in text


def test_a_send_goes_through_the_owner_and_opens_no_second_connection(tmp_path: pathlib.Path) -> None:
    with FakeWeCom() as fake, gateway_of(tmp_path, fake) as gateway:
        ready(gateway, fake)
        fake.say("hello")
        fake.wait_answers(1)
        for words in (("channels", "send", "wecom"), ("wecom-send",)):
            sent = gateway.run(*words, "--target", "zhangsan", "--text", "from the shell", "--json")
            assert sent.returncode == 0, sent.stderr
            assert json.loads(sent.stdout)["state"] == "sent"
        refused = gateway.run("channels", "send", "wecom", "--target", "nobody", "--text", "x")
        assert refused.returncode == 1
        assert "write to the robot first" in refused.stderr
        for view in ("channels status --probe", "doctor", "status", "channels"):
            ran = gateway.run(*view.split())
            assert ran.returncode == 0, f"{view}: {ran.stdout}{ran.stderr}"
        assert len(fake.clients) == 1
        assert [push.text for push in fake.pushes] == ["from the shell"] * 2


def test_without_an_owner_a_send_connects_by_itself_and_a_probe_asks(tmp_path: pathlib.Path) -> None:
    with FakeWeCom() as fake, gateway_of(tmp_path, fake) as gateway:
        fake.say("known")
        sent = gateway.run("wecom-send", "--target", "zhangsan", "--text", "hello")
        assert sent.returncode == 0, sent.stderr
        assert fake.texts() == ["hello"]
        probed = gateway.run("channels", "status", "--probe")
        assert "ok " in probed.stdout
        assert len(fake.clients) == 2
        fake.revoke()
        refused = gateway.run("wecom-send", "--target", "zhangsan", "--text", "hello")
        assert refused.returncode != 0
        assert SECRET not in refused.stderr + refused.stdout


def test_a_send_goes_through_a_serve_as_well(tmp_path: pathlib.Path) -> None:
    with (
        FakeWeCom() as fake,
        Gateway(tmp_path, ECHO + wecom_config(fake), environ=ENVIRON, arguments=("wecom-serve",)) as gateway,
    ):
        ready(gateway, fake)
        fake.say("hello")
        fake.wait_answers(1)
        sent = gateway.run("wecom-send", "--target", "zhangsan", "--text", "from the shell", "--json")
        assert sent.returncode == 0, sent.stderr
        assert json.loads(sent.stdout)["state"] == "sent"
        assert [push.text for push in fake.pushes] == ["from the shell"]
        assert len(fake.clients) == 1


def test_serve_answers_and_stops_cleanly(tmp_path: pathlib.Path) -> None:
    with (
        FakeWeCom() as fake,
        Gateway(tmp_path, ECHO + wecom_config(fake), environ=ENVIRON, arguments=("wecom-serve",)) as gateway,
    ):
        gateway.start()
        fake.wait_ready()
        fake.say("hello")
        fake.wait_answers(1)
        assert gateway.terminate() == 0


def test_a_takeover_is_shown_and_another_channel_goes_on(tmp_path: pathlib.Path) -> None:
    with FakeWeCom() as fake, FakeTelegram() as telegram:
        telegram.add_private(1001)
        with gateway_of(tmp_path, fake, more=config_for(telegram, None)) as gateway:
            ready(gateway, fake)
            fake.kick()
            document = gateway.wait_status(
                lambda document: "conflict:wecom=work" in document["degraded_reasons"]
            )
            (surface,) = [one for one in document["surfaces"] if one["channel"] == "wecom"]
            assert surface["phase"] == "conflict"
            telegram.say("still there?")
            telegram.wait_messages(1)
            assert len(fake.clients) == 1
            assert gateway.terminate() == 0


def test_a_wrong_secret_is_shown_and_not_hammered(tmp_path: pathlib.Path) -> None:
    with FakeWeCom() as fake, gateway_of(tmp_path, fake) as gateway:
        fake.revoke()
        gateway.start()
        document = gateway.wait_status(
            lambda document: any(one["phase"] == "auth_failed" for one in document["surfaces"])
        )
        (surface,) = document["surfaces"]
        assert "853000" in surface["last_error"]
        assert len(fake.clients) == 1
        assert SECRET not in gateway.output()
        assert gateway.terminate() == 0


def test_every_acknowledged_question_is_answered_after_a_kill(tmp_path: pathlib.Path) -> None:
    with FakeWeCom(per_minute=1000) as fake, FakeModel() as model:
        provider = config_for(None, model)
        with gateway_of(tmp_path, fake, provider, "quota_per_min = 0\nquota_per_hour = 0") as gateway:
            ready(gateway, fake)
            model.set_delay(0.15)
            for number in range(8):
                fake.say(f"question {number}")
            fake.wait_answers(2)
            gateway.kill()
            gateway.start()
            fake.wait_ready()
            fake.wait_for(
                lambda: all(any(f"question {n}" in text for text in fake.texts()) for n in range(8)), 30
            )
            found = [re.findall(r"question (\d+)", text) for text in fake.texts()]
            numbers = [int(one[-1]) for one in found if one]
            # In order, and at most the part that was on its way came twice.
            assert list(dict.fromkeys(numbers)) == list(range(8))
            assert len(numbers) <= 9
            assert fake.complaints == []


def test_a_line_that_breaks_costs_no_answer_and_no_second_one(tmp_path: pathlib.Path) -> None:
    with (
        FakeWeCom() as fake,
        FakeModel() as model,
        gateway_of(tmp_path, fake, config_for(None, model), "reconnect_interval_s = 1") as gateway,
    ):
        ready(gateway, fake)
        model.set_delay(0.4)
        for number in range(3):
            fake.say(f"question {number}", user="zhangsan")
        model.wait_calls(1)
        fake.drop()
        fake.wait_for(lambda: len(fake.texts()) == 3, 30)
        assert [re.findall(r"question (\d)", text)[-1] for text in fake.texts()] == ["0", "1", "2"]


def test_a_stop_lets_the_answer_leave(tmp_path: pathlib.Path) -> None:
    with (
        FakeWeCom() as fake,
        FakeModel() as model,
        gateway_of(tmp_path, fake, config_for(None, model)) as gateway,
    ):
        ready(gateway, fake)
        model.set_delay(0.5)
        fake.say("the last question")
        model.wait_calls(1)
        assert gateway.stop() == 0
        assert len(fake.texts()) == 1


def test_an_answer_grows_in_its_bubble(tmp_path: pathlib.Path) -> None:
    with (
        FakeWeCom() as fake,
        FakeModel() as model,
        gateway_of(tmp_path, fake, config_for(None, model), 'streaming_mode = "stream"') as gateway,
    ):
        ready(gateway, fake)
        model.set_delay(1.4)
        fake.say("slow question")
        fake.wait_answers(1, 20)
        (bubble,) = fake.bubbles.values()
        assert bubble.frames[0] == "…"
        assert bubble.finished
        assert "slow question" in bubble.text


@pytest.mark.parametrize(
    "arguments", [("--channel-account", "wecom=work"), ("--channel-account", "qywx=work")]
)
def test_the_selector_knows_the_channel(tmp_path: pathlib.Path, arguments: tuple[str, ...]) -> None:
    with FakeWeCom() as fake, gateway_of(tmp_path, fake) as gateway:
        gateway.start(*arguments)
        fake.wait_ready()
        assert gateway.terminate() == 0


def test_the_double_runs_as_a_process_of_its_own(tmp_path: pathlib.Path) -> None:
    with Remote("tests.fakes.wecom") as remote:
        url = remote.ask("address")
        with Gateway(tmp_path, ECHO + wecom_config(url), environ=ENVIRON) as gateway:
            gateway.start()
            gateway.wait_status(lambda document: document["surfaces"][0]["phase"] == "ready")
            remote.ask("say", text="hello")
            assert remote.ask("wait_count", count=1) == 1
            assert "hello" in remote.ask("state")["texts"][0]


@dataclass(frozen=True)
class Soak:
    """What a soak showed. `worst_s` is how late the latest ping was, counted from the one before it."""

    answered: int
    pings: int
    late: int
    worst_s: float


def soak(directory: pathlib.Path, turns: int, slow_s: float) -> Soak:
    """Let a model take its time over so many questions at once, and look at the pings of every second meanwhile."""
    people = [f"user{number}" for number in range(turns)]
    with FakeWeCom() as fake, FakeModel() as model:
        config = config_for(None, model) + wecom_config(fake, "ping_interval_s = 1").replace(
            '["zhangsan", "room"]', json.dumps(people)
        )
        with Gateway(directory, config, environ=ENVIRON) as gateway:
            ready(gateway, fake)
            model.set_delay(slow_s)
            for person in people:
                fake.say("a slow question", user=person)
            fake.wait_answers(turns, 60 + turns * slow_s / 16)
            with fake._lock:
                moments = [one.at for one in fake.frames("ping")]
            assert len(fake.clients) == 1
            assert fake.complaints == []
            late = [after - before - 1 for before, after in zip(moments, moments[1:])]
            return Soak(
                len(fake.texts()), len(moments), sum(one > 1 for one in late), round(max(late, default=0), 3)
            )


def test_no_ping_is_late_while_every_worker_waits_for_a_model(tmp_path: pathlib.Path) -> None:
    found = soak(tmp_path, 64, 2.2)
    assert found.answered == 64
    assert found.pings >= 2
    assert found.late == 0, found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        print(soak(pathlib.Path(directory), int(sys.argv[1]), float(sys.argv[2])))
