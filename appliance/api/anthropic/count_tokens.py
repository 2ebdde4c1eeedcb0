"""POST /v1/messages/count_tokens: how many tokens a message's prompt has, counted by the model itself."""

from __future__ import annotations

from typing import ClassVar

import falcon

from appliance.api.anthropic import message_request, request_warnings
from appliance.api.anthropic.answers import TokensAnswer
from appliance.api.anthropic.schema import CountTokensBody
from appliance.api.dialect import stored_defaults
from appliance.api.dialect.endpoint import Endpoint
from appliance.api.exchange import exchange_of
from appliance.api.json_reply import reply
from appliance.api.openapi.operation import Operation, Operations, Tag
from appliance.wire.messages import ApplyTemplate


class CountTokens(Endpoint):
    """Stateless; any thread. It waits for its turn and loads the model, as every request does."""

    OPERATIONS: ClassVar[Operations] = {
        "POST": Operation(
            summary="How many tokens the prompt of a conversation has",
            tag=Tag.ANTHROPIC,
            body=CountTokensBody,
            answer=TokensAnswer,
            asks_model=True,
            errors=(529,),
            example={"model": "tiny", "messages": [{"role": "user", "content": "Why is the sky blue?"}]},
        )
    }

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        body = self._body(CountTokensBody, req, exchange)
        prompt = message_request.prompt_of(body)
        for warning in (*request_warnings.headers_of(req.headers), *request_warnings.of_prompt(body)):
            exchange.warn(warning)
        prompt = stored_defaults.prompted(prompt, self._calls.find(exchange, body.model))
        result = self._calls.call(exchange, body.model, ApplyTemplate(id=0, prompt=prompt))
        reply(resp, {"input_tokens": result.prompt_tokens})
