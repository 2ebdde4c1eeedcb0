"""What `make run` prints when Outpost is ready: its address and three examples to paste. Pure."""

from __future__ import annotations

import json
from typing import Final

_QUESTION: Final = "Name three rivers."


_KEYS = """
There are keys, so every request needs one; these commands take yours from here:

export OUTPOST_API_KEY=ek_…
"""


def render(*, address: str, model: str, needs_key: bool = False) -> str:
    """The text for a daemon at `address` (HOST:PORT) that serves `model`. The commands work from the clone's
    folder; where `needs_key`, with a key that is exported first.
    """
    keys, header, imports, key = "", "", "", '"none"'
    if needs_key:
        keys, header = _KEYS, ' -H "Authorization: Bearer $OUTPOST_API_KEY"'
        imports, key = "import os\n", 'os.environ["OUTPOST_API_KEY"]'
    body = json.dumps({"model": model, "stream": True, "messages": [{"role": "user", "content": _QUESTION}]})
    return f"""
Outpost is ready: http://{address}/v1
{keys}
  1. curl

curl -N http://{address}/v1/chat/completions -H 'Content-Type: application/json'{header} -d '{body}'

  2. Python, with the openai package

.venv/bin/python - <<'END'
{imports}from openai import OpenAI

client = OpenAI(base_url="http://{address}/v1", api_key={key})
question = [{{"role": "user", "content": "{_QUESTION}"}}]
for chunk in client.chat.completions.create(model="{model}", messages=question, stream=True):
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
END

  3. outpost: an answer, or without the question a conversation

.venv/bin/outpost run {model} "{_QUESTION}"

`make stop` stops it.
"""
