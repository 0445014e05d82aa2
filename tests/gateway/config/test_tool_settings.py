"""What a config may say about tools."""

from __future__ import annotations

import pathlib

import pytest

from tests.gateway.config.reading import findings, valid

BASE = '[providers.main]\nkind = "echo"\n'


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('[tools.http]\norigins = ["https://a.test/path"]', "tools.http.origins"),
        ('[tools.http]\norigins = ["https://a.test?x"]', "tools.http.origins"),
        ('[tools.http]\norigins = ["https://u@a.test"]', "tools.http.origins"),
        ('[tools.http]\norigins = ["a.test"]', "tools.http.origins"),
        (
            '[tools.http]\norigins = ["https://*"]\n[tools.messages]\ntargets = ["x"]',
            "tools.messages.targets",
        ),
        ('[tools.messages]\ntargets = ["telegram:default"]', "tools.messages.targets"),
        ('[tools.messages]\ntargets = ["telegrm:default:1"]', "tools.messages.targets"),
        ('[tools]\nfile_root = "files"\nshell_allow = ["ls -l"]', "tools.shell_allow"),
        ('[tools]\nfile_root = "files"\nshell_allow = ["../ls"]', "tools.shell_allow"),
        ('[tools]\nfile_root = "files"\nshell_allow = ["-c"]', "tools.shell_allow"),
        ('[tools]\nshell_allow = ["ls"]', "tools.shell_allow"),
        ('[tools]\nfile_root = "/"', "tools.file_root"),
        ('[tools]\nfile_root = "."', "tools.file_root"),
        ('[tools]\nfile_root = "/home"', "tools.file_root"),
    ],
)
def test_what_cannot_be_used_is_named(text: str, path: str) -> None:
    found = findings(BASE + text)
    assert path in {one.field_path for one in found}
    assert {one.code for one in found} == {"config.value.invalid"}


def test_what_can_be_used_is_taken() -> None:
    config = valid(
        BASE + '[tools]\nfile_root = "/srv/files"\nshell_allow = ["git", "/opt/x y/bin"]\n'
        '[tools.http]\norigins = ["http://10.0.0.1:8080", "https://a.test/", "https://[::1]"]\n'
        '[tools.messages]\ntargets = ["telegram:default:-100:7"]\n'
    )
    assert config.tools.shell_allow == ("git", "/opt/x y/bin")
    assert pathlib.PurePath(str(config.tools.file_root)) == pathlib.PurePath("/srv/files")
