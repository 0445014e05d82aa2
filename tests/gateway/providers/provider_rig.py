"""Profiles, providers and answers for the tests of the model providers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Callable

from loong_channels.net import Egress
from loong_channels.waiting import Deadline, StopToken
from loong_gateway.config.snapshot import ProviderProfile, SecretRef
from loong_gateway.providers.contract import Completion, Message, Provider, ProviderCall
from loong_gateway.providers.factory import build_provider
from tests.fakes.scripted_peer import Connection, ScriptedPeer

KEY = "sk-very-secret-key-0123456789"
QUESTION = "what is my private question"
CALL = ProviderCall(
    (
        Message("system", "be brief"),
        Message("user", "earlier question"),
        Message("assistant", "earlier answer"),
        Message("user", QUESTION),
    )
)
PROFILE = ProviderProfile(
    id="main",
    where="providers.main",
    kind="custom",
    model="m1",
    base_url=None,
    endpoint=None,
    models_endpoint=None,
    chat_completions_path=None,
    api_key=SecretRef("env", "MODEL_KEY", "providers.main.api_key"),
    preferred_models=(),
    reasoning_effort=None,
    headers={},
    temperature=0.2,
    max_tokens=None,
    stop=(),
    request_timeout_ms=5000,
    turn_timeout_ms=10_000,
    retry_max_attempts=3,
    retry_initial_backoff_ms=1,
    retry_max_backoff_ms=2,
    model_catalog_cache_ttl_ms=30_000,
    model_catalog_stale_if_error_ms=120_000,
)
Answer = Callable[[Connection], None]


def provider_for(peer: ScriptedPeer | None = None, **changes: Any) -> Provider:
    """A provider whose base is the peer; `environ` holds the key unless told otherwise."""
    environ = changes.pop("environ", {"MODEL_KEY": KEY})
    resolve = changes.pop("resolve", None)
    egress = changes.pop("egress", None) or Egress(environ={})
    if peer is not None:
        changes.setdefault("base_url", f"{peer.url}/v1")
    return build_provider(replace(PROFILE, **changes), egress=egress, environ=environ, resolve_secret=resolve)


def ask(provider: Provider, call: ProviderCall = CALL, **options: Any) -> Completion:
    deadline = options.pop("deadline", None) or Deadline(10)
    stop = options.pop("stop", None) or StopToken()
    return provider.complete(call, deadline=deadline, stop=stop, **options)


def completion(text: object = "hello", finish: str = "stop", **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "c",
        "model": "m1-real",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        **more,
    }


def says(value: object, status: int = 200, extra: str = "") -> Answer:
    return lambda connection: connection.answer_json(status, value, extra=extra)


def refuses(status: int, code: str = "", message: str = "no", extra: str = "", **more: str) -> Answer:
    return says({"error": {"message": message, "code": code, **more}}, status, extra)


def delta(text: str | None = None, finish: str | None = None, **more: Any) -> str:
    part = {} if text is None else {"content": text}
    return (
        "data: "
        + json.dumps({"choices": [{"index": 0, "delta": part, "finish_reason": finish}], **more})
        + "\n\n"
    )


def streams(*parts: str, close: bool = False, end: bool = True) -> Answer:
    def answer(connection: Connection) -> None:
        connection.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for part in parts:
            connection.chunk(part.encode())
        if end:
            connection.send(b"0\r\n\r\n")
        if close:
            connection.sock.close()

    return answer


def bodies(peer: ScriptedPeer) -> list[dict[str, Any]]:
    return [json.loads(body) for _, body in peer.requests if body]
