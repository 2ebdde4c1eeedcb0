from __future__ import annotations

import json
from dataclasses import replace

import msgspec

from appliance.store.answers import listed_object, progress_object, shown_object
from appliance.store.content import Progress
from tests.fakes.fake_store_verbs import TINY, WEIGHTS, shown


def test_whatever_a_gguf_says_can_be_told_as_json() -> None:
    odd: dict[str, object] = {
        "tags": (b"text", b"\xff\xfe"),
        "lone": "a\ud800b",
        "nan": float("nan"),
        "floats": (1.5, float("inf")),
        "nested": [[1, (2,)]],
        "flag": True,
        "k\ud800": 1,
    }
    told = shown_object(replace(shown(), metadata=odd, projector=odd))
    assert told["metadata"] == {
        "tags": ["text", "��"],
        "lone": "a?b",
        "nan": "nan",
        "floats": [1.5, "inf"],
        "nested": [[1, [2]]],
        "flag": True,
        "k?": 1,
    }
    assert json.loads(json.dumps(told, allow_nan=False)) == msgspec.json.decode(msgspec.json.encode(told))


def test_an_answer_has_the_id_that_people_type() -> None:
    assert listed_object(TINY)["id"] == TINY.digest[7:19]


def test_progress_leaves_out_what_is_not_known() -> None:
    assert progress_object(Progress(status="success")) == {"status": "success"}
    assert progress_object(Progress(status="pulling", digest=WEIGHTS, total_bytes=2, completed_bytes=0)) == {
        "status": "pulling",
        "digest": WEIGHTS,
        "total": 2,
        "completed": 0,
    }
