"""POST /v1/responses and what is kept of the answers: the Responses API over the chat path.

    schema    the body                       items     its input, as it is kept and shown, and as messages
    request   body and past → a chat body    params    a fault's field, as this body calls it
    output    deltas → items and events      object    the Response object
    kept      answers by id, bounded         turn      one answer: whole or as events, then kept
    door      the routes

No second way to the engine: a body becomes a `ChatBody`, and that a `Generate` (`chat_request.py`).
"""
