"""Which stored models a name below `/v2` stands for. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.store.descriptor import Descriptor
from appliance.store.reference import DEFAULT_HOST, DEFAULT_NAMESPACE, Reference


def tags_of(name: str, references: Sequence[tuple[Reference, Descriptor]]) -> dict[str, Descriptor]:
    """What is stored under `name`, by tag. Where two models claim one tag, the one of the default host wins,
    then the first host in order. Pure.
    """
    claims = [
        (rank, reference.host, reference.tag, descriptor)
        for reference, descriptor in references
        if (rank := _rank(name, reference)) is not None
    ]
    best: dict[str, Descriptor] = {}
    for _, _, tag, descriptor in sorted(claims, key=lambda claim: claim[:3]):
        best.setdefault(tag, descriptor)
    return best


def _rank(name: str, reference: Reference) -> int | None:
    if reference.host.lower() == DEFAULT_HOST:
        short = reference.model.lower() if reference.namespace == DEFAULT_NAMESPACE else None
        return 0 if name in {reference.repository, short} else None
    if name == f"{reference.host.lower()}/{reference.repository}":
        return 1
    return 2 if name == reference.repository else None
