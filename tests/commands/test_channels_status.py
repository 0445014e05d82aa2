"""`loong channels status`: live phases, probes, exit codes."""

from __future__ import annotations

import pathlib

from tests.commands.loong_cli import TOKEN, Loong, running_owner, surface, telegram_config
from tests.fakes.telegram import FakeTelegram

NOWHERE = "http://127.0.0.1:9"


def test_without_a_gateway_every_phase_is_not_running(tmp_path: pathlib.Path) -> None:
    ran = Loong(tmp_path, telegram_config(NOWHERE))("channels", "status")
    assert ran.code == 1
    assert ran.first_line.startswith("Gateway is not running")
    assert "not running" in next(line for line in ran.out.splitlines() if line.startswith("telegram"))
    assert "start: loong gateway run" in ran.out


def test_a_ready_surface_is_exit_0(tmp_path: pathlib.Path) -> None:
    loong = Loong(tmp_path, telegram_config(NOWHERE))
    with running_owner(loong, surfaces=[surface()], configured_surface_count=1, running_surface_count=1):
        ran = loong("channels", "status")
    assert ran.code == 0, ran.err
    assert "1 of 1 surface ready" in ran.first_line


def test_a_surface_in_conflict_is_exit_1_with_its_reason(tmp_path: pathlib.Path) -> None:
    loong = Loong(tmp_path, telegram_config(NOWHERE))
    shown = surface("conflict", last_error="another process polls with this token", fix="loong doctor")
    with running_owner(loong, surfaces=[shown]):
        ran = loong("channels", "status")
    assert ran.code == 1
    assert "another process polls with this token" in ran.out
    assert "  fix: loong doctor" in ran.out


def test_a_probe_names_the_bot(tmp_path: pathlib.Path) -> None:
    with FakeTelegram() as telegram:
        ran = Loong(tmp_path, telegram_config(telegram.base_url))("channels", "status", "--probe")
    assert ran.code == 1  # no gateway runs
    assert " as @test_bot" in ran.out
    assert "1 of 1 account answered the probe" in ran.first_line


def test_a_refused_credential_is_told_from_a_silent_platform(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with FakeTelegram() as telegram:
        telegram.revoke()
        refused = Loong(tmp_path / "a", telegram_config(telegram.base_url))("channels", "status", "--probe")
    silent = Loong(tmp_path / "b", telegram_config(NOWHERE))("channels", "status", "--probe")
    assert "refused" in refused.out.splitlines()[3]
    assert "no answer" in silent.out.splitlines()[3]
    assert TOKEN not in refused.out + silent.out


def test_the_document_holds_phase_and_probe(tmp_path: pathlib.Path) -> None:
    with FakeTelegram() as telegram:
        loong = Loong(tmp_path, telegram_config(telegram.base_url))
        with running_owner(loong, surfaces=[surface(restarts=2)]):
            ran = loong("channels", "status", "--probe", "--json")
    assert ran.code == 0
    assert ran.document["schema_version"] == 1
    (account,) = ran.document["accounts"]
    assert account["phase"] == "ready"
    assert account["restarts"] == 2
    assert account["probe"]["outcome"] == "ok"
    assert account["probe"]["identity"] == "@test_bot"
