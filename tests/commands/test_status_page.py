"""`loong status`: one page for people, the contract's summary for machines."""

from __future__ import annotations

import pathlib
import sqlite3

from tests.commands.loong_cli import Loong, provider_config, running_owner, surface, telegram_config
from tests.fakes.telegram import FakeTelegram

CONFIG = provider_config("http://127.0.0.1:9/v1") + telegram_config("http://127.0.0.1:9")
OWNER = [
    "runtime_dir",
    "phase",
    "running",
    "stale",
    "pid",
    "mode",
    "version",
    "config_path",
    "attached_cli_session",
    "started_at_ms",
    "last_heartbeat_at",
    "stopped_at_ms",
    "shutdown_reason",
    "last_error",
    "configured_surface_count",
    "running_surface_count",
    "bind_address",
    "port",
    "port_source",
    "token_path",
]


def test_with_the_gateway_down_line_1_is_that_of_gateway_status(tmp_path: pathlib.Path) -> None:
    loong = Loong(tmp_path, CONFIG)
    ran = loong("status")
    assert ran.code == 1
    assert ran.first_line == loong("gateway", "status").first_line
    assert "  start the gateway: loong gateway run" in ran.out


def test_counts_from_disk_are_marked_as_such(tmp_path: pathlib.Path) -> None:
    with FakeTelegram() as telegram:
        loong = Loong(tmp_path, telegram_config(telegram.base_url))
        loong("channels", "send", "telegram", "--target", "1001", "--text", "x")
    with sqlite3.connect(loong.places.store) as conn:
        conn.execute("UPDATE outbox SET state = 'unknown'")
    outbox = next(line for line in loong("status").out.splitlines() if line.startswith("Outbox"))
    assert "unknown 1" in outbox
    assert "(from disk, not live)" in outbox


def test_a_ready_gateway_is_exit_0(tmp_path: pathlib.Path) -> None:
    loong = Loong(tmp_path, CONFIG)
    with running_owner(loong, surfaces=[surface()], configured_surface_count=1, running_surface_count=1):
        ran = loong("status")
    assert ran.code == 0, ran.out
    assert ran.first_line.startswith("Ready.")
    assert "1 of 1 surface ready" in ran.out
    assert "model test-model, not asked" in ran.out


def test_a_degraded_gateway_is_exit_1_and_says_why(tmp_path: pathlib.Path) -> None:
    loong = Loong(tmp_path, CONFIG)
    with running_owner(
        loong, surfaces=[surface("auth_failed")], degraded_reasons=["auth_failed:telegram=work"]
    ):
        ran = loong("status")
    assert ran.code == 1
    assert ran.first_line.startswith("Degraded (auth_failed:telegram=work).")


def test_the_document_has_the_fields_of_the_contract(tmp_path: pathlib.Path) -> None:
    loong = Loong(tmp_path, CONFIG)
    with running_owner(
        loong, surfaces=[surface()], configured_surface_count=1, running_surface_count=1
    ) as owner:
        document = loong("status", "--json").document
    assert document["schema"] == {"version": 2, "surface": "status", "purpose": "operator_runtime_summary"}
    assert document["active_model"] == "test-model"
    gateway = document["gateway"]
    assert list(gateway["owner"]) == OWNER
    assert gateway["control_surface"] == {
        "base_url": f"http://127.0.0.1:{owner.port}",
        "loopback_only": True,
    }
    channels = gateway["channels"]
    assert channels["configured_account_count"] == 1
    assert channels["enabled_service_channel_count"] == 1
    assert channels["ready_service_channel_ids"] == ["telegram"]
    assert document["acp"]["availability"] == "disabled"
    assert document["work_units"] == {
        "availability": "unavailable",
        "error": "work units are not in this build yet",
        "health": None,
    }


def test_next_actions_name_a_command(tmp_path: pathlib.Path) -> None:
    document = Loong(tmp_path, CONFIG)("status", "--json").document
    assert document["next_actions"] == [{"label": "start the gateway", "command": "loong gateway run"}]


def test_looking_writes_nothing(tmp_path: pathlib.Path) -> None:
    loong = Loong(tmp_path)
    loong("status")
    loong("channels", "status")
    loong("channels")
    assert list(loong.home.iterdir()) == []


def test_a_broken_config_is_named_with_its_line(tmp_path: pathlib.Path) -> None:
    ran = Loong(tmp_path, "[telegram\n")("status")
    assert ran.code == 2
    assert ran.err.startswith("error: config is invalid")
