"""Turns the text a chat model writes into content, reasoning and tool calls, piece by piece; flow 1 (chat),
last step.

`parser.make_parser` builds the parser of one choice. Everything here is pure and owned by the engine's
thread.
"""

from appliance.engine.chat_output.parser import ChatOutputParser, make_parser
from appliance.engine.chat_output.tool_calls import Parsed

__all__ = ["ChatOutputParser", "Parsed", "make_parser"]
