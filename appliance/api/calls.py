"""How handlers ask the supervisor: with the exchange's owner, its client's presence, and its share of the
accounts.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import msgspec

from appliance.api.awaited import Awaited
from appliance.api.exchange import Exchange
from appliance.api.others_names import fit_for
from appliance.api.placement import placement_of
from appliance.errors import ModelNotFound
from appliance.planner.fit_answer import FitAnswer
from appliance.supervisor.fit_wish import FitWish
from appliance.supervisor.inference import Call, Generation, Inference, ModelCard
from appliance.supervisor.turn import Asker
from appliance.wire.messages import Embed, Generate, Rerank, Result

MAX_NAME_CHARS: Final = 256
"""Of a model's name that is told again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of the door, from the configuration."""

    max_body_bytes: int = 16 * 1024 * 1024
    heartbeat_s: float = 10.0
    request_timeout_s: float = 3600.0
    raw_grammar: bool = True
    max_concurrent: int = 640
    """Requests at work or waiting at once, over all models."""


class Calls:
    """Stateless; any thread."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    @property
    def inference(self) -> Inference:
        return self._inference

    def find(self, exchange: Exchange, model: str) -> ModelCard:
        """The model meant; it is noted under its own name, so that no spelling makes a metric of its own.
        One that the key may not use is as unknown as one that is not there. Raises ModelNotFound,
        InvalidReference.
        """
        exchange.model = model
        try:
            card = self._inference.find(model)
        except ModelNotFound as error:
            raise self._unknown(exchange, str(error.fields["model"])) from error
        if not exchange.sees(card.name):
            raise self._unknown(exchange, model)
        exchange.model = card.name
        if exchange.meter is not None:
            exchange.meter.model = card.name
        return card

    def models(self, exchange: Exchange) -> list[ModelCard]:
        """Those that the key may use: no others are ever listed."""
        return [card for card in self._inference.models() if exchange.sees(card.name)]

    def _unknown(self, exchange: Exchange, model: str) -> ModelNotFound:
        available = sorted(card.name for card in self.models(exchange))
        return ModelNotFound(model=model[:MAX_NAME_CHARS], available=available)

    def generate(self, exchange: Exchange, model: str, request: Generate) -> Generation:
        """Blocks until `Accepted`. Raises what `Inference.generate` raises. The caller must close what it
        gets.
        """
        request = _bounded(exchange, self.find(exchange, model), request)
        model = self._stand_in(exchange, model)
        with exchange.waiting():
            generation = self.ask(exchange, model, request, asker=exchange.asker())
        exchange.mark_accepted(generation.accepted)
        self._note_placement(exchange, model)
        return generation

    def ask(self, exchange: Exchange, model: str, request: Generate, *, asker: Asker) -> Generation:
        """`Inference.generate`, with its tokens counted. Raises RateLimited and PromptExceedsQuota, too."""
        generation = self._inference.generate(model, request, asker=asker)
        return generation if exchange.meter is None else exchange.meter.metered(generation)

    def begin(self, exchange: Exchange, model: str, request: Generate) -> Awaited:
        """The same for who wants to hear where he stands: blocks for a moment only."""
        request = _bounded(exchange, self.find(exchange, model), request)
        model = self._stand_in(exchange, model)
        with exchange.waiting():
            pending = self._inference.begin(
                model,
                request,
                asker=exchange.asker(),
            )
            awaited = Awaited(pending, exchange)
        if awaited.is_accepted:
            self._note_placement(exchange, model)
        return awaited

    def load(self, exchange: Exchange, model: str) -> ModelCard:
        """Blocks until the model is ready."""
        self.find(exchange, model)
        with exchange.waiting():
            return self._inference.load(model, asker=exchange.asker())

    def fit(self, exchange: Exchange, model: str, wish: FitWish) -> FitAnswer:
        self.find(exchange, model)
        return fit_for(self._inference.fit(model, wish, asker=exchange.asker()), exchange.sees)

    def _stand_in(self, exchange: Exchange, model: str) -> str:
        """While it is too hot for a model, its smaller sibling, where the operator allows one; and it is
        said.
        """
        sibling = self._inference.stand_in(model)
        if sibling is None or not exchange.sees(sibling):
            return model
        exchange.warn(f"it is too hot for {exchange.model}: answered by {sibling}")
        exchange.model = sibling
        if exchange.meter is not None:
            exchange.meter.model = sibling
        return sibling

    def call(self, exchange: Exchange, model: str, request: Call) -> Result:
        self.find(exchange, model)
        max_context = exchange.grant.bounds.max_context if exchange.grant is not None else None
        if max_context is not None and isinstance(request, Embed | Rerank):
            request = msgspec.structs.replace(request, max_context=max_context)
        with exchange.waiting():
            result = self._inference.call(
                model,
                request,
                asker=exchange.asker(),
            )
        if exchange.meter is not None and result.prompt_tokens:
            exchange.meter.computed(prompt_tokens=result.prompt_tokens)
        self._note_placement(exchange, model)
        return result

    def _note_placement(self, exchange: Exchange, model: str) -> None:
        with suppress(ModelNotFound):  # taken away while it answers
            exchange.placement = placement_of(self._inference.find(model))


def _bounded(exchange: Exchange, card: ModelCard, request: Generate) -> Generate:
    """Within the context that the key may use. A length that nobody asked for is reduced, and that is told;
    one that was asked for is refused in the runner, where the prompt has been counted.
    """
    most = exchange.grant.bounds.max_context if exchange.grant is not None else None
    if most is None or (card.facts is not None and card.facts.n_ctx_seq <= most):
        return request
    is_default = request.max_tokens is None or request.max_tokens == card.defaults.max_tokens
    if is_default:
        exchange.warn(f"with this key prompt and answer have at most {most} tokens together")
    return msgspec.structs.replace(request, max_context=most, is_max_tokens_default=is_default)
