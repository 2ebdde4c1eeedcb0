"""The door's own bound, over all models."""

from __future__ import annotations

from pathlib import Path

import falcon
import pytest
from falcon import testing

from appliance import config
from appliance.api.exchange import exchange_of
from appliance.api.places import PlacesMiddleware
from appliance.errors import ConfigError, Overloaded


def arrive(places: PlacesMiddleware, path: str = "/v1/chat/completions") -> falcon.Request:
    request = testing.create_req(path=path, method="POST")
    places.process_request(request, falcon.Response())
    return request


def test_one_too_many_is_refused_with_both_numbers() -> None:
    places = PlacesMiddleware(2)
    arrive(places)
    arrive(places)
    with pytest.raises(Overloaded) as refused:
        arrive(places)
    assert (refused.value.fields["waiting"], refused.value.fields["limit"]) == (2, 2)


def test_a_place_is_given_back_once_when_the_answer_ends() -> None:
    places = PlacesMiddleware(1)
    first = arrive(places)
    for _ in range(2):
        exchange_of(first).end()
    assert places.taken == 0
    arrive(places)
    assert places.taken == 1


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_who_asks_for_our_health_needs_no_place(path: str) -> None:
    places = PlacesMiddleware(1)
    arrive(places)
    arrive(places, path)
    assert places.taken == 1


def test_a_bound_that_one_full_queue_exceeds_is_no_bound(tmp_path: Path) -> None:
    path = tmp_path / "outpost.toml"
    path.write_text("[queue]\nmax_running = 64\nmax_waiting = 600\n", encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        config.load(path)
    assert "max_concurrent (640) of at least max_running + max_waiting (664)" in str(refused.value)
