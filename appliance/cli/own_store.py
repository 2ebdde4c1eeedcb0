"""The store of a data directory where no daemon runs, opened by this process under its lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.cli.exits import Exit, Failure
from appliance.config import Config, load
from appliance.log import configure
from appliance.store.verbs import StoreVerbs


@contextmanager
def own_store(data: Path, config: Path | None) -> Iterator[StoreVerbs]:
    """Raises Failure, ConfigError, StoreInUse, StoreFault."""
    settings = own_settings(data, config)
    configure(level="warning")  # what the daemon would write to its journal is no news here
    from appliance.daemon.model_store import open_store  # noqa: PLC0415 - with all the daemon's parts

    with open_store(settings) as store:
        yield store


def own_settings(data: Path, config: Path | None) -> Config:
    """Raises Failure, ConfigError."""
    if config is not None and not config.exists():
        raise Failure(Exit.NO_INPUT, f"--config {config}: no such file", code="no_such_file")
    return load(config, overrides={"data.dir": data.expanduser().absolute()})
