"""POST /infill: what stands in a gap of a file, with llama-server's bodies (editors send them).

Where the model has the tokens for it; else it is refused by name. The answer is that of llama-server's own
form, whole or as events, without [DONE].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final

import falcon
from pydantic import Field, StringConstraints

from appliance.api import sse
from appliance.api.dialect import generation_request, stored_defaults
from appliance.api.dialect.collect import deltas
from appliance.api.dialect.endpoint import Endpoint
from appliance.api.dialect.fields import AnswerFields, Body, MaxTokens, ModelName, Text
from appliance.api.exchange import exchange_of
from appliance.api.json_reply import encode, reply
from appliance.api.openai.answers import InfillAnswer, InfillEvent
from appliance.api.openai.usage import timings_object
from appliance.api.openapi.operation import Operation, Operations, Stream, Tag
from appliance.errors import InvalidRequest, Unsupported
from appliance.wire.messages import Delta, FileText, FinishReason, Generate, TextPrompt

MAX_FILES: Final = 256
_STOP_TYPES: Final = {FinishReason.LENGTH: "limit", FinishReason.STOP: "eos"}


class FileField(Body):
    text: Text
    filename: Annotated[str, StringConstraints(max_length=1024)] = "tmp"


class InfillBody(AnswerFields):
    ignored: ClassVar[Mapping[str, Sequence[object]]] = {
        "samplers": (),
        "n_indent": (0,),
        "t_max_prompt_ms": (0,),
        "t_max_predict_ms": (0,),
        "response_fields": ([],),
        "id_slot": (-1,),
    }
    refused: ClassVar[Mapping[str, str]] = {"n_probs": "send 'logprobs' to /v1/completions"}

    model: ModelName | None = None
    """May be left out where there is only one."""
    input_prefix: Text
    """What stands before the gap."""
    input_suffix: Text
    """What stands behind the gap."""
    input_extra: Annotated[list[FileField], Field(max_length=MAX_FILES)] | None = None
    """Other files, for the model to know. Default: none."""
    prompt: Text | None = None
    """What stands already between the two. Default: nothing."""
    n_predict: MaxTokens | None = None
    """As `max_tokens`, of which only one may be told; 0 counts as 1."""


class Infill(Endpoint):
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "POST": Operation(
            summary="Fill a gap in a file",
            tag=Tag.OPENAI,
            body=InfillBody,
            answer=InfillAnswer,
            stream=Stream(
                media_type="text/event-stream",
                item=InfillEvent | InfillAnswer,
                about="Whole, or with `stream` as events: the last is as the whole, without the text.",
            ),
            asks_model=True,
            about="llama-server's, for models that have the tokens for it.",
            example={"model": "tiny", "input_prefix": "def add(a, b):", "input_suffix": "", "n_predict": 32},
        )
    }

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        body = self._body(InfillBody, req, exchange)
        model = self._model_meant(body.model)
        if body.n_predict == 0:
            exchange.warn("'n_predict' 0 is taken as 1")
        request = request_of(body, scope=exchange.scope, raw_grammar=self._limits.raw_grammar)
        request = stored_defaults.applied(request, body, self._calls.find(exchange, model))
        begin = self._calls.begin if body.stream and exchange.wants_progress else self._calls.generate
        try:
            generation = begin(exchange, model, request)
        except Unsupported as error:
            raise _renamed(error) from error
        writer = InfillWriter(model)
        timeout_s = exchange.timeout_s(self._limits.request_timeout_s)
        if body.stream:
            exchange.is_stream = True
            stream = _Stream(
                generation, writer, exchange, heartbeat_s=self._limits.heartbeat_s, timeout_s=timeout_s
            )
            sse.answer(resp, stream)
            return
        try:
            for delta in deltas(generation, exchange, timeout_s=timeout_s):
                writer.add(delta)
        finally:
            generation.close()
        reply(resp, writer.whole())


def _renamed(error: Unsupported) -> Unsupported:
    """A model without the tokens refuses the `suffix` of completions."""
    if error.param != "suffix":
        return error
    return Unsupported(feature="infill", reason=error.fields["reason"], param="input_suffix")


def request_of(body: InfillBody, *, scope: str, raw_grammar: bool) -> Generate:
    """Raises InvalidRequest or Unsupported."""
    if body.n not in {None, 1}:
        raise Unsupported(feature="'n' above 1", reason="the answer has one text", param="n")
    if body.stream_options is not None:
        raise Unsupported(
            feature="'stream_options'", reason="the last event always has the counts", param="stream_options"
        )
    if body.max_tokens is not None and body.n_predict is not None:
        raise InvalidRequest(reason="excludes 'n_predict'", param="max_tokens")
    asked = body.max_tokens if body.n_predict is None else body.n_predict
    files = [FileText(name=file.filename, text=file.text) for file in body.input_extra or ()]
    text = body.input_prefix + (body.prompt or "")
    return Generate(
        id=0,
        prompt=TextPrompt(text=text, suffix=body.input_suffix, files=files),
        max_tokens=1 if asked == 0 else generation_request.limit_of(asked),
        constraint=generation_request.direct_constraint_of(body, raw_grammar=raw_grammar),
        **generation_request.common_of(body, scope=scope),
    )


class _Stream(sse.EventStream):
    done = b""

    def error_event(self, error: Exception) -> bytes:
        return super().error_event(_renamed(error) if isinstance(error, Unsupported) else error)


class InfillWriter:
    """One answer, in pieces and whole. Owned by the thread that answers."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._pieces: list[str] = []
        self._tokens = 0
        self._last: Delta | None = None

    def add(self, delta: Delta) -> None:
        self._pieces.append(delta.text)
        self._tokens += delta.tokens
        self._last = delta

    def opening(self) -> bytes:
        return b""

    def chunk(self, delta: Delta) -> bytes:
        self.add(delta)
        if not delta.text:
            return b""
        told = {"index": 0, "content": delta.text, "stop": False, "tokens_predicted": self._tokens}
        return _event(told)

    def closing(self) -> bytes:
        return _event({**self.whole(), "content": ""})

    def whole(self) -> dict[str, Any]:
        last = self._last
        assert last is not None
        assert last.usage is not None
        text = "".join(self._pieces)
        return {
            "index": 0,
            "content": text,
            "stop": True,
            "model": self._model,
            "tokens_predicted": last.usage.completion_tokens,
            "tokens_evaluated": last.usage.prompt_tokens,
            "tokens_cached": last.usage.cached_tokens,
            "has_new_line": "\n" in text,
            "truncated": False,
            "stop_type": "word" if last.stop is not None else _stop_type(last.finish_reason),
            "stopping_word": last.stop or "",
            "timings": timings_object(last.usage),
        }


def _stop_type(reason: FinishReason | None) -> str:
    return "none" if reason is None else _STOP_TYPES.get(reason, "none")


def _event(told: dict[str, Any]) -> bytes:
    return b"data: " + encode(told) + b"\n\n"
