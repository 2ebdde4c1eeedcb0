"""One repository of one registry: its URLs, and requests that carry the right secret."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Final
from urllib.parse import quote

from appliance.store.http import Answer, Body, Door
from appliance.store.outbound import Origin
from appliance.store.registry_auth import Tokens

PULL: Final = "pull"
PUSH: Final = "pull,push"


class Repository:
    """Stateless but for the tokens; any thread."""

    def __init__(self, door: Door, tokens: Tokens, *, host: str, name: str, actions: str = PULL) -> None:
        """Raises OutboundRefused for a host that the configuration does not name."""
        self._door = door
        self._tokens = tokens
        self.host = host
        self.name = name
        self._base = f"{door.outbound.base_url(host)}/v2/{quote(name, safe='/')}"
        self.origin: Origin = door.outbound.check(self._base)
        self._scope = f"repository:{name}:{actions}"

    def url(self, path: str) -> str:
        return f"{self._base}/{path}"

    @property
    def home(self) -> str:
        return f"{self.host}/{self.name}"

    def get(self, path: str, headers: Mapping[str, str]) -> AbstractContextManager[Answer]:
        """Redirects are followed where they may lead."""
        url = self.url(path)
        return self._with_secret(
            lambda secret: self._door.follow(url, headers=headers, secret=secret), self._scope
        )

    def direct(self, url: str, headers: Mapping[str, str]) -> AbstractContextManager[Answer]:
        """A URL that a redirect has led to. It gets no secret of ours: its own stands in the URL."""
        return self._door.ask("GET", url, headers=headers, first=self.origin)

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Callable[[], Body] | None = None,
        head_s: float | None = None,
        reading: str | None = None,
    ) -> AbstractContextManager[Answer]:
        """`body` is called once per try. A URL at another host (an upload's Location) gets no secret.
        `reading`: another repository of the registry that this request must be allowed to read (a mount).
        """
        origin = self._door.outbound.check_redirect(self.origin, url)

        def make(secret: str | None) -> AbstractContextManager[Answer]:
            return self._door.ask(
                method,
                url,
                headers=headers,
                secret=secret if origin == self.origin else None,
                body=body() if body else None,
                first=self.origin,
                head_s=head_s,
            )

        return self._with_secret(
            make, self._scope if reading is None else f"{self._scope} repository:{reading}:{PULL}"
        )

    @property
    def finish_s(self) -> float:
        return self._door.patience.finish_s

    @contextmanager
    def _with_secret(
        self, make: Callable[[str | None], AbstractContextManager[Answer]], scope: str
    ) -> Iterator[Answer]:
        """A 401 of the registry itself is met once; a second one is the answer."""
        with make(self._tokens.secret(self.origin, scope)) as answer:
            if answer.status != 401 or answer.origin != self.origin:
                yield answer
                return
            self._tokens.obtain(answer, scope)
        with make(self._tokens.secret(self.origin, scope)) as answer:
            yield answer
