"""The body of /api/create → the Modelfile that says the same. Pure.

`files` are named by what a client calls them and by the digests of blobs that it sent before; the names only
tell what kind of file it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from appliance.api.ollama.bodies import CreateBody
from appliance.api.ollama.conversation import refuse_images
from appliance.api.visible import shown
from appliance.errors import InvalidReference, InvalidRequest, ModelfileInvalid, NotAllowed, Unsupported
from appliance.modelfile import PARAMETERS, Message, Modelfile, Source, Use, check_options, parse, render
from appliance.modelfile.facts import ParameterValue, SourceForm
from appliance.modelfile.parameters import warning
from appliance.store.digest import parse_digest

_OTHER_FORMATS: Final = (".safetensors", ".bin", ".pth", ".pt")
_ROLES: Final = frozenset({"system", "user", "assistant"})


def modelfile_text(body: CreateBody, warn: Callable[[str], None]) -> str:
    """Raises InvalidRequest, Unsupported, NotAllowed, and ModelfileInvalid also for a text that would be read
    back as something else.
    """
    recipe = modelfile_of(body, warn)
    text = render(recipe)
    if parse(text) != recipe:
        raise ModelfileInvalid(line=0, reason="one of the texts cannot be said in a Modelfile")
    return text


def modelfile_of(body: CreateBody, warn: Callable[[str], None]) -> Modelfile:
    """Raises InvalidRequest, Unsupported, NotAllowed."""
    _refuse_unserved(body)
    from_ = [_base(body.from_)] if body.from_ else []
    from_ += _sources(body.files, field="files")
    if not from_:
        raise InvalidRequest(reason="neither 'from' or 'files' was specified")
    draft = list(_sources(body.draft_files, field="draft_files"))
    if len(draft) > 1:
        raise InvalidRequest(reason="a draft model is one file", param="draft_files")
    return Modelfile(
        from_=tuple(from_),
        adapters=tuple(_sources(body.adapters, field="adapters")),
        parameters=tuple(_parameters(body, warn)),
        template=body.template or None,
        system=body.system or None,
        messages=tuple(_messages(body)),
        licences=_licences(body),
        requires=(body.requires or "").removeprefix("v") or None,
        draft=draft[0] if draft else None,
        renderer=body.renderer or None,
        parser=body.parser or None,
    )


def _refuse_unserved(body: CreateBody) -> None:
    if body.remote_host:
        raise Unsupported(
            feature="'remote_host'", reason="models run on this board, or not at all", param="remote_host"
        )
    if body.draft_quantize:
        raise Unsupported(
            feature="'draft_quantize'", reason="send a draft model in its final type", param="draft_quantize"
        )


def _base(name: str) -> Source:
    source = Source(text=name)
    if source.form is SourceForm.PATH:
        raise NotAllowed(reason=f"'from' names a model, and {name[:80]!r} is a path; send the file as a blob")
    return source


def _sources(files: Mapping[str, str] | None, *, field: str) -> Iterator[Source]:
    """In the order of their names, as the parts of a split GGUF are numbered."""
    for name, digest in sorted((files or {}).items()):
        if name.lower().endswith(_OTHER_FORMATS):
            raise Unsupported(
                feature=shown(name, 80),
                reason="models are taken as GGUF; convert it with llama.cpp's convert_hf_to_gguf.py",
                param=field,
            )
        try:
            yield Source(text=parse_digest(digest.replace("sha256-", "sha256:", 1)))
        except InvalidReference as error:
            raise InvalidRequest(
                reason="a digest is sha256: and 64 hex digits", param=f"{field}.{shown(name, 80)}"
            ) from error


def _parameters(body: CreateBody, warn: Callable[[str], None]) -> Iterator[tuple[str, ParameterValue]]:
    given = {name: value for name, value in (body.parameters or {}).items() if value is not None}
    try:
        checked = check_options(given)
    except ValueError as error:
        raise InvalidRequest(reason=str(error), param="parameters") from error
    for name, value in checked.items():
        if PARAMETERS[name].use is Use.NONE:
            warn(warning(PARAMETERS[name]))
        elif not isinstance(value, list):
            yield name, value
    stops = checked.get("stop")  # as a Modelfile has them, after all others
    if isinstance(stops, list):
        yield from (("stop", stop) for stop in stops)


def _messages(body: CreateBody) -> Iterator[Message]:
    for index, message in enumerate(body.messages or ()):
        refuse_images(message.images, path=f"messages.{index}.images")
        if message.role not in _ROLES or message.tool_calls:
            raise Unsupported(
                feature="a stored message of tools",
                reason="a Modelfile has system, user and assistant texts",
                param=f"messages.{index}",
            )
        yield Message(role=message.role, content=message.content or "")


def _licences(body: CreateBody) -> tuple[str, ...]:
    told = [body.license] if isinstance(body.license, str) else body.license or []
    return tuple(text for text in told if text)
