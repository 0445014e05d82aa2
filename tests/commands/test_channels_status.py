"""`loong channels status`: live phases, probes, exit codes."""

from __future__ import annotations

import pathlib

from tests.commands.loong_cli import TOKEN, Here, running_owner, surface, telegram_config
from tests.fakes.telegram import FakeTelegram
from tests.fakes.wecom import BOT_ID, SECRET, FakeWeCom

NOWHERE = "http://127.0.0.1:9"


def test_without_a_gateway_every_phase_is_not_running(tmp_path: pathlib.Path) -> None:
    ran = Here(tmp_path, telegram_config(NOWHERE))("channels", "status")
    assert ran.code == 1
    assert ran.first_line.startswith("Gateway is not running")
    assert "not running" in next(line for line in ran.out.splitlines() if line.startswith("telegram"))
    assert "start: loong gateway run" in ran.out


def test_a_ready_surface_is_exit_0(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, telegram_config(NOWHERE))
    with running_owner(loong, surfaces=[surface()], configured_surface_count=1, running_surface_count=1):
        ran = loong("channels", "status")
    assert ran.code == 0, ran.err
    assert "1 of 1 surface ready" in ran.first_line


def test_a_surface_in_conflict_is_exit_1_with_its_reason(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, telegram_config(NOWHERE))
    shown = surface("conflict", last_error="another process polls with this token", fix="loong doctor")
    with running_owner(loong, surfaces=[shown]):
        ran = loong("channels", "status")
    assert ran.code == 1
    assert "another process polls with this token" in ran.out
    assert "  fix: loong doctor" in ran.out


def test_a_probe_names_the_bot(tmp_path: pathlib.Path) -> None:
    with FakeTelegram() as telegram:
        ran = Here(tmp_path, telegram_config(telegram.base_url))("channels", "status", "--probe")
    assert ran.code == 1  # no gateway runs
    assert " as @test_bot" in ran.out
    assert "1 of 1 account answered the probe" in ran.first_line


def test_a_refused_credential_is_told_from_a_silent_platform(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with FakeTelegram() as telegram:
        telegram.revoke()
        refused = Here(tmp_path / "a", telegram_config(telegram.base_url))("channels", "status", "--probe")
    silent = Here(tmp_path / "b", telegram_config(NOWHERE))("channels", "status", "--probe")
    assert "refused" in refused.out.splitlines()[3]
    assert "no answer" in silent.out.splitlines()[3]
    assert TOKEN not in refused.out + silent.out


def test_the_document_holds_phase_and_probe(tmp_path: pathlib.Path) -> None:
    with FakeTelegram() as telegram:
        loong = Here(tmp_path, telegram_config(telegram.base_url))
        with running_owner(loong, surfaces=[surface(restarts=2)]):
            ran = loong("channels", "status", "--probe", "--json")
    assert ran.code == 0
    assert ran.document["schema_version"] == 1
    (account,) = ran.document["accounts"]
    assert account["phase"] == "ready"
    assert account["restarts"] == 2
    assert account["probe"]["outcome"] == "ok"
    assert account["probe"]["identity"] == "@test_bot"


INCIDENT = {
    "at_ms": 1_700_000_000_000,
    "kind": "failure",
    "detail": "connection reset",
    "first_ms": 1_600_000_000_000,
    "count": 12,
    "owner_pids": [],
}
PAST = {
    "last_heard_ms": 1_700_000_000_000,
    "consecutive_failures": 12,
    "last_failure_ms": 1_700_000_000_000,
    "last_recovery_ms": 1_500_000_000_000,
    "last_duplicate_reclaim_ms": 1_400_000_000_000,
    "kicked_total": 3,
    "recent_incidents": [INCIDENT],
}


def test_clocks_and_incidents_are_shown(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, telegram_config(NOWHERE))
    with running_owner(loong, surfaces=[surface("backoff", trouble="unreachable", **PAST)]):
        text = loong("channels", "status")
        document = loong("channels", "status", "--json").document
        published = loong("gateway", "status", "--json").document
    assert "HEARD" in text.out
    assert " ago: failure x12: connection reset" in text.out
    for found in (document["accounts"][0], published["surfaces"][0]):
        assert {name: found[name] for name in PAST} == PAST
        assert (found["stopped_by"], found["last_inbound_ms"]) == (None, None)


def test_what_happened_stands_in_the_documents_of_the_contract(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, telegram_config(NOWHERE))
    with running_owner(loong, surfaces=[surface("conflict", trouble="conflict", **PAST)]):
        listed = loong("channels", "--json").document["channels"]
        summary = loong("status", "--json").document["gateway"]["channels"]
    runtime = listed[0]["operations"][1]["runtime"]
    shown = {name: INCIDENT[name] for name in ("at_ms", "kind", "detail", "owner_pids", "count")}
    assert runtime["recent_incidents"] == [shown]
    assert runtime["consecutive_failures"] == 12
    assert runtime["last_failure_at"] == PAST["last_failure_ms"]
    assert runtime["last_recovery_at"] == PAST["last_recovery_ms"]
    assert runtime["last_duplicate_reclaim_at"] == PAST["last_duplicate_reclaim_ms"]
    (telegram,) = [one for one in summary["surfaces"] if one["channel_id"] == "telegram"]
    assert telegram["recent_runtime_incidents"] == [{**shown, "account_id": "work"}]
    assert telegram["runtime_attention_reasons"] == ["conflict"]
    assert telegram["runtime_attention_remediations"] == [
        "stop the other holder, then: loong gateway channel restart telegram=work"
    ]
    assert summary["duplicate_surface_ids"] == ["telegram"]


def test_an_account_that_is_kept_off_is_no_bad_news(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, telegram_config(NOWHERE))
    with running_owner(loong, surfaces=[surface("stopped", stopped_by="operator")]):
        ran = loong("channels", "status")
    assert ran.code == 0
    assert "0 of 1 surface ready, 1 stopped by an operator" in ran.first_line


def test_a_probe_asks_the_gateway_that_serves_the_account(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, telegram_config(NOWHERE))
    answer = {"outcome": "ok", "detail": "ok 7 ms as @live", "identity": "@live", "elapsed_ms": 7}
    with running_owner(loong, surfaces=[surface()]) as owner:
        owner.answers["/api/gateway/probe"] = (200, answer)
        ran = loong("channels", "status", "--probe", "--json")
        assert owner.requests == [
            ("/api/gateway/probe", {"channel": "telegram", "account": "work", "timeout_s": 5.0})
        ]
    assert ran.code == 0
    assert ran.document["accounts"][0]["probe"] == answer


def test_what_a_probe_would_take_away_is_not_asked_beside_any_gateway(tmp_path: pathlib.Path) -> None:
    with FakeWeCom() as fake:
        loong = Here(
            tmp_path,
            f'[wecom]\nenabled = true\nwebsocket_url = "{fake.url}"\nallowed_conversation_ids = ["a"]\n',
        )
        loong.environ.update(WECOM_BOT_ID=BOT_ID, WECOM_SECRET=SECRET)
        account = f"wecom_{BOT_ID}".lower()
        # One that serves it and does not answer, and one that serves something else.
        for surfaces in ([surface(channel="wecom", account=account)], []):
            with running_owner(loong, surfaces=surfaces):
                ran = loong("channels", "status", "--probe", "--json")
                doctor = loong("doctor", "--json")
            assert [one["probe"]["outcome"] for one in ran.document["accounts"]] == ["not_asked"]
            assert doctor.document["summary"]["ok"] > 0
        assert fake.clients == []
