"""Faults of the Ollama routes in Ollama's form: {"error": "text"}.

The statuses are those of the one table (`error_responses.py`), but for the few that Ollama's clients look at.
Its words are kept where clients match them; where ours say more, ours stand.
"""

from __future__ import annotations

from typing import Any, Final

from appliance import errors

PREFIX: Final = "/api/"

STATUSES: Final[dict[type[errors.OutpostError], int]] = {
    errors.DigestMismatch: 400,
    errors.ModelInvalid: 400,
    errors.ManifestInvalid: 400,
    errors.TemplateInvalid: 400,
}
"""Ollama knows no 422: a client that does not know it either takes it for a fault of the server."""
_TRY_PULLING: Final = ("/api/embed", "/api/embeddings")


def is_ollama(path: str) -> bool:
    return path == "/" or path.startswith(PREFIX)


def status_of(error: BaseException, status: int) -> int:
    """`status` of the one table, or what Ollama answers."""
    return STATUSES.get(type(error), status) if isinstance(error, errors.OutpostError) else status


def ollama_object(
    body: dict[str, Any], error: BaseException | None = None, *, path: str = ""
) -> dict[str, Any]:
    """`body` of the OpenAI form in Ollama's. `error`, where it is known: some have words to be matched."""
    message = body["error"]["message"]
    if isinstance(error, errors.ModelNotFound):
        message = _not_found(str(error.fields["model"]), path)
    elif isinstance(error, errors.Overloaded):
        message = f"server busy, please try again.  maximum pending requests exceeded: {message}"
    elif isinstance(error, errors.ContextLengthExceeded) and path in _TRY_PULLING:
        message = f"the input length exceeds the context length: {message}"
    return {"error": message}


def _not_found(model: str, path: str) -> str:
    if path in _TRY_PULLING:
        return f'model "{model}" not found, try pulling it first'
    return f"model '{model}' not found"
