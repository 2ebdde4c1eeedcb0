"""Keys over HTTP, for whom the scope `keys:admin` lets in; and the claim, for who has read the console.

GET    /outpost/v1/keys                     all, also revoked ones
POST   /outpost/v1/keys                     a new one; the key itself is in the answer, once
GET    /outpost/v1/keys/{id}
PATCH  /outpost/v1/keys/{id}                other properties; null takes a limit away
DELETE /outpost/v1/keys/{id}?force=1        revoke, at once and for good
POST   /outpost/v1/keys/{id}/rotate         a new secret under the same id
POST   /outpost/v1/claim                    {"claim": …}: the first key with keys:admin
"""

from __future__ import annotations

from typing import ClassVar, Final

import falcon

from appliance.access import wishes
from appliance.access.answers import Json, key_object, list_object, made_object
from appliance.access.claims import Claims
from appliance.access.key_store import UNNOTED, KeyStore
from appliance.api import json_body
from appliance.api.exchange import Exchange, exchange_of
from appliance.api.json_reply import reply
from appliance.api.key_answers import KeyAnswer, KeysAnswer, MadeKeyAnswer
from appliance.api.openapi.operation import Operation, Operations, Parameter, Tag
from appliance.errors import InvalidRequest, NotAllowed

_MAX_BODY_BYTES: Final = 256 * 1024
_PATH: Final = {"key_id": "The id of the key; not the key."}
_SWITCH: Final = {None: False, "0": False, "false": False, "1": True, "true": True}


class Keys:
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "GET": Operation(
            summary="All keys, also revoked ones",
            tag=Tag.ACCESS,
            answer=KeysAnswer,
            errors=(503,),
        ),
        "POST": Operation(
            summary="Make a key",
            tag=Tag.ACCESS,
            body=wishes.CreateKey,
            answer=MadeKeyAnswer,
            status=201,
            errors=(409, 503, 507),
            about="The key itself is in the answer, once. The first one is made on the device itself, and "
            "has `keys:admin`, unless `force` is true.",
            example={"name": "laptop", "scopes": ["infer"], "tokens_per_day": 100000},
        ),
    }

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        _reply(resp, list_object(self._keys.list()))

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        _require_own_machine(exchange)
        wish = wishes.parse(wishes.CreateKey, json_body.read(req, limit_bytes=_MAX_BODY_BYTES))
        made = self._keys.create(wish, by=exchange.owner)
        resp.status = falcon.HTTP_201
        _reply(resp, made_object(made))


class Key:
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "GET": Operation(summary="One key", tag=Tag.ACCESS, answer=KeyAnswer, path=_PATH, errors=(404, 503)),
        "PATCH": Operation(
            summary="Change properties of a key",
            tag=Tag.ACCESS,
            body=wishes.EditKey,
            answer=KeyAnswer,
            path=_PATH,
            errors=(404, 409, 503, 507),
            about="What is left out stays; null takes a limit away.",
            example={"note": "the one in the kitchen", "concurrency": 2},
        ),
        "DELETE": Operation(
            summary="Revoke a key, at once and for good",
            tag=Tag.ACCESS,
            answer=KeyAnswer,
            path=_PATH,
            parameters=(
                Parameter(
                    name="force",
                    about="1: also when nobody could change keys afterwards.",
                    schema={"type": "string", "enum": sorted(told for told in _SWITCH if told)},
                ),
            ),
            errors=(400, 404, 409, 503),
            about="A log that cannot take it holds nothing up; the answer warns of it.",
        ),
    }

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    def on_get(self, _req: falcon.Request, resp: falcon.Response, key_id: str) -> None:
        _reply(resp, key_object(self._keys.show(key_id)))

    def on_patch(self, req: falcon.Request, resp: falcon.Response, key_id: str) -> None:
        exchange = exchange_of(req)
        wish = wishes.parse(wishes.EditKey, json_body.read(req, limit_bytes=_MAX_BODY_BYTES))
        _reply(resp, key_object(self._keys.edit(key_id, wish, by=exchange.owner)))

    def on_delete(self, req: falcon.Request, resp: falcon.Response, key_id: str) -> None:
        told = req.get_param("force")
        if told not in _SWITCH:
            raise InvalidRequest(reason="must be 1 or 0", param="force")
        exchange = exchange_of(req)
        revoked = self._keys.revoke(key_id, force=_SWITCH[told], by=exchange.owner)
        if not revoked.is_noted:
            exchange.warn(UNNOTED)
        _reply(resp, key_object(revoked.shown))


class KeyRotation:
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "POST": Operation(
            summary="A new secret for a key, under the same id",
            tag=Tag.ACCESS,
            body=wishes.RotateKey,
            answer=MadeKeyAnswer,
            path=_PATH,
            errors=(404, 503, 507),
            example={"grace_s": 3600.0},
        )
    }

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    def on_post(self, req: falcon.Request, resp: falcon.Response, key_id: str) -> None:
        body = json_body.read(req, limit_bytes=_MAX_BODY_BYTES)
        made = self._keys.rotate(key_id, wishes.parse(wishes.RotateKey, body), by=exchange_of(req).owner)
        _reply(resp, made_object(made))


class Claim:
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "POST": Operation(
            summary="The first key that may make others, for who has read the console",
            tag=Tag.ACCESS,
            body=wishes.TakeClaim,
            answer=MadeKeyAnswer,
            status=201,
            errors=(403, 429, 503, 507),
            example={"claim": "the words on the console", "name": "administrator"},
        )
    }

    def __init__(self, claims: Claims) -> None:
        self._claims = claims

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        wish = wishes.parse(wishes.TakeClaim, json_body.read(req, limit_bytes=_MAX_BODY_BYTES))
        made = self._claims.take(wish, source=exchange_of(req).caller.address)
        resp.status = falcon.HTTP_201
        _reply(resp, made_object(made))


def _require_own_machine(exchange: Exchange) -> None:
    """While no key is needed, a proxy in front of us must not hand out the first."""
    if exchange.grant is None and not exchange.caller.is_on_this_machine:
        raise NotAllowed(reason="the first key is made on this machine, and not through a proxy")


def _reply(resp: falcon.Response, told: Json) -> None:
    resp.set_header("Cache-Control", "no-store")
    reply(resp, told)
