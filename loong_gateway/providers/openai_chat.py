"""The chat completions protocol as OpenAI publishes it, and as many other services speak it.

https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Callable, TypeVar

from loong_channels.faults import Fault, Interrupted
from loong_channels.net import Call, HttpClient, HttpStream
from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.clock import wall_ms
from loong_gateway.config.kinds import Kind
from loong_gateway.config.snapshot import ProviderProfile
from loong_gateway.providers.attempts import Cooldowns, RetryPolicy, pursue
from loong_gateway.providers.catalog import Catalog, Model, choose, read_models
from loong_gateway.providers.chat_answer import ChatStream, parse_json, read_completion
from loong_gateway.providers.chat_payload import Adaptations, PayloadWriter, shorten
from loong_gateway.providers.contract import (
    CallOptions,
    Completion,
    Embeddings,
    Message,
    ProviderCall,
    ProviderFault,
)
from loong_gateway.providers.credentials import Credential
from loong_gateway.providers.embedding import BATCH_TEXTS, embedding_payload, joined, read_embeddings
from loong_gateway.providers.endpoints import chat_url, embeddings_url, models_url
from loong_gateway.providers.errors import (
    AttemptFailed,
    Failure,
    Subject,
    classify_answer,
    classify_fault,
    provider_fault,
    shape_failure,
)

__all__ = ["OpenAIChat"]

logger = logging.getLogger("loong.provider")

_T = TypeVar("_T")

GAP_S = 60.0
MAX_ANSWER_BYTES = 8 << 20
MAX_ERROR_BYTES = 1 << 16
# How long to wait for the end of a stream that has said it is done; then the connection is not worth keeping.
SETTLE_S = 0.05
# How long the count of tokens and the end mark may take after the last piece of text.
FINISH_S = 5.0
AUTO = "auto"
# What a server answers whose model reads no pictures, or not this one; some answer a status of their own with a word.
IMAGES_REFUSED = (400, 413, 415, 422)
_SCHEMES = {"bearer": "Authorization: Bearer", "x-api-key": "x-api-key"}


class OpenAIChat:
    """One profile. Thread-safe; its connections are shared by all calls."""

    def __init__(
        self, profile: ProviderProfile, kind: Kind, http: HttpClient, credential: Credential
    ) -> None:
        self.profile = profile.id
        self.kind = kind.name
        self.model = profile.model
        self._settings = profile
        self._row = kind
        self._http = http
        self._credential = credential
        self._chat_url = chat_url(profile, kind)
        self._models_url = models_url(profile, kind)
        self._first_byte_s = profile.request_timeout_ms / 1000
        self._policy = RetryPolicy(
            profile.retry_max_attempts,
            profile.retry_initial_backoff_ms / 1000,
            profile.retry_max_backoff_ms / 1000,
        )
        self._writer = PayloadWriter.of(profile, kind)
        self._adaptations = Adaptations()
        self._cooldowns = Cooldowns()
        self._catalog = Catalog(
            fresh_s=profile.model_catalog_cache_ttl_ms / 1000,
            stale_s=profile.model_catalog_stale_if_error_ms / 1000,
        )
        self._counts = _Counts()

    def complete(
        self,
        call: ProviderCall,
        *,
        deadline: Deadline,
        stop: StopToken,
        on_text: Callable[[str], None] | None = None,
    ) -> Completion:
        """See Provider."""
        turn = _Turn(
            list(call.messages),
            deadline.within(self._settings.turn_timeout_ms / 1000),
            stop,
            on_text,
            call.options,
        )

        def work() -> Completion:
            wanted = (call.model or self._settings.model).strip()
            models = self._cooldowns.order(self._candidates(wanted, turn))
            return self._pursue(models, lambda model: self._ask(model, turn), turn)

        return self._reported(work, self._chat_url)

    def embed(
        self,
        texts: Sequence[str],
        *,
        model: str | None,
        dimensions: int | None,
        deadline: Deadline,
        stop: StopToken,
    ) -> Embeddings:
        """See Provider. Many texts are asked for in several requests."""
        url = embeddings_url(self._settings, self._row)
        wanted = (model or self._settings.embedding_model or "").strip()
        if url is None or not wanted:
            code = "provider.no_embeddings" if url is None else "provider.embedding_model_missing"
            raise provider_fault(
                AttemptFailed(Failure("not_supported", code)), self._subject(url or self._chat_url)
            )
        turn = _Turn(
            [], deadline.within(self._settings.turn_timeout_ms / 1000), stop, None, hidden=tuple(texts)
        )
        parts = [texts[start : start + BATCH_TEXTS] for start in range(0, len(texts), BATCH_TEXTS)]

        def work() -> Embeddings:
            return joined([self._embed_part(url, wanted, part, dimensions, turn) for part in parts])

        return self._reported(work, url)

    def models(self, *, deadline: Deadline) -> Sequence[str]:
        """See Provider."""
        turn = _Turn([], deadline, StopToken(), None)
        listed = self._reported(lambda: self._fetch_models(turn), self._models_url)
        return tuple(model.id for model in listed)

    def models_endpoint(self) -> str:
        """See Provider."""
        return self._models_url

    def health(self) -> Mapping[str, object]:
        """See Provider: counts, the time of the last success and last failure, seconds left per cooling model."""
        cooling = {model: round(left, 1) for model, left in self._cooldowns.remaining().items()}
        return {**self._counts.snapshot(), "cooldowns_s": cooling}

    def close(self) -> None:
        """Close the kept connections; calls in progress go on."""
        self._http.close()

    def _candidates(self, wanted: str, turn: _Turn) -> list[str]:
        settings = self._settings
        if wanted.lower() != AUTO:
            return [wanted]
        if not self._row.auto_lists:
            names = list(settings.preferred_models) or list(self._row.auto_models)
            if not names:
                raise AttemptFailed(Failure("model_mismatch", "provider.auto_unknown"))
            return names
        key = hashlib.sha256(f"{self._models_url}\n{self._credential.get()}".encode()).hexdigest()
        try:
            models = self._catalog.get(
                key, lambda: self._fetch_models(turn), deadline=turn.deadline, stop=turn.stop
            )
        except AttemptFailed as failed:
            if settings.preferred_models and failed.failure.kind != "interrupted":
                return list(settings.preferred_models)
            raise
        names = choose(models, settings.preferred_models)
        if not names:
            raise AttemptFailed(Failure("model_mismatch", "provider.models_empty"))
        return names

    def _fetch_models(self, turn: _Turn) -> list[Model]:
        return self._pursue([""], lambda _: self._ask_models(turn), turn)

    def _pursue(self, models: Sequence[str], attempt: Callable[[str], _T], turn: _Turn) -> _T:
        return pursue(
            models,
            attempt,
            policy=self._policy,
            deadline=turn.deadline,
            stop=turn.stop,
            cooldowns=self._cooldowns,
        )

    def _reported(self, work: Callable[[], _T], url: str) -> _T:
        """Run `work`, count it, and say its failure in the words of the texts table."""
        try:
            answer = work()
        except AttemptFailed as failed:
            self._counts.failed(failed.failure.kind)
            raise provider_fault(failed, self._subject(url)) from failed
        except ProviderFault as fault:
            self._counts.failed(fault.kind)
            raise
        self._counts.succeeded()
        return answer

    def _subject(self, url: str) -> Subject:
        settings = self._settings
        sent = f"; sent as {_SCHEMES[self._row.auth]}" if self._credential.known() else "; no key sent"
        return Subject(
            settings.id,
            settings.where,
            settings.api_key.setting or f"{settings.where}.api_key",
            self._credential.source() + sent,
            url,
        )

    def _headers(self, key: str, accept: str) -> dict[str, str]:
        headers = {"Accept": accept}
        if key:
            if self._row.auth == "bearer":
                headers["Authorization"] = f"Bearer {key}"
            else:
                headers[self._row.auth] = key
        for name, value in self._settings.headers.items():
            # The config's own headers come last and replace ours whatever their case.
            for known in [known for known in headers if known.lower() == name.lower()]:
                del headers[known]
            headers[name] = value
        return headers

    def _call(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        turn: _Turn,
        payload: Mapping[str, object] | None = None,
    ) -> Call:
        return Call(
            method,
            url,
            turn.deadline,
            headers=headers,
            json=payload,
            stop=turn.stop,
            first_byte_s=self._first_byte_s,
            gap_s=GAP_S,
        )

    def _ask_models(self, turn: _Turn) -> list[Model]:
        key = self._credential.get()
        call = self._call("GET", self._models_url, self._headers(key, "application/json"), turn)
        try:
            with self._http.stream(call) as answer:
                self._check_status(answer, key, turn)
                return read_models(parse_json(answer.read(MAX_ANSWER_BYTES)))
        except Fault as fault:
            raise AttemptFailed(classify_fault(fault)) from fault

    def _ask(self, model: str, turn: _Turn) -> Completion:
        key = self._credential.get()
        payload = self._writer.write(
            model,
            turn.messages,
            stream=turn.on_text is not None,
            without=self._adaptations.of(model),
            options=turn.options,
        )
        hide = turn.hidden(key)
        accept = "text/event-stream" if "stream" in payload else "application/json"
        call = self._call("POST", self._chat_url, self._headers(key, accept), turn, payload)
        try:
            with self._http.stream(call) as answer:
                self._check_status(answer, key, turn, payload)
                # A server may ignore the wish to stream and answer as a whole.
                if "stream" in payload and "json" not in answer.headers.get("content-type", ""):
                    return _read_stream(answer, ChatStream(model=model, hide=hide), turn)
                completion = read_completion(answer.read(MAX_ANSWER_BYTES), model=model, hide=hide)
        except Fault as fault:
            raise AttemptFailed(turn.judged(classify_fault(fault))) from fault
        except AttemptFailed as failed:
            raise AttemptFailed(turn.judged(failed.failure), again=failed.again) from failed
        turn.deliver(completion.text)
        return completion

    def _embed_part(
        self, url: str, model: str, texts: Sequence[str], dimensions: int | None, turn: _Turn
    ) -> Embeddings:
        payload = embedding_payload(model, texts, dimensions)
        return self._pursue([model], lambda _: self._ask_vectors(url, payload, turn), turn)

    def _ask_vectors(self, url: str, payload: dict[str, Any], turn: _Turn) -> Embeddings:
        key = self._credential.get()
        call = self._call("POST", url, self._headers(key, "application/json"), turn, payload)
        try:
            with self._http.stream(call) as answer:
                self._check_status(answer, key, turn)
                body = answer.read(MAX_ANSWER_BYTES)
        except Fault as fault:
            raise AttemptFailed(classify_fault(fault)) from fault
        except AttemptFailed as failed:
            if failed.failure.text != "provider.wrong_address":
                raise
            none = replace(failed.failure, kind="not_supported", text="provider.no_embeddings")
            raise AttemptFailed(none) from failed
        return read_embeddings(body, count=len(payload["input"]), model=payload["model"])

    def _check_status(
        self, answer: HttpStream, key: str, turn: _Turn, payload: dict[str, Any] | None = None
    ) -> None:
        """Return for an answer worth reading; raises AttemptFailed for any other, having changed what can be."""
        if 200 <= answer.status < 300:
            if "html" in answer.headers.get("content-type", "").lower():
                raise AttemptFailed(
                    replace(shape_failure("", decode=True), text="provider.web_page", status=answer.status)
                )
            return
        failure = classify_answer(answer.status, answer.headers, _beginning(answer), hide=turn.hidden(key))
        again = False
        if failure.text == "provider.auth_rejected":
            if not key:
                failure = replace(failure, text="provider.key_missing")
            again = self._credential.refused(key)
        elif payload is not None and failure.parameter:
            again = self._adaptations.learn(str(payload["model"]), failure.parameter, payload)
        elif failure.text == "provider.context_length":
            again = turn.shorten()
        if not again and _may_be_images(failure) and turn.drop_images():
            self._counts.dropped_images()
            logger.warning(
                "model %s refused the pictures of a message (HTTP %d: %s); it is asked again without them",
                "" if payload is None else payload["model"],
                failure.status,
                failure.detail or "no reason given",
            )
            again = True
        raise AttemptFailed(failure, again=again)


class _Turn:
    """One call of `complete`, `embed` or `models`, over all its attempts. Used by one thread."""

    def __init__(
        self,
        messages: list[Message],
        deadline: Deadline,
        stop: StopToken,
        on_text: Callable[[str], None] | None,
        options: CallOptions | None = None,
        hidden: Sequence[str] = (),
    ) -> None:
        self.messages = messages
        self.options = options or CallOptions()
        self._hidden = hidden
        self.deadline = deadline
        self.stop = stop
        self.on_text = on_text
        self._delivered = False
        self._shortened = False

    def deliver(self, piece: str) -> None:
        """Hand a piece of text to whoever wants it; from then on nothing is tried again."""
        if self.on_text is not None and piece:
            self._delivered = True
            self.on_text(piece)

    def judged(self, failure: Failure) -> Failure:
        """The failure as it counts for this turn: what the reader has seen cannot be taken back."""
        if not self._delivered or failure.kind == "interrupted":
            return failure
        return replace(failure, text="provider.broken_stream", retry="no", next_model=False)

    def shorten(self) -> bool:
        """Drop the older half of the history, once; False when there is nothing to drop."""
        shorter = shorten(self.messages)
        if self._shortened or len(shorter) == len(self.messages):
            return False
        self._shortened = True
        self.messages = shorter
        return True

    def drop_images(self) -> bool:
        """Leave the text with its placeholders alone; False when there are no pictures."""
        if not any(message.images for message in self.messages):
            return False
        self.messages = [replace(message, images=()) for message in self.messages]
        return True

    def hidden(self, key: str) -> list[str]:
        """What must never show up in an error: the key, and what people wrote."""
        calls = (call.arguments for m in self.messages for call in m.tool_calls)
        return [text for text in (key, *(m.content for m in self.messages), *calls, *self._hidden) if text]


class _Counts:
    """What happened so far. Thread-safe; `_guard` protects the numbers."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._numbers: dict[str, object] = {
            "calls": 0,
            "failed": 0,
            "last_success_ms": None,
            "last_failure_ms": None,
            "last_error": None,
        }
        self._calls = 0
        self._failed = 0
        self._images_refused = 0

    def dropped_images(self) -> None:
        """One more message was asked again without its pictures."""
        with self._guard:
            self._images_refused += 1

    def succeeded(self) -> None:
        """One more answer."""
        with self._guard:
            self._calls += 1
            self._numbers["last_success_ms"] = wall_ms()

    def failed(self, kind: str) -> None:
        """One more failure of this kind; being stopped is none."""
        with self._guard:
            self._calls += 1
            if kind != "interrupted":
                self._failed += 1
                self._numbers.update(last_failure_ms=wall_ms(), last_error=kind)

    def snapshot(self) -> dict[str, object]:
        """The numbers as JSON values."""
        with self._guard:
            counts = {"calls": self._calls, "failed": self._failed, "images_refused": self._images_refused}
            return {**self._numbers, **counts}


def _read_stream(answer: HttpStream, stream: ChatStream, turn: _Turn) -> Completion:
    try:
        for chunk in answer.chunks():
            for piece in stream.feed(chunk):
                turn.deliver(piece)
            if stream.done:
                answer.settle(SETTLE_S)
                break
            if stream.finished:
                # Only the token count and the end mark may still come.
                answer.hurry(FINISH_S)
    except Fault as fault:
        if isinstance(fault, Interrupted) or not stream.finished:
            raise
    last, completion = stream.finish()
    for piece in last:
        turn.deliver(piece)
    return completion


def _may_be_images(failure: Failure) -> bool:
    if failure.kind in ("auth_rejected", "rate_limited"):
        return False
    return failure.status in IMAGES_REFUSED or "image" in failure.detail.lower()


def _beginning(answer: HttpStream) -> bytes:
    """The first part of an error body; a longer one is not worth the wait."""
    body = b""
    for chunk in answer.chunks():
        body += chunk
        if len(body) > MAX_ERROR_BYTES:
            break
    return body[:MAX_ERROR_BYTES]
