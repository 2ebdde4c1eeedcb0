"""`langchain-openai`, through what people do with it. Prints what it saw, as JSON."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai import NotFoundError
from pydantic import BaseModel, Field, SecretStr


class Town(BaseModel):
    """A town."""

    town: str = Field(max_length=20)


def main() -> None:
    base_url, model, embedder = sys.argv[1:]
    key = SecretStr(os.environ.get("OUTPOST_API_KEY", "none"))
    common: dict[str, Any] = {"base_url": f"{base_url}/v1", "api_key": key, "max_retries": 0}
    chat = ChatOpenAI(model=model, temperature=0, max_completion_tokens=8, **common)
    question = [HumanMessage("Say hello to the harbour.")]
    seen: dict[str, Any] = {}

    whole = chat.invoke(question)
    seen["chat"] = {"text": whole.content, "usage": whole.usage_metadata}
    seen["stream"] = "".join(str(chunk.content) for chunk in chat.stream(question))

    weather = {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a town",
            "parameters": {
                "type": "object",
                "properties": {"town": {"type": "string"}},
                "required": ["town"],
            },
        },
    }
    longer = ChatOpenAI(model=model, temperature=0, max_completion_tokens=60, **common)
    called: Any = longer.bind_tools([weather], tool_choice="weather").invoke(question)
    seen["tools"] = called.tool_calls[0]["name"]
    answered = chat.invoke([*question, called, ToolMessage("sunny", tool_call_id=called.tool_calls[0]["id"])])
    seen["tool_result"] = isinstance(answered.content, str)

    structured: Any = longer.with_structured_output(Town, method="json_schema").invoke(question)
    seen["structured"] = structured.model_dump()

    embeddings = OpenAIEmbeddings(model=embedder, check_embedding_ctx_length=False, **common)
    seen["embeddings"] = [len(one) for one in embeddings.embed_documents(["one", "two"])]

    try:
        ChatOpenAI(model="no-such-model", **common).invoke(question)
    except NotFoundError as error:
        seen["unknown_model"] = error.status_code

    events = 0
    for _ in ChatOpenAI(model=model, max_completion_tokens=2000, **common).stream(question):
        events += 1
        if events == 5:
            break
    seen["cancelled_after"] = events
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
