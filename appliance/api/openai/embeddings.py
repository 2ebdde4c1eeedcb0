"""POST /v1/embeddings and /v1/rerank: the form of Jina and Cohere, and with `texts` that of TEI."""

from __future__ import annotations

import base64
import math
import struct
from typing import Any, ClassVar

import falcon

from appliance.api.dialect.endpoint import Endpoint
from appliance.api.exchange import Exchange, exchange_of
from appliance.api.json_reply import reply
from appliance.api.openai.answers import EmbeddingAnswer, RerankAnswer, ScoredItem
from appliance.api.openai.schema import EmbeddingBody, RerankBody, inputs_of
from appliance.api.openapi.operation import Operation, Operations, Tag
from appliance.errors import EngineFault, InvalidRequest, Unsupported
from appliance.wire.messages import Embed, Rerank, Usage

_FLOAT_BYTES = 4


class Embeddings(Endpoint):
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "POST": Operation(
            summary="Texts as vectors",
            tag=Tag.OPENAI,
            body=EmbeddingBody,
            answer=EmbeddingAnswer,
            asks_model=True,
            example={"model": "embedder", "input": ["the first text", "the second"]},
        )
    }

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        body = self._body(EmbeddingBody, req, exchange)
        inputs = _inputs_of(body)
        result = self._calls.call(
            exchange, body.model, Embed(id=0, inputs=inputs, truncate=bool(body.truncate))
        )
        if len(result.vectors) != len(inputs):
            raise EngineFault(reason=f"{len(result.vectors)} vectors came for {len(inputs)} inputs")
        vectors = _cut(result.vectors, body.dimensions, exchange)
        exchange.usage = Usage(prompt_tokens=result.prompt_tokens, cached_tokens=0, completion_tokens=0)
        reply(
            resp,
            {
                "object": "list",
                "data": [
                    {
                        "object": "embedding",
                        "index": index,
                        "embedding": _embedding(vector, body.encoding_format),
                    }
                    for index, vector in enumerate(vectors)
                ],
                "model": body.model,
                "usage": _usage(result.prompt_tokens),
            },
        )


class Reranks(Endpoint):
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "POST": Operation(
            summary="Order documents by how well they answer a question",
            tag=Tag.OPENAI,
            body=RerankBody,
            answer=RerankAnswer | list[ScoredItem],
            about="`/v1/rerank`, `/v1/reranking`, `/rerank` and `/reranking` are one. Asked with `texts` "
            "(the form of TEI), the answer is a list.",
            asks_model=True,
            example={"model": "reranker", "query": "capital of France", "documents": ["Paris", "Lyon"]},
        )
    }

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        body = self._body(RerankBody, req, exchange)
        model, documents = self._model_meant(body.model), _documents_of(body)
        result = self._calls.call(exchange, model, Rerank(id=0, query=body.query, documents=documents))
        if len(result.scores) != len(documents):
            raise EngineFault(reason=f"{len(result.scores)} scores came for {len(documents)} documents")
        exchange.usage = Usage(prompt_tokens=result.prompt_tokens, cached_tokens=0, completion_tokens=0)
        ranked = sorted(enumerate(result.scores), key=lambda entry: (-entry[1], entry[0]))[: body.top_n]
        if body.texts is not None:
            reply(resp, [_scored(index, score, documents, body) for index, score in ranked])
            return
        reply(
            resp,
            {
                "model": model,
                "object": "list",
                "results": [_ranked(index, score, documents, body) for index, score in ranked],
                "usage": _usage(result.prompt_tokens),
            },
        )


def _inputs_of(body: EmbeddingBody) -> list[str | list[int]]:
    inputs = inputs_of(body.input)
    for index, item in enumerate(inputs):
        if not item:
            param = "input" if isinstance(body.input, str) else f"input.{index}"
            raise InvalidRequest(reason="an input is empty", param=param)
    return inputs


def _cut(vectors: list[bytes], asked: int | None, exchange: Exchange) -> list[bytes]:
    """The first `asked` numbers, of length one again: right for models trained for it, and we cannot tell
    which are.
    """
    has = len(vectors[0]) // _FLOAT_BYTES
    if asked is None or asked == has:
        return vectors
    if asked > has:
        raise Unsupported(
            feature=f"'dimensions': {asked}", reason=f"this model has {has}", param="dimensions"
        )
    exchange.warn(f"'dimensions': cut from {has}, which is good only for models trained for it")
    return [_unit(vector, asked) for vector in vectors]


def _unit(vector: bytes, count: int) -> bytes:
    numbers = struct.unpack_from(f"<{count}f", vector)
    length = math.sqrt(math.fsum(number * number for number in numbers))
    return struct.pack(f"<{count}f", *(number / length if length else 0.0 for number in numbers))


def _embedding(vector: bytes, encoding: str | None) -> str | list[float]:
    if encoding == "base64":
        return base64.b64encode(vector).decode()
    return list(struct.unpack(f"<{len(vector) // _FLOAT_BYTES}f", vector))


def _documents_of(body: RerankBody) -> list[str]:
    if (body.documents is None) == (body.texts is None):
        raise InvalidRequest(reason="give either 'documents' or 'texts'", param="documents")
    return [item if isinstance(item, str) else item.text for item in body.documents or body.texts or []]


def _ranked(index: int, score: float, documents: list[str], body: RerankBody) -> dict[str, Any]:
    told: dict[str, Any] = {"index": index, "relevance_score": score}
    if body.return_documents:
        told["document"] = {"text": documents[index]}
    return told


def _scored(index: int, score: float, documents: list[str], body: RerankBody) -> dict[str, Any]:
    """TEI's form."""
    told: dict[str, Any] = {"index": index, "score": score}
    if body.return_text or body.return_documents:
        told["text"] = documents[index]
    return told


def _usage(prompt_tokens: int) -> dict[str, int]:
    return {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
