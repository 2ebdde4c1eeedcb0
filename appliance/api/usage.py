"""GET /outpost/v1/usage?by=key,model&since=7d&key=ID&format=json|csv: what was asked of which model, by whom.

With the scope `system`, and on an Outpost without keys, one sees all; any other key sees its own. It may be
two seconds behind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, Final

import falcon

from appliance.access import usage_report
from appliance.access.scopes import Scope
from appliance.access.usage_report import Line, Question
from appliance.api.answers import UsageAnswer
from appliance.api.exchange import exchange_of
from appliance.api.json_reply import reply
from appliance.api.openapi.operation import Operation, Operations, Parameter, Tag
from appliance.errors import InvalidRequest, NotAllowed

_KNOWN: Final = frozenset({"by", "since", "key", "format"})


class UsageReport:
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "GET": Operation(
            summary="What was asked of which model, by whom",
            tag=Tag.ACCESS,
            answer=UsageAnswer,
            media_type="text/csv",
            parameters=(
                Parameter(name="by", about="What to part it by: key, model, day, hour; separated by commas."),
                Parameter(name="since", about="Only the last hours or days, as in 24h or 7d."),
                Parameter(name="key", about="Only of the key with this id."),
                Parameter(
                    name="format",
                    about="json without it.",
                    schema={"type": "string", "enum": ["json", "csv"]},
                ),
            ),
            errors=(400,),
            about="A key sees its own; one that may see the whole device sees all.",
        )
    }

    def __init__(self, report: Callable[[Question], Sequence[Line]]) -> None:
        self._report = report

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        if unknown := sorted(set(req.params) - _KNOWN):
            raise InvalidRequest(reason=f"known are {', '.join(sorted(_KNOWN))}", param=unknown[0][:64])
        form = req.get_param("format") or "json"
        if form not in ("json", "csv"):
            raise InvalidRequest(reason="must be json or csv", param="format")
        asked = usage_report.question(
            by=req.get_param("by"), since=req.get_param("since"), key=req.get_param("key")
        )
        lines = list(self._report(_within(req, asked)))
        resp.set_header("Cache-Control", "no-store")
        if form == "json":
            reply(resp, {"object": "list", "data": usage_report.objects(lines)})
            return
        resp.content_type = "text/csv; charset=utf-8"
        resp.text = usage_report.as_csv(lines)


def _within(req: falcon.Request, asked: Question) -> Question:
    """What of it the caller may see."""
    grant = exchange_of(req).grant
    if grant is None or Scope.SYSTEM in grant.scopes:
        return asked
    if asked.key not in (None, grant.key_id):
        raise NotAllowed(reason="a key sees its own usage; that of others needs the scope 'system'")
    return replace(asked, key=grant.key_id)
