"""POST /v1/responses, https://platform.openai.com/docs/api-reference/responses"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping

from loong_gateway.api.answers import Answer, BodyStream, StreamedAnswer, json_answer
from loong_gateway.api.fields import BadFields, optional_flag, optional_text
from loong_gateway.api.router import Request
from loong_gateway.control import ControlPlane
from loong_gateway.control.runs import RunResult
from loong_gateway.providers.contract import Message

from .chains import Chain, Chains
from .conversation import run_request, session_of
from .faults import ApiFault, result_fault
from .following import Following, Told, relay
from .messages import input_messages
from .names import target_of
from .options import responses_options
from .response_form import ResponseForm, ResponseStream
from .serving import EVENT_STREAM, AnyAnswer, Patience, followed

__all__ = ["Responses"]

LONGEST_INSTRUCTIONS = 1 << 20
# Told back as they came; they change nothing here.
_TOLD_BACK = ("instructions", "metadata", "temperature", "top_p", "tools", "tool_choice", "max_output_tokens")


class Responses:
    """The handler. Thread-safe; what can be gone on from is in `chains`."""

    def __init__(self, control: ControlPlane, patience: Patience, chains: Chains) -> None:
        self._control = control
        self._patience = patience
        self._chains = chains

    def create(self, request: Request, document: Mapping[str, object]) -> AnyAnswer:
        """Answer an input, whole or as a stream. Blocks for as long as the model writes."""
        target = target_of(document.get("model"), request.head, self._control.config())
        session = session_of(document, request.head, self._control)
        messages = (*self._before(document, session), *input_messages(document))
        _check_outputs(messages)
        options = responses_options(document)
        asked = run_request(
            messages,
            session=session,
            target=target,
            options=options,
            head=request.head,
            system=optional_text(document, "instructions", longest=LONGEST_INSTRUCTIONS) or "",
        )
        form = _form(document)

        def end(result: RunResult) -> None:
            fault = result_fault(result, is_model_named=target.is_model_named)
            if fault is not None:
                raise fault
            if form.store:
                said = Message("assistant", result.text, tool_calls=result.tool_calls)
                self._chains.put(form.id, Chain((*messages, said), session))

        def whole(result: RunResult) -> Answer:
            end(result)
            return json_answer(200, form.ended(result))

        def write(following: Following, first: Told | None, out: BodyStream) -> None:
            stream = ResponseStream(form)
            out.write(stream.begun())
            try:
                for told in relay(following, first, out, keepalive_s=self._patience.keepalive_s):
                    if isinstance(told, RunResult):
                        end(told)
                        out.write(stream.ended(told))
                    else:
                        out.write(stream.grown(told))
            except ApiFault as fault:
                out.write(stream.failed(fault))

        return followed(
            self._control,
            request,
            asked,
            patience=self._patience if optional_flag(document, "stream") else None,
            whole=whole,
            stream=lambda following, first: StreamedAnswer(
                200, EVENT_STREAM, lambda out: write(following, first, out), over=following.close
            ),
        )

    def _before(self, document: Mapping[str, object], session: str | None) -> tuple[Message, ...]:
        previous = optional_text(document, "previous_response_id")
        if previous is None:
            return ()
        chain = self._chains.get(previous, session)
        if chain is None:
            message = "The previous response is not known here."
            raise ApiFault(404, "previous_response_not_found", message, "previous_response_id")
        return chain.messages


def _form(document: Mapping[str, object]) -> ResponseForm:
    told_back = {name: document[name] for name in _TOLD_BACK if document.get(name) is not None}
    return ResponseForm(
        f"resp_{uuid.uuid4()}",
        int(time.time()),
        str(document["model"]),
        store=document.get("store") is None or optional_flag(document, "store"),
        parallel=document.get("parallel_tool_calls") is not False,
        previous=optional_text(document, "previous_response_id"),
        told_back=told_back,
    )


def _check_outputs(messages: tuple[Message, ...]) -> None:
    """Each output of a function answers a call that was told, and there is something to answer at all."""
    calls = {call.id for message in messages for call in message.tool_calls}
    for message in messages:
        if message.role == "tool" and message.tool_call_id not in calls:
            raise BadFields("input: an output answers no function call that is known here")
    if not any(message.role in ("user", "tool") for message in messages):
        raise BadFields("input: must hold a message of the user")
