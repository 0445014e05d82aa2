"""One provider profile whatever its protocol: which model is asked, how often, and what its refusals lead to."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Callable, TypeVar

from loong_channels.faults import Fault, Interrupted
from loong_channels.net import Call, HttpClient, HttpStream
from loong_channels.waiting import Deadline, StopToken
from loong_gateway.config.kinds import Kind
from loong_gateway.config.snapshot import ProviderProfile
from loong_gateway.providers.access import Access
from loong_gateway.providers.adaptations import Adaptations
from loong_gateway.providers.answer import AnswerStream, parse_json
from loong_gateway.providers.attempts import Cooldowns, Keys, RetryPolicy, pursue
from loong_gateway.providers.call_state import CallState, Counts
from loong_gateway.providers.catalog import Catalog, Model, choose, read_models
from loong_gateway.providers.contract import Completion, Embeddings, ProviderCall, ProviderFault
from loong_gateway.providers.embedding import BATCH_TEXTS, embedding_payload, joined, read_embeddings
from loong_gateway.providers.endpoints import embeddings_url, models_url
from loong_gateway.providers.errors import (
    AttemptFailed,
    Failure,
    classify_answer,
    classify_fault,
    provider_fault,
    shape_failure,
)
from loong_gateway.providers.wire import Request, Wire

__all__ = ["HttpProvider"]

logger = logging.getLogger("loong.provider")

_T = TypeVar("_T")

GAP_S = 60.0
MAX_ANSWER_BYTES = 8 << 20
MAX_ERROR_BYTES = 1 << 16
MAX_MODEL_PAGES = 20
# How long to wait for the end of a stream that has said it is done; then the connection is not worth keeping.
SETTLE_S = 0.05
# How long the count of tokens and the end mark may take after the last piece of text.
FINISH_S = 5.0
AUTO = "auto"
# What a server answers whose model reads no pictures, or not this one; some answer a status of their own with a word.
IMAGES_REFUSED = (400, 413, 415, 422)


class HttpProvider:
    """See Provider. Thread-safe; its connections are shared by all calls.

    `wires` are the protocols to ask with: where the service has no such endpoint, the next one, from then on.
    """

    def __init__(
        self, profile: ProviderProfile, kind: Kind, http: HttpClient, access: Access, wires: Sequence[Wire]
    ) -> None:
        self.profile = profile.id
        self.kind = kind.name
        self.model = profile.model
        self._settings = profile
        self._row = kind
        self._http = http
        self._access = access
        self._wires = tuple(wires)
        # One reference, replaced whole.
        self._wire = self._wires[0]
        self._models_url = models_url(profile, kind)
        self._first_byte_s = profile.request_timeout_ms / 1000
        self._policy = RetryPolicy(
            profile.retry_max_attempts,
            profile.retry_initial_backoff_ms / 1000,
            profile.retry_max_backoff_ms / 1000,
        )
        self._adaptations = Adaptations()
        self._cooldowns = Cooldowns(
            profile.model_candidate_cooldown_ms / 1000,
            profile.model_candidate_cooldown_max_ms / 1000,
            profile.model_candidate_cooldown_max_entries,
        )
        self._catalog = Catalog(
            fresh_s=profile.model_catalog_cache_ttl_ms / 1000,
            stale_s=profile.model_catalog_stale_if_error_ms / 1000,
            most=profile.model_catalog_cache_max_entries,
        )
        self._counts = Counts()

    def complete(
        self,
        call: ProviderCall,
        *,
        deadline: Deadline,
        stop: StopToken,
        on_text: Callable[[str], None] | None = None,
    ) -> Completion:
        """See Provider."""
        turn = CallState(
            list(call.messages),
            deadline.within(self._settings.turn_timeout_ms / 1000),
            stop,
            on_text,
            call.options,
        )

        def work() -> Completion:
            wanted = (call.model or self._settings.model).strip()
            models = self._cooldowns.order(self._candidates(wanted, turn))
            return self._pursue(models, lambda model, key: self._ask(model, key, turn), turn)

        return self._reported(work, self._wire.url)

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
                AttemptFailed(Failure("not_supported", code)), self._access.subject(url or self._wire.url)
            )
        turn = CallState(
            [], deadline.within(self._settings.turn_timeout_ms / 1000), stop, None, hidden=tuple(texts)
        )
        parts = [texts[start : start + BATCH_TEXTS] for start in range(0, len(texts), BATCH_TEXTS)]

        def work() -> Embeddings:
            return joined([self._embed_part(url, wanted, part, dimensions, turn) for part in parts])

        return self._reported(work, url)

    def models(self, *, deadline: Deadline) -> Sequence[str]:
        """See Provider."""
        turn = CallState([], deadline, StopToken(), None)
        listed = self._reported(lambda: self._fetch_models(turn), self._models_url)
        return tuple(model.id for model in listed)

    def models_endpoint(self) -> str:
        """See Provider."""
        return self._models_url

    def health(self) -> Mapping[str, object]:
        """See Provider: counts, the times of the last success and failure, the keys, seconds left per cooling model."""
        cooling = {model: round(left, 1) for model, left in self._cooldowns.remaining().items()}
        return {**self._counts.snapshot(), "keys": self._access.health(), "cooldowns_s": cooling}

    def close(self) -> None:
        """Close the kept connections; calls in progress go on."""
        self._http.close()

    def _candidates(self, wanted: str, turn: CallState) -> list[str]:
        settings = self._settings
        if wanted.lower() != AUTO:
            return [wanted]
        if not self._row.auto_lists:
            names = list(settings.preferred_models) or list(self._row.auto_models)
            if not names:
                raise AttemptFailed(Failure("model_mismatch", "provider.auto_unknown"))
            return names
        key = self._access.fingerprint(self._models_url)
        try:
            models = self._catalog.get(
                key, lambda: self._fetch_models(turn), deadline=turn.deadline, stop=turn.stop
            )
        except AttemptFailed as failed:
            known = list(settings.preferred_models or self._row.auto_models)
            if known and failed.failure.kind != "interrupted":
                return known
            raise
        names = choose(models, settings.preferred_models) or list(self._row.auto_models)
        if not names:
            raise AttemptFailed(Failure("model_mismatch", "provider.models_empty"))
        return names

    def _fetch_models(self, turn: CallState) -> list[Model]:
        keys = _ListKeys(self._access) if self._row.open_list else self._access
        return self._pursue([""], lambda _, key: self._ask_models(key, turn), turn, keys)

    def _pursue(
        self,
        models: Sequence[str],
        attempt: Callable[[str, str], _T],
        turn: CallState,
        keys: Keys | None = None,
    ) -> _T:
        return pursue(
            models,
            attempt,
            keys=keys or self._access,
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
            raise provider_fault(failed, self._access.subject(url)) from failed
        except ProviderFault as fault:
            self._counts.failed(fault.kind)
            raise
        self._counts.succeeded()
        return answer

    def _call(
        self,
        method: str,
        url: str,
        key: str,
        turn: CallState,
        *,
        accept: str = "application/json",
        payload: Mapping[str, object] | None = None,
    ) -> Call:
        return Call(
            method,
            url,
            turn.deadline,
            headers=self._access.headers(key, accept),
            json=payload,
            stop=turn.stop,
            first_byte_s=self._first_byte_s,
            gap_s=GAP_S,
        )

    def _ask_models(self, key: str, turn: CallState) -> list[Model]:
        models: list[Model] = []
        query = self._wire.models_query(None)
        for _ in range(MAX_MODEL_PAGES):
            page = self._ask_page(self._models_url + (query and f"?{query}"), key, turn)
            models += read_models(page)
            query = self._wire.models_query(page)
            if not query:
                break
        return models

    def _ask_page(self, url: str, key: str, turn: CallState) -> object:
        try:
            with self._http.stream(self._call("GET", url, key, turn)) as answer:
                self._check_status(answer, key, turn)
                return parse_json(answer.read(MAX_ANSWER_BYTES))
        except Fault as fault:
            raise AttemptFailed(classify_fault(fault)) from fault

    def _ask(self, model: str, key: str, turn: CallState) -> Completion:
        wire = self._wire
        without = self._adaptations.of(model)
        streams = turn.on_text is not None
        options = turn.options
        if "tools" in without:
            options = replace(options, tools=(), tool_choice=None, parallel_tool_calls=None)
        request = wire.request(model, turn.messages, options, stream=streams, without=without)
        hide = turn.hidden(key)
        accept = wire.accept if request.streams else "application/json"
        call = self._call("POST", request.url, key, turn, accept=accept, payload=request.body)
        try:
            with self._http.stream(call) as answer:
                self._check_status(answer, key, turn, _Asked(model, wire, request))
                # A server may ignore the wish to stream and answer as a whole.
                if request.streams and "json" not in answer.headers.get("content-type", ""):
                    return _read_stream(answer, wire.stream(model=model, hide=hide), turn)
                completion = wire.read(answer.read(MAX_ANSWER_BYTES), model=model, hide=hide)
        except Fault as fault:
            raise AttemptFailed(turn.judged(classify_fault(fault))) from fault
        except AttemptFailed as failed:
            raise AttemptFailed(turn.judged(failed.failure), again=failed.again) from failed
        turn.deliver(completion.text)
        return completion

    def _embed_part(
        self, url: str, model: str, texts: Sequence[str], dimensions: int | None, turn: CallState
    ) -> Embeddings:
        payload = embedding_payload(model, texts, dimensions)
        return self._pursue([model], lambda _, key: self._ask_vectors(url, payload, key, turn), turn)

    def _ask_vectors(self, url: str, payload: dict[str, Any], key: str, turn: CallState) -> Embeddings:
        call = self._call("POST", url, key, turn, payload=payload)
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
        self, answer: HttpStream, key: str, turn: CallState, asked: _Asked | None = None
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
            self._access.refused(key)
        elif asked is not None and self._next_wire(asked, failure):
            again = True
        elif asked is not None and failure.parameter:
            sent = {*asked.request.optional, *(("tools",) if turn.options.tools else ())}
            again = self._adaptations.learn(asked.model, failure.parameter, sent)
        elif failure.text == "provider.context_length":
            again = turn.shorten()
        if not again and _may_be_images(failure) and turn.drop_images():
            self._counts.dropped_images()
            logger.warning(
                "model %s refused the pictures of a message (HTTP %d: %s); it is asked again without them",
                "" if asked is None else asked.model,
                failure.status,
                failure.detail or "no reason given",
            )
            again = True
        raise AttemptFailed(failure, again=again)

    def _next_wire(self, asked: _Asked, failure: Failure) -> bool:
        """Ask with the next protocol from now on, where the service has no endpoint for the one used."""
        place = self._wires.index(asked.wire) + 1
        end = asked.wire.url.rstrip("/").rpartition("/")[2]
        absent = failure.text == "provider.wrong_address" or failure.status == 501
        named = failure.status in (400, 404, 422) and f"/{end}" in failure.detail
        if place >= len(self._wires) or not (absent or named):
            return False
        self._wire = self._wires[place]
        logger.info("there is no %s here (HTTP %d); asking otherwise from now on", end, failure.status)
        return True


class _ListKeys:
    """The keys for a list that is shown to everybody: they are sent where they are known, and nobody is kept out."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self.using = access.using
        self.judged = access.judged

    def ordered(self) -> list[str]:
        """See Keys."""
        return self._access.ordered(listing=True)


@dataclass(frozen=True)
class _Asked:
    """What an answer is the answer to."""

    model: str
    wire: Wire
    request: Request


def _read_stream(answer: HttpStream, stream: AnswerStream, turn: CallState) -> Completion:
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
