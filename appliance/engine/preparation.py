"""Everything that can refuse a request, before it touches the engine: template, tokens, lengths, grammar,
sampling.

Runs on the runner's preparer thread beside the engine; it only reads the model. Flow 1 (chat): "template,
tokenise, length check → Accepted".
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass
from typing import assert_never

from appliance.engine.chat_output import make_parser
from appliance.engine.constraint import CompiledConstraint, compile_constraint
from appliance.engine.gbnf_matcher import GrammarMatcher, GrammarVocabulary, SharedGrammar
from appliance.engine.infill import infill_tokens
from appliance.engine.kv_cache import Scope
from appliance.engine.llama.model import LlamaModel
from appliance.engine.llama.sampler import LlamaSampler
from appliance.engine.lookup import PromptLookup
from appliance.engine.output import ChatParser, OutputStream
from appliance.engine.sequence import ActiveRequest, Sequence
from appliance.engine.speculation import Acceptance
from appliance.engine.template_format import PromptRenderer, TemplateFacts, opens_reasoning
from appliance.engine.text_tokens import check_fits, fitting_tokens
from appliance.errors import ContextLengthExceeded, InvalidRequest, Unsupported
from appliance.wire.messages import (
    ApplyTemplate,
    ChatPrompt,
    Detokenize,
    Generate,
    Result,
    TextPrompt,
    Tokenize,
    TokensPrompt,
    ToolChoice,
)

_MOST_COUNTED_TOKENS = 1 << 18
"""Of a text that is only counted (`/tokenize`): twice the longest contexts."""

_MARKERS = ("<tool_call>", "</tool_call>", "<|python_tag|>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]")
"""Where they are control tokens, the chat parser must still see them as text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatAbility:
    """What the model's template can do; `error` when it was refused at load."""

    facts: TemplateFacts | None
    error: str | None = None


class Preparer:
    """Owned by the preparer thread."""

    def __init__(
        self,
        model: LlamaModel,
        *,
        n_ctx_seq: int,
        n_slots: int,
        render: PromptRenderer,
        chat: ChatAbility,
        speculation: bool,
    ) -> None:
        self._model = model
        self._n_ctx_seq = n_ctx_seq
        self._n_slots = n_slots
        self._render = render
        self._chat = chat
        self._speculation = speculation
        self._markers = frozenset(
            tokens[0]
            for tokens in (
                model.tokenize(text, add_special=False, parse_special=True) for text in _markers(chat)
            )
            if len(tokens) == 1 and model.is_control(tokens[0])
        )
        self._vocabularies: dict[frozenset[int], GrammarVocabulary] = {}
        self._grammar_lock = threading.Lock()
        """Over what is made of vocabularies and grammars: two threads prepare."""

    # ── requests that need no step ───────────────────────────────────────────────────────────────

    def answer(self, request: Tokenize | Detokenize | ApplyTemplate) -> Result:
        if isinstance(request, Tokenize):
            tokens = fitting_tokens(
                self._model,
                request.text,
                limit=max(_MOST_COUNTED_TOKENS, self._n_ctx_seq),
                add_special=request.add_special,
                parse_special=request.parse_special,
            )
            pieces = [self._model.piece(token, special=True) for token in tokens]
            return Result(id=request.id, tokens=tokens, pieces=pieces)
        if isinstance(request, Detokenize):
            text = b"".join(self._model.piece(token, special=True) for token in request.tokens)
            return Result(id=request.id, text=text.decode("utf-8", "replace"))
        limit = max(_MOST_COUNTED_TOKENS, self._n_ctx_seq)
        rendered, counted = self._chat_tokens(request.prompt, limit=limit)
        return Result(id=request.id, text=rendered, prompt_tokens=len(counted))

    # ── generations ──────────────────────────────────────────────────────────────────────────────

    def generation(self, request: Generate) -> ActiveRequest:
        """Raises RequestError for whatever is wrong with it."""
        if request.n > self._n_slots:
            raise InvalidRequest(
                reason=f"{request.n} choices, this model runs {self._n_slots} at once", param="n"
            )
        self._check_adapters(request)
        text, tokens = self._prompt(request)
        self._check_length(len(tokens), request)
        adapters = tuple(sorted((entry.name, entry.scale) for entry in request.adapters if entry.scale != 0))
        active = ActiveRequest(generate=request, prompt_tokens=tokens, scope=Scope(request.scope, adapters))
        grammar = self._grammar(request, text)
        seed = request.sampling.seed if request.sampling.seed is not None else secrets.randbits(32)
        for choice in range(request.n):
            active.sequences.append(self._sequence(active, choice, (seed + choice) % 2**32, grammar, text))
        return active

    def _sequence(
        self,
        active: ActiveRequest,
        choice: int,
        seed: int,
        grammar: SharedGrammar | None,
        text: str | None,
    ) -> Sequence:
        request = active.generate
        limit = self._context(request)
        if request.max_tokens is not None:
            limit = min(limit, len(active.prompt_tokens) + request.max_tokens)
        sampler = LlamaSampler(
            self._model,
            request.sampling,
            seed=seed,
            grammar=GrammarMatcher(grammar) if grammar is not None else None,
            n_ctx=self._n_ctx_seq,
        )
        sampler.accept_prompt(active.prompt_tokens)
        speculates = self._speculation and request.speculation
        return Sequence(
            request=active,
            choice=choice,
            tokens=list(active.prompt_tokens),
            limit=limit,
            sampler=sampler,
            has_grammar=grammar is not None,
            output=OutputStream(stops=request.stop, parser=self._parser(request, text)),
            lookup=PromptLookup() if speculates else None,
            model_guesses=Acceptance() if speculates else None,
            echo=self._echo(active) if request.echo else "",
            special_pieces=self._shown(request),
        )

    # ── prompt ───────────────────────────────────────────────────────────────────────────────────

    def _prompt(self, request: Generate) -> tuple[str | None, list[int]]:
        """The rendered text of a chat, and the tokens of any prompt."""
        prompt = request.prompt
        if isinstance(prompt, ChatPrompt):
            self._check_size(prompt)
            return self._chat_tokens(prompt, limit=self._n_ctx_seq)
        if isinstance(prompt, TextPrompt):
            return None, self._completion_tokens(prompt)
        if isinstance(prompt, TokensPrompt):
            self._check_tokens(prompt.tokens)
            return None, list(prompt.tokens)
        assert_never(prompt)

    def _chat_tokens(self, prompt: ChatPrompt, *, limit: int) -> tuple[str, list[int]]:
        text = self._rendered(prompt)
        has_bos = bool(self._model.bos_text) and text.startswith(self._model.bos_text)
        tokens = fitting_tokens(self._model, text, limit=limit, add_special=not has_bos, parse_special=True)
        return text, tokens

    def _completion_tokens(self, prompt: TextPrompt) -> list[int]:
        if prompt.suffix is None:
            return self._tokens(prompt.text, add_special=True)
        markers = self._model.infill_markers()
        if markers is None:
            raise Unsupported(
                feature="'suffix'", reason="this model has no fill-in-the-middle tokens", param="suffix"
            )
        check_fits(self._model, _gap_text(prompt), limit=self._n_ctx_seq, parse_special=False)
        return [*self._tokens("", add_special=True), *infill_tokens(prompt, markers, self._plain_tokens)]

    def _plain_tokens(self, text: str) -> list[int]:
        return self._model.tokenize(text, add_special=False, parse_special=False)

    def _tokens(self, text: str, *, add_special: bool = False) -> list[int]:
        return fitting_tokens(
            self._model, text, limit=self._n_ctx_seq, add_special=add_special, parse_special=True
        )

    def _check_size(self, chat: ChatPrompt) -> None:
        """Refuse a chat whose words alone are too long, with its counts, before a template sees it."""
        words = "\n".join(
            text for message in chat.messages if isinstance(text := message.get("content"), str)
        )
        check_fits(self._model, words, limit=self._n_ctx_seq)

    def _rendered(self, prompt: ChatPrompt) -> str:
        if self._chat.error is not None and prompt.template is None:
            raise InvalidRequest(
                reason=f"this model cannot chat, its chat template was refused: {self._chat.error}; "
                "/v1/completions takes text",
                param="messages",
            )
        return self._render.render(prompt)

    def _echo(self, active: ActiveRequest) -> str:
        prompt = active.generate.prompt
        if isinstance(prompt, TextPrompt):
            return prompt.text
        text = b"".join(self._model.piece(token, special=True) for token in active.prompt_tokens)
        return text.decode("utf-8", "replace")

    # ── checks ───────────────────────────────────────────────────────────────────────────────────

    def _context(self, request: Generate) -> int:
        """Tokens of prompt and answer: what the model serves, or the less that the caller may use."""
        return min(self._n_ctx_seq, request.max_context or self._n_ctx_seq)

    def _check_length(self, prompt_tokens: int, request: Generate) -> None:
        if prompt_tokens == 0:
            raise InvalidRequest(reason="the prompt is empty", param="prompt")
        limit, max_tokens = self._context(request), request.max_tokens or 0
        is_of_key = limit < self._n_ctx_seq
        asked = 0 if request.is_max_tokens_default else max_tokens
        if prompt_tokens >= limit or (is_of_key and prompt_tokens + asked > limit):
            raise ContextLengthExceeded(
                prompt_tokens=prompt_tokens,
                limit_tokens=limit,
                requested_tokens=max_tokens,
                is_of_key=is_of_key,
            )

    def _check_tokens(self, tokens: list[int]) -> None:
        for token in tokens:
            if not 0 <= token < self._model.n_vocab:
                raise InvalidRequest(
                    reason=f"token {token} is not in the vocabulary of {self._model.n_vocab}", param="prompt"
                )

    def _check_adapters(self, request: Generate) -> None:
        known = self._model.adapter_names
        for entry in request.adapters:
            if entry.name not in known:
                raise InvalidRequest(
                    reason=f"no adapter '{entry.name}'; loaded: {', '.join(known) or 'none'}", param="lora"
                )
        for bias in request.sampling.logit_bias:
            if not 0 <= bias.token < self._model.n_vocab:
                raise InvalidRequest(
                    reason=f"token {bias.token} is not in the vocabulary of {self._model.n_vocab}",
                    param="logit_bias",
                )

    # ── output ───────────────────────────────────────────────────────────────────────────────────

    def _shown(self, request: Generate) -> frozenset[int]:
        """Control tokens that this answer shows as text."""
        return self._markers if isinstance(request.prompt, ChatPrompt) else frozenset()

    def _grammar(self, request: Generate, text: str | None) -> SharedGrammar | None:
        compiled = self._constraint(request, text)
        if compiled is None:
            return None
        shown = self._shown(request)
        with self._grammar_lock:
            if shown not in self._vocabularies:
                self._vocabularies[shown] = self._vocabulary(shown)
            return self._vocabularies[shown].grammar(compiled.gbnf, param=compiled.param)

    def _vocabulary(self, shown: frozenset[int]) -> GrammarVocabulary:
        """Takes 0.2 s for 49,152 tokens, so it is made for the first request that needs it."""
        model = self._model
        return GrammarVocabulary(
            model.pieces(shown),
            end_tokens=model.end_tokens,
            token_of=self._token_of,
        )

    def _token_of(self, written: str) -> int:
        """Of `<[id]>` or `<text>` in a grammar. A number outside the vocabulary is a token never chosen."""
        if written.startswith("<["):
            return min(int(written[2:-2]), int(self._model.n_vocab))
        tokens = self._model.tokenize(written, add_special=False, parse_special=True)
        if len(tokens) != 1:
            raise InvalidRequest(
                reason=f"the grammar is not usable: {written} is no token of this model", param="grammar"
            )
        return tokens[0]

    def _constraint(self, request: Generate, text: str | None) -> CompiledConstraint | None:
        chat, facts = _chat_of(request), self._chat.facts
        if facts is None:
            return compile_constraint(request.constraint, chat)
        return compile_constraint(
            request.constraint,
            chat,
            facts.tool_format,
            reasoning=facts.reasoning,
            reasoning_open=self._reasoning_open(text),
        )

    def _parser(self, request: Generate, text: str | None) -> ChatParser | None:
        chat, facts = _chat_of(request), self._chat.facts
        if chat is None or facts is None:
            return None
        reasoning = facts.reasoning if chat.parse_reasoning else None
        tools_active = bool(chat.tools) and chat.tool_choice is not ToolChoice.NONE
        if reasoning is None and not tools_active:
            return None
        return make_parser(
            facts.tool_format,
            reasoning,
            tools_active=tools_active,
            tool_names=frozenset(str(tool["function"]["name"]) for tool in chat.tools),
            reasoning_open=self._reasoning_open(text),
            most_calls=None if chat.parallel_tool_calls else 1,
        )

    def _reasoning_open(self, text: str | None) -> bool:
        facts = self._chat.facts
        return (
            text is not None
            and facts is not None
            and facts.reasoning is not None
            and opens_reasoning(text, facts.reasoning)
        )


def _gap_text(prompt: TextPrompt) -> str:
    """All that is to be tokenised around a gap."""
    return "\n".join([*(file.text for file in prompt.files), prompt.text, prompt.suffix or ""])


def _markers(chat: ChatAbility) -> tuple[str, ...]:
    reasoning = chat.facts.reasoning if chat.facts is not None else None
    return _MARKERS if reasoning is None else (*_MARKERS, reasoning.open, reasoning.close)


def _chat_of(request: Generate) -> ChatPrompt | None:
    return request.prompt if isinstance(request.prompt, ChatPrompt) else None
