"""`loong status`: one page for people, the contract's summary for machines."""

from __future__ import annotations

import contextlib
import os
import pathlib
import sqlite3
import time

from loong_gateway.base.process import boot_clock_ns
from tests.commands.loong_cli import Here, provider_config, running_owner, surface, telegram_config
from tests.fakes.telegram import FakeTelegram
from tests.waiting import wait_until

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
    loong = Here(tmp_path, CONFIG)
    ran = loong("status")
    assert ran.code == 1
    assert ran.first_line == loong("gateway", "status").first_line
    assert "  start the gateway: loong gateway run" in ran.out


def test_counts_from_disk_are_marked_as_such(tmp_path: pathlib.Path) -> None:
    with FakeTelegram() as telegram:
        loong = Here(tmp_path, telegram_config(telegram.base_url))
        loong("channels", "send", "telegram", "--target", "1001", "--text", "x")
    with contextlib.closing(sqlite3.connect(loong.places.store)) as conn, conn:
        conn.execute("UPDATE outbox SET state = 'unknown'")
    outbox = next(line for line in loong("status").out.splitlines() if line.startswith("Outbox"))
    assert "unknown 1" in outbox
    assert "(from disk, not live)" in outbox


def test_a_ready_gateway_is_exit_0(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, CONFIG)
    with running_owner(loong, surfaces=[surface()], configured_surface_count=1, running_surface_count=1):
        ran = loong("status")
    assert ran.code == 0, ran.out
    assert ran.first_line.startswith("Ready.")
    assert "1 of 1 surface ready" in ran.out
    assert "model test-model, not asked" in ran.out


def test_a_degraded_gateway_is_exit_1_and_says_why(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, CONFIG)
    with running_owner(
        loong, surfaces=[surface("auth_failed")], degraded_reasons=["auth_failed:telegram=work"]
    ):
        ran = loong("status")
    assert ran.code == 1
    assert ran.first_line.startswith("Degraded (auth_failed:telegram=work).")


def test_the_document_has_the_fields_of_the_contract(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, CONFIG)
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
    assert document["work_units"]["availability"] == "available"
    assert set(document["work_units"]["health"].values()) == {0}
    assert document["audit"] == {
        "mode": "jsonl",
        "path": loong.places.audit,
        "events": 0,
        "last_event_ms": None,
        "lost": 0,
    }


def test_work_units_are_counted_from_the_store_and_what_failed_has_a_next_step(
    tmp_path: pathlib.Path,
) -> None:
    loong = Here(tmp_path, CONFIG)
    assert "Work" not in loong("status").out
    unit = loong(
        "work-unit", "create", "--kind", "ops", "--title", "t", "--max-attempts", "1", "--json"
    ).document
    id = unit["work_unit"]["work_unit_id"]
    loong("work-unit", "claim", "--owner", "w", "--ttl-ms", "1")
    # One millisecond later the lease is over, whenever that is looked at.
    wait_until(lambda: loong("status", "--json").document["work_units"]["health"]["expired_lease_count"] == 1)
    told = loong("status")
    assert (
        "\nWork      ready 0, leased 1, running 0, blocked 0, retry_pending 0    expired leases: 1\n"
        in told.out
    )
    assert "take back expired leases: loong runtime work-unit recover" in told.out
    assert loong("work-unit", "recover", "--json").document["work_unit_ids"] == [id]
    assert (
        "see which work failed: loong runtime work-unit list --status failed_terminal" in loong("status").out
    )
    pathlib.Path(loong.places.store).write_bytes(b"garbage" * 1000)
    document = loong("status", "--json").document
    assert document["work_units"]["availability"] == "unavailable"
    assert document["work_units"]["error"].startswith("the store cannot be read")
    assert document["work_units"]["health"] is None


def test_the_provider_line_says_how_the_last_question_ended(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, CONFIG)
    now_ms = int(time.time() * 1000)
    facts = {"profile": "default", "kind": "custom", "model": "m-1", "last_success_ms": now_ms - 120_000}
    with running_owner(loong, provider={**facts, "last_failure_ms": None, "last_error": None}):
        assert "Provider  custom, model m-1, last success 2 min ago\n" in loong("status").out
    failure = {"last_failure_ms": now_ms - 60_000, "last_error": "HTTP 401: no such key"}
    with running_owner(loong, provider={**facts, **failure}, degraded_reasons=["provider_unavailable"]):
        assert "Provider  custom, model m-1, last error 60 s ago: HTTP 401" in loong("status").out.replace(
            "1 min ago", "60 s ago"
        )
        seen = loong("gateway", "status")
    assert seen.first_line.endswith("the last question to the provider failed: HTTP 401: no such key.")


def test_what_this_build_does_not_have_is_not_mentioned(tmp_path: pathlib.Path) -> None:
    out = Here(tmp_path, CONFIG)("status").out
    for word in ("Agents", "Tokens", "Work"):
        assert word not in out


def test_beside_a_live_gateway_a_broken_config_is_one_warning(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, "[gateway]\nport = 'x'\n")
    warning = (
        "warning: config is invalid: 1 error; the gateway runs on, but its next start will fail; "
        "see: loong validate-config\n"
    )
    with running_owner(loong, surfaces=[surface()]):
        for verb in ("status", "channels status"):
            ran = loong(*verb.split())
            assert (ran.code, ran.err) == (0, warning)
        assert "telegram  work     enabled  ready" in ran.out
        assert loong("status", "--json").document["gateway"]["ready"] is True
        asked = loong("channels", "status", "--probe", "--json").document["accounts"][0]
        assert (asked["phase"], asked["probe"]["outcome"]) == ("ready", "not_asked")
    assert loong("channels", "status").code == 2


def test_what_a_stalled_gateway_said_last_is_not_shown_as_its_state(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, CONFIG)
    with running_owner(loong, surfaces=[surface()]):
        moment = boot_clock_ns() - 60_000_000_000
        os.utime(loong.places.owner_lock, ns=(moment, moment))
        page, channels = loong("status"), loong("channels", "status")
        document = loong("channels", "status", "--json").document
    assert (page.code, channels.code) == (1, 1)
    assert "surfaces not known" in page.out
    assert f"  restart: kill -9 {os.getpid()}; loong gateway run\n" in page.out
    assert "work     enabled  not known" in channels.out
    assert f"  restart: kill -9 {os.getpid()}; loong gateway run\n" in channels.out
    assert document["accounts"][0]["phase"] == "not_known"


def test_next_actions_name_a_command(tmp_path: pathlib.Path) -> None:
    document = Here(tmp_path, CONFIG)("status", "--json").document
    assert document["next_actions"] == [{"label": "start the gateway", "command": "loong gateway run"}]


def test_looking_writes_nothing(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path)
    loong("status")
    loong("channels", "status")
    loong("channels")
    assert list(loong.home.iterdir()) == []


def test_a_broken_config_is_named_with_its_line(tmp_path: pathlib.Path) -> None:
    ran = Here(tmp_path, "[telegram\n")("status")
    assert ran.code == 2
    assert ran.err.startswith("error: config is invalid")
