"""Accounts of a running gateway: kept off, restarted, given new secrets, asked; and what comes while it drains."""

from __future__ import annotations

import json
import pathlib
import signal

from tests.e2e.gateway import Gateway, config_for
from tests.e2e.test_wecom import ECHO, ENVIRON, ready, wecom_config
from tests.fakes.model import FakeModel
from tests.fakes.telegram import FakeTelegram
from tests.fakes.wecom import FakeWeCom
from tests.waiting import wait_until


def with_both(
    tmp_path: pathlib.Path, telegram: FakeTelegram, wecom: FakeWeCom, provider: str = ECHO, **config: str
) -> Gateway:
    telegram.add_private(1001)
    text = provider + config_for(telegram, None, **config) + wecom_config(wecom, "reconnect_interval_s = 1")
    return Gateway(tmp_path, text, environ=ENVIRON)


def test_what_people_write_during_a_drain_is_answered_after_the_restart(tmp_path: pathlib.Path) -> None:
    with FakeWeCom() as fake, FakeModel() as model:
        config = config_for(None, model) + wecom_config(fake)
        with Gateway(tmp_path, config, environ=ENVIRON) as gateway:
            ready(gateway, fake)
            model.set_delay(1.5)
            fake.say("before the stop")
            model.wait_calls(1)
            gateway.signal(signal.SIGTERM)
            gateway.wait_status(lambda document: document["phase"] == "stopping")
            said: list[str] = []

            def talk_on() -> bool:
                said.append(f"during the drain {len(said)}.")
                fake.say(said[-1], user="lisi", group="room")
                return len(fake.texts()) >= 1

            wait_until(talk_on, pause_s=0.1)
            assert gateway.wait_exit() == 0
            assert len(fake.texts()) == 1
            model.set_delay(0)
            ready(gateway, fake)
            # The last one may have come when nobody listened any more.
            assert len(said) > 8
            fake.wait_answers(len(said))
            told = " ".join(fake.texts())
            assert [text for text in said[:-1] if text not in told] == []
            assert gateway.stop() == 0


def test_a_robot_that_was_taken_is_taken_back_when_an_operator_says_so(tmp_path: pathlib.Path) -> None:
    with FakeWeCom() as fake, FakeTelegram() as telegram, with_both(tmp_path, telegram, fake) as gateway:
        ready(gateway, fake)
        fake.kick()
        gateway.wait_status(lambda document: "conflict:wecom=work" in document["degraded_reasons"])
        probed = gateway.run("channels", "status", "--probe", "--json")
        (account,) = [one for one in json.loads(probed.stdout)["accounts"] if one["channel"] == "wecom"]
        assert account["probe"]["outcome"] != "ok"
        assert len(fake.clients) == 1
        restarted = gateway.run("gateway", "channel", "restart", "wecom=work")
        assert restarted.returncode == 0, restarted.stderr
        assert restarted.stdout.startswith("wecom/work: restarted, ready as wecom_")
        assert len(fake.clients) == 2
        surface = gateway.surface("wecom")
        assert (surface["phase"], surface["kicked_total"]) == ("ready", 1)
        assert [one["kind"] for one in surface["recent_incidents"]] == ["duplicate_reclaim", "failure"]
        shown = gateway.run("channels", "status")
        assert shown.returncode == 0
        assert "duplicate_reclaim: ready as wecom_" in shown.stdout
        listed = json.loads(gateway.run("channels", "--json").stdout)["channels"]
        (snapshot,) = [one for one in listed if one["id"] == "wecom"]
        runtime = snapshot["operations"][1]["runtime"]
        assert runtime["last_duplicate_reclaim_at"] == surface["last_duplicate_reclaim_ms"]
        assert runtime["recent_incidents"][0]["owner_pids"] == []


def test_an_account_is_kept_off_while_the_others_go_on(tmp_path: pathlib.Path) -> None:
    with FakeWeCom() as fake, FakeTelegram() as telegram, with_both(tmp_path, telegram, fake) as gateway:
        ready(gateway, fake)

        def ask(action: str, *flags: str) -> tuple[int, dict[str, object]]:
            ran = gateway.run("gateway", "channel", action, "telegram", "--json")
            return ran.returncode, json.loads(ran.stdout)

        code, answer = ask("stop")
        assert (code, answer["outcome"], answer["phase"]) == (0, "stopped", "stopped")
        assert ask("stop")[1]["outcome"] == "already_stopped"
        document, code = gateway.status()
        assert (code, document["degraded_reasons"]) == (0, [])
        assert gateway.surface()["stopped_by"] == "operator"
        assert "1 stopped by an operator" in gateway.run("gateway", "status").stdout
        assert gateway.run("channels", "status").returncode == 0
        checks = json.loads(gateway.run("doctor", "--json").stdout)["checks"]
        assert [one["level"] for one in checks if "kept off" in one["detail"]] == ["warn"]
        telegram.say("anybody there?")
        fake.say("you?")
        fake.wait_answers(1)
        assert telegram.texts() == []
        code, answer = ask("start")
        assert (code, answer["outcome"], answer["phase"]) == (0, "started", "ready")
        telegram.wait_messages(1)
        assert ask("start")[1]["outcome"] == "already_started"
        surface = gateway.wait_status(
            lambda document: all(one["last_outbound_ms"] for one in document["surfaces"])
        )["surfaces"][0]
        assert surface["last_heard_ms"] >= surface["last_inbound_ms"] - 5000
        assert surface["recent_incidents"] == []
        unknown = gateway.run("gateway", "channel", "stop", "feishu=work")
        assert unknown.returncode == 2
        assert "which serves telegram=bot_123456789, wecom=work" in unknown.stderr


def test_new_secrets_wake_the_account_that_waits_for_them_and_no_other(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "token"
    file.write_text("123456789:AAWrongWrongWrongWrongWrongWrongWro\n")
    file.chmod(0o600)
    with FakeWeCom() as fake, FakeTelegram() as telegram, with_both(tmp_path, telegram, fake) as gateway:
        text = pathlib.Path(gateway.config_path).read_text()
        gateway.write_config(text.replace('{ env = "TELEGRAM_BOT_TOKEN" }', f'{{ file = "{file}" }}'))
        gateway.start()
        document = gateway.wait_status(
            lambda document: (
                document["surfaces"][0]["phase"] == "auth_failed"
                and document["surfaces"][1]["phase"] == "ready"
            )
        )
        assert document["surfaces"][0]["fix"].endswith("loong secrets reload")
        asked = len(telegram.calls("getMe"))
        file.unlink()
        gone = gateway.run("secrets", "reload", "--json")
        assert gone.returncode == 1
        outcomes = {one["channel"]: one["outcome"] for one in json.loads(gone.stdout)["accounts"]}
        assert outcomes == {"telegram": "unavailable", "wecom": "unchanged"}
        file.write_text(gateway.environ["TELEGRAM_BOT_TOKEN"])
        reloaded = gateway.run("secrets", "reload")
        assert reloaded.returncode == 0, reloaded.stderr
        assert "telegram/bot_123456789: restarted, its secret changed" in reloaded.stdout
        gateway.wait_status(lambda document: document["surfaces"][0]["phase"] == "ready")
        assert (asked, len(fake.clients)) == (1, 1)
        again = gateway.run("secrets", "reload", "--json")
        assert {one["outcome"] for one in json.loads(again.stdout)["accounts"]} == {"unchanged"}
        assert gateway.environ["TELEGRAM_BOT_TOKEN"] not in gateway.output() + reloaded.stdout


def test_without_a_gateway_there_is_nobody_to_ask(tmp_path: pathlib.Path) -> None:
    with Gateway(tmp_path, ECHO) as gateway:
        for words in (("gateway", "channel", "restart", "telegram=work"), ("secrets", "reload")):
            ran = gateway.run(*words)
            assert ran.returncode == 2
            assert "the gateway is not running" in ran.stderr
