"""A daemon whose store is in trouble: what the scrub finds, names that are pinned, an index that is lost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon
from tests.fakes.model_files import generator
from tests.integration.daemon_asking import ask, chat, health, operate, served, succeeds

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

SCRUBS_AT_ONCE = "[store]\nscrub_interval_h = 0.0003\n"
"""Every second; the first begins five seconds after the start."""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path / "one", models={}, config=SCRUBS_AT_ONCE) as running:
        yield running


def weights_of(daemon: Daemon) -> Path:
    blobs = (daemon.data / "store/blobs/sha256").iterdir()
    return max(blobs, key=lambda path: path.stat().st_size)


def flip(path: Path) -> None:
    """One bit, size and time as before: only reading finds it."""
    found = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(found.st_size // 2)
        (byte,) = file.read(1)
        file.seek(found.st_size // 2)
        file.write(bytes([byte ^ 1]))
        os.fsync(file.fileno())
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def within(seconds: float, told: Callable[[], Any]) -> Any:
    """What it tells, as soon as that is something."""
    deadline = time.monotonic() + seconds
    while not (found := told()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def error_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_flipped_bit_is_found_by_the_scheduled_scrub_told_refused_and_repaired(daemon: Daemon) -> None:
    succeeds(daemon, "import", path=str(generator()), name="tiny")
    succeeds(daemon, "import", path=str(generator(seed=2)), name="well")
    assert chat(daemon, "tiny", max_tokens=2).status_code == 200
    digests = {
        row["name"]: row["digest"] for row in ask(daemon, "GET", "/outpost/v1/models").json()["models"]
    }
    flip(daemon.data / "store/blobs/sha256" / _weights(daemon, digests["tiny:latest"]))

    (broken,) = within(40, lambda: health(daemon)["store"]["broken"])

    assert broken["name"] == "tiny:latest"
    assert "has changed" in broken["reason"]
    # The report reads the store; those who serve hear of it at the end of that piece of the round.
    within(10, lambda: chat(daemon, "tiny", max_tokens=2).status_code == 503)
    assert error_of(chat(daemon, "tiny", max_tokens=2)) == (503, "model_broken")
    assert chat(daemon, "well", max_tokens=2).status_code == 200
    assert "blob_broken" in daemon.log()
    succeeds(daemon, "import", path=str(generator()), name="tiny")
    assert not health(daemon)["store"]["broken"]
    assert chat(daemon, "tiny", max_tokens=2).status_code == 200


def _weights(daemon: Daemon, manifest: str) -> str:
    """The file name of the largest layer."""
    layers = ask(daemon, "GET", f"/v2/library/tiny/manifests/{manifest}").json()["layers"]
    digest: str = max(layers, key=lambda layer: layer["size"])["digest"]
    return digest.removeprefix("sha256:")


def test_a_manifest_that_is_lost_withholds_collection_and_health_and_log_say_so(daemon: Daemon) -> None:
    succeeds(daemon, "import", path=str(generator()), name="tiny")
    (row,) = ask(daemon, "GET", "/outpost/v1/models").json()["models"]
    assert health(daemon)["store"]["gc_withheld"] == []
    daemon.stop()
    flip(daemon.data / "store/blobs/sha256" / row["digest"].removeprefix("sha256:"))
    daemon.start()
    (told,) = health(daemon)["store"]["gc_withheld"]
    assert told.startswith("tiny:latest: ")
    assert "\noutpost_store_gc_withheld 1\n" in daemon.get("/metrics")
    assert operate(daemon, "gc")["withheld"] == [told]
    within(20, lambda: "store_collection_withheld" in daemon.log())
    succeeds(daemon, "remove", name="tiny")
    assert health(daemon)["store"]["gc_withheld"] == []


# ── names with a digest ─────────────────────────────────────────────────────────────────────────────


def test_a_name_with_a_digest_is_that_content_or_nothing(daemon: Daemon) -> None:
    succeeds(daemon, "import", path=str(generator()), name="tiny")
    succeeds(daemon, "import", path=str(generator(seed=2)), name="other")
    rows = ask(daemon, "GET", "/outpost/v1/models").json()["models"]
    digests = {row["name"]: row["digest"] for row in rows}
    right = f"tiny@{digests['tiny:latest']}"
    for wrong in (f"tiny@sha256:{'0' * 64}", f"tiny@{digests['other:latest']}"):
        assert error_of(chat(daemon, wrong, max_tokens=2)) == (404, "model_not_found")
        for verb in (
            {"verb": "remove", "name": wrong},
            {"verb": "copy", "source": wrong, "destination": "copied"},
            {"verb": "verify", "name": wrong},
        ):
            assert operate(daemon, **verb)["error"]["code"] == "model_not_found"
        assert error_of(ask(daemon, "GET", f"/outpost/v1/models/{wrong}")) == (404, "model_not_found")
    assert served(daemon) == {"tiny:latest", "other:latest"}
    assert chat(daemon, right, max_tokens=2).status_code == 200
    assert ask(daemon, "GET", f"/outpost/v1/models/{right}").status_code == 200
    succeeds(daemon, "copy", source=right, destination="copied")
    succeeds(daemon, "remove", name=right)
    assert served(daemon) == {"other:latest", "copied:latest"}


# ── an index that is lost ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("damage", ["zeroed", "gone"])
def test_a_damaged_index_keeps_no_daemon_from_serving_and_is_built_again(tmp_path: Path, damage: str) -> None:
    with Daemon(tmp_path / "one", models={"fixed": generator(seed=3)}) as daemon:
        succeeds(daemon, "import", path=str(generator()), name="tiny")
        succeeds(daemon, "copy", source="tiny", destination="other")
        daemon.stop()
        index = daemon.data / "store/index.json"
        content = index.read_bytes()
        index.unlink()
        if damage == "zeroed":
            index.write_bytes(bytes(len(content)))
        daemon.start()

        told = health(daemon)
        assert (told["live"], told["ready"]) == (True, True)
        assert "outpost verify --rebuild-index" in told["store"]["fault"]
        assert "\noutpost_store_fault 1\n" in daemon.get("/metrics")
        assert chat(daemon, "fixed", max_tokens=2).status_code == 200
        assert error_of(chat(daemon, "tiny", max_tokens=2)) == (404, "model_not_found")
        refused = ask(daemon, "GET", "/outpost/v1/models")
        assert error_of(refused) == (500, "store_fault")
        assert operate(daemon, "gc")["error"]["code"] == "store_fault"
        assert operate(daemon, "import", path=str(generator()), name="x")["error"]["code"] == "store_fault"

        rebuilt = operate(daemon, "verify", rebuild_index=True)
        names = ["tiny:latest", "other:latest"]
        assert rebuilt["rebuilt"] == [f"registry.ollama.ai/library/{name}" for name in names]
        assert rebuilt["broken"] == []
        assert health(daemon)["store"]["fault"] is None
        assert served(daemon) == {"fixed", *names}
        assert chat(daemon, "tiny", max_tokens=2).status_code == 200
        assert operate(daemon, "verify", rebuild_index=True)["rebuilt"] is None
        assert (daemon.data / "store/quarantine/index.json.damaged").exists() == (damage == "zeroed")
        assert weights_of(daemon).exists()


def test_without_other_models_readiness_says_what_to_do_about_the_index(tmp_path: Path) -> None:
    with Daemon(tmp_path / "one", models={}) as daemon:
        succeeds(daemon, "import", path=str(generator()), name="tiny")
        daemon.stop()
        (daemon.data / "store/index.json").write_bytes(b"")
        daemon.start()
        answer = ask(daemon, "GET", "/readyz")
        assert answer.status_code == 503
        (reason,) = answer.json()["reasons"]
        assert "outpost verify --rebuild-index" in reason
