"""Names of models: `[HOST/][NAMESPACE/]MODEL[:TAG][@sha256:...]`, with Ollama's defaults. One parser, used at
every door.

Ollama's grammar, met with OCI's: every name accepted here is, in lower case, a repository and a tag that any
OCI registry takes. So `_`, `.` and `-` stand only between letters and digits, and a namespace may have dots
and several levels where the host is written out:

    smollm2                          registry.ollama.ai/library/smollm2:latest
    alice/smollm2:135m               registry.ollama.ai/alice/smollm2:135m
    hf.co/alice/SmolLM2-GGUF:Q4_1    as it stands (three parts or more: the first is the host)
    localhost:5000/smollm2           as it stands; no namespace (two parts: a dot, a colon or `localhost`
                                     make the first a host, as everywhere in the OCI world)

Case is kept as written and folded to compare (`key`). A name never becomes a path.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from appliance.errors import InvalidReference
from appliance.store.digest import Digest, parse_digest

DEFAULT_HOST: Final = "registry.ollama.ai"
DEFAULT_NAMESPACE: Final = "library"
DEFAULT_TAG: Final = "latest"

MAX_HOST_CHARS: Final = 350
MAX_PART_CHARS: Final = 80
"""Of the model, the tag and each level of the namespace: Ollama's bound."""
MAX_REPOSITORY_CHARS: Final = 255
"""Of namespace and model together: the OCI clients' bound."""
_MAX_CHARS: Final = 800
"""No text longer than this can be a name; checked before any pattern sees it."""

# Letters are spelt out: `\w`, `\d` and re.IGNORECASE let other alphabets in. Only fullmatch: `$` forgives a
# newline.
_LEVEL: Final = re.compile(r"[A-Za-z0-9]+(?:(?:\.|__?|-+)[A-Za-z0-9]+)*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]|\.(?=[A-Za-z0-9_]))*(?::([0-9]{1,5}))?")
_SCHEME: Final = re.compile(r"https?://")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A whole name: what was left out is filled in. Made by `parse_reference`, which also reads `name` and
    `display` back to the same value.
    """

    host: str
    namespace: str
    """May hold slashes, as OCI repositories do; empty where a host that is not the default one is followed by
    the model at once.
    """
    model: str
    tag: str
    digest: Digest | None = None
    """The one content that is meant. It is no part of what is named: `key` leaves it out."""

    @property
    def path(self) -> str:
        """Namespace and model, case kept: how registries in Ollama's style are asked."""
        return f"{self.namespace}/{self.model}" if self.namespace else self.model

    @property
    def repository(self) -> str:
        """Namespace and model as OCI writes them, in lower case."""
        return self.path.lower()

    @property
    def name(self) -> str:
        """The whole name, nothing left out."""
        return f"{self.host}/{self.path}:{self.tag}{self._pin}"

    @property
    def display(self) -> str:
        """The shortest form for people: default host and namespace dropped, the tag always there."""
        if self.host != DEFAULT_HOST or "/" in self.namespace or _names_host(self.namespace):
            return self.name
        if self.namespace == DEFAULT_NAMESPACE:
            return f"{self.model}:{self.tag}{self._pin}"
        return f"{self.path}:{self.tag}{self._pin}"

    @property
    def key(self) -> str:
        """Equal for two spellings of one name: case folded, digest left out."""
        return f"{self.host}/{self.path}:{self.tag}".lower()

    @property
    def _pin(self) -> str:
        return f"@{self.digest}" if self.digest else ""

    def with_tag(self, tag: str) -> Reference:
        """The same repository by another tag, and no digest. Raises InvalidReference."""
        return replace(self, tag=_tag(tag, text=tag), digest=None)

    def with_digest(self, digest: Digest | None) -> Reference:
        """The same name pinned to one content, or (None) not pinned."""
        return replace(self, digest=digest)


def parse_reference(text: str, *, allow_scheme: bool = False) -> Reference:
    """Raises InvalidReference. `allow_scheme`: a leading `http://` or `https://` before a host is read over;
    how a host is called is the configuration's to say, not the name's.
    """
    if not text:
        raise _refused(text, "it is empty")
    if len(text) > _MAX_CHARS:
        raise _refused(text, f"it has {len(text)} characters, more than any name")
    scheme = _SCHEME.match(text) if allow_scheme else None
    named, at, pin = text[scheme.end() if scheme else 0 :].partition("@")
    digest = _digest(pin, text=text) if at else None
    path, tag = _split_tag(named)
    host, levels = _split_host(path.split("/"))
    if scheme and host is None:
        raise _refused(text, "after the scheme comes a host, as in https://registry.example/model")
    repository = _repository(levels, text=text)
    host = DEFAULT_HOST if host is None else _host(host, text=text)
    *namespace, model = repository
    return Reference(
        host=host,
        namespace="/".join(namespace) or (DEFAULT_NAMESPACE if host.lower() == DEFAULT_HOST else ""),
        model=model,
        tag=DEFAULT_TAG if tag is None else _tag(tag, text=text),
        digest=digest,
    )


def _split_tag(named: str) -> tuple[str, str | None]:
    """The tag follows the last colon behind the last slash; an earlier colon is a port's."""
    slash = named.rfind("/")
    colon = named.rfind(":")
    return (named[:colon], named[colon + 1 :]) if colon > slash else (named, None)


def _split_host(parts: list[str]) -> tuple[str | None, list[str]]:
    if len(parts) > 2 or (len(parts) == 2 and _names_host(parts[0])):
        return parts[0], parts[1:]
    return None, parts


def _names_host(part: str) -> bool:
    return "." in part or ":" in part or part.lower() == "localhost"


def _host(host: str, *, text: str) -> str:
    if len(host) > MAX_HOST_CHARS:
        raise _refused(text, f"the host has {len(host)} characters, at most {MAX_HOST_CHARS} are allowed")
    match = _HOST.fullmatch(host)
    if not match:
        raise _refused(text, "the host may hold letters, digits, . _ and -, and a port")
    if match[1] and not 0 < int(match[1]) <= 65_535:
        raise _refused(text, f"{match[1]} is no port")
    return host


def _repository(levels: list[str], *, text: str) -> list[str]:
    for level in levels:
        if not level:
            raise _refused(text, "a part of it is empty")
        if len(level) > MAX_PART_CHARS:
            raise _refused(text, f"a part has {len(level)} characters, at most {MAX_PART_CHARS} are allowed")
        if not _LEVEL.fullmatch(level):
            raise _refused(text, "letters and digits are allowed, with . _ __ or dashes between them")
    if len("/".join(levels)) > MAX_REPOSITORY_CHARS:
        raise _refused(text, f"namespace and model have more than {MAX_REPOSITORY_CHARS} characters")
    return levels


def _tag(tag: str, *, text: str) -> str:
    if not tag:
        raise _refused(text, "the tag is empty")
    if len(tag) > MAX_PART_CHARS:
        raise _refused(text, f"the tag has {len(tag)} characters, at most {MAX_PART_CHARS} are allowed")
    if not _TAG.fullmatch(tag) or ".." in tag:
        raise _refused(text, "a tag holds letters, digits, _ and, not as the first, single dots or dashes")
    return tag


def _digest(pin: str, *, text: str) -> Digest:
    try:
        return parse_digest(pin)
    except InvalidReference as error:
        raise _refused(text, str(error.fields["reason"])) from error


def _refused(text: str, reason: str) -> InvalidReference:
    return InvalidReference(text=text[:200], reason=reason)
