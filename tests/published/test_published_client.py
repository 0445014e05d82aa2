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
CHECKS = "hello inspection refusals run chat events ticks wrong mismatch handshakes".split()


def driver(gateway: Gateway, check: str) -> Puppet:
    url = f"ws://127.0.0.1:{gateway.port}"
    return Puppet([node(), str(DRIVER), check, url, TOKEN], {"LOONG_NODE_PACKAGES": str(packages())})


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


def test_a_stop_is_told_before_the_connection_closes(installed: None, tmp_path: pathlib.Path) -> None:
    with (
        serving(tmp_path, config_for(None, None, more=ECHO)) as gateway,
        driver(gateway, "shutdown") as client,
    ):
        client.wait("ready")
        assert gateway.terminate() == 0
        client.wait("told")
        assert client.wait("done")["complaints"] == []
