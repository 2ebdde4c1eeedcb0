"""Request bodies, a function of workload, round and client: the same bytes for every server, new ones each
round.

A number at the start of each prompt differs from round to round, so that no server finds an earlier round's
prompt in its cache. Every answer is greedy; where the number of answer tokens must be equal, `ignore_eos`
makes it so.
"""

from __future__ import annotations

import random
from typing import Any, Final

from tests.daemon import STARTER_NAME

_TOPICS: Final = (
    "a lighthouse", "a fox", "winter", "the harvest", "a clockmaker", "the desert", "an old map", "a river",
    "the market", "a violin", "the harbour", "a garden", "a comet", "the bakery", "a bridge", "a library",
    "the forest", "a train", "an island", "a mountain", "the city", "a letter", "the storm", "a horse",
    "the moon",
)  # fmt: skip
_FORMS: Final = ("a long story", "a detailed essay", "a long letter", "a travel report")
_SUBJECTS: Final = (
    "The operator",
    "Every visitor",
    "The night shift",
    "A supervisor",
    "The archive",
    "Our office",
)
_VERBS: Final = ("records", "inspects", "reports", "approves", "forwards", "explains", "collects", "compares")
_OBJECTS: Final = (
    "the daily figures",
    "each incoming order",
    "all open questions",
    "the spare parts",
    "the results",
)
_TAILS: Final = (
    "before noon",
    "without delay",
    "in plain words",
    "with two copies",
    "once a week",
    "on request",
)

_LETTER: Final = (
    "The harbour master of quay {number} walked along the water before sunrise. He counted the ships that "
    "had come in durring the night and wrote their names into a small green book. Two trawlers lay beside "
    "the ice house, and a grey freighter waited for the tide. The smell of tar and fish hung over the "
    "stones. A boy with a basket asked him wether the ferry would sail today. The harbour master looked "
    "at the clouds, shook his head, and told the boy to come back in the afternoon. Then he went up the "
    "stairs to his office, lit the lamp, and began to copy the names from the green book into the large "
    "ledger of the port."
)
"""With two spelling mistakes."""
_CUSTOMERS: Final = (
    ("Anna Berg", "Oslo"), ("Luis Ortega", "Madrid"), ("Mary Stone", "Dublin"), ("Jan Novak", "Prague"),
    ("Eva Lind", "Malmo"), ("Tom Reed", "Leeds"), ("Ida Holm", "Aarhus"), ("Paul Roux", "Lyon"),
)  # fmt: skip

SHORT_TOKENS: Final = 64
SHARED_TOKENS: Final = 32
REPEAT_TOKENS: Final = 320
STREAM_TOKENS: Final = 6000
"""More than a stream gets to before it is hung up on."""


def short(round_number: int, client: int, *, max_tokens: int = SHORT_TOKENS) -> dict[str, Any]:
    """A different short prompt for each client: about 40 words, as people write them."""
    topic, form = _TOPICS[client % len(_TOPICS)], _FORMS[client // len(_TOPICS) % len(_FORMS)]
    background = prose(28, seed=round_number * 1000 + client)
    text = f"[{_number(round_number, client)}] Write {form} about {topic}. Keep in mind: {background}"
    return _body([_message("user", text)], max_tokens=max_tokens, ignore_eos=True)


def shared_system(round_number: int, client: int) -> dict[str, Any]:
    """One system prompt of 400 words for all clients of a round, and a short question of each."""
    system = prose(400, seed=round_number)
    topic = _TOPICS[client % len(_TOPICS)]
    question = f"Question {_number(round_number, client)}: what should I know about {topic}?"
    messages = [_message("system", system), _message("user", question)]
    return _body(messages, max_tokens=SHARED_TOKENS, ignore_eos=True)


def rewrite(round_number: int) -> dict[str, Any]:
    """An answer that is the prompt's text with small changes. It ends by itself: padding would flatter a
    guesser.
    """
    letter = _LETTER.format(number=_number(round_number, 0))
    text = f"Correct the spelling mistakes in this text:\n\n{letter}"
    return _body([_message("user", text)], max_tokens=REPEAT_TOKENS, ignore_eos=False)


def extract(round_number: int) -> dict[str, Any]:
    """An answer made of records of the prompt; ends by itself too."""
    first = _number(round_number, 1)
    rows = [
        f'{{"id": {first + row}, "name": "{name}", "city": "{city}", "paid": true}}'
        for row, (name, city) in enumerate(_CUSTOMERS)
    ]
    text = "Copy this JSON lines list:\n\n" + "\n".join(rows)
    return _body([_message("user", text)], max_tokens=REPEAT_TOKENS, ignore_eos=False)


def long_prompt(round_number: int, *, words: int) -> dict[str, Any]:
    """A prompt of many tokens with an answer of one."""
    text = f"[{_number(round_number, 99)}] {prose(words, seed=1000 + round_number)} Sum up the text above."
    return _body([_message("user", text)], max_tokens=1, ignore_eos=True)


def prose(words: int, *, seed: int) -> str:
    """So many words of sentences that no two seeds share."""
    rng = random.Random(seed)
    text: list[str] = [f"Instruction {_number(seed, 50)}."]
    while len(text) < words:
        parts = (rng.choice(part) for part in (_SUBJECTS, _VERBS, _OBJECTS, _TAILS))
        text += (" ".join(parts) + ".").split(" ")
    return " ".join(text[:words])


def _number(round_number: int, client: int) -> int:
    """Four digits that tell rounds and clients apart from their first digits on."""
    return random.Random(f"{round_number} {client}").randrange(1000, 9999)


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _body(messages: list[dict[str, str]], *, max_tokens: int, ignore_eos: bool) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": STARTER_NAME,
        "messages": messages,
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return {**body, "ignore_eos": True} if ignore_eos else body
