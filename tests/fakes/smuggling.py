"""Requests that two servers in a row may read in two ways: the second meaning is a request of its own."""

from __future__ import annotations

from typing import Final

SMUGGLED: Final = b"GET /v1/models/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
"""What an attacker hopes somebody takes for a request."""
ROUTE: Final = "/v1/models/{model:path}"
_CHUNKED: Final = b"0\r\n\r\n" + SMUGGLED


def _post(
    *headers: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1", host: bytes = b"Host: localhost"
) -> bytes:
    lines = [b"POST /tokenize " + version, host, b"Content-Type: application/json", *headers]
    return b"\r\n".join(line for line in lines if line) + b"\r\n\r\n" + body


def _length(body: bytes) -> bytes:
    return b"Content-Length: " + str(len(body)).encode()


VECTORS: Final = {
    "a length beside an encoding": _post(_length(_CHUNKED), b"Transfer-Encoding: chunked", body=_CHUNKED),
    "an encoding beside a length": _post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=_CHUNKED),
    "the encoding twice": _post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=_CHUNKED),
    "two encodings": _post(
        b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", _length(_CHUNKED), body=_CHUNKED
    ),
    "an encoding in a list": _post(b"Transfer-Encoding: identity, chunked", _length(_CHUNKED), body=_CHUNKED),
    "an encoding that is not chunked": _post(
        b"Transfer-Encoding: xchunked", _length(_CHUNKED), body=_CHUNKED
    ),
    "a vertical tab in the encoding": _post(
        b"Transfer-Encoding: \x0bchunked", _length(_CHUNKED), body=_CHUNKED
    ),
    "a space before the colon": _post(b"Transfer-Encoding : chunked", _length(_CHUNKED), body=_CHUNKED),
    "a tab behind the name": _post(b"Transfer-Encoding\t: chunked", _length(_CHUNKED), body=_CHUNKED),
    "an underscore in the name": _post(
        b"Transfer_Encoding: chunked", b"Content_Length: 0", _length(_CHUNKED), body=_CHUNKED
    ),
    "an encoding that is folded": _post(b"Transfer-Encoding:\r\n chunked", _length(_CHUNKED), body=_CHUNKED),
    "an encoding in HTTP/1.0": _post(
        b"Transfer-Encoding: chunked", _length(_CHUNKED), body=_CHUNKED, version=b"HTTP/1.0"
    ),
    "two lengths that differ": _post(b"Content-Length: 0", _length(SMUGGLED), body=SMUGGLED),
    "two lengths in one": _post(b"Content-Length: 0, " + str(len(SMUGGLED)).encode(), body=SMUGGLED),
    "a length with a sign": _post(b"Content-Length: +" + str(len(SMUGGLED)).encode(), body=SMUGGLED),
    "a length with an underscore": _post(b"Content-Length: 1_0", body=SMUGGLED),
    "a length in other digits": _post("Content-Length: ٥".encode(), body=SMUGGLED),
    "a negative length": _post(b"Content-Length: -1", body=SMUGGLED),
    "bare line feeds": _post(
        b"X: a\nContent-Length: 0\n\nGET /v1/models/smuggled HTTP/1.1\nHost: localhost\n\n", body=b""
    ),
    "a bare carriage return": _post(b"X: a\rTransfer-Encoding: chunked", _length(_CHUNKED), body=_CHUNKED),
    "a null byte in a header": _post(b"X: a\x00\r\nContent-Length: 0", _length(SMUGGLED), body=SMUGGLED),
    "a chunk size with 0x": _post(b"Transfer-Encoding: chunked", body=b"0x2\r\n{}\r\n" + _CHUNKED),
    "a chunk size with a sign": _post(b"Transfer-Encoding: chunked", body=b"+2\r\n{}\r\n" + _CHUNKED),
    "a chunk that ends late": _post(b"Transfer-Encoding: chunked", body=b"2\r\n{}" + _CHUNKED),
    "a chunk extension with a line feed": _post(b"Transfer-Encoding: chunked", body=b"2;\n{}\r\n" + _CHUNKED),
    "a chunk size that overflows": _post(
        b"Transfer-Encoding: chunked", body=b"1" + b"0" * 16 + b"\r\n{}\r\n" + _CHUNKED
    ),
    "two hosts": _post(_length(SMUGGLED), b"Host: evil.example", body=SMUGGLED),
    "no host": _post(_length(SMUGGLED), body=SMUGGLED, host=b""),
    "ten terabytes": _post(b"Content-Length: 10000000000000", body=SMUGGLED),
    "a header of 300 KB": _post(b"X: " + b"a" * 300_000, _length(SMUGGLED), body=SMUGGLED),
    "a body of a GET": b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n"
    + _length(SMUGGLED)
    + b"\r\n\r\n"
    + SMUGGLED,
    "an upgrade to h2c": b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n"
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SMUGGLED,
}

TWO_FOR_HAPROXY: Final = frozenset({"bare line feeds", "a chunk extension with a line feed"})
"""What HAProxy 2.6 itself reads as two requests, each held to all rules and sent on in a form that has one
meaning; the door refuses both vectors.
"""
