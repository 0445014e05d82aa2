"""The model list of a provider: reading the shapes in use, choosing for `model = "auto"`, keeping it for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.providers.errors import AttemptFailed, Failure, shape_failure

__all__ = ["Catalog", "Model", "choose", "read_models"]

MAX_CANDIDATES = 4
_LATEST = 1 << 53
_LIST_PATHS = (("data",), ("modelSummaries",), ("models",), ("Result", "Items"), ("result", "models"))
_NOT_CHAT_WORDS = ("embedding", "whisper", "tts", "dall-e", "moderation")
_NOT_CHAT_DOMAINS = ("embedding", "image", "video")
_DEAD = ("shutdown", "retired", "archived")
_FADING = ("retiring", "deprecated", "legacy")


@dataclass(frozen=True)
class Model:
    """One listed model. `chat` is False when the list says that it cannot chat; `fading` when it will be retired."""

    id: str
    created: float = 0.0
    chat: bool = True
    fading: bool = False


def read_models(document: object) -> list[Model]:
    """The models of a list in the provider's order. Raises AttemptFailed when there is no list in the document."""
    for entries in _lists(document):
        models = [_read_model(entry) for entry in entries if isinstance(entry, (dict, str))]
        return [model for model in models if model.id]
    raise AttemptFailed(shape_failure("the model list holds no list"))


def _lists(document: object) -> list[list[Any]]:
    if isinstance(document, list):
        return [document]
    found = []
    for path in _LIST_PATHS:
        value = document
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        if isinstance(value, list):
            found.append(value)
    return found


def _read_model(entry: Any) -> Model:
    if isinstance(entry, str):
        return Model(entry)
    names = (entry.get(key) for key in ("id", "modelId", "name", "model"))
    name = next((name for name in names if isinstance(name, str) and name), "")
    life = entry.get("modelLifecycle")
    status = str(entry.get("status") or (life.get("status") if isinstance(life, dict) else "") or "").lower()
    return Model(
        name,
        _moment(entry.get("created")),
        chat=_can_chat(entry, name) and status not in _DEAD and entry.get("archived") is not True,
        fading=status in _FADING or entry.get("deprecated") is True,
    )


def _moment(value: object) -> float:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < _LATEST
    return float(value) if good else 0.0  # type: ignore[arg-type]


def _can_chat(entry: dict[str, Any], name: str) -> bool:
    tasks = entry.get("task_type")
    tasks = [tasks] if isinstance(tasks, str) else tasks
    endpoints = entry.get("supported_endpoint_types")
    outputs = _outputs(entry)
    refusals = (
        isinstance(tasks, list) and bool(tasks) and "TextGeneration" not in tasks,
        str(entry.get("domain") or "").lower().startswith(_NOT_CHAT_DOMAINS),
        isinstance(endpoints, list)
        and bool(endpoints)
        and not any("chat" in str(e).lower() for e in endpoints),
        entry.get("supports_chat") is False or entry.get("chat_completion") is False,
        bool(outputs) and "text" not in outputs,
        any(word in name.lower() for word in _NOT_CHAT_WORDS),
    )
    return not any(refusals)


def _outputs(entry: dict[str, Any]) -> list[str]:
    """What a model gives, in lower case; services keep it in places of their own."""
    for holder in (entry.get("modalities"), entry.get("architecture"), entry):
        for name in ("output_modalities", "outputModalities"):
            found = holder.get(name) if isinstance(holder, dict) else None
            if isinstance(found, list):
                return [str(one).lower() for one in found]
    return []


def choose(models: Sequence[Model], preferred: Sequence[str]) -> list[str]:
    """At most four candidates for "auto": preferred ones that are listed, then those that can chat, newest first."""
    listed = {model.id for model in models}
    folded = {model.id.lower(): model.id for model in reversed(models)}
    wanted = [name if name in listed else folded.get(name.lower(), "") for name in preferred]
    usable = sorted((m for m in models if m.chat), key=lambda m: (m.fading, -m.created, m.id))
    # Without dates the provider's own order says more than the alphabet.
    if not any(model.created for model in usable):
        usable = sorted((m for m in models if m.chat), key=lambda m: m.fading)
    names = dict.fromkeys([name for name in wanted if name] + [model.id for model in usable])
    return list(names)[:MAX_CANDIDATES]


class _Flight:
    """One fetch under way; `waiters` are woken when it has ended, then `models` or `failure` is set."""

    def __init__(self) -> None:
        self.waiters: list[threading.Event] = []
        self.models: list[Model] | None = None
        self.failure = Failure("interrupted", "provider.interrupted")


class _Entry:
    """What is known under one key."""

    def __init__(self) -> None:
        self.models: list[Model] | None = None
        self.fetched_at = 0.0
        self.flight: _Flight | None = None


class Catalog:
    """Keeps at most `most` model lists: fresh for `fresh_s`, usable for `stale_s` more when a fetch fails.

    One fetch at a time per key; who comes meanwhile waits for it and shares its outcome. Thread-safe; `_guard`
    protects the entries and is never held during a fetch.
    """

    def __init__(
        self,
        *,
        fresh_s: float,
        stale_s: float,
        most: int = 32,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fresh_s = fresh_s
        self._stale_s = stale_s
        self._most = most
        self._clock = clock
        self._guard = threading.Lock()
        self._entries: dict[str, _Entry] = {}

    def get(
        self, key: str, fetch: Callable[[], list[Model]], *, deadline: Deadline, stop: StopToken
    ) -> list[Model]:
        """The list under `key`, from memory, from another caller's fetch, or by `fetch`. Raises AttemptFailed."""
        while True:
            woken = threading.Event()
            with self._guard:
                entry = self._entry(key)
                if entry.models is not None and self._age_s(entry) < self._fresh_s:
                    return entry.models
                leading = entry.flight is None
                flight = entry.flight = entry.flight or _Flight()
                flight.waiters.append(woken)
            if leading:
                self._fly(entry, flight, fetch)
            else:
                _await(woken, deadline, stop)
            if flight.models is not None:
                return flight.models
            # The leader was told to stop; that says nothing about those who waited for it.
            if leading or flight.failure.kind != "interrupted":
                return self._stale(entry, flight.failure)

    def _fly(self, entry: _Entry, flight: _Flight, fetch: Callable[[], list[Model]]) -> None:
        try:
            flight.models = fetch()
        except AttemptFailed as failed:
            flight.failure = failed.failure
        finally:
            with self._guard:
                if flight.models is not None:
                    entry.models = flight.models
                    entry.fetched_at = self._clock()
                entry.flight = None
                waiters = list(flight.waiters)
            for waiter in waiters:
                waiter.set()

    def _stale(self, entry: _Entry, failure: Failure) -> list[Model]:
        with self._guard:
            if entry.models is not None and self._age_s(entry) < self._fresh_s + self._stale_s:
                return entry.models
        raise AttemptFailed(failure)

    def _age_s(self, entry: _Entry) -> float:
        return self._clock() - entry.fetched_at

    def _entry(self, key: str) -> _Entry:
        entry = self._entries.get(key)
        if entry is None:
            if len(self._entries) >= self._most:
                del self._entries[next(iter(self._entries))]
            entry = self._entries[key] = _Entry()
        return entry


def _await(woken: threading.Event, deadline: Deadline, stop: StopToken) -> None:
    with stop.watch(woken.set):
        woken.wait(deadline.remaining())
    if stop.is_set():
        raise AttemptFailed(Failure("interrupted", "provider.interrupted"))
    if deadline.expired:
        raise AttemptFailed(Failure("timed_out", "provider.timed_out", "the model list did not come"))
