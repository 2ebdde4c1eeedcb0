from __future__ import annotations

from appliance.cli.ps import HEADER, cells, rows

MODELS = [{"id": "m", "state": "ready"}, {"id": "n", "state": "ready"}]


def column(report: dict[str, object]) -> list[str]:
    return [cells(row)[HEADER.index("J/TOK")] for row in rows(MODELS, report)]


def test_joules_per_token_are_those_of_the_model() -> None:
    energy = [{"model": "m", "joules": 48.0, "tokens": 80, "joules_per_token": 0.6}]
    assert column({"cooling": {"energy": energy}}) == ["0.60", "-"]


def test_without_a_sensor_nothing_is_told() -> None:
    assert column({"cooling": {"energy": []}}) == ["-", "-"]
    assert column({"cooling": None}) == ["-", "-"]
    assert column({}) == ["-", "-"]
