"""What `make run` prints when Outpost is ready: its address and three examples to paste. Pure."""

from __future__ import annotations

import json
from typing import Final

_QUESTION: Final = "Name three rivers."


def render(*, address: str, model: str) -> str:
    """The text for a daemon at `address` (HOST:PORT) that serves `model`. The commands work from the clone's
    folder.
    """
    body = json.dumps({"model": model, "stream": True, "messages": [{"role": "user", "content": _QUESTION}]})
    return f"""
Outpost is ready: http://{address}/v1

  1. curl

curl -N http://{address}/v1/chat/completions -H 'Content-Type: application/json' -d '{body}'

  2. Python, with the openai package

.venv/bin/python - <<'END'
from openai import OpenAI

client = OpenAI(base_url="http://{address}/v1", api_key="none")
question = [{{"role": "user", "content": "{_QUESTION}"}}]
for chunk in client.chat.completions.create(model="{model}", messages=question, stream=True):
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
END

  3. outpost: an answer, or without the question a conversation

.venv/bin/outpost run {model} "{_QUESTION}"

`make stop` stops it.
"""
