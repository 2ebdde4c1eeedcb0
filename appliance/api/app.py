"""The application: what stands in front of the routes, and the routes. Takes its parts, owns nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import falcon

from appliance.access.subnets import TrustedSubnets
from appliance.api import error_responses, routes
from appliance.api.accounting import AccountingMiddleware
from appliance.api.caller import Callers
from appliance.api.key_middleware import KeyMiddleware
from appliance.api.middleware import HostMiddleware, OriginMiddleware, RequestMiddleware
from appliance.api.parts import Parts
from appliance.api.places import PlacesMiddleware
from appliance.api.resuming.middleware import ResumeMiddleware
from appliance.api.route_scopes import require_complete
from appliance.api.running import Running, RunningMiddleware


class App(falcon.App[falcon.Request, falcon.Response]):
    """Remembers its resources, so that they can be described."""

    def __init__(self, middleware: Sequence[Any]) -> None:
        super().__init__(middleware=middleware)
        self.resources: dict[str, object] = {}
        """By the template of their route."""

    def add(self, route: str, resource: object) -> None:
        """Raises ValueError for a route without a rule who may ask it."""
        require_complete(route, resource)
        self.resources[route] = resource
        self.add_route(route, resource)


def create_app(parts: Parts) -> App:
    """The WSGI application."""
    running = Running()
    app = App(_before_the_key(parts) + _behind_the_key(parts, running))
    error_responses.install(app)
    for route, resource in routes.resources(parts, running, app.resources):
        app.add(route, resource)
    return app


def _before_the_key(parts: Parts) -> list[Any]:
    """What a request passes until it is known whose it is."""
    network, credentials = parts.network, parts.credentials
    return [
        RequestMiddleware(parts.metrics.observer, Callers(network.trusted_proxies)),
        HostMiddleware(network.host_names),
        OriginMiddleware(network.allowed_origins),
        KeyMiddleware(
            credentials.verifier,
            subnets=TrustedSubnets(network.trusted_subnets),
            guard=credentials.wrong_keys,
            host_names=network.host_names,
        ),
    ]


def _behind_the_key(parts: Parts, running: Running) -> list[Any]:
    accounting = parts.credentials.accounting
    return [
        PlacesMiddleware(parts.limits.max_concurrent),
        *([AccountingMiddleware(accounting)] if accounting else []),
        RunningMiddleware(running),
        ResumeMiddleware(parts.kept.streams),
    ]
