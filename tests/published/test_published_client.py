"""The published gateway client and its schema against a real gateway. Each check is one in gateway_client.mjs.

Skipped where the packages are not there; CONTRIBUTING.md says how to get them.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from tests.e2e.gateway import Gateway, config_for
from tests.fakes.model import FakeModel
from tests.fakes.telegram import FakeTelegram
from tests.oracles.puppet import Puppet
from tests.published.packages import ECHO, TOKEN, needs, node, packages, serving

DRIVER = pathlib.Path(__file__).resolve().parent / "gateway_client.mjs"
NAMES = ("@openclaw/gateway-client", "@openclaw/gateway-protocol", "ajv", "ajv-formats", "ws")
NEXT_TOKEN = "published-clients-0002"
CHECKS = "hello inspection refusals run chat events ticks wrong mismatch handshakes".split()


def driver(gateway: Gateway, check: str, *more: str) -> Puppet:
    url = f"ws://127.0.0.1:{gateway.port}"
    return Puppet([node(), str(DRIVER), check, url, TOKEN, *more], {"LOONG_NODE_PACKAGES": str(packages())})


def complaints(gateway: Gateway, check: str) -> object:
    with driver(gateway, check) as client:
        return client.wait("done", done=check)["complaints"]


@pytest.fixture(scope="module")
def installed() -> None:
    for name in NAMES:
        needs(name)
    node()


@pytest.fixture(scope="module")
def gateway(installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = config_for(None, None, more=ECHO)
    with FakeTelegram() as telegram:
        config += config_for(telegram, None)
        with serving(tmp_path_factory.mktemp("published"), config) as running:
            yield running


@pytest.mark.parametrize("check", CHECKS)
def test_the_published_client_has_no_complaint(gateway: Gateway, check: str) -> None:
    assert complaints(gateway, check) == []


def test_runs_that_are_aborted_and_that_fail_end_as_published(
    installed: None, tmp_path: pathlib.Path
) -> None:
    with FakeModel() as model, serving(tmp_path, config_for(None, model)) as gateway:
        model.fault("hang", where={"question~": "hang"}, times=None)
        model.fault("status", where={"question~": "fail"}, times=None, status=400)
        assert complaints(gateway, "ends") == []


def test_calls_of_tools_and_what_a_person_says_to_them_are_told_as_promised(
    installed: None, tmp_path: pathlib.Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    tools = f'[tools]\nallow = ["time", "file.write"]\nfile_root = "{root}"\n'
    with (
        FakeModel() as model,
        serving(tmp_path, config_for(None, model, more=tools), 'tools.allow = ["time"]\n') as gateway,
    ):
        assert complaints(gateway, "tools") == []
    assert [path.name for path in root.iterdir()] == ["allow-once.txt"]


def test_a_stop_is_told_before_the_connection_closes(installed: None, tmp_path: pathlib.Path) -> None:
    with (
        serving(tmp_path, config_for(None, None, more=ECHO)) as gateway,
        driver(gateway, "shutdown") as client,
    ):
        client.wait("ready")
        assert gateway.terminate() == 0
        client.wait("told")
        assert client.wait("done")["complaints"] == []


def test_a_client_of_a_replaced_token_is_ended_and_does_not_come_back(
    installed: None, tmp_path: pathlib.Path
) -> None:
    kept = tmp_path / "token"
    kept.write_text(TOKEN)
    kept.chmod(0o600)
    config, secret = config_for(None, None, more=ECHO), f'auth.token = {{ file = "{kept}" }}\n'
    with (
        serving(tmp_path, config, secret) as gateway,
        driver(gateway, "rotated", NEXT_TOKEN) as client,
    ):
        client.wait("ready")
        kept.write_text(NEXT_TOKEN)
        assert gateway.run("secrets", "reload").returncode == 0
        assert client.wait("done")["complaints"] == []


def test_a_client_comes_back_after_a_restart_and_finds_its_run(
    installed: None, tmp_path: pathlib.Path
) -> None:
    with FakeModel() as model:
        model.fault("hang", where={"question~": "before the restart"})
        with serving(tmp_path, config_for(None, model), "drain_s = 0.2\n") as gateway:
            assert complaints(gateway, "restart") == []
            assert model.questions() == ["before the restart"] * 2


def test_a_client_that_reads_too_slowly_is_ended_and_comes_back(
    installed: None, tmp_path: pathlib.Path
) -> None:
    with serving(tmp_path, config_for(None, None, more=ECHO), "ws.max_buffered_bytes = 65536\n") as gateway:
        assert complaints(gateway, "slow") == []
