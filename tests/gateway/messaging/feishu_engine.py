"""A whole engine with one Feishu account, in this process, between the doubles of the platform and of a model."""

from __future__ import annotations

import contextlib
import pathlib
import time
from collections.abc import Iterator
from typing import Any

from loong_channels.egress import Egress
from loong_channels.waiting import Deadline
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.config.loading import validate_source
from loong_gateway.logs.redaction import Redactor
from loong_gateway.messaging.engine import Engine
from loong_gateway.messaging.engine_parts import EngineParts
from loong_gateway.storage.outgoing import Outgoing
from loong_gateway.storage.store import Store
from tests.channels.feishu_inbound_rig import message
from tests.clocks import HandClock
from tests.fakes.feishu import FakeFeishu
from tests.fakes.feishu_long_connection import FakeLongConnection
from tests.fakes.feishu_state import Said
from tests.fakes.model import KEY, FakeModel
from tests.waiting import wait_until

WAIT_S = 15.0


class World:
    """The doubles; `engine` runs an engine over the same store, again and again if need be."""

    def __init__(
        self, path: pathlib.Path, rest: FakeFeishu, link: FakeLongConnection, model: FakeModel
    ) -> None:
        self.path = path
        self.rest = rest
        self.link = link
        self.model = model
        self.clock = HandClock(time.time_ns() // 1_000_000)
        rest.on_request = self._lend_endpoint

    def _lend_endpoint(self, request: Any, stage: str) -> None:
        if request.name == "endpoint" and stage == "arrived":
            status, body = self.link.endpoint_answer(dict(request.params))
            assert isinstance(body, dict)
            if status == 200 and body["code"] == 0:
                self.rest.set_endpoint(body["data"]["URL"], **body["data"]["ClientConfig"])

    @contextlib.contextmanager
    def engine(self, feishu: str = "", more: str = "") -> Iterator[Engine]:
        """An engine whose account is ready; `feishu` are further settings of the account, `more` further tables."""
        text = f"""
[providers.main]
kind = "custom"
model = "test-model"
base_url = "{self.model.base_url}"
api_key = "{KEY}"
[feishu]
enabled = true
account_id = "work"
base_url = "{self.rest.base_url}"
app_id = "{self.rest.app_id}"
app_secret = "{self.rest.app_secret}"
reply_format = "text"
allowed_chat_ids = ["*"]
{feishu}
{more}
"""
        config, problems = validate_source("config.toml", text.encode(), environ={})
        assert config is not None, problems
        threads = ThreadRegistry()
        store = Store.open(str(self.path), threads=threads)
        try:
            engine = Engine(
                config,
                EngineParts(
                    store=store,
                    outgoing=Outgoing(f"{self.path}-outgoing"),
                    threads=threads,
                    egress=Egress(environ={}),
                    environ={},
                    redactor=Redactor(),
                    clock=self.clock,
                    changed=lambda: None,
                ),
            )
            engine.add_account(config.channels["feishu"].accounts["work"])
            engine.recover()
            engine.start(channels=True)
            wait_until(lambda: engine.supervisor.states()[0].phase == "ready")
            try:
                yield engine
            finally:
                self.model.release()
                engine.close()
                assert engine.supervisor.stop_receiving(Deadline(WAIT_S)) == []
                engine.lanes.cut()
                assert engine.lanes.wait_idle(Deadline(WAIT_S)) == 0
                engine.supervisor.close()
        finally:
            store.close(Deadline(WAIT_S))
        assert threads.join_all(Deadline(WAIT_S)) == []


@contextlib.contextmanager
def world(path: pathlib.Path) -> Iterator[World]:
    """The doubles, and a place for the store."""
    with (
        FakeFeishu() as rest,
        FakeLongConnection(rest.app_id, rest.app_secret) as link,
        FakeModel() as model,
    ):
        yield World(path / "store.sqlite3", rest, link, model)


def said(world: World, number: int, chat: str = "oc_chat", **header: Any) -> dict[str, Any]:
    """The event of a message that was written just now, in a chat that the bot is in."""
    world.rest.add_chat(chat, "ou_sender")
    world.rest.said.setdefault(f"om_{number}", Said(f"om_{number}", chat))
    event = message(number, app_id=world.rest.app_id, **header)
    event["event"]["message"].update(chat_id=chat, create_time=str(time.time_ns() // 1_000_000))
    return event
