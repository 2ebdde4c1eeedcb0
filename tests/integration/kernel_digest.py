"""Logits of a fixed text, and their digest. As a program, it computes with another library of kernels.

    python -m tests.integration.kernel_digest LIBRARY GGUF

It prints the name of its kernels and the digest.
"""

from __future__ import annotations

import hashlib
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from appliance.engine.backend import Span
from appliance.engine.context_shape import ContextShape
from appliance.engine.llama import library
from appliance.engine.llama.context import LlamaContext
from appliance.engine.llama.kernels import Kernels, kernels
from appliance.engine.llama.model import LlamaModel
from tests.fakes.tiny_gguf import N_VOCAB

TOKENS = [5 + (7 * number) % (N_VOCAB - 5) for number in range(40)]

Logits = NDArray[np.float32]


def logits_of(path: Path, batches: list[int], *, own: bool = True, n_threads: int = 1) -> Logits:
    """The logits after each of TOKENS, computed in parts of these sizes."""
    with ExitStack() as opened:
        kernels.enable(wanted=own)
        opened.callback(kernels.enable, wanted=True)
        model = LlamaModel(str(path), name="tiny")
        opened.callback(model.close)
        assert (model.kernels == kernels.name) == own
        shape = ContextShape(n_ctx_seq=64, n_slots=1, n_batch=64, n_ubatch=64, n_outputs=64)
        context = LlamaContext(model, shape, n_threads=n_threads)
        opened.callback(context.close)
        rows: list[Logits] = []
        for count in batches:
            start = len(rows)
            context.decode([Span(0, start, TOKENS[start : start + count], count)])
            rows += [context.logits(number).copy() for number in range(count)]
        return np.stack(rows)


def digest(logits: Logits) -> str:
    return hashlib.sha256(logits.tobytes()).hexdigest()


def _main(path: Path, gguf: Path) -> None:
    kernels._library = Kernels(path)._library  # instead of this environment's
    library.initialise()
    print(kernels.name, digest(logits_of(gguf, [*range(1, 9), 4])))


if __name__ == "__main__":
    _main(*map(Path, sys.argv[1:]))
