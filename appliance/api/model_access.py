"""Which stored models a key may see and change. A key without a list of models may all.

shown, taken away    what the key may not use is as unknown as what is not there
changed              all models that a verb reads or leaves behind must be the key's; verbs that concern the
                     whole store, or take in what is only known later, are for keys without a list
"""

from __future__ import annotations

from typing import Final

from appliance.access.grants import Grant
from appliance.api.exchange import Exchange
from appliance.errors import ModelNotAllowed, ModelNotFound, NotAllowed
from appliance.store import operations
from appliance.store.operations import Operation
from appliance.store.reference import parse_reference
from appliance.store.verbs import StoreVerbs

_MAX_NAME_CHARS: Final = 256


def stored_name(name: str) -> str:
    """As `outpost list` shows it. Raises InvalidReference."""
    return parse_reference(name).with_digest(None).display


def require_seen(exchange: Exchange, name: str, store: StoreVerbs) -> None:
    """Raises ModelNotFound, as for a name that is not there; InvalidReference."""
    if exchange.grant is not None and exchange.grant.models and not exchange.sees(stored_name(name)):
        raise unknown(exchange, name, store)


def unknown(exchange: Exchange, name: str, store: StoreVerbs) -> ModelNotFound:
    """With those that the key may see."""
    available = sorted(model.name for model in store.list("") if exchange.sees(model.name))
    return ModelNotFound(model=name[:_MAX_NAME_CHARS], available=available)


def require_changeable(exchange: Exchange, asked: Operation) -> None:
    """Raises ModelNotAllowed, NotAllowed, InvalidReference."""
    grant = exchange.grant
    if grant is None or not grant.models:
        return
    names = _touched(asked)
    if not names:
        raise NotAllowed(
            reason="this key is for some models only; what concerns the whole store needs a key for all"
        )
    for name in names:
        _require_allowed(grant, name)


def _require_allowed(grant: Grant, name: str) -> None:
    if not grant.allows(stored_name(name)):
        raise ModelNotAllowed(model=name[:_MAX_NAME_CHARS], allowed=list(grant.models))


def _touched(asked: Operation) -> list[str]:
    """The names it reads or leaves behind; none: they cannot be told."""
    match asked:
        case operations.Pull(name=name, as_name=as_name):
            return [as_name or name]
        case operations.Import(name=name, as_name=as_name):
            return [told for told in (as_name or name,) if told]
        case operations.Copy(source=source, destination=destination):
            return [source, destination]
        case operations.Verify(name=name, rebuild_index=rebuild_index):
            return [name] if name and not rebuild_index else []
        case operations.Create() | operations.Gc():  # a Modelfile names others
            return []
        case _:
            return [asked.name]
