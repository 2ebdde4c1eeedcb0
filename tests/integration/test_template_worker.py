"""Hostile templates end as typed errors in time, and harm neither the runner nor the next request."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from appliance.engine.template_format import TemplateSource, ToolFormat
from appliance.errors import EngineFault, InvalidRequest, ModelInvalid
from appliance.runner.template_worker import TemplateClient, start_template_worker
from appliance.wire.messages import ChatPrompt

pytestmark = [pytest.mark.alone, pytest.mark.integration, pytest.mark.timeout(60)]

DECIDED_WITHIN_S = 4.0
"""The kernel's timer gives it 1.8 s; the rest is what a busy test machine adds."""

GOOD = TemplateSource(source="{% for m in messages %}{{ m.content }}{% endfor %}", model="tiny")
HELLO = ChatPrompt(messages=[{"role": "user", "content": "Hello"}])

LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
HOSTILE = {
    "nested ranges": LOOP,
    "constant folded while compiling": "{{ 'a' * 4000000000 }}",
    "repeat": "{{ messages[0].content * 4000000000 }}",
    "format": "{{ '%4000000000s' % 'a' }}",
    "format filter": "{{ '%4000000000s' | format('a') }}",
    "power": "{{ (messages | length + 8) ** 99999999 }}",
    "folded power": "{{ 9 ** 99999999 }}",
    "doubling": "{% set n = namespace(x='aaaaaaaaaaaaaaaa') %}{% for a in range(99999) %}"
    "{% set n.x = n.x ~ n.x %}{% endfor %}",
    "recursion": "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "tree recursion": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}"
    "{{ f(60) }}",
    "lipsum": "{{ lipsum(n=100000) }}",
    "a gigabyte of output": "{% for a in range(99999) %}{{ 'aaaaaaaaaa' * 1000 }}{% endfor %}",
    "ten megabytes of literal": "a" * 10_000_000,
    "join": "{{ range(99999) | join('a' * 100000) }}",
    "center": "{{ 'a' | center(4000000000) }}",
    "indent": "{{ ('a\n' * 100000) | indent(100000) }}",
    "wordwrap": "{{ ('a ' * 10000000) | wordwrap(1) }}",
    "slice": "{{ messages | slice(1000000000) | list | length }}",
    "indented JSON": "{{ messages | tojson(indent=4000000000) }}",
    "list repeat": "{{ [[1]] * 100000000 }}",
    "deep parentheses": "{{ " + "(" * 50_000 + "1" + ")" * 50_000 + " }}",
    "deep blocks": "{% if 1 %}" * 5_000 + "{% endif %}" * 5_000,
    "deep minus": "{{ " + "-" * 100_000 + "1 }}",
    "huge number": "{{ 1" + "0" * 100_000 + " }}",
    "Python's insides": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "through a filter": "{{ messages | attr('__class__') | attr('__mro__') }}{{ ''['__class__']['x'] }}",
    "lone surrogate": "{{ '\\ud800' }}",
    "endless words of its own": "{{ raise_exception('x' * 10000000) }}",
}


@pytest.fixture
def client() -> Iterator[TemplateClient]:
    started = start_template_worker()
    yield started
    started.close()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_is_refused_at_load_in_time(client: TemplateClient, name: str) -> None:
    start = time.monotonic()
    with pytest.raises(ModelInvalid) as refused:
        client.set_template(TemplateSource(source=HOSTILE[name], model="tiny"))
    assert time.monotonic() - start < DECIDED_WITHIN_S
    assert refused.value.fields["model"] == "tiny"
    assert len(refused.value.message) < 1_000
    client.set_template(GOOD)
    assert client.render(HELLO) == "Hello"


@pytest.mark.parametrize("name", ["nested ranges", "doubling", "repeat", "recursion", "a gigabyte of output"])
def test_a_template_that_turns_hostile_later_costs_one_request(client: TemplateClient, name: str) -> None:
    trap = "{% if messages[0].content == 'now' %}" + HOSTILE[name] + "{% endif %}{{ messages[0].content }}"
    client.set_template(TemplateSource(source=trap))
    start = time.monotonic()
    with pytest.raises(InvalidRequest) as refused:
        client.render(ChatPrompt(messages=[{"role": "user", "content": "now"}]))
    assert time.monotonic() - start < DECIDED_WITHIN_S
    assert refused.value.param == "messages"
    assert client.render(HELLO) == "Hello"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_of_the_caller_costs_its_own_request(client: TemplateClient, name: str) -> None:
    client.set_template(GOOD)
    start = time.monotonic()
    with pytest.raises(InvalidRequest) as refused:
        client.render(ChatPrompt(messages=HELLO.messages, template=HOSTILE[name]))
    assert time.monotonic() - start < DECIDED_WITHIN_S
    assert refused.value.param == "template"
    assert len(refused.value.message) < 1_000
    assert client.render(HELLO) == "Hello"


def test_the_callers_template_is_alone_with_its_conversation(client: TemplateClient) -> None:
    client.set_template(GOOD)
    client.render(HELLO)
    (before,) = psutil.Process(client.zygote_pid).children()
    theirs = ChatPrompt(messages=HELLO.messages, template="[{{ bos_token }}{{ messages[-1].content }}]")
    assert client.render(theirs) == "[Hello]"
    assert client.render(HELLO) == "Hello"
    (after,) = psutil.Process(client.zygote_pid).children()
    assert before.pid != after.pid


def test_the_callers_template_works_where_the_models_own_does_not(client: TemplateClient) -> None:
    with pytest.raises(ModelInvalid):
        client.set_template(TemplateSource(source="{% if %}", bos_text="<s>"))
    theirs = ChatPrompt(messages=HELLO.messages, template="{{ bos_token }}{{ messages[-1].content }}")
    assert client.render(theirs) == "<s>Hello"
    with pytest.raises(InvalidRequest, match="no usable chat template"):
        client.render(HELLO)


def test_memory_stays_bounded(client: TemplateClient) -> None:
    client.set_template(GOOD)
    (worker,) = psutil.Process(client.zygote_pid).children()
    bound = worker.rlimit(psutil.RLIMIT_AS)[1]
    assert bound < worker.memory_info().vms + 640 * 1024 * 1024
    assert worker.rlimit(psutil.RLIMIT_CORE) == (0, 0)
    assert worker.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)


def test_the_worker_keeps_nothing_of_the_runner(client: TemplateClient) -> None:
    client.set_template(GOOD)
    (worker,) = psutil.Process(client.zygote_pid).children()
    for process, sockets in ((client.zygote_pid, 1), (worker.pid, 1)):
        targets = [str(entry.readlink()) for entry in Path(f"/proc/{process}/fd").iterdir()]
        assert [
            target for target in targets if target != "/dev/null" and not target.startswith("socket:")
        ] == []
        assert len([target for target in targets if target.startswith("socket:")]) == sockets
        assert "NoNewPrivs:\t1" in Path(f"/proc/{process}/status").read_text()


def test_a_killed_worker_is_replaced(client: TemplateClient) -> None:
    client.set_template(GOOD)
    (worker,) = psutil.Process(client.zygote_pid).children()
    worker.kill()
    with pytest.raises(InvalidRequest):
        client.render(HELLO)
    assert client.render(HELLO) == "Hello"


def test_a_lost_zygote_is_an_engine_fault(client: TemplateClient) -> None:
    os.kill(client.zygote_pid, signal.SIGKILL)
    with pytest.raises(EngineFault):
        client.set_template(GOOD)


def test_long_prompts_pass_whole(client: TemplateClient) -> None:
    facts = client.set_template(GOOD)
    assert facts.tool_format is ToolFormat.JSON
    text = "é" * 1_000_000
    assert client.render(ChatPrompt(messages=[{"role": "user", "content": text}])) == text


def test_many_threads_may_render(client: TemplateClient) -> None:
    client.set_template(GOOD)
    wrong: list[str] = []

    def render(name: str) -> None:
        chat = ChatPrompt(messages=[{"role": "user", "content": name}])
        wrong.extend(text for text in (client.render(chat) for _ in range(20)) if text != name)

    threads = [threading.Thread(target=render, args=(f"user {n}",), name=f"render-{n}") for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []


def test_both_processes_die_with_the_runner() -> None:
    program = (
        "import os, sys, time\n"
        "from appliance.runner.template_worker import start_template_worker\n"
        "from appliance.engine.template_format import TemplateSource\n"
        "client = start_template_worker()\n"
        "client.set_template(TemplateSource(source='x'))\n"
        "print(client.zygote_pid, flush=True)\n"
        "assert 'jinja2' not in sys.modules\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout is not None
        zygote = psutil.Process(int(runner.stdout.readline()))
        family = [zygote, *zygote.children()]
        assert len(family) == 2
        assert runner.poll() is None
        runner.kill()
        _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []


def test_after_a_killed_worker_compiling_and_rendering_share_the_time(client: TemplateClient) -> None:
    slow = "{% if messages | length > 3 %}" + LOOP + "{% endif %}"
    client.set_template(TemplateSource(source=slow, model="tiny"))
    endless = ChatPrompt(messages=[{"role": "user", "content": "a"}] * 4)
    for _ in range(2):  # the second time, a fresh worker compiles first
        start = time.monotonic()
        with pytest.raises(InvalidRequest):
            client.render(endless)
        assert time.monotonic() - start < DECIDED_WITHIN_S


_BREAKS_OUT = """
import socket, subprocess
from appliance.runner import sandbox, template_worker
sandbox.preload()
template_worker._fence()
for name, attempt in {
    "file": lambda: open("/etc/hostname"),
    "environment": lambda: open("/proc/self/environ"),
    "socket": lambda: socket.socket(),
    "program": lambda: subprocess.run(["true"]),
    "write": lambda: open("/dev/shm/x", "w"),
}.items():
    try:
        attempt()
        print(name, "open")
    except OSError:
        print(name, "shut")
"""


def test_who_breaks_out_of_the_template_finds_no_file_and_no_socket() -> None:
    command = [sys.executable, "-c", _BREAKS_OUT]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"{name} shut" for name in ("file", "environment", "socket", "program", "write")
    ]


def test_the_worker_is_behind_that_fence(client: TemplateClient) -> None:
    client.set_template(GOOD)
    (worker,) = psutil.Process(client.zygote_pid).children()
    lines = Path(f"/proc/{worker.pid}/status").read_text(encoding="ascii").splitlines()
    told = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert (told["NoNewPrivs"], told["Seccomp"]) == ("1", "2")


def test_a_template_tells_the_local_time(client: TemplateClient) -> None:
    client.set_template(TemplateSource(source="{{ strftime_now('%H %Z') }}", model="tiny"))
    began = time.strftime("%H %Z")
    assert client.render(HELLO) in {began, time.strftime("%H %Z")}
