"""Whom an `https` address must be signed by: an authority that is named, or those of the machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from appliance.cli.exits import Exit, Failure

if TYPE_CHECKING:
    import ssl

VARIABLE: Final = "OUTPOST_CA_FILE"


def authority(ca_file: Path | None, url: str, environ: Mapping[str, str]) -> Path | None:
    """The file of `--ca-file`, else OUTPOST_CA_FILE, else None: the machine's own. Raises Failure for an
    option that an address without TLS would leave unused.
    """
    if ca_file is not None and not url.startswith("https://"):
        raise Failure(
            Exit.USAGE,
            f"--ca-file is for https addresses, and {url} is none; write --host https://HOST[:PORT]",
            code="usage",
        )
    if ca_file is None and environ.get(VARIABLE):
        return Path(environ[VARIABLE])
    return ca_file


def context_of(ca_file: Path | None) -> ssl.SSLContext:
    """Trusts that authority and no other; names are checked in any case. Raises Failure."""
    import ssl  # noqa: PLC0415 - most daemons are asked without

    if ca_file is None:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=os.fspath(ca_file))
    except ssl.SSLError as error:  # an OSError, too
        raise Failure(Exit.DATA, f"{ca_file} holds no certificate in PEM form", code="ca_file") from error
    except OSError as error:
        raise Failure(
            Exit.NO_INPUT, f"cannot read the authority {ca_file}: {error.strerror}", code="no_such_file"
        ) from error
