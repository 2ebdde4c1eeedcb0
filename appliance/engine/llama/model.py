"""A loaded GGUF: its facts, its vocabulary, its adapters."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import Any

from llama_cpp import llama_cpp as bindings

from appliance.engine.infill import InfillMarkers
from appliance.engine.llama.kernels import kernels
from appliance.engine.llama.library import initialise, kv_type_bytes, log
from appliance.engine.llama.load_mode import load_mode
from appliance.engine.llama.offload import gpu_names, is_telling, offload_of
from appliance.errors import InvalidRequest, ModelInvalid

_META_BYTES = 256 * 1024
_PIECE_BYTES = 512
_HEAD_SIZES = ("key_length", "value_length")


class LlamaModel:
    """Weights and vocabulary. The vocabulary methods only read and may be called from any thread."""

    def __init__(
        self,
        path: str,
        *,
        name: str,
        n_gpu_layers: int = 0,
        use_mmap: bool = True,
        repack: bool = True,
        on_progress: Callable[[float], None] | None = None,
        paths: Sequence[str] = (),
        is_dry: bool = False,
    ) -> None:
        """Load; `paths` are the parts of a split GGUF, in order, whatever their names. `is_dry`: facts and
        vocabulary, and of the weights their sizes only. Raises ModelInvalid with llama.cpp's own reason.
        """
        initialise()
        self.name = name
        params = bindings.llama_model_default_params()
        params.n_gpu_layers = n_gpu_layers
        no_devices = (ctypes.c_void_p * 1)()  # a list that ends at once
        if n_gpu_layers == 0:
            # Else it is opened all the same: memory for its context, and large batches computed there.
            params.devices = ctypes.addressof(no_devices)
        params.no_alloc = is_dry
        params.use_extra_bufts = repack
        params.load_mode = (
            bindings.LLAMA_LOAD_MODE_NONE
            if is_dry
            else load_mode(paths or [path], use_mmap=use_mmap, n_gpu_layers=n_gpu_layers, repack=repack)
        )
        callback = bindings.llama_progress_callback(_progress(on_progress))
        params.progress_callback = callback
        log.clear()
        laid_out_bytes = kernels.laid_out_bytes
        told: list[str] = []
        with log.listening(lambda line: told.append(line) if is_telling(line) else None):
            handle = _load(paths or [path], params)
        if not handle:
            raise ModelInvalid(model=name, reason=log.reason())
        self.kernels = kernels.name if kernels.laid_out_bytes > laid_out_bytes else ""
        """Ours, where some of the weights are laid out for them."""
        self.offload = offload_of(told, gpus=gpu_names() if told else ())
        self.handle = handle
        self.vocab = bindings.llama_model_get_vocab(handle)
        self.n_vocab = bindings.llama_vocab_n_tokens(self.vocab)
        self.end_tokens = [
            token for token in range(self.n_vocab) if bindings.llama_vocab_is_eog(self.vocab, token)
        ]
        self._ends = frozenset(self.end_tokens)
        self._pieces: dict[int, bytes] = {}
        self._longest_piece_bytes: int | None = None
        self._adapters: dict[str, ctypes.c_void_p] = {}

    # ── facts ────────────────────────────────────────────────────────────────────────────────────

    @property
    def n_ctx_train(self) -> int:
        return int(bindings.llama_model_n_ctx_train(self.handle))

    @property
    def n_embd(self) -> int:
        return int(bindings.llama_model_n_embd(self.handle))

    @property
    def n_embd_out(self) -> int:
        return int(bindings.llama_model_n_embd_out(self.handle))

    @property
    def n_params(self) -> int:
        return int(bindings.llama_model_n_params(self.handle))

    @property
    def n_layers(self) -> int:
        """That may be on a GPU: the repeating ones, and the output."""
        return int(bindings.llama_model_n_layer(self.handle)) + 1

    @property
    def size_bytes(self) -> int:
        return int(bindings.llama_model_size(self.handle))

    def kv_bytes_per_cell(self, type_k: str, type_v: str) -> int:
        """Bytes of one token over all layers: n_layer x n_head_kv x head size x (K + V), as if every layer
        kept both in full.
        """
        architecture = self.meta("general.architecture") or ""
        n_head = max(1, int(bindings.llama_model_n_head(self.handle)))
        default = self.n_embd // n_head
        sizes = [int(self.meta(f"{architecture}.attention.{key}") or default) for key in _HEAD_SIZES]
        heads = int(bindings.llama_model_n_layer(self.handle)) * int(
            bindings.llama_model_n_head_kv(self.handle)
        )
        widths = [kv_type_bytes(name) for name in (type_k, type_v)]
        return int(heads * sum(size * width for size, width in zip(sizes, widths, strict=True)))

    @property
    def n_swa(self) -> int:
        """Tokens of the sliding attention window; 0: none."""
        return int(bindings.llama_model_n_swa(self.handle))

    @property
    def keeps_state(self) -> bool:
        """Recurrent or hybrid: a sequence cannot be cut back to an earlier token."""
        return bool(
            bindings.llama_model_is_recurrent(self.handle) or bindings.llama_model_is_hybrid(self.handle)
        )

    @property
    def generates(self) -> bool:
        return bool(bindings.llama_model_has_decoder(self.handle)) and not self.is_diffusion

    @property
    def is_diffusion(self) -> bool:
        """It fills in whole texts, and sees them whole: token after token is not how it works, and llama.cpp
        aborts at a pass with fewer outputs than tokens.
        """
        return bool(bindings.llama_model_is_diffusion(self.handle))

    @property
    def has_encoder(self) -> bool:
        return bool(bindings.llama_model_has_encoder(self.handle))

    @property
    def description(self) -> str:
        buffer = ctypes.create_string_buffer(256)
        bindings.llama_model_desc(self.handle, buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    @property
    def chat_template(self) -> str | None:
        raw = bindings.llama_model_chat_template(self.handle, None)
        return raw.decode("utf-8", "replace") if raw else None

    def meta(self, key: str) -> str | None:
        """One metadata value as llama.cpp prints it."""
        buffer = ctypes.create_string_buffer(_META_BYTES)
        length = bindings.llama_model_meta_val_str(self.handle, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace") if length >= 0 else None

    # ── vocabulary ───────────────────────────────────────────────────────────────────────────────

    @property
    def bos_text(self) -> str:
        return self._special_text(bindings.llama_vocab_bos(self.vocab))

    @property
    def eos_text(self) -> str:
        return self._special_text(bindings.llama_vocab_eos(self.vocab))

    @property
    def adds_bos(self) -> bool:
        return bool(bindings.llama_vocab_get_add_bos(self.vocab))

    def infill_markers(self) -> InfillMarkers | None:
        """Where the vocabulary has what fill-in-the-middle needs."""
        before, after, middle, repository, file = (
            None if token == -1 else int(token)
            for token in (
                bindings.llama_vocab_fim_pre(self.vocab),
                bindings.llama_vocab_fim_suf(self.vocab),
                bindings.llama_vocab_fim_mid(self.vocab),
                bindings.llama_vocab_fim_rep(self.vocab),
                bindings.llama_vocab_fim_sep(self.vocab),
            )
        )
        if before is None or after is None or middle is None:
            return None
        return InfillMarkers(before=before, after=after, middle=middle, repository=repository, file=file)

    def same_vocabulary(self, other: LlamaModel) -> bool:
        """Whether every token means the same to both."""
        if self.n_vocab != other.n_vocab or self.end_tokens != other.end_tokens:
            return False
        text = bindings.llama_vocab_get_text
        return all(text(self.vocab, token) == text(other.vocab, token) for token in range(self.n_vocab))

    def is_end(self, token: int) -> bool:
        return token in self._ends

    def is_control(self, token: int) -> bool:
        return bool(bindings.llama_vocab_is_control(self.vocab, token))

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        raw = text.encode("utf-8")
        capacity = len(raw) + 8
        buffer = (bindings.llama_token * capacity)()
        count = bindings.llama_tokenize(
            self.vocab, raw, len(raw), buffer, capacity, add_special, parse_special
        )
        if count < 0:
            raise InvalidRequest(
                reason=f"the text has no tokens in this vocabulary ({count})", param="prompt"
            )
        return list(buffer[:count])

    @property
    def longest_piece_bytes(self) -> int:
        """Of all tokens. Reads the whole vocabulary once (0.1 s for 100,000 tokens), when first asked."""
        if self._longest_piece_bytes is None:
            # Not by `piece`, which would keep them all.
            self._longest_piece_bytes = max(
                len(self._piece(token, special=True)) for token in range(self.n_vocab)
            )
        return self._longest_piece_bytes

    def pair_tokens(self, query: list[int], document: list[int]) -> list[int]:
        """`[BOS] query [EOS] [SEP] document [EOS]`, each special token only where the vocabulary adds it
        (llama.cpp's server).
        """
        bos = bindings.llama_vocab_bos(self.vocab)
        eos = bindings.llama_vocab_eos(self.vocab)
        separator = bindings.llama_vocab_sep(self.vocab)
        if eos == -1:
            eos = separator
        ends = [eos] if eos != -1 and bindings.llama_vocab_get_add_eos(self.vocab) else []
        starts = [bos] if bos != -1 and self.adds_bos else []
        between = [separator] if separator != -1 and bindings.llama_vocab_get_add_sep(self.vocab) else []
        return [*starts, *query, *ends, *between, *document, *ends]

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes of one token, which may be a part of a character. Control tokens are empty unless
        `special`.
        """
        key = token if not special else ~token
        cached = self._pieces.get(key)
        if cached is None:
            cached = self._pieces[key] = self._piece(token, special=special)
        return cached

    def pieces(self, shown: Container[int]) -> list[bytes]:
        """Of the whole vocabulary, as text shows them; of control tokens only those in `shown` are."""
        buffer = ctypes.create_string_buffer(_PIECE_BYTES)
        to_piece = bindings.llama_token_to_piece
        pieces = []
        for token in range(self.n_vocab):
            length = to_piece(self.vocab, token, buffer, _PIECE_BYTES, 0, token in shown)
            fits = length >= 0
            piece = ctypes.string_at(buffer, length) if fits else self._piece(token, special=token in shown)
            pieces.append(piece)
        return pieces

    def _piece(self, token: int, *, special: bool) -> bytes:
        if not 0 <= token < self.n_vocab:
            raise InvalidRequest(
                reason=f"token {token} is not in the vocabulary of {self.n_vocab}", param="prompt"
            )
        size = _PIECE_BYTES
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = bindings.llama_token_to_piece(self.vocab, token, buffer, size, 0, special)
            if length >= 0:
                return buffer.raw[:length]
            size = -length

    def _special_text(self, token: int) -> str:
        return self.piece(token, special=True).decode("utf-8", "replace") if token >= 0 else ""

    # ── adapters ─────────────────────────────────────────────────────────────────────────────────

    def load_adapter(self, name: str, path: str) -> None:
        log.clear()
        handle = bindings.llama_adapter_lora_init(self.handle, str(path).encode())
        if not handle:
            raise ModelInvalid(model=f"{self.name} + adapter {name} ({Path(path).name})", reason=log.reason())
        self._adapters[name] = handle

    @property
    def adapter_names(self) -> list[str]:
        return list(self._adapters)

    def adapter(self, name: str) -> ctypes.c_void_p:
        return self._adapters[name]

    def close(self) -> None:
        """After every context over it is closed; frees its adapters too."""
        if self.handle:
            bindings.llama_model_free(self.handle)
            self.handle = None


def _load(paths: Sequence[str], params: bindings.llama_model_params) -> Any:
    """llama.cpp finds the parts of a split model by their names, which in a store are digests: so they are
    told.
    """
    encoded = [str(path).encode() for path in paths]
    if len(encoded) == 1:
        return bindings.llama_model_load_from_file(encoded[0], params)
    return bindings.llama_model_load_from_splits(
        (ctypes.c_char_p * len(encoded))(*encoded), len(encoded), params
    )


def _progress(report: Callable[[float], None] | None) -> Callable[[float, object], bool]:
    def on_progress(fraction: float, _: object) -> bool:
        if report is not None:
            report(fraction)
        return True

    return on_progress
