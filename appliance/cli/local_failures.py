"""The store's errors as the command line tells them, where it meets them itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from appliance.cli.exits import GET_A_MODEL, Failure
from appliance.cli.own_errors import of_error
from appliance.errors import ModelNotFound, OutpostError


@contextmanager
def failures() -> Iterator[None]:
    """Turn the store's errors into Failure, with the codes that the daemon's API has for them."""
    try:
        yield
    except OutpostError as error:
        message = error.message
        if isinstance(error, ModelNotFound):
            message += f"; {GET_A_MODEL}"
        code = re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
        raise Failure(of_error(error), message, code=code) from error
