"""The throw-away process in which a model's chat template is compiled and rendered, and its client.

    runner ──control──▶ zygote     forked before llama_cpp, threads and the sandbox; single-threaded for ever
       │                  │ fork   one byte on `control` asks for a fresh worker; its socket comes back
       └────frames─────▶ worker    compiles and renders one template under hard limits

A template is a program from outside, and neither Jinja's sandbox nor any other means inside a process bounds
its time and memory. So the worker arms a kernel timer that kills it after `_WALL_S`, and runs under
RLIMIT_AS, Landlock and seccomp: who breaks out of Jinja finds no file and no socket. Its death is an EOF,
which the client turns into a typed error before it asks for the next worker.
EOF on `control` ends the zygote, and PDEATHSIG ends both when the runner is killed.
"""

from __future__ import annotations

import array
import ctypes
import gc
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, NoReturn, Union

import msgspec

from appliance import errors
from appliance.engine.template_format import (
    PromptRenderer,
    TemplateFacts,
    TemplateSource,
    of_the_caller,
)
from appliance.errors import EngineFault, InvalidRequest, ModelInvalid, OutpostError
from appliance.runner import landlock, sandbox
from appliance.wire.channel import Channel, ProtocolError
from appliance.wire.messages import ChatPrompt

_WALL_S: Final = 1.8
"""Under the 2 s in which a hostile template must be decided, with room for the restart."""

_THEIRS_S: Final = 0.5
"""For a template that came with a request: meanwhile nobody else's conversation is rendered, and a caller may
send many. Fork, compile and render take some 30 ms.
"""

_DEADLINE_S: Final = 2.5
"""The client's own patience, for a worker that its timer did not kill."""

_MEMORY_BYTES: Final = 512 * 1024 * 1024
"""Beyond what is mapped at the start."""

_BOUNDS: Final = f"{_WALL_S} s or {_MEMORY_BYTES >> 20} MiB"
_THEIR_BOUNDS: Final = f"{_THEIRS_S} s or {_MEMORY_BYTES >> 20} MiB"

_SPAWN: Final = b"s"
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38


class SetTemplate(msgspec.Struct, frozen=True, tag=True):
    template: TemplateSource


class Render(msgspec.Struct, frozen=True, tag=True):
    chat: ChatPrompt
    template: TemplateSource | None
    """For a fresh worker: to be compiled first, within the same time."""
    wall_s: float = _WALL_S


class Rendered(msgspec.Struct, frozen=True, tag=True):
    text: str


class Facts(msgspec.Struct, frozen=True, tag=True):
    facts: TemplateFacts


class Fault(msgspec.Struct, frozen=True, tag=True):
    name: str
    fields: dict[str, str | None]
    retire: bool
    """The worker is no longer trusted to be small; it ends after this."""


_Ask = Union[SetTemplate, Render]
_Answer = Union[Rendered, Facts, Fault]


def start_template_worker() -> TemplateClient:
    """Fork the zygote. Call it from the runner's main thread, before other threads, llama_cpp and the
    sandbox.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    runner_pid = os.getpid()
    pid = os.fork()
    if pid == 0:
        _as_child(partial(_serve_zygote, theirs, runner_pid))
    theirs.close()
    return TemplateClient(ours, pid)


# ── in the runner ───────────────────────────────────────────────────────────────────────────────────────────


class TemplateClient:
    """A `PromptRenderer` over the worker. Any thread may call it; a lock serialises them, for at most
    `_DEADLINE_S` each.
    """

    def __init__(self, control: socket.socket, zygote_pid: int) -> None:
        self._control = control
        self._control.settimeout(_DEADLINE_S)
        self.zygote_pid = zygote_pid
        self._lock = threading.Lock()
        self._template: TemplateSource | None = None
        self._source = TemplateSource(source=None)
        """The model's template, were it usable or not: what else it has is the model's."""
        self._worker: Channel[_Answer] | None = None

    def set_template(self, template: TemplateSource) -> TemplateFacts:
        """Blocks up to the deadline. Raises ModelInvalid, also when compiling overran its bounds."""
        with self._lock:
            self._template, self._source = None, template
            facts = self._compile(template)
            self._template = template
            return facts

    def render(self, chat: ChatPrompt) -> str:
        """Blocks up to the deadline. Raises InvalidRequest, also when rendering overran its bounds."""
        if chat.template is not None:
            return self._render_theirs(chat, chat.template)
        with self._lock:
            if self._template is None:
                raise InvalidRequest(reason="this model has no usable chat template", param="messages")
            fresh = self._worker is None
            if fresh:
                self._worker = self._spawn()
            answer = self._ask(Render(chat, self._template if fresh else None))
        if isinstance(answer, Rendered):
            return answer.text
        raise InvalidRequest(
            reason=f"the model's chat template took over {_BOUNDS} for this conversation",
            param="messages",
        )

    def _render_theirs(self, chat: ChatPrompt, template: str) -> str:
        """In a worker that nobody else's conversation has been in, and none will."""
        theirs = msgspec.structs.replace(self._source, source=template)
        ask = Render(chat, theirs, wall_s=_THEIRS_S)
        with of_the_caller(), self._lock:
            self._drop_worker()
            self._worker = self._spawn()
            try:
                answer = self._ask(ask)
            finally:
                self._drop_worker()
            if isinstance(answer, Rendered):
                return answer.text
            raise InvalidRequest(reason=f"it took over {_THEIR_BOUNDS} for this conversation")

    def close(self) -> None:
        """End the worker and the zygote, and reap it. Idempotent."""
        with self._lock:
            self._drop_worker()
            if self._control.fileno() >= 0:
                self._control.close()
                os.waitpid(self.zygote_pid, 0)

    def _compile(self, template: TemplateSource) -> TemplateFacts:
        if self._worker is None:
            self._worker = self._spawn()
        answer = self._ask(SetTemplate(template))
        if isinstance(answer, Facts):
            return answer.facts
        raise ModelInvalid(
            model=template.model,
            reason=f"the chat template takes over {_BOUNDS} to compile and try",
        )

    def _ask(self, ask: _Ask) -> _Answer | None:
        """One question. None: the worker did not survive it; the next question meets a fresh one."""
        assert self._worker is not None
        try:
            self._worker.send(ask)
            answer = self._worker.receive()
        except (OSError, ProtocolError):
            answer = None
        if answer is None or (isinstance(answer, Fault) and answer.retire):
            self._drop_worker()
        if isinstance(answer, Fault):
            raise errors.from_wire(answer.name, answer.fields)
        return answer

    def _spawn(self) -> Channel[_Answer]:
        try:
            self._control.send(_SPAWN)
            _, ancillary, _, _ = self._control.recvmsg(1, socket.CMSG_SPACE(array.array("i").itemsize))
            (fd,) = array.array("i", ancillary[0][2])
        except (OSError, IndexError, ValueError) as error:
            raise EngineFault(reason="the template process is gone") from error
        worker = socket.socket(fileno=fd)
        worker.settimeout(_DEADLINE_S)
        return Channel(worker, _Answer)  # type: ignore[arg-type]  # a Union is what msgspec decodes

    def _drop_worker(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None


# ── in the zygote ───────────────────────────────────────────────────────────────────────────────────────────


def _serve_zygote(control: socket.socket, runner_pid: int) -> None:
    """Fork a worker per byte, killing the one before. Only this loop runs here."""
    sandbox.preload()
    _keep_only(control)
    _box_in(runner_pid)
    from appliance.engine import prompt  # noqa: F401, PLC0415  # the runner itself never loads jinja2

    gc.freeze()
    worker_pid = 0
    while control.recv(1):
        if worker_pid:
            os.kill(worker_pid, signal.SIGKILL)
            os.waitpid(worker_pid, 0)
        ours, theirs = socket.socketpair()
        zygote_pid = os.getpid()
        worker_pid = os.fork()
        if worker_pid == 0:
            _as_child(partial(_serve_worker, theirs, zygote_pid))
        control.sendmsg([_SPAWN], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [ours.fileno()]))])
        ours.close()
        theirs.close()


# ── in the worker ───────────────────────────────────────────────────────────────────────────────────────────


def _serve_worker(sock: socket.socket, zygote_pid: int) -> None:
    from appliance.engine.prompt import TemplateRoom  # noqa: PLC0415  # loaded by the zygote

    _keep_only(sock)
    _box_in(zygote_pid)
    _fence()
    room = TemplateRoom(clock=lambda: datetime.now().astimezone())
    channel: Channel[_Ask] = Channel(sock, _Ask)  # type: ignore[arg-type]
    while (ask := channel.receive()) is not None:
        signal.setitimer(signal.ITIMER_REAL, ask.wall_s if isinstance(ask, Render) else _WALL_S)
        try:
            answer: _Answer = (
                Facts(room.set_template(ask.template))
                if isinstance(ask, SetTemplate)
                else Rendered(_rendered(room, ask))
            )
        except OutpostError as error:
            name, fields = errors.to_wire(error)
            answer = Fault(name, fields, retire=_ran_out_of_memory(error))
        signal.setitimer(signal.ITIMER_REAL, 0)
        channel.send(answer)
        if isinstance(answer, Fault) and answer.retire:
            return


def _rendered(room: PromptRenderer, ask: Render) -> str:
    if ask.template is not None:
        room.set_template(ask.template)
    return room.render(ask.chat)


def _ran_out_of_memory(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, MemoryError):
        error = error.__cause__
    return error is not None


def _fence() -> None:
    """As far as the kernel goes, which the runner reports: no file but Python's own, bounds of `_limit`, and
    only the system calls that a runner may make. Each step would forbid what the one before it needs.
    """
    datetime.now().astimezone()  # libc reads the time zone once
    mapped_pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    sandbox.attempt(lambda: landlock.restrict(sandbox.installation_paths()))
    _limit(memory_bytes=mapped_pages * resource.getpagesize() + _MEMORY_BYTES)
    sandbox.attempt(lambda: sandbox.filter_calls(may_write=False))


def _limit(*, memory_bytes: int) -> None:
    """Memory, files, processes. The timer that bounds time is armed per request."""
    for limit, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_NOFILE, 4),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(limit, (value, value))


# ── in both children ────────────────────────────────────────────────────────────────────────────────────────


def _as_child(body: Callable[[], None]) -> NoReturn:
    """Run `body` as the whole life of a forked child: never return into the parent's stack, run no exit
    handlers.
    """
    try:
        body()
    except BaseException:  # noqa: BLE001  # a process top: its death is the message
        os._exit(1)
    os._exit(0)


def _keep_only(sock: socket.socket) -> None:
    """No descriptor but this socket (and /dev/null as the three standard ones); the parent's signal handlers
    undone.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    kept = sock.fileno()
    os.closerange(3, kept)
    os.closerange(kept + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    for caught in (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGALRM,
        signal.SIGCHLD,
        signal.SIGHUP,
        signal.SIGUSR1,
        signal.SIGUSR2,
    ):
        signal.signal(caught, signal.SIG_DFL)


def _box_in(parent_pid: int) -> None:
    """Die with the parent; no privileges, core file or file writes. Raises OSError, which ends the child."""
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in (
        (_PR_SET_PDEATHSIG, signal.SIGKILL),
        (_PR_SET_NO_NEW_PRIVS, 1),
        (_PR_SET_DUMPABLE, 0),
    ):
        if libc.prctl(option, value, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent_pid:  # it died before PDEATHSIG was set
        os._exit(0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
