"""The configuration file, changed whole or not at all, by one writer at a time, with its secrets where they are."""

from __future__ import annotations

import os
import pathlib
import stat
import subprocess
import sys
import threading

import pytest
import tomli

from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.config.config_file import locked
from loong_gateway.control.settings import REDACTED, ConfigConflict, ConfigRefused
from loong_gateway.daemon.settings_desk import ConfigDesk
from tests import small_disk
from tests.gateway.daemon.desk_rig import TOKEN, desk_of

CONFIG = f"""# mine
[gateway]
port = 18789 # usual

[gateway.auth]
token = "shared-secret-of-the-port"

[provider]
kind = "ollama"
model = "m"
headers = {{ Authorization = "Bearer abcdef" }}

[network]
proxy = "http://user:pw-of-proxy@proxy.example:3128"

[telegram]
enabled = true
allowed_chat_ids = [1]
# bot_token = "{TOKEN}"
bot_token = "{TOKEN}"
"""
MORE = ("password", "password_env", "allowTailscale", "trustedProxy", "rateLimit")
SECRETS = ("shared-secret-of-the-port", "Bearer abcdef", "pw-of-proxy", TOKEN)


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    path.chmod(0o600)
    return path


@pytest.fixture
def desk(path: pathlib.Path) -> ConfigDesk:
    return desk_of(path)


def test_what_is_shown_holds_no_secret(desk: ConfigDesk) -> None:
    found = desk.read()
    assert found.exists
    assert found.valid
    for secret in SECRETS:
        assert secret not in found.raw
        assert secret not in repr(found.parsed)
    assert tomli.loads(found.raw) == found.parsed
    assert found.parsed["telegram"]["bot_token"] == REDACTED
    assert "port = 18789 # usual" in found.raw
    assert found.digest == found.applied_digest


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ('{ env = "TELEGRAM_TOKEN" }', {"env": "TELEGRAM_TOKEN"}),
        ('"${TELEGRAM_TOKEN}"', "${TELEGRAM_TOKEN}"),
        ('{ file = "/run/token" }', {"file": "/run/token"}),
        ('{ exec = ["pass", "show", "x"] }', {"exec": ["pass", REDACTED, REDACTED]}),
        (f'{{ env = "{TOKEN}" }}', {"env": REDACTED}),
        ('{ vault = "abc" }', {"vault": REDACTED}),
        ('""', ""),
    ],
    ids=["env", "env_text", "file", "exec", "token_as_name", "unknown_form", "blank"],
)
def test_references_are_shown(path: pathlib.Path, value: str, shown: object) -> None:
    desk = desk_of(path)
    path.write_text(f"[telegram]\nbot_token = {value}\n")
    assert desk.read().parsed["telegram"]["bot_token"] == shown


def test_secrets_of_what_this_build_does_not_read_are_hidden(desk: ConfigDesk, path: pathlib.Path) -> None:
    path.write_text(
        '[discord]\nbot_token = "abc-1"\n[dingtalk]\nwebhook_url = "https://x/?access_token=abc-2"\n'
        '[acp.deep]\npassword = "abc-3"\nlist = [{ api_key = "abc-4" }]\n[telegram]\n'
        'bot_token_env = "111111:abc-5abc-5abc"\n'
    )
    found = desk.read()
    assert "abc-" not in found.raw
    assert "abc-" not in repr(found.parsed)


def test_a_file_that_is_no_toml_is_not_shown(desk: ConfigDesk, path: pathlib.Path) -> None:
    path.write_text(f'bot_token = "{TOKEN}"\nbroken = [')
    found = desk.read()
    assert (found.valid, found.raw, found.parsed) == (False, "", {})
    assert [issue.code for issue in found.issues] == ["config.file.syntax"]


def test_a_patch_keeps_everything_else(desk: ConfigDesk, path: pathlib.Path) -> None:
    before = desk.read()
    written = desk.patch({"gateway": {"port": 18790}}, before.digest)
    assert path.read_text() == CONFIG.replace("18789", "18790")
    assert (written.changed, written.needs_restart) == (("gateway.port",), ("gateway.port",))
    assert written.document.digest != before.digest
    assert written.document.applied_digest == before.digest
    assert desk.read().digest == written.document.digest
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_null_removes_and_spellings_are_one(desk: ConfigDesk, path: pathlib.Path) -> None:
    written = desk.patch({"Telegram": {"allowedChatIds": [1, 2], "botToken": None}}, desk.read().digest)
    table = tomli.loads(path.read_text())["telegram"]
    assert table == {"enabled": True, "allowed_chat_ids": [1, 2]}
    assert written.changed == ("telegram.allowed_chat_ids", "telegram.bot_token")


def test_marks_that_come_back_keep_what_is_stored(desk: ConfigDesk, path: pathlib.Path) -> None:
    found = desk.read()
    desk.replace(found.raw.replace("18789", "18790"), found.digest)
    kept = tomli.loads(path.read_text())
    assert kept == tomli.loads(CONFIG.replace("18789", "18790"))
    desk.patch({"telegram": {"bot_token": REDACTED, "enabled": False}}, desk.read().digest)
    assert tomli.loads(path.read_text())["telegram"] == {
        "enabled": False,
        "allowed_chat_ids": [1],
        "bot_token": TOKEN,
    }


def test_a_mark_without_a_secret_behind_it_is_refused(desk: ConfigDesk, path: pathlib.Path) -> None:
    for changes in (
        {"feishu": {"app_secret": REDACTED}},
        {"provider": {"model": REDACTED}},
        {"network": {"proxy": f"http://user:{REDACTED}@other.example"}},
    ):
        with pytest.raises(ConfigRefused) as refused:
            desk.patch(changes, desk.read().digest)
        assert [issue.code for issue in refused.value.issues] == ["config.value.redacted"]
    assert path.read_text() == CONFIG


def test_what_is_not_valid_is_not_written(desk: ConfigDesk, path: pathlib.Path) -> None:
    digest = desk.read().digest
    with pytest.raises(ConfigRefused) as refused:
        desk.patch({"gateway": {"port": 70000}}, digest)
    assert [issue.field_path for issue in refused.value.issues] == ["gateway.port"]
    for raw in ("gateway = [", "[gateway]\nport = 1\nport = 2\n"):
        with pytest.raises(ConfigRefused):
            desk.replace(raw, digest)
    for changes in ({"cli": {"system_prompt": "\ud800"}}, {"cli": {"exit_commands": [None]}}):
        with pytest.raises(ConfigRefused):
            desk.patch(changes, digest)
    assert sorted(os.listdir(path.parent)) == ["config.toml", "config.toml.lock"]
    assert path.read_text() == CONFIG


def test_what_nests_without_end_is_neither_shown_nor_written(desk: ConfigDesk, path: pathlib.Path) -> None:
    digest = desk.read().digest
    deep = ".".join(["a"] * 3000)
    with pytest.raises(ConfigRefused, match="nested too deeply"):
        desk.replace(f"{deep} = 1\n", digest)
    assert path.read_text() == CONFIG
    path.write_text(f'{deep} = 1\n[telegram]\nbot_token = "{TOKEN}"\n')
    assert desk.read().raw == ""


def test_only_who_has_seen_the_file_changes_it(desk: ConfigDesk, path: pathlib.Path) -> None:
    digest = desk.read().digest
    path.write_text(CONFIG + "\n# by hand\n")
    for base in (digest, "", "0" * 64):
        with pytest.raises(ConfigConflict):
            desk.patch({"gateway": {"port": 1}}, base)


def test_a_first_file_is_written(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config.toml"
    desk = desk_of(path)
    assert not desk.read().exists
    desk.patch({"gateway": {"port": 1}}, "")
    assert path.read_text() == "[gateway]\nport = 1\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.with_name("config.toml.bak-1").exists()


def test_five_older_versions_stay(desk: ConfigDesk, path: pathlib.Path) -> None:
    for port in range(1, 8):
        desk.patch({"gateway": {"port": port}}, desk.read().digest)
    backups = {name: (path.parent / name) for name in os.listdir(path.parent) if ".bak-" in name}
    assert sorted(backups) == [f"config.toml.bak-{number}" for number in range(1, 6)]
    ports = [tomli.loads(backups[name].read_text())["gateway"]["port"] for name in sorted(backups)]
    assert ports == [6, 5, 4, 3, 2]
    assert {stat.S_IMODE(backup.stat().st_mode) for backup in backups.values()} == {0o600}


def test_no_change_writes_nothing(desk: ConfigDesk, path: pathlib.Path) -> None:
    written = desk.patch({"gateway": {"port": 18789}}, desk.read().digest)
    assert written.changed == ()
    assert not path.with_name("config.toml.bak-1").exists()


def test_a_link_stays_a_link(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    elsewhere = tmp_path / "dotfiles"
    elsewhere.mkdir()
    target = elsewhere / "loong.toml"
    path.rename(target)
    path.symlink_to(target)
    desk = desk_of(path)
    desk.patch({"gateway": {"port": 2}}, desk.read().digest)
    assert path.is_symlink()
    assert not target.is_symlink()
    assert target.read_text() == CONFIG.replace("18789", "2")
    assert path.with_name("config.toml.bak-1").read_text() == CONFIG
    assert sorted(os.listdir(elsewhere)) == ["loong.toml", "loong.toml.lock"]


def test_of_two_processes_one_wins(desk: ConfigDesk, path: pathlib.Path) -> None:
    command = [sys.executable, "-m", "tests.gateway.daemon.config_writer", str(path), desk.read().digest]
    root = pathlib.Path(__file__).resolve().parents[3]
    writers = [
        subprocess.Popen(
            [*command, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        for name in ("first", "second")
    ]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    said = [writer.communicate(timeout=20)[0].strip() for writer in writers]
    assert sorted(said) == ["conflict", "written"]
    winner = ("first", "second")[said.index("written")]
    assert tomli.loads(path.read_text())["cli"]["system_prompt"] == winner


def test_of_many_threads_one_wins(desk: ConfigDesk, path: pathlib.Path) -> None:
    digest, won = desk.read().digest, []

    def write(port: int) -> None:
        try:
            desk.patch({"gateway": {"port": port}}, digest)
        except ConfigConflict:
            return
        won.append(port)

    threads = [threading.Thread(target=write, args=(port,)) for port in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(won) == 1
    assert tomli.loads(path.read_text())["gateway"]["port"] == won[0]


def test_another_writer_is_waited_for(
    desk: ConfigDesk, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loong_gateway.config.config_file.LOCK_S", 0.05)
    with locked(str(path)), pytest.raises(StoreUnwritable):
        desk.patch({"gateway": {"port": 1}}, desk.read().digest)
    assert path.read_text() == CONFIG


def test_a_full_disk_changes_nothing(tmp_path: pathlib.Path) -> None:
    with small_disk.mounted(tmp_path, "256k") as disk:
        path = disk / "config.toml"
        path.write_text(CONFIG)
        path.chmod(0o600)
        desk = desk_of(path)
        desk.patch({"gateway": {"port": 1}}, desk.read().digest)
        before = {name: (disk / name).read_bytes() for name in sorted(os.listdir(disk))}
        filler = small_disk.occupy(disk)
        with pytest.raises(StoreUnwritable):
            desk.patch({"gateway": {"port": 2}}, desk.read().digest)
        # Room for the new file, none for the backup.
        with open(filler, "r+b") as file:
            file.truncate(filler.stat().st_size - os.statvfs(disk).f_bsize)
        with pytest.raises(StoreUnwritable):
            desk.patch({"gateway": {"port": 2}}, desk.read().digest)
        filler.unlink()
        assert {name: (disk / name).read_bytes() for name in sorted(os.listdir(disk))} == before
        desk.patch({"gateway": {"port": 2}}, desk.read().digest)
        assert tomli.loads(path.read_text())["gateway"]["port"] == 2


def test_the_schema_has_every_table(desk: ConfigDesk) -> None:
    schema = desk.schema()
    tables = schema["properties"]
    assert {"gateway", "provider", "providers", "telegram", "feishu", "wecom", "active_provider"} <= set(
        tables
    )
    port = tables["gateway"]["properties"]["port"]
    assert (port["type"], port["minimum"], port["maximum"], port["default"]) == ("integer", 0, 65535, 18789)
    account = tables["telegram"]["properties"]["accounts"]["additionalProperties"]
    assert "anyOf" in account["properties"]["bot_token"]
    assert "default_account" not in account["properties"]


@pytest.mark.parametrize(
    ("path", "kind", "children"),
    [
        ("gateway.port", "restart", []),
        ("gateway/port", "restart", []),
        ("gateway.auth", None, ["mode", "token", "token_env", *MORE]),
        ("gateway.http.endpoints.turn", None, ["enabled"]),
        ("providers.any.apiKey", "restart", []),
        ("telegram.accounts[work].bot_token", "restart", []),
        ("cron", "none", []),
    ],
    ids=["setting", "slashes", "table", "endpoint", "own_name", "account", "not_read"],
)  # fmt: skip
def test_one_place_of_the_schema(desk: ConfigDesk, path: str, kind: str | None, children: list[str]) -> None:
    found = desk.lookup(path)
    assert found is not None
    assert found["path"] == path
    assert found.get("reloadKind") == kind
    assert [child["key"] for child in found["children"]] == children


def test_a_place_that_is_none(desk: ConfigDesk) -> None:
    for path in ("nowhere", "gateway.port.x", "gateway.nothing"):
        assert desk.lookup(path) is None
    assert desk.lookup(".") is not None
    assert desk.lookup("telegram.bot_token")["hint"] == {"help": "token of the bot", "sensitive": True}
