"""From parsed arguments to a client, and from a server's list to the model that is meant."""

from __future__ import annotations

import argparse
import os
from typing import Any
from urllib.parse import quote

from appliance.cli.address import Target, discover, process_alive, read_key
from appliance.cli.client import Client
from appliance.cli.exits import GET_A_MODEL, Exit, Failure
from appliance.cli.trust import authority


def client_of(arguments: argparse.Namespace) -> Client:
    """Raises Failure when what the arguments or the environment name is no address, daemon or key file."""
    target = discover(host=arguments.host, data=arguments.data, environ=os.environ, alive=process_alive)
    return client_at(target, arguments)


def client_at(target: Target, arguments: argparse.Namespace) -> Client:
    """With the key and the authority that the arguments or the environment name."""
    return Client(
        target,
        key=read_key(arguments.key_file, os.environ),
        timeout_s=arguments.timeout,
        ca_file=authority(arguments.ca_file, target.url, os.environ),
    )


def cards(client: Client) -> list[dict[str, Any]]:
    """The entries of `/v1/models`."""
    data = client.get("/v1/models").body.get("data")
    return (
        [entry for entry in data if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
        if isinstance(data, list)
        else []
    )


def model_of(client: Client, wanted: str | None) -> str:
    """`wanted` if the server has it, else the only model it has."""
    names = [card["id"] for card in cards(client)]
    if wanted is not None:
        if wanted not in names:
            raise Failure(Exit.NO_INPUT, not_found(wanted, names), code="model_not_found")
        return wanted
    if not names:
        raise Failure(
            Exit.NO_INPUT,
            f"{client.target.url} has no model; {GET_A_MODEL}",
            code="model_not_found",
        )
    if len(names) > 1:
        raise Failure(Exit.USAGE, f"name a model: {', '.join(names)}", code="usage")
    return str(names[0])


def context_of(client: Client, model: str) -> int | None:
    """How many tokens prompt and answer may have together; None where the server does not say."""
    try:
        meta = client.get(f"/v1/models/{quote(model, safe=':')}").body.get("meta")
    except Failure:
        return None
    size = meta.get("n_ctx") if isinstance(meta, dict) else None
    return size if isinstance(size, int) and size > 0 else None


def not_found(wanted: str, names: list[str]) -> str:
    known = f"available: {', '.join(names)}" if names else "the server has none"
    return f"model '{wanted}' not found; {known}; {GET_A_MODEL}"
