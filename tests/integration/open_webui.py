"""What every request of Open WebUI carries, to either kind of connection, where it tells of its user."""

from __future__ import annotations

from typing import Final

HEADERS: Final = {
    "Content-Type": "application/json",
    "Authorization": "Bearer unused",
    "X-OpenWebUI-User-Name": "Ada L",
    "X-OpenWebUI-User-Id": "1",
    "X-OpenWebUI-User-Email": "ada@example.org",
    "X-OpenWebUI-User-Role": "user",
    "X-OpenWebUI-Chat-Id": "4b1c",
}
