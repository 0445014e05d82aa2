"""`loong doctor`: what it finds, what it repairs, what it leaves alone."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import sqlite3
import stat

from tests.commands.loong_cli import (
    KEY,
    TOKEN,
    Here,
    Loong,
    provider_config,
    running_owner,
    surface,
    telegram_config,
)
from tests.fakes.model import FakeModel
from tests.fakes.telegram import FakeTelegram


def healthy(tmp_path: pathlib.Path, model: FakeModel, telegram: FakeTelegram) -> Loong:
    return Here(tmp_path, provider_config(model.base_url) + telegram_config(telegram.base_url) + own_port())


def own_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"[gateway]\nport = {probe.getsockname()[1]}\n"


def names(loong: Loong, *args: str) -> dict[str, tuple[str, str]]:
    found = {}
    for check in loong("doctor", "--json", *args).document["checks"]:
        if found.get(check["name"], ("pass",))[0] == "pass":
            found[check["name"]] = (check["level"], check["detail"])
    return found


def test_when_all_is_well_one_line_says_so(tmp_path: pathlib.Path) -> None:
    with FakeModel() as model, FakeTelegram() as telegram:
        ran = healthy(tmp_path, model, telegram)("doctor")
    assert ran.code == 0, ran.out
    assert len(ran.out.splitlines()) == 1
    assert ran.out.startswith("All ")


def test_the_document_has_the_fields_of_the_contract(tmp_path: pathlib.Path) -> None:
    with FakeModel() as model, FakeTelegram() as telegram:
        ran = healthy(tmp_path, model, telegram)("doctor", "--json", "--exit-code")
    assert ran.code == 0
    assert list(ran.document) == [
        "schema",
        "ok",
        "config",
        "summary",
        "checks",
        "fix_requested",
        "applied_fixes",
        "next_steps",
    ]
    assert ran.document["schema"] == {
        "version": 1,
        "surface": "doctor",
        "purpose": "runtime_health_diagnostics",
    }
    assert ran.document["ok"] is True
    assert ran.document["summary"] == {"ok": len(ran.document["checks"]), "warn": 0, "fail": 0}


def test_failures_come_first_and_each_has_its_fix_and_exit_1(tmp_path: pathlib.Path) -> None:
    loong = Here(
        tmp_path, provider_config("http://127.0.0.1:9/v1") + telegram_config("http://127.0.0.1:9", chats="[]")
    )
    loong.config.chmod(0o644)
    del loong.environ["CUSTOM_PROVIDER_API_KEY"]
    ran = loong("doctor", "--skip-model-probe")
    assert ran.code == 1
    levels = [line.split()[0] for line in ran.out.splitlines() if line.startswith(("FAIL", "WARN"))]
    assert levels == sorted(levels)
    assert "FAIL  provider credentials\n      env CUSTOM_PROVIDER_API_KEY is not set." in ran.out
    assert (
        "telegram.accounts.work.allowed_chat_ids is empty; configure at least one trusted chat id." in ran.out
    )
    assert "Not asked: provider model probe (--skip-model-probe)." in ran.out
    assert ran.out.count("fix:") >= 3
    assert len(ran.out.splitlines()) < 25


def test_fix_repairs_modes_and_makes_directories_and_lists_each_act(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, "")
    loong.config.chmod(0o644)
    loong.home.chmod(0o755)
    assert loong("doctor").out.count("will run: chmod") >= 2
    assert stat.S_IMODE(loong.config.stat().st_mode) == 0o644  # looking repairs nothing
    ran = loong("doctor", "--fix", "--json")
    assert f"chmod 600 {loong.config}" in ran.document["applied_fixes"]
    assert f"chmod 700 {loong.home}" in ran.document["applied_fixes"]
    assert stat.S_IMODE(loong.config.stat().st_mode) == 0o600
    assert stat.S_IMODE(loong.home.stat().st_mode) == 0o700
    assert loong("doctor", "--fix", "--json").document["applied_fixes"] == []


def test_fix_never_follows_a_link(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path)
    elsewhere = tmp_path / "elsewhere.toml"
    elsewhere.write_text("")
    elsewhere.chmod(0o644)
    os.symlink(elsewhere, loong.config)
    ran = loong("doctor", "--fix")
    assert "not done: chmod 600" in ran.err
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o644


def test_looking_writes_nothing(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path)
    loong.home.rmdir()
    ran = loong("doctor")
    assert ran.code == 1
    assert not loong.home.exists()
    assert "does not exist yet" in ran.out


def test_a_config_error_is_reported_with_its_place(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, '[telegram]\nenabled = "yes"\n')
    level, detail = names(loong)["config"]
    assert level == "fail"
    assert "config.toml:2:" in detail
    assert "telegram.enabled" in detail


def test_a_key_that_the_provider_refuses_only_warns_where_a_model_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with FakeModel(key="another") as model:
        named = names(Here(tmp_path / "a", provider_config(model.base_url)))
        auto = names(Here(tmp_path / "b", provider_config(model.base_url, model="auto")))
    assert named["provider model probe"][0] == "warn"
    assert auto["provider model probe"][0] == "fail"
    assert "401" in auto["provider model probe"][1]


def test_a_provider_that_is_not_there_is_a_matter_of_transport(tmp_path: pathlib.Path) -> None:
    found = names(Here(tmp_path, provider_config("http://127.0.0.1:9/v1", model="auto")))
    assert found["provider transport"][0] == "fail"
    assert "provider model probe" not in found


def test_a_revoked_token_fails_the_channel(tmp_path: pathlib.Path) -> None:
    with FakeTelegram() as telegram:
        telegram.revoke()
        ran = Here(tmp_path, telegram_config(telegram.base_url))("doctor", "--json")
    check = next(c for c in ran.document["checks"] if c["name"] == "telegram channel runtime [work]")
    assert check["level"] == "fail"
    assert check["runtime_attention"]["reason"] == "auth_failed"
    assert check["runtime_attention"]["account_id"] == "work"
    assert TOKEN not in ran.out


def test_a_running_gateway_speaks_for_its_accounts_and_its_store(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, telegram_config("http://127.0.0.1:9"))
    with running_owner(loong, surfaces=[surface("conflict", last_error="another poller")]):
        found = names(loong)
    assert found["telegram channel runtime [work]"] == ("fail", "conflict: another poller.")
    assert found["store"][0] == "pass"
    assert found["gateway owner"][0] == "pass"


def test_two_accounts_with_one_credential_warn(tmp_path: pathlib.Path) -> None:
    more = '[telegram.accounts.ops]\nbot_token = { env = "TELEGRAM_BOT_TOKEN" }\nallowed_chat_ids = [1]\n'
    loong = Here(tmp_path, telegram_config("http://127.0.0.1:9", more=more))
    loong.environ["OTHER"] = TOKEN
    level, detail = names(loong)["duplicate credentials"]
    assert level == "warn"
    assert "telegram/ops" in detail
    assert "telegram/work" in detail


def test_a_damaged_store_fails_and_is_left_as_it_is(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, "")
    loong.places.create()
    damaged = b"SQLite format 3\0" + b"\0" * 5000
    pathlib.Path(loong.places.store).write_bytes(damaged)
    assert names(loong)["store"][0] == "fail"
    assert pathlib.Path(loong.places.store).read_bytes() == damaged


def test_messages_that_wait_without_a_gateway_are_counted(tmp_path: pathlib.Path) -> None:
    with FakeTelegram() as telegram:
        loong = Here(tmp_path, telegram_config(telegram.base_url))
        loong("channels", "send", "telegram", "--target", "1001", "--text", "x")
    with contextlib.closing(sqlite3.connect(loong.places.store)) as conn, conn:
        conn.execute("UPDATE outbox SET state = 'queued'")
    assert names(loong)["backlog"] == ("warn", "0 messages and 1 replies wait for a gateway.")


def test_a_busy_port_is_reported_with_another_one(tmp_path: pathlib.Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ran = Here(tmp_path, f"[gateway]\nport = {port}\n")("doctor")
    assert f"port {port} is taken by another program." in ran.out
    assert "loong gateway run --port " in ran.out


def test_variables_of_other_gateways_are_mentioned(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, "")
    loong.environ["OPENCLAW_GATEWAY_PORT"] = "1"
    level, detail = names(loong)["environment"]
    assert level == "warn"
    assert "OPENCLAW_GATEWAY_PORT" in detail


def test_no_secret_is_ever_printed(tmp_path: pathlib.Path) -> None:
    with FakeModel() as model, FakeTelegram() as telegram:
        loong = healthy(tmp_path, model, telegram)
        for args in (["doctor", "--verbose"], ["doctor", "--json"]):
            ran = loong(*args)
            assert TOKEN not in ran.out + ran.err
            assert KEY not in ran.out + ran.err


def test_an_enabled_account_that_is_left_out_warns_as_long_as_the_owner_does_not_serve_it(
    tmp_path: pathlib.Path,
) -> None:
    more = '[telegram.accounts.ops]\nbot_token = { env = "OPS_TOKEN" }\nallowed_chat_ids = [1]\n'
    loong = Here(tmp_path, telegram_config("http://127.0.0.1:9", more=more))

    def left_out() -> list[str]:
        checks = loong("doctor", "--json", "--skip-model-probe").document["checks"]
        return [
            check["detail"]
            for check in checks
            if check["level"] == "warn" and "not served" in check["detail"]
        ]

    assert left_out() == ["telegram/ops is enabled but not served: one account per channel runs."]
    with running_owner(loong, surfaces=[surface(account="ops")]):
        assert left_out() == ["telegram/work is enabled but not served: one account per channel runs."]


AUTH = '[gateway.auth]\ntoken = { env = "PORT_SECRET" }\n'
HOOKS = '[hooks]\nenabled = true\ntoken = { env = "HOOK_SECRET" }\n'


def test_a_secret_of_the_port_that_cannot_be_had_fails(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, own_port() + AUTH + HOOKS)
    found = names(loong, "--skip-model-probe")
    assert found["gateway auth"] == ("fail", "env PORT_SECRET is not set.")
    assert found["hooks auth"] == ("fail", "env HOOK_SECRET is not set.")
    assert "a start is refused" not in loong("doctor", "--skip-model-probe").out
    loong.environ.update(PORT_SECRET="port-secret-0001", HOOK_SECRET="hook-secret-0001")
    found = names(loong, "--skip-model-probe")
    assert (found["gateway auth"][0], found["hooks auth"][0]) == ("pass", "pass")


def test_hooks_whose_token_is_the_one_of_the_port_fail(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, own_port() + AUTH + HOOKS)
    loong.environ.update(PORT_SECRET="port-secret-0001", HOOK_SECRET="port-secret-0001")
    level, detail = names(loong, "--skip-model-probe")["hooks auth"]
    assert level == "fail" and "hooks.token (env HOOK_SECRET)" in detail
    assert "port-secret-0001" not in loong("doctor", "--json", "--skip-model-probe").out


def test_each_provider_that_may_be_asked_is_checked(tmp_path: pathlib.Path) -> None:
    config = (
        'active_provider = "main"\nfallback_providers = ["spare"]\n'
        '[providers.main]\nkind = "github-copilot"\nmodel = "m"\n[providers.spare]\nkind = "kimi_coding"\n'
    )
    loong = Here(tmp_path, config)
    loong.environ["GITHUB_COPILOT_OAUTH_TOKEN"] = "token-of-an-account"
    checks = {
        check["name"]: (check["level"], check["detail"])
        for check in loong("doctor", "--skip-model-probe", "--json").document["checks"]
    }
    assert checks["provider credentials"] == (
        "pass",
        "providers.main.oauth_access_token (env GITHUB_COPILOT_OAUTH_TOKEN)",
    )
    level, detail = checks["provider credentials [spare]"]
    assert level == "fail" and detail == "env KIMI_CODING_API_KEY is not set."


def test_a_lane_without_a_list_and_keys_that_do_not_fare_well_are_told(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, '[provider]\nkind = "byteplus_coding"\napi_key = "k1,k2"\n')
    loong.config.chmod(0o600)
    unwell = [
        {"key": 2, "state": "disabled", "left_s": 21_567, "last_error": "auth_rejected"},
        {"key": 1, "state": "cooling", "left_s": 60, "last_error": "transport_failure"},
    ]
    facts = {"kind": "byteplus_coding", "keys": {"count": 2, "cooling": 1, "disabled": 1, "unwell": unwell}}
    with running_owner(loong, provider=facts):
        out = loong("doctor", "--skip-model-probe").out
        assert "of 2 keys 1 cooling, 1 disabled" in loong("status").out
    assert "key 2 is disabled for 5 h after auth_rejected; it is tried last.\n      fix: replace it" in out
    assert "for 1 min after transport_failure; it is tried last.\n      fix: see whether" in out
    assert "provider.model is auto, and this lane does not list what the plan holds." in out
