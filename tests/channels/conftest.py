"""What the tests of several channels' modules share."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
from collections.abc import Iterator
from typing import Callable

import pytest

from loong_channels.egress import Egress
from loong_channels.net import HttpClient
from tests.fakes.certificates import make_certificates


@pytest.fixture
def opened() -> Iterator[Callable[..., HttpClient]]:
    """Makes clients as HttpClient(...) does, and closes them when the test is over."""
    with contextlib.ExitStack() as stack:

        def make(egress: Egress, **options: object) -> HttpClient:
            client = HttpClient(egress, **options)
            stack.callback(client.close)
            return client

        yield make


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The directory of a private authority; see tests.fakes.certificates."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    home = tmp_path_factory.mktemp("certs")
    make_certificates(home)
    return home
