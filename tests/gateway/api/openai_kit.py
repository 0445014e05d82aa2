"""A real listener that serves the OpenAI API over small runs, sessions and embeddings."""

from __future__ import annotations

import json
import queue
import threading
import types

from loong_channels.waiting import Deadline
from loong_gateway.api.auth import Auth
from loong_gateway.api.bind import open_listener
from loong_gateway.api.listener import Listener
from loong_gateway.api.openai import openai_routes
from loong_gateway.api.openai.serving import Patience
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.base.timers import Timers
from loong_gateway.providers.contract import Embeddings, ProviderFault, Usage
from tests.gateway.api.port_kit import CONTROL, PATIENCE_S, SECRET, Answer, Client, gateway_settings, request
from tests.gateway.api.small_runs import SmallRuns


class SmallPlane:
    """What the OpenAI API asks of a gateway: runs, sessions by name, embeddings of the length of each text."""

    def __init__(self) -> None:
        self.runs = SmallRuns()
        self.sessions = self
        self.embed_fault: ProviderFault | None = None
        self.embed_waits = False
        self.embed_began = threading.Event()
        self.embed_stopped: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.threads = ThreadRegistry()
        self.timers = Timers("timers", self.threads)
        self.embeds: list[dict[str, object]] = []
        profile = types.SimpleNamespace(id="main", model="m1", turn_timeout_ms=30_000)
        other = types.SimpleNamespace(id="local", model="llama3:8b", turn_timeout_ms=60_000)
        self._config = types.SimpleNamespace(
            providers={"main": profile, "local": other}, active_provider="main"
        )

    def config(self) -> types.SimpleNamespace:
        return self._config

    def resolve(self, given: str) -> str | None:
        if given.startswith("agent:"):
            return given if given.startswith("agent:main:") else None
        return f"agent:main:{given}"

    def embed(self, texts, *, profile, model, dimensions, deadline, stop) -> Embeddings:
        self.embeds.append(
            {"texts": list(texts), "profile": profile, "model": model, "dimensions": dimensions}
        )
        if self.embed_waits:
            self.embed_began.set()
            assert stop.wait(PATIENCE_S)
            self.embed_stopped.put(stop.reason)
            raise ProviderFault("interrupted", "stopped")
        if self.embed_fault is not None:
            raise self.embed_fault
        vectors = tuple((float(len(text)), 0.5, -0.25) for text in texts)
        return Embeddings(vectors, "embedder", Usage(7, None, 7))


class OpenAIPort:
    """A context manager: the listener over a SmallPlane."""

    def __init__(self, patience: Patience | None = None, **settings: object) -> None:
        self.control = SmallPlane()
        applied = gateway_settings(**settings)
        bound = open_listener(applied, environ={})
        self.address = (bound.address, bound.port)
        self.listener = Listener(
            bound.sockets,
            openai_routes(self.control, patience),
            Auth(secret=SECRET, control_token=CONTROL),
            applied,
            ThreadRegistry(),
        )

    @property
    def runs(self) -> SmallRuns:
        return self.control.runs

    @property
    def base_url(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}/v1"

    def __enter__(self) -> OpenAIPort:
        self.listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.runs.gate.set()
        assert self.listener.stop(Deadline(PATIENCE_S)) == []
        assert self.control.timers.close(Deadline(PATIENCE_S))

    def client(self) -> Client:
        return Client(self.address)

    def ask(self, raw: bytes) -> Answer:
        with self.client() as client:
            return client.send(raw).answer(head_only=raw.startswith(b"HEAD"))

    def get(self, path: str, *, token: str | None = SECRET, **fields: str) -> Answer:
        return self.ask(request("GET", path, token=token, **fields))

    def post(self, path: str, document: object, *, token: str | None = SECRET, **fields: str) -> Answer:
        return self.ask(request("POST", path, token=token, document=document, **fields))

    def chat(self, *said: object, **more: object) -> Answer:
        """One completion; a text is a message of the user."""
        return self.post("/v1/chat/completions", chat_body(*said, **more))

    def stream(self, path: str, document: dict[str, object], **fields: str) -> list[dict[str, object] | str]:
        """The events of a streamed answer; what is no JSON is a text, a comment begins with its colon."""
        raw = request("POST", path, token=SECRET, document={**document, "stream": True}, **fields)
        with self.client() as client:
            answer = client.send(raw).answer()
            assert answer.status == 200, answer.status
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            return events(unchunked(client.rest()))


def chat_body(*said: object, **more: object) -> dict[str, object]:
    messages = [{"role": "user", "content": one} if isinstance(one, str) else one for one in said or ("hi",)]
    return {"model": "loong", "messages": messages, **more}


def unchunked(raw: bytes) -> bytes:
    """The body of a chunked answer that is whole."""
    body = b""
    while True:
        length, _, raw = raw.partition(b"\r\n")
        size = int(length, 16)
        if size == 0:
            assert raw == b"\r\n"
            return body
        body, raw = body + raw[:size], raw[size + 2 :]


def events(body: bytes) -> list[dict[str, object] | str]:
    """The events of a whole stream; a name must be the type that its data names."""
    found: list[dict[str, object] | str] = []
    assert body.endswith(b"\n\n")
    for block in body.decode().split("\n\n")[:-1]:
        lines = block.split("\n")
        if lines[0].startswith(":"):
            found.append(lines[0])
            continue
        data = lines[-1][len("data: ") :]
        event = json.loads(data) if data.startswith("{") else data
        if lines[0].startswith("event: "):
            assert isinstance(event, dict) and event["type"] == lines[0][len("event: ") :]
        found.append(event)
    return found
