"""From the configuration to what the door is told. Pure."""

from __future__ import annotations

from appliance.api.calls import Limits
from appliance.api.openai.responses.kept import ResponseLimits
from appliance.api.parts import Network
from appliance.api.resuming.kept_streams import ResumeLimits
from appliance.config import Config


def network_of(config: Config) -> Network:
    return Network(
        host_names=config.server.names,
        allowed_origins=config.server.origins,
        trusted_proxies=config.server.trusted_proxies,
        trusted_subnets=config.access.trusted_subnets,
    )


def door_limits(config: Config) -> Limits:
    return Limits(
        max_body_bytes=config.server.max_body_bytes,
        heartbeat_s=config.server.heartbeat_s,
        request_timeout_s=config.server.request_timeout_s,
        raw_grammar=config.engine.raw_grammar,
        max_concurrent=config.queue.max_concurrent,
    )


def response_limits(config: Config) -> ResponseLimits:
    return ResponseLimits(**config.responses.model_dump())


def resume_limits(config: Config) -> ResumeLimits:
    server = config.server
    return ResumeLimits(
        keep_s=server.resume_s,
        bytes_per_stream=server.resume_bytes,
        streams=server.resume_streams,
        streams_per_owner=server.resume_streams_per_key,
    )
