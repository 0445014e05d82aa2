"""The models of every profile: listed side by side, kept for a while, with the configured one whatever happens."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from loong_channels.egress import Egress
from loong_channels.waiting import Deadline
from loong_gateway.base.clock import Clock
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.config.secrets import resolve
from loong_gateway.daemon.models_desk import ModelsDesk
from loong_gateway.providers.key_health import HealthRules, KeyHealth
from tests.fakes.scripted_peer import Connection, ScriptedPeer
from tests.gateway.config.reading import valid

WAIT_S = 10.0
KEY = "sk-very-secret-key-0123456789"


class Service:
    """A provider whose answers are set: names, a status, or None for silence until `gate` is set."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] | None = ("m1", "m2")
        self.status = 200
        self.gate = threading.Event()

    def script(self, connection: Connection) -> None:
        while connection.read_request() is not None:
            if self.names is None:
                self.gate.wait(WAIT_S)
                return
            connection.answer_json(self.status, {"data": [{"id": name} for name in self.names]})


@contextlib.contextmanager
def desk(text: str) -> Iterator[tuple[ModelsDesk, Service, ScriptedPeer]]:
    """A desk over a config where PEER stands for the address of the service."""
    service = Service()
    threads = ThreadRegistry()
    health: dict[str, KeyHealth] = {}
    with ScriptedPeer(service.script) as peer:
        config = valid(text.replace("PEER", peer.url))
        environ = {"MODEL_KEY": KEY, "TWO_KEYS": f"{KEY},another-{KEY}"}
        made = ModelsDesk(
            lambda: config,
            egress=Egress(environ={}),
            environ=environ,
            secret=lambda ref: resolve(ref, environ),
            threads=threads,
            clock=Clock(),
            health=lambda profile: health.setdefault(profile.id, KeyHealth(HealthRules())),
        )
        try:
            yield made, service, peer
        finally:
            service.gate.set()
            assert threads.join_all(Deadline(WAIT_S)) == []


ONE = """
[providers.main]
kind = "custom"
base_url = "PEER/v1"
model = "m2"
api_key = { env = "MODEL_KEY" }
retry_max_attempts = 1
"""


def rows(made: ModelsDesk, *, refresh: bool = False, timeout_s: float = WAIT_S) -> list[tuple[object, ...]]:
    return [
        (one["id"], one["profile"], one["available"], one.get("error_code"))
        for one in made.models(refresh=refresh, timeout_s=timeout_s)
    ]


def test_the_configured_model_comes_first_and_a_list_is_kept() -> None:
    with desk(ONE) as (made, service, peer):
        wanted = [("m2", "main", True, None), ("m1", "main", True, None)]
        assert rows(made) == rows(made) == wanted
        assert len(peer.requests) == 1
        service.names = ("m3",)
        assert rows(made, refresh=True) == [("m2", "main", True, None), ("m3", "main", True, None)]


def test_every_profile_is_listed_whatever_happens_to_one() -> None:
    text = ONE + '[providers.keyless]\nkind = "openai"\nmodel = "gpt"\napi_key = { env = "NOT_THERE" }\n'
    with desk(text + '[providers.own]\nkind = "echo"\nmodel = "echo"\n') as (made, _, _):
        assert rows(made) == [
            ("m2", "main", True, None),
            ("m1", "main", True, None),
            ("gpt", "keyless", False, "secret_missing"),
            ("echo", "own", True, None),
        ]


def test_a_refused_key_and_a_silent_service() -> None:
    with desk(ONE) as (made, service, _):
        service.status = 401
        assert rows(made) == [("m2", "main", False, "auth_rejected")]
        service.status = 500
        assert rows(made) == [("m2", "main", False, "auth_rejected")]
        service.status, service.names = 200, None
        assert rows(made, timeout_s=0.05) == [("m2", "main", False, "auth_rejected")]


def test_one_that_does_not_answer_in_time_is_listed_with_its_own_model() -> None:
    with desk(ONE) as (made, service, _):
        service.names = None
        found = made.models(refresh=False, timeout_s=0.05)
        assert [(one["id"], one["available"]) for one in found] == [("m2", False)]
        assert found[0]["error"]


def test_an_old_list_outlives_a_failure_that_is_not_about_the_key() -> None:
    with desk(ONE) as (made, service, _):
        wanted = rows(made)
        service.status = 500
        assert rows(made, refresh=True) == wanted
        service.status = 403
        assert rows(made, refresh=True) == [("m2", "main", False, "auth_rejected")]


@pytest.mark.parametrize("text", ["", "[provider]\nkind = 'echo'\nmodel = 'echo'\n"], ids=["none", "echo"])
def test_little_to_list(text: str) -> None:
    with desk(text) as (made, _, _):
        assert len(rows(made)) == text.count("provider")


def test_several_keys_are_shown_with_how_they_fare() -> None:
    with desk(ONE.replace("MODEL_KEY", "TWO_KEYS")) as (made, service, _):
        service.status = 401
        (row,) = made.models(refresh=True, timeout_s=WAIT_S)
        keys = row["keys"]
        assert isinstance(keys, list)
        assert [(one["key"], one["state"]) for one in keys] == [(1, "disabled"), (2, "disabled")]
        assert KEY not in str(row)
