"""Inputs of embedding and rerank requests to tokens, with every check that can refuse them. Runs on the
preparer thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from appliance.engine.embedding_engine import PoolingRequest
from appliance.engine.llama.model import LlamaModel
from appliance.engine.text_tokens import first_tokens, fitting_tokens
from appliance.errors import ClientGone, ContextLengthExceeded, InvalidRequest, Unsupported
from appliance.wire.messages import Embed, Rerank

_RERANK_TEMPLATE_KEY = "tokenizer.chat_template.rerank"


class PoolingPreparer:
    """Any thread may call it: it holds no state of its own."""

    def __init__(self, model: LlamaModel, *, n_ctx_seq: int, ranks: bool) -> None:
        self._model = model
        self._n_ctx_seq = n_ctx_seq
        self._ranks = ranks

    def pooled(self, request: Embed | Rerank, is_wanted: Callable[[], bool]) -> PoolingRequest:
        """Raises RequestError; ClientGone when `is_wanted` said no between two inputs."""
        if isinstance(request, Rerank):
            if not self._ranks:
                raise Unsupported(feature="rerank", reason="this model has no rank pooling", param="model")
            inputs = _while(is_wanted, self._pairs(request))
        else:
            if self._ranks:
                raise Unsupported(feature="embeddings", reason="this model ranks documents", param="model")
            numbered = enumerate(request.inputs)
            inputs = _while(is_wanted, (self._input(entry, index, request) for index, entry in numbered))
        normalize = isinstance(request, Embed) and request.normalize
        return PoolingRequest(id=request.id, inputs=inputs, ranks=self._ranks, normalize=normalize)

    def _input(self, entry: str | list[int], index: int, request: Embed) -> list[int]:
        if isinstance(entry, str):
            read = first_tokens if request.truncate else fitting_tokens
            tokens = read(self._model, entry, limit=self._n_ctx_seq, add_special=True, parse_special=False)
        else:
            tokens = entry
            for token in tokens:
                if not 0 <= token < self._model.n_vocab:
                    raise InvalidRequest(
                        reason=f"token {token} is not in the vocabulary", param=f"input.{index}"
                    )
        if not tokens:
            raise InvalidRequest(reason="the input is empty", param=f"input.{index}")
        if request.truncate:
            return tokens[: self._context(request)]
        return self._checked(tokens, request)

    def _pairs(self, request: Rerank) -> Iterator[list[int]]:
        """Query and document as a cross-encoder expects them: the GGUF's rerank template, or query,
        separator, document.
        """
        query = self._tokens(request.query)
        template = self._model.meta(_RERANK_TEMPLATE_KEY)
        for document in request.documents:
            if template is None:
                yield self._checked(self._model.pair_tokens(query, self._tokens(document)), request)
            else:
                text = template.replace("{query}", request.query).replace("{document}", document)
                yield self._checked(self._tokens(text, parse_special=True), request)

    def _tokens(self, text: str, *, parse_special: bool = False) -> list[int]:
        return fitting_tokens(
            self._model, text, limit=self._n_ctx_seq, add_special=False, parse_special=parse_special
        )

    def _context(self, request: Embed | Rerank) -> int:
        """Tokens of one input: what the model serves, or the less that the caller may use."""
        return min(self._n_ctx_seq, request.max_context or self._n_ctx_seq)

    def _checked(self, tokens: list[int], request: Embed | Rerank) -> list[int]:
        limit = self._context(request)
        if len(tokens) > limit:
            raise ContextLengthExceeded(
                prompt_tokens=len(tokens), limit_tokens=limit, is_of_key=limit < self._n_ctx_seq
            )
        return tokens


def _while(is_wanted: Callable[[], bool], inputs: Iterable[list[int]]) -> list[list[int]]:
    taken: list[list[int]] = []
    for tokens in inputs:
        if not is_wanted():
            raise ClientGone
        taken.append(tokens)
    return taken
