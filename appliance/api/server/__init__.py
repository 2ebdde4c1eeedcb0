"""The one door to waitress: its settings, the on-demand threads, JSON for the faults it finds itself,
deadlines it lacks.

    client ⇄ socket ⇄ Channel (loop thread: reads, polls, flushes what was left over)
                         └ task ⇄ worker thread: app, and writes straight to the socket while it takes them

A streamed answer holds a worker to its end. Workers are made on demand up to `max_threads`, which is above
what the queue admits, so that the request to be refused finds a free one at once. A reader that is slow is
waited for at `MAX_UNSENT_BYTES`, and cut off when nothing of it could be sent for `stall_s`.
"""

from appliance.api.server.limits import MAX_HEADER_BYTES, MAX_UNSENT_BYTES, ServerLimits
from appliance.api.server.server import Server, serve

__all__ = ["MAX_HEADER_BYTES", "MAX_UNSENT_BYTES", "Server", "ServerLimits", "serve"]
