"""A key and its self-signed certificate for `localhost`, for servers of the tests; worth nothing else."""

from __future__ import annotations

import ssl
from pathlib import Path

_PEM = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg7/AFmElOHLhZfdnI
Ova6c1DFrM1myzn/P6dXw60fsHChRANCAAQlTeuVY5cJDKChswiOr+6719FXKVO5
3KCFVwy8/PL/wXqCoiNAxh1QbYkzc2ifoiflIqyWb2IN/SSZ52Xemkdg
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBlTCCATugAwIBAgIUfI1gFmObcBkDOK7qEXLN+SPsvLQwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMjIxNTExNloYDzIxMjYxMDI5
MjE1MTE2WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQlTeuVY5cJDKChswiOr+6719FXKVO53KCFVwy8/PL/wXqCoiNAxh1Q
bYkzc2ifoiflIqyWb2IN/SSZ52Xemkdgo2kwZzAdBgNVHQ4EFgQUvGvCGUlhHXT9
r0aGDomd3uLEYewwHwYDVR0jBBgwFoAUvGvCGUlhHXT9r0aGDomd3uLEYewwDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
SAAwRQIhAO1svdEj+e2VkW0+piJ4wGSFix/J8xAcCTAVZgbZeZhIAiB0p1Ar/4V3
CBkJi4utgm3n2DJ6tUQLs1e/RpusJFo3NA==
-----END CERTIFICATE-----
"""


def write_pem(directory: Path) -> Path:
    """Key and certificate in one file."""
    path = directory / "localhost.pem"
    path.write_text(_PEM)
    return path


def server_context(pem: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context
