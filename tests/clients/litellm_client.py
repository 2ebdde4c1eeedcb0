"""`litellm`, as a router of an office would use it. Prints what it saw, as JSON."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # nothing is fetched
import litellm

litellm.telemetry = False


def main() -> None:
    base_url, model, embedder = sys.argv[1:]
    common: dict[str, Any] = {
        "api_base": f"{base_url}/v1",
        "api_key": os.environ.get("OUTPOST_API_KEY", "none"),
        "max_retries": 0,
    }
    question = [{"role": "user", "content": "Say hello to the harbour."}]
    asked: dict[str, Any] = {"model": f"openai/{model}", "messages": question, "temperature": 0, **common}
    seen: dict[str, Any] = {}

    whole = litellm.completion(**asked, max_tokens=8)
    seen["chat"] = {"text": whole.choices[0].message.content, "tokens": whole.usage.completion_tokens}
    stream = litellm.completion(**asked, max_tokens=8, stream=True)
    seen["stream"] = "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    weather = {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {"town": {"type": "string"}},
                "required": ["town"],
            },
        },
    }
    named = {"type": "function", "function": {"name": "weather"}}
    called = litellm.completion(**asked, max_tokens=60, tools=[weather], tool_choice=named)
    seen["tools"] = called.choices[0].message.tool_calls[0].function.name

    schema = {
        "type": "object",
        "properties": {"town": {"type": "string", "maxLength": 20}},
        "required": ["town"],
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "town", "strict": True, "schema": schema}}
    structured = litellm.completion(**asked, max_tokens=60, response_format=wanted)
    seen["structured"] = json.loads(structured.choices[0].message.content)

    vectors = litellm.embedding(model=f"openai/{embedder}", input=["one", "two"], **common)
    seen["embeddings"] = [len(one["embedding"]) for one in vectors.data]

    try:
        litellm.completion(**{**asked, "model": "openai/no-such-model"})
    except litellm.NotFoundError as error:
        seen["unknown_model"] = error.status_code

    events = 0
    for _ in litellm.completion(**asked, max_tokens=2000, stream=True):
        events += 1
        if events == 5:
            break
    seen["cancelled_after"] = events
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
