"""A real browser without a network: Chromium, led by its own protocol through a pair of pipes.

It resolves no name, so whatever a page asks of another host fails; and what a page asks for is heard of all
the same. What the browser asks for by itself is no request of the page.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

_OPTIONS: Final = (
    "--headless",
    "--no-sandbox",  # it is root in a container of the tests, and sees this Outpost's pages only
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-pipe",
)
_TIMEOUT_S: Final = 60.0


@dataclass
class Seen:
    """Of one page."""

    requests: list[str] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    console: list[str] = field(default_factory=list)
    """What it or the browser wrote there, and scripts that failed."""
    text: str = ""
    """As a person reads it, with everything unfolded."""
    elements: set[str] = field(default_factory=set)

    @property
    def hosts(self) -> set[str]:
        """That it asked anything of, with their ports."""
        return {urlsplit(url).netloc for url in self.requests}


class Browser:
    """One process; each page is a tab of its own. Owned by the thread that makes it."""

    def __init__(self, home: Path) -> None:
        told, self._tell = os.pipe()
        self._heard, hear = os.pipe()
        self._number = 0
        self._buffer = b""
        profile = f"--user-data-dir={home / 'profile'}"
        self._process = subprocess.Popen(
            [
                "bash",
                "-c",
                f'exec chromium "$@" 3<&{told} 4>&{hear}',
                "bash",
                *_OPTIONS,
                profile,
                "about:blank",
            ],
            pass_fds=(told, hear),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "HOME": str(home)},
        )
        os.close(told)
        os.close(hear)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._send("Browser.close")
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._tell)
        os.close(self._heard)

    def open(self, url: str) -> Seen:
        """When it has loaded, with its styles."""
        seen = Seen()
        target = self._ask(seen, "Target.createTarget", url="about:blank")["targetId"]
        tab = self._ask(seen, "Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Network", "Page", "Runtime", "Log"):
            self._ask(seen, f"{domain}.enable", tab)
        self._ask(seen, "Page.navigate", tab, url=url)
        while self._next(seen).get("method") != "Page.loadEventFired":
            pass
        unfold = "document.querySelectorAll('details').forEach(one => one.open = true)"
        self._evaluate(seen, tab, unfold)
        seen.text = self._evaluate(seen, tab, "document.body.innerText")
        names = "[...new Set([...document.querySelectorAll('*')].map(one => one.localName))].join(' ')"
        seen.elements = set(self._evaluate(seen, tab, names).split())
        self._ask(seen, "Target.closeTarget", targetId=target)
        return seen

    def _evaluate(self, seen: Seen, tab: str, expression: str) -> str:
        told = self._ask(seen, "Runtime.evaluate", tab, expression=expression, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return str(told["result"].get("value", ""))

    def _ask(self, seen: Seen, method: str, tab: str | None = None, **arguments: Any) -> dict[str, Any]:
        number = self._send(method, tab, **arguments)
        while (answer := self._next(seen)).get("id") != number:
            pass
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _send(self, method: str, tab: str | None = None, **arguments: Any) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": arguments}
        os.write(self._tell, json.dumps(message | ({"sessionId": tab} if tab else {})).encode() + b"\0")
        return self._number

    def _next(self, seen: Seen) -> dict[str, Any]:
        """The next message; what it tells of the page is noted."""
        while b"\0" not in self._buffer:
            assert select.select([self._heard], [], [], _TIMEOUT_S)[0], "the browser says nothing"
            received = os.read(self._heard, 1 << 20)
            assert received, f"the browser ended with {self._process.wait()}"
            self._buffer += received
        first, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(first)
        _note(seen, message.get("method", ""), message.get("params", {}))
        return message


def _note(seen: Seen, event: str, told: dict[str, Any]) -> None:
    if event == "Network.requestWillBeSent":
        seen.requests.append(told["request"]["url"])
    elif event == "Network.responseReceived":
        seen.statuses[told["response"]["url"]] = told["response"]["status"]
    elif event == "Runtime.consoleAPICalled":
        seen.console.append(str(told["args"]))
    elif event == "Runtime.exceptionThrown":
        seen.console.append(str(told["exceptionDetails"]))
    elif event == "Log.entryAdded":
        seen.console.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
