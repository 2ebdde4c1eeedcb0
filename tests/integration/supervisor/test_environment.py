"""What a child of the daemon finds in its environment: what we put there, and nothing else."""

from __future__ import annotations

import json
import sys

import pytest

from appliance.supervisor.process import RunnerProcess

pytestmark = [pytest.mark.alone, pytest.mark.integration]

TELLS = """
import json, os, socket, sys
fd = int(sys.argv[sys.argv.index("--fd") + 1])
socket.socket(fileno=fd).sendall(json.dumps(dict(os.environ)).encode())
"""


def test_no_variable_of_ours_reaches_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """llama.cpp asks only whether it is there: "0" would switch managed memory on, which costs a seventh of
    the speed and brings no memory on a board.
    """
    monkeypatch.setenv("GGML_CUDA_ENABLE_UNIFIED_MEMORY", "0")
    monkeypatch.setenv("LLAMA_ARG_MMAP", "1")
    process = RunnerProcess(name="m", sandbox="off", command=(sys.executable, "-I", "-c", TELLS))
    process.socket.settimeout(20.0)
    told = b""
    with process.socket:
        while part := process.socket.recv(65536):
            told += part
    assert process.reap(10.0) == "exit code 0"
    found = json.loads(told)
    assert "GGML_CUDA_ENABLE_UNIFIED_MEMORY" not in found
    assert set(found) - {"LC_CTYPE"} == {"GGML_NO_BACKTRACE", "OPENBLAS_NUM_THREADS"}
