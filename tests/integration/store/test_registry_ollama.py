"""Registries in Ollama's style: no digests of manifests, redirected blobs, names with capitals, odd HEADs."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from appliance.config import RemoteSettings, StoreSettings
from appliance.errors import OutboundRefused, RemoteRefused
from appliance.store.content import unreported
from appliance.store.copy import copy
from appliance.store.digest import digest_of
from appliance.store.manifest import parse_manifest
from appliance.store.model import read_model
from appliance.store.opening import open_store
from appliance.store.outbound import HostSettings, Outbound
from appliance.store.reference import parse_reference
from appliance.store.registry import RegistrySource
from appliance.store.registry_push import RegistryTarget
from appliance.store.settings import StorePolicy
from appliance.store.store import ModelStore
from tests.fakes.model_files import FakeProbe, Told, UnsyncedFiles, generator
from tests.fakes.oci_registry_faults import Exchange, FaultyRegistry
from tests.fakes.ollama_registry import DOCKER_MANIFEST, OllamaRegistry
from tests.integration.store.network import door_to, make_model, opened

WEIGHTS = make_model().weights
TEMPLATE = b"{{ .System }} {{ .Prompt }}"
PARAMS = b'{"stop":["<|im_end|>"],"temperature":0.5}'
CONFIG = b'{"model_format":"gguf","model_family":"llama","model_type":"135M","file_type":"Q4_1"}'


def _layer(kind: str, content: bytes) -> dict[str, object]:
    return {
        "mediaType": f"application/vnd.ollama.image.{kind}",
        "digest": str(digest_of(content)),
        "size": len(content),
    }


MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": str(digest_of(CONFIG)),
            "size": len(CONFIG),
        },
        "layers": [_layer("model", WEIGHTS), _layer("template", TEMPLATE), _layer("params", PARAMS)],
    }
).encode()
BLOBS = [CONFIG, WEIGHTS, TEMPLATE, PARAMS]


def test_blobs_at_another_host_are_fetched_there_in_several_streams(tmp_path: Path) -> None:
    with FaultyRegistry() as cdn, OllamaRegistry(cdn=cdn) as registry:
        registry.add("library/smollm2", "135m", MANIFEST, BLOBS)
        name = parse_reference(f"{registry.host}/library/smollm2:135m")
        there = f"localhost:{cdn.port}"
        own = {there: HostSettings(insecure=True)}
        with (
            door_to(registry, redirects_to=(there,), more=own) as door,
            opened(tmp_path) as layout,
        ):
            resolved = copy(RegistrySource(door, name), name, layout)
            manifest = parse_manifest(resolved.content, what="it")
            model = read_model(manifest, layout.fetch)  # type: ignore[arg-type]
            assert model.template == TEMPLATE.decode()
            assert model.params["temperature"] == 0.5
            assert layout.path(digest_of(WEIGHTS)).read_bytes() == WEIGHTS
        # The registry is asked once for each blob; its parts come from where it led.
        assert len(registry.asked_for(str(digest_of(WEIGHTS)))) == 1
        assert len(cdn.asked_for(str(digest_of(WEIGHTS)))) >= 3
        assert registry.asked_for("/manifests/135m")[0].headers["Accept"].count(DOCKER_MANIFEST) == 1


def test_a_signed_address_that_runs_out_is_asked_for_again(tmp_path: Path) -> None:
    uses: dict[str, int] = {}

    def lead(exchange: Exchange) -> None:
        uses[f"{len(uses)}"] = 0
        digest = exchange.path.rpartition("/")[2]
        signed = f"http://localhost:{cdn.port}/cdn/{digest}?signature={len(uses) - 1}"
        exchange.send(307, b"", {"Location": signed})

    def check(exchange: Exchange) -> None:
        signature = exchange.path.rpartition("=")[2]
        uses[signature] += 1
        if uses[signature] > 2:
            exchange.send(403, b"Request has expired")
        else:
            cdn.route(exchange)

    with FaultyRegistry() as cdn, OllamaRegistry(cdn=cdn) as registry:
        registry.add("library/smollm2", "135m", MANIFEST, BLOBS)
        registry.answer_with("/blobs/", lead)
        cdn.answer_with("/cdn/", check)
        name = parse_reference(f"{registry.host}/library/smollm2:135m")
        there = f"localhost:{cdn.port}"
        own = {there: HostSettings(insecure=True)}
        with door_to(registry, redirects_to=(there,), more=own) as door, opened(tmp_path) as layout:
            copy(RegistrySource(door, name), name, layout)
            assert layout.path(digest_of(WEIGHTS)).read_bytes() == WEIGHTS
        assert len(registry.asked_for(str(digest_of(WEIGHTS)))) >= 2


def test_a_host_that_is_not_allowed_is_not_followed(tmp_path: Path) -> None:
    with FaultyRegistry() as cdn, OllamaRegistry(cdn=cdn) as registry:
        registry.add("library/smollm2", "135m", MANIFEST, BLOBS)
        name = parse_reference(f"{registry.host}/library/smollm2:135m")
        with door_to(registry) as door, opened(tmp_path) as layout, pytest.raises(OutboundRefused):
            copy(RegistrySource(door, name), name, layout)
        assert cdn.asked == []


@pytest.mark.parametrize("head", [True, False])
def test_a_registry_that_serves_its_blobs_itself_is_pulled_from(tmp_path: Path, head: bool) -> None:
    with OllamaRegistry(head=head) as registry:
        registry.add("Alice/SmolLM2-GGUF", "Q4_1", MANIFEST, BLOBS)
        name = parse_reference(f"{registry.host}/Alice/SmolLM2-GGUF:Q4_1")
        with door_to(registry) as door, opened(tmp_path) as layout:
            copy(RegistrySource(door, name), name, layout)
            assert layout.path(digest_of(WEIGHTS)).read_bytes() == WEIGHTS


@pytest.mark.parametrize("head", [True, False])
def test_a_registry_in_this_style_is_pushed_to(tmp_path: Path, head: bool) -> None:
    with OllamaRegistry() as source, OllamaRegistry(head=head) as registry:
        source.add("library/smollm2", "135m", MANIFEST, BLOBS)
        name = parse_reference(f"{source.host}/library/smollm2:135m")
        target = parse_reference(f"{registry.host}/alice/smollm2:new")
        with door_to(source, registry) as door, opened(tmp_path) as layout:
            copy(RegistrySource(door, name), name, layout)
            copy(layout, name, RegistryTarget(door, target), as_reference=target)
        assert registry.manifests["alice/smollm2", "new"] == (DOCKER_MANIFEST, MANIFEST)
        assert registry.blobs[str(digest_of(WEIGHTS))] == WEIGHTS


def test_what_a_model_of_the_library_misses_is_told_by_the_pull_and_left_out_of_its_modelfile(
    tmp_path: Path,
) -> None:
    """And `create` takes that Modelfile back."""
    weights = generator().read_bytes()
    config = CONFIG[:-1] + b',"renderer":"gemma4","parser":"gemma4","requires":"0.40.0"}'
    params = PARAMS[:-1] + b',"chill":1}'
    manifest = json.loads(MANIFEST)
    manifest["config"] |= {"digest": str(digest_of(config)), "size": len(config)}
    manifest["layers"] = [_layer("model", weights), _layer("params", params)]
    with OllamaRegistry() as registry:
        registry.add("library/gemma", "latest", json.dumps(manifest).encode(), [config, weights, params])
        settings = StoreSettings(
            floor_fraction=0.0, hosts={registry.host: RemoteSettings(insecure=True, token="")}
        )
        store = open_store(tmp_path, settings, probe=FakeProbe(), files=UnsyncedFiles())
        told = Told()
        store.pull(f"{registry.host}/library/gemma", told, as_name="gemma")
        warnings = [status.removeprefix("warning: ") for status in told.statuses if "warning" in status]
        for note, word in zip(warnings, ("RENDERER", "PARSER", "requires", "'chill'"), strict=True):
            assert word in note
        shown = store.show("gemma")
        assert list(shown.notes) == warnings
        store.create("mine", shown.modelfile, unreported)
        mine = store.show("mine")
        assert (mine.template, mine.parameters["stop"]) == (shown.template, ("<|im_end|>",))
        store.close()


@pytest.mark.parametrize(
    ("token", "told"),
    [
        (None, r"\[store.hosts\] has no token for"),
        ("alice:secret", r"the token that \[store.hosts\] has for .* is not good there"),
    ],
)
def test_a_model_that_wants_a_signed_request_is_refused_by_name(
    tmp_path: Path, token: str | None, told: str
) -> None:
    with OllamaRegistry(private=True) as registry:
        registry.add("alice/private", "latest", MANIFEST, BLOBS)
        name = parse_reference(f"{registry.host}/alice/private:latest")
        with (
            door_to(registry, token=token) as door,
            opened(tmp_path) as layout,
            pytest.raises(RemoteRefused, match=f"{told}.*ed25519 key, which Outpost does not do.*import"),
        ):
            copy(RegistrySource(door, name), name, layout)
        assert [request.method for request in registry.asked] == ["GET", "GET"]  # once, and once for a token


def test_a_push_that_wants_a_signed_request_is_refused_by_name(tmp_path: Path) -> None:
    with OllamaRegistry() as source, OllamaRegistry(private=True) as registry:
        source.add("library/smollm2", "135m", MANIFEST, BLOBS)
        name = parse_reference(f"{source.host}/library/smollm2:135m")
        target = parse_reference(f"{registry.host}/alice/smollm2:new")
        with door_to(source, registry) as door, opened(tmp_path) as layout:
            copy(RegistrySource(door, name), name, layout)
            with pytest.raises(RemoteRefused, match="ed25519"):
                copy(layout, name, RegistryTarget(door, target), as_reference=target)
        assert registry.blobs == {}


def test_uploads_are_not_asked_to_be_redirected_and_one_that_is_all_the_same_is_refused(
    tmp_path: Path,
) -> None:
    with OllamaRegistry() as source, OllamaRegistry(redirect_uploads=True) as registry:
        source.add("library/smollm2", "135m", MANIFEST, BLOBS)
        name = parse_reference(f"{source.host}/library/smollm2:135m")
        target = parse_reference(f"{registry.host}/alice/smollm2:new")
        with door_to(source, registry) as door, opened(tmp_path) as layout:
            copy(RegistrySource(door, name), name, layout)
            with pytest.raises(RemoteRefused, match="307"):
                copy(layout, name, RegistryTarget(door, target), as_reference=target)
        assert {asked.headers.get("X-Redirect-Uploads") for asked in registry.asked} == {None}
        assert registry.manifests == {}


def test_a_push_is_told_in_the_words_of_a_push(tmp_path: Path) -> None:
    with OllamaRegistry() as registry:
        policy = StorePolicy(
            outbound=Outbound(hosts={registry.host: HostSettings(insecure=True)}),
            hub=None,
            floor_fraction=0.0,
        )
        told = Told()
        with closing(ModelStore(tmp_path, policy)) as store:
            store.import_file(generator(), "tiny", unreported)
            store.push("tiny", told, target=f"{registry.host}/alice/tiny:v1")
            store.push("tiny", told, target=f"{registry.host}/alice/tiny:v2")
    assert told.statuses[0] == "retrieving manifest"
    assert told.statuses[-1] == "pushing manifest"
    assert not [status for status in told.statuses if not status.startswith(("pushing ", "retrieving "))]
