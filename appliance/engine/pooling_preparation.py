"""Inputs of embedding and rerank requests to tokens, with every check that can refuse them. Runs on the
preparer thread.
"""

from __future__ import annotations

from appliance.engine.embedding_engine import PoolingRequest
from appliance.engine.llama.model import LlamaModel
from appliance.errors import ContextLengthExceeded, InvalidRequest, Unsupported
from appliance.wire.messages import Embed, Rerank

_RERANK_TEMPLATE_KEY = "tokenizer.chat_template.rerank"


class PoolingPreparer:
    """Any thread may call it: it holds no state of its own."""

    def __init__(self, model: LlamaModel, *, n_ctx_seq: int, ranks: bool) -> None:
        self._model = model
        self._n_ctx_seq = n_ctx_seq
        self._ranks = ranks

    def pooled(self, request: Embed | Rerank) -> PoolingRequest:
        """Raises RequestError."""
        if isinstance(request, Rerank):
            if not self._ranks:
                raise Unsupported(feature="rerank", reason="this model has no rank pooling", param="model")
            inputs = [self._pair(request.query, document) for document in request.documents]
            return PoolingRequest(id=request.id, inputs=inputs, ranks=True, normalize=False)
        if self._ranks:
            raise Unsupported(feature="embeddings", reason="this model ranks documents", param="model")
        inputs = [self._input(entry, index, request) for index, entry in enumerate(request.inputs)]
        return PoolingRequest(id=request.id, inputs=inputs, ranks=False, normalize=request.normalize)

    def _input(self, entry: str | list[int], index: int, request: Embed) -> list[int]:
        if isinstance(entry, str):
            tokens = self._model.tokenize(entry, add_special=True, parse_special=False)
        else:
            tokens = entry
            for token in tokens:
                if not 0 <= token < self._model.n_vocab:
                    raise InvalidRequest(
                        reason=f"token {token} is not in the vocabulary", param=f"input.{index}"
                    )
        if not tokens:
            raise InvalidRequest(reason="the input is empty", param=f"input.{index}")
        if len(tokens) > self._n_ctx_seq:
            if not request.truncate:
                raise ContextLengthExceeded(prompt_tokens=len(tokens), limit_tokens=self._n_ctx_seq)
            tokens = tokens[: self._n_ctx_seq]
        return tokens

    def _pair(self, query: str, document: str) -> list[int]:
        """Query and document as a cross-encoder expects them: the GGUF's rerank template, or query,
        separator, document.
        """
        template = self._model.meta(_RERANK_TEMPLATE_KEY)
        if template is not None:
            text = template.replace("{query}", query).replace("{document}", document)
            tokens = self._model.tokenize(text, add_special=False, parse_special=True)
        else:
            tokens = self._model.pair_tokens(query, document)
        if len(tokens) > self._n_ctx_seq:
            raise ContextLengthExceeded(prompt_tokens=len(tokens), limit_tokens=self._n_ctx_seq)
        return tokens
