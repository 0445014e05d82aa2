"""`loong channels`: text for people, the contract's JSON for machines."""

from __future__ import annotations

import pathlib

from tests.commands.loong_cli import TOKEN, Here, running_owner, surface, telegram_config

CONFIG = telegram_config(
    "http://127.0.0.1:9",
    more="""
[telegram.accounts.ops]
enabled = false
bot_token = { env = "OTHER_BOT_TOKEN" }
""",
)
CATALOG = {
    "id",
    "label",
    "selection_order",
    "selection_label",
    "blurb",
    "implementation_status",
    "capabilities",
    "aliases",
    "transport",
    "onboarding",
    "supported_target_kinds",
    "operations",
}
SNAPSHOT = {
    "id",
    "configured_account_id",
    "configured_account_label",
    "is_default_account",
    "default_account_source",
    "label",
    "aliases",
    "transport",
    "compiled",
    "enabled",
    "api_base_url",
    "notes",
    "operations",
}
RUNTIME = {
    "running",
    "stale",
    "busy",
    "active_runs",
    "consecutive_failures",
    "last_run_activity_at",
    "last_heartbeat_at",
    "last_failure_at",
    "last_recovery_at",
    "last_error",
    "last_duplicate_reclaim_at",
    "pid",
    "account_id",
    "account_label",
    "instance_count",
    "running_instances",
    "stale_instances",
    "duplicate_owner_pids",
    "last_duplicate_reclaim_cleanup_owner_pids",
    "recent_incidents",
}


def test_an_empty_home_says_what_to_write(tmp_path: pathlib.Path) -> None:
    ran = Here(tmp_path)("channels")
    assert ran.code == 0
    assert ran.first_line.startswith("No channel is configured in ")
    assert "then: loong validate-config" in ran.out


def test_each_configured_account_has_a_row_and_the_default_is_marked(tmp_path: pathlib.Path) -> None:
    ran = Here(tmp_path, CONFIG)("channels", "list")
    assert ran.first_line == "1 of 2 accounts is configured to receive; 1 is disabled."
    rows = {line.split()[1]: line.split() for line in ran.out.splitlines() if line.startswith("telegram")}
    assert rows["work"][2:6] == ["*", "enabled", "yes", "yes"]
    assert rows["ops"][2:5] == ["disabled", "-", "-"]


def test_a_missing_credential_is_named_with_its_variable(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, CONFIG)
    del loong.environ["TELEGRAM_BOT_TOKEN"]
    ran = loong("channels")
    assert ran.first_line == "0 of 2 accounts are configured to receive; 1 is misconfigured; 1 is disabled."
    assert "telegram/work: env TELEGRAM_BOT_TOKEN is not set" in ran.out


def test_the_document_has_the_fields_of_the_contract(tmp_path: pathlib.Path) -> None:
    document = Here(tmp_path, CONFIG)("channels", "--json").document
    assert list(document) == [
        "config",
        "schema",
        "summary",
        "channels",
        "catalog_only_channels",
        "channel_catalog",
        "channel_surfaces",
        "channel_access_policies",
    ]
    assert document["schema"]["version"] == 2
    assert all(set(entry) == CATALOG for entry in document["channel_catalog"])
    assert all(set(entry) == SNAPSHOT for entry in document["channels"])
    operations = [operation for entry in document["channels"] for operation in entry["operations"]]
    assert {operation["health"] for operation in operations} == {"ready", "disabled"}
    assert all(operation["runtime"] is None for operation in operations)
    policy = next(p for p in document["channel_access_policies"] if p["configured_account_id"] == "work")
    assert policy == {
        "channel_id": "telegram",
        "configured_account_id": "work",
        "conversation_config_key": "allowed_chat_ids",
        "sender_config_key": "allowed_sender_ids",
        "conversation_mode": "exact_allowlist",
        "sender_mode": "open",
        "allowed_conversations": ["1001"],
        "allowed_senders": [],
        "mention_required": False,
    }


def test_summary_counts_agree_with_the_catalog(tmp_path: pathlib.Path) -> None:
    document = Here(tmp_path)("channels", "--json").document
    statuses = [entry["implementation_status"] for entry in document["channel_catalog"]]
    assert document["summary"]["total_surface_count"] == len(statuses)
    assert document["summary"]["runtime_backed_surface_count"] == statuses.count("runtime_backed")
    assert document["summary"]["catalog_only_surface_count"] == len(document["catalog_only_channels"])
    assert "telegram" not in [entry["id"] for entry in document["catalog_only_channels"]]


def test_a_running_gateway_shows_its_live_state(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, CONFIG)
    with running_owner(loong, surfaces=[surface("conflict", last_error="another poller", restarts=3)]):
        document = loong("channels", "--json").document
    work = next(entry for entry in document["channels"] if entry["configured_account_id"] == "work")
    runtime = next(op["runtime"] for op in work["operations"] if op["id"] == "serve")
    assert set(runtime) == RUNTIME
    assert runtime["running"] is True
    assert runtime["last_error"] == "another poller"
    assert runtime["running_instances"] == 1


def test_no_secret_is_ever_printed(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, CONFIG)
    for args in (["channels"], ["channels", "--json"], ["channels", "--all"]):
        ran = loong(*args)
        assert TOKEN not in ran.out + ran.err
