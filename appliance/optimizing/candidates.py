"""Which types of weights may be faster here than those a model has: what is known of chips, unmeasured.

What llama.cpp multiplies by interleaved layouts is in its ggml/src/ggml-cpu/repack.cpp ; Q8_0 on x86
goes through its tinyBLAS, and through our kernels (docs/adr/0013). A measurement decides; this only
says what is worth one, and where a user may be told that there is something to gain.
"""

from __future__ import annotations

from typing import Final

from appliance.hardware.chip import Chip
from appliance.optimizing.standing import Standing

PLAIN: Final = frozenset({"F32", "F16", "BF16"})
_OWN: Final = frozenset({"Q4_1", "Q8_0"})
_K_QUANTS: Final = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")


def fast_types(standing: Standing) -> frozenset[str]:
    """Types whose rows this chip multiplies several at a time; K-quants by their family's name."""
    chip = standing.chip
    found: set[str] = set()
    if "avx2" in chip.features:
        found |= {"Q4_0", "IQ4_NL", "Q4_K", "Q8_0"}
        if "avx512f" in chip.features:
            found.add("Q2_K")
        if standing.own_kernels:
            found |= _OWN
    if _has_dot_product(chip):
        found |= {"Q4_0", "IQ4_NL", "Q4_K", "Q5_K", "Q6_K", "Q8_0"}
    return frozenset(found)


def candidates(quantization: str | None, standing: Standing) -> tuple[str, ...]:
    """llama.cpp's names of file types to try, the least lossy first; empty: nothing is known to be faster.

    1. Never back to floats, and never to the type the weights have.
    2. Floats: Q8_0 only. What loses more is a choice of quality, which `create -q` offers.
    3. What is fast already: nothing, but for our own kernels' Q4_1, of which only a measurement tells.
    4. Else Q8_0, and the four-bit layouts where the original has no more bits than they.
    """
    family = family_of(quantization)
    fast = fast_types(standing)
    if family is None or not fast:
        return ()
    if family in PLAIN:
        return ("q8_0",) if "Q8_0" in fast else ()
    if family in fast and family not in _OWN - {"Q8_0"}:
        return ()
    tried = ["Q8_0", *(("Q4_0", "IQ4_NL") if _bits(family) <= 4 else ())]
    return tuple(kind.casefold() for kind in tried if kind in fast and kind != family)


def hint(quantization: str | None, standing: Standing) -> str | None:
    """What may be told unmeasured; None: nothing."""
    family = family_of(quantization)
    if family is None or family in fast_types(standing):
        return None
    kinds = candidates(quantization, standing)
    if not kinds:
        return None
    named = " or ".join(kind.upper() for kind in kinds)
    return f"{quantization} has no fast layout on this chip, {named} has"


def family_of(quantization: str | None) -> str | None:
    """Q4_K_M and Q4_K_S are of one layout."""
    if quantization is None:
        return None
    folded = quantization.upper()
    return next((family for family in _K_QUANTS if folded.startswith(family)), folded)


def _bits(family: str) -> int:
    digits = [character for character in family if character.isdigit()]
    return int(digits[0]) if digits else 16


def _has_dot_product(chip: Chip) -> bool:
    return bool({"asimddp", "i8mm"} & chip.features)
