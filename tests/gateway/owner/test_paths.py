"""Where a gateway lies follows from flags first, then variables, then the profile."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

import pytest

from loong_gateway.base.faults import CommandError
from loong_gateway.owner.paths import resolve_places

HOME = {"HOME": "/home/ann"}


def test_without_anything_the_home_is_in_the_users_home() -> None:
    places = resolve_places({}, HOME)
    assert places.home == places.state == "/home/ann/.loong"
    assert places.config == "/home/ann/.loong/config.toml"
    assert places.profile == "default"
    assert places.owner_lock == "/home/ann/.loong/owner.lock"
    assert places.status_file == "/home/ann/.loong/gateway-runtime/status.json"


@pytest.mark.parametrize(
    ("flags", "environ", "home"),
    [
        ({"profile": "ops"}, {}, "/home/ann/.loong-ops"),
        ({}, {"LOONG_PROFILE": "ops"}, "/home/ann/.loong-ops"),
        ({"profile": "a"}, {"LOONG_PROFILE": "b"}, "/home/ann/.loong-a"),
        ({"dev": True}, {}, "/home/ann/.loong-dev"),
        ({"dev": True}, {"LOONG_PROFILE": "ops"}, "/home/ann/.loong-dev"),
        ({"dev": True, "profile": "x"}, {}, "/home/ann/.loong-x"),
        ({"profile": "default"}, {}, "/home/ann/.loong"),
        ({"profile": "ops"}, {"LOONG_HOME": "/srv/loong"}, "/srv/loong"),
        ({}, {"LOONG_HOME": "~/there"}, "/home/ann/there"),
        ({}, {"LOONG_HOME": ""}, "/home/ann/.loong"),
    ],
)
def test_an_explicit_home_wins_over_a_profile_and_a_flag_over_a_variable(
    flags: dict[str, object], environ: dict[str, str], home: str
) -> None:
    assert resolve_places(flags, {**HOME, **environ}).home == home


def test_state_and_config_can_lie_elsewhere() -> None:
    environ = {**HOME, "LOONG_STATE_DIR": "/var/lib/loong", "LOONG_CONFIG_PATH": "/etc/loong.toml"}
    places = resolve_places({}, environ)
    assert places.home == "/home/ann/.loong"
    assert places.store == "/var/lib/loong/loong.sqlite3"
    assert places.config == "/etc/loong.toml"
    assert resolve_places({"config": "~/c.toml"}, environ).config == "/home/ann/c.toml"


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "-x", "a b", "é", "x" * 65])
def test_a_profile_that_is_no_directory_name_is_refused(name: str) -> None:
    with pytest.raises(CommandError, match="profile"):
        resolve_places({"profile": name}, HOME)


def test_without_a_home_the_places_are_still_absolute() -> None:
    assert os.path.isabs(resolve_places({}, {}).home)


def test_a_command_for_other_places_carries_their_flags() -> None:
    places = resolve_places({"profile": "ops", "config": "/a b/c.toml"}, HOME)
    words = shlex.split(places.command("gateway run"))
    assert words == ["loong", "--profile", "ops", "--config", "/a b/c.toml", "gateway", "run"]
    assert resolve_places({}, HOME).command("gateway run") == "loong gateway run"


def test_directories_are_made_private_and_wide_ones_narrowed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    home.chmod(0o755)
    places = resolve_places({}, {"LOONG_HOME": str(home)})
    places.create()
    for path in (places.home, places.runtime_dir, places.logs):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700, path


@pytest.mark.parametrize("mode", [0o1777, 0o755, 0o777])
def test_a_directory_with_other_things_in_it_is_never_closed_to_others(tmp_path: Path, mode: int) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "somebody's").write_text("")
    shared.chmod(mode)
    places = resolve_places({}, {"LOONG_HOME": str(shared)})
    if mode & 0o002:
        with pytest.raises(CommandError, match="everybody can write to it"):
            places.create()
    else:
        places.create()
        assert stat.S_IMODE(os.stat(places.runtime_dir).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(shared).st_mode) == mode


def test_a_home_may_be_a_link_but_the_owners_directory_may_not(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "disk")
    places = resolve_places({}, {"LOONG_HOME": str(tmp_path / "home")})
    places.create()
    os.rmdir(places.runtime_dir)
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", places.runtime_dir)
    with pytest.raises(CommandError, match="not a directory of its own") as caught:
        places.create()
    assert caught.value.exit_code == 78
    assert caught.value.where == places.runtime_dir


def test_a_home_below_a_file_is_refused_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    places = resolve_places({}, {"LOONG_HOME": str(tmp_path / "file" / "home")})
    with pytest.raises(CommandError) as caught:
        places.create()
    assert caught.value.code == "owner.state_unwritable"
