"""GET /outpost/v1/usage: who sees what, in which form."""

from __future__ import annotations

import csv
import io

import pytest

from appliance.access import keys as access_keys
from appliance.access.keys import KeyRing, StoredKey
from appliance.access.scopes import Scope
from appliance.access.usage_report import Line, Question
from appliance.cli.usage import COLUMNS
from tests.unit.api.books import Books
from tests.unit.api.door import Door, refusal

OWN, ADMIN = access_keys.generate(), access_keys.generate()
RING = KeyRing(
    {
        OWN.key_id: StoredKey(sha256=OWN.sha256),
        ADMIN.key_id: StoredKey(sha256=ADMIN.sha256, scopes=frozenset({Scope.SYSTEM})),
    }
)
PATH = "/outpost/v1/usage"
LINE = Line(
    key="k",
    model="=m",
    requests=2,
    errors=1,
    prompt_tokens=3,
    cached_tokens=0,
    output_tokens=4,
    served_s=0.5,
    joules=None,
)


def bearer(key: access_keys.NewKey) -> dict[str, str]:
    return {"Authorization": f"Bearer {key.text}"}


def opened(*, keys: KeyRing | None = RING) -> tuple[Door, Books]:
    books = Books()
    books.lines = [LINE]
    return Door(keys=keys, accounting=books.accounting), books


def test_a_key_sees_its_own_and_admin_sees_all() -> None:
    door, books = opened()
    door.get(PATH, bearer(OWN))
    door.get(f"{PATH}?key={OWN.key_id}&by=model&since=7d", bearer(OWN))
    door.get(PATH, bearer(ADMIN))
    door.get(f"{PATH}?key={OWN.key_id}", bearer(ADMIN))
    assert books.asked == [
        Question(key=OWN.key_id),
        Question(by=("model",), since_hours=168, key=OWN.key_id),
        Question(),
        Question(key=OWN.key_id),
    ]


def test_of_others_a_key_learns_nothing() -> None:
    door, books = opened()
    assert refusal(door.get(f"{PATH}?key={ADMIN.key_id}", bearer(OWN))) == (403, None, "not_allowed")
    assert books.asked == []


def test_without_keys_all_is_shown() -> None:
    door, books = opened(keys=None)
    answer = door.get(f"{PATH}?by=day")
    assert answer.headers["cache-control"] == "no-store"
    assert books.asked == [Question(by=("day",))]
    assert answer.json == {
        "object": "list",
        "data": [
            {
                "key": "k",
                "model": "=m",
                "requests": 2,
                "errors": 1,
                "prompt_tokens": 3,
                "cached_tokens": 0,
                "output_tokens": 4,
                "served_s": 0.5,
                "joules": None,
            }
        ],
    }


def test_csv_has_the_columns_of_the_command_line() -> None:
    door, _ = opened(keys=None)
    answer = door.get(f"{PATH}?format=csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert rows == [list(COLUMNS), ["k", "=m", "", "2", "1", "3", "0", "4", "0.5", ""]]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("by=", None),
        ("by=secret", "by"),
        ("by=key,key", "by"),
        ("by=day,hour", "by"),
        ("by=key;DROP TABLE usage", "by"),
        ("since=yesterday", "since"),
        ("since=7", "since"),
        ("since=-1d", "since"),
        ("since=999999d", "since"),
        ("since=٣d", "since"),
        ("format=xml", "format"),
        ("nope=1", "nope"),
    ],
)
def test_words_that_are_not_known_are_named(query: str, param: str | None) -> None:
    door, _ = opened(keys=None)
    answer = door.get(f"{PATH}?{query}")
    if param is None:
        assert answer.status_code == 200
        return
    assert refusal(answer) == (400, param, "invalid_value")
