"""`langchain-ollama`, through what people do with it. Prints what it saw, as JSON."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_ollama import ChatOllama, OllamaEmbeddings
from ollama import ResponseError
from pydantic import BaseModel, Field


class Town(BaseModel):
    """A town."""

    town: str = Field(max_length=20)


def main() -> None:
    base_url, model, embedder = sys.argv[1:]
    key = os.environ.get("OUTPOST_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    common: dict[str, Any] = {"base_url": base_url, "client_kwargs": {"headers": headers}}
    chat = ChatOllama(model=model, temperature=0, num_predict=8, **common)
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
    called: Any = chat.bind_tools([weather]).invoke(question)
    seen["tools"] = isinstance(called.tool_calls, list)

    longer = ChatOllama(model=model, temperature=0, num_predict=60, **common)
    structured: Any = longer.with_structured_output(Town, method="json_schema").invoke(question)
    seen["structured"] = structured.model_dump()

    embeddings = OllamaEmbeddings(model=embedder, **common)
    seen["embeddings"] = [len(one) for one in embeddings.embed_documents(["one", "two"])]

    try:
        ChatOllama(model="no-such-model", **common).invoke(question)
    except ResponseError as error:
        seen["unknown_model"] = error.status_code

    events = 0
    for _ in ChatOllama(model=model, num_predict=2000, **common).stream(question):
        events += 1
        if events == 5:
            break
    seen["cancelled_after"] = events
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
