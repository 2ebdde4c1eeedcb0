from __future__ import annotations

import tomllib
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from appliance import config_reference
from appliance.access.scopes import DEFAULT, Scope
from appliance.config import (
    Config,
    KeySettings,
    ModelSettings,
    RemoteSettings,
    Section,
    is_loopback,
    load,
    parse_listen,
)
from appliance.config.values import KeyScope
from appliance.errors import ConfigError

ROOT = Path(__file__).parents[2]
SHA256 = "ab" * 32
TABLES = [name for name in Config.model_fields if name != "models"]


def written(folder: Path, text: str) -> Path:
    path = folder / "outpost.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path | None = None, overrides: dict[str, object] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, overrides=overrides)
    return caught.value.message


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load(written(tmp_path, "")) == Config()


def test_the_shipped_file_is_equal_to_the_defaults() -> None:
    assert load(ROOT / "configs/appliance.toml") == Config()


def test_the_shipped_file_names_every_setting() -> None:
    shipped = tomllib.loads((ROOT / "configs/appliance.toml").read_text(encoding="utf-8"))
    assert {name: set(table) for name, table in shipped.items() if name != "models"} == {
        name: set(type(getattr(Config(), name)).model_fields)
        for name in Config.model_fields
        if name != "models"
    }


def test_shipped_file_and_documentation_are_what_make_docs_writes() -> None:
    assert (ROOT / "configs/appliance.toml").read_text(encoding="utf-8") == config_reference.toml()
    assert (ROOT / "docs/configuration.md").read_text(encoding="utf-8") == config_reference.markdown()


def test_the_documentation_has_every_setting_of_a_host() -> None:
    section = config_reference.markdown().split("### [store.hosts]")[1].split("\n## ")[0]
    assert [key for key in RemoteSettings.model_fields if f"| `{key}` |" not in section] == []


def test_every_setting_has_a_text() -> None:
    tables: list[type[Section]] = [type(getattr(Config(), name)) for name in TABLES]
    settings = [setting for table in tables for setting in config_reference.settings_of(table)]
    settings += config_reference.settings_of(ModelSettings)
    entries = [entry for table in tables for _, entry in config_reference.entries_of(table)]
    settings += [setting for entry in entries for setting in config_reference.settings_of(entry)]
    assert [setting.key for setting in settings if not setting.text.endswith(".")] == []


def test_the_file_is_read(tmp_path: Path) -> None:
    config = load(written(tmp_path, '[server]\nlisten = "[::1]:80"\n[queue]\nmax_running = 3\n'))
    assert (config.server.host, config.server.port, config.queue.max_running) == ("::1", 80, 3)


def test_names_and_origins_are_lists_in_the_file_and_frozen_here(tmp_path: Path) -> None:
    text = (
        '[server]\nnames = ["outpost.example"]\norigins = ["https://app.example:8443", "http://[::1]:80"]\n'
    )
    server = load(written(tmp_path, text)).server
    assert server.names == ("outpost.example",)
    assert server.origins == ("https://app.example:8443", "http://[::1]:80")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('names = ["*"]', "a host name in lower case"),
        ('names = ["*.example"]', "a host name in lower case"),
        ('names = ["outpost.example:80"]', "a host name in lower case"),
        ('names = ["Outpost"]', "a host name in lower case"),
        ('names = ["a..b"]', "a host name in lower case"),
        (f'names = ["{"a" * 254}"]', "a host name in lower case"),
        ("names = [1]", "valid string"),
        ('names = "outpost.example"', "a list of texts"),
        ('origins = ["*"]', "an origin without path or wildcard"),
        ('origins = ["null"]', "an origin without path or wildcard"),
        ('origins = ["https://app.example/"]', "an origin without path or wildcard"),
        ('origins = ["app.example"]', "an origin without path or wildcard"),
        ('origins = ["https://APP.example"]', "an origin without path or wildcard"),
    ],
)
def test_a_name_or_origin_that_would_never_match_or_match_all_is_refused(
    tmp_path: Path, text: str, told: str
) -> None:
    assert told in refusal(written(tmp_path, f"[server]\n{text}\n"))


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "[queue]\nmax_running = 3\nmax_waiting = 4\n")
    config = load(path, overrides={"queue.max_running": 5})
    assert (config.queue.max_running, config.queue.max_waiting) == (5, 4)


def test_a_model_is_a_path_or_a_table(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '[models]\na = "a.gguf"\n'
        '"b:1.5" = { path = "/m/b.gguf", draft = "d.gguf", adapters = { x = "x.gguf" } }\n',
    )
    models = load(path).models
    assert models["a"] == ModelSettings(path=tmp_path / "a.gguf")
    assert models["b:1.5"] == ModelSettings(
        path=Path("/m/b.gguf"), draft=tmp_path / "d.gguf", adapters={"x": tmp_path / "x.gguf"}
    )


def test_models_of_the_command_line_join_those_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, '[models]\na = "/a.gguf"\nb = "/b.gguf"\n')
    models = load(path, overrides={"models": {"b": "/other.gguf", "c": Path("/c.gguf")}}).models
    assert {name: str(entry.path) for name, entry in models.items()} == {
        "a": "/a.gguf",
        "b": "/other.gguf",
        "c": "/c.gguf",
    }


def test_relative_paths_of_the_command_line_are_relative_to_the_working_directory(tmp_path: Path) -> None:
    config = load(written(tmp_path, ""), overrides={"data.dir": Path("here"), "models": {"a": "a.gguf"}})
    assert config.data.dir == Path.cwd() / "here"
    assert config.models["a"].path == Path.cwd() / "a.gguf"


def test_a_missing_file_that_was_named_is_an_error(tmp_path: Path) -> None:
    assert "expected a readable file (No such file or directory)" in refusal(tmp_path / "none.toml")


@pytest.mark.parametrize("text", [b"[server", b"\xff\xfe", b"a = 1\na = 2"])
def test_what_is_not_toml_is_an_error_with_the_file(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "outpost.toml"
    path.write_bytes(text)
    assert refusal(path).startswith(f"{path}: (file) = 'outpost.toml': expected TOML (")


def test_an_unknown_key_is_an_error_that_lists_the_known_ones(tmp_path: Path) -> None:
    path = written(tmp_path, "[queue]\nmax_runing = 3\n")
    assert refusal(path) == (
        f"{path}: queue.max_runing = 3: expected no such key; known: max_running, max_waiting, "
        "max_concurrent, patience_s, background_max_wait_s"
    )


def test_an_unknown_table_is_an_error_that_lists_the_known_ones(tmp_path: Path) -> None:
    path = written(tmp_path, "[serve]\nx = 1\n")
    assert refusal(path).endswith(
        "expected no such key; known: server, queue, runner, engine, lifecycle, models, store, access, "
        "quotas, usage, audit, heat, log, data, memory, hibernation, optimize, calibration, responses, "
        "tracing"
    )


def test_an_unknown_key_of_a_model_lists_those_of_a_model() -> None:
    message = refusal(overrides={"models": {"a": {"path": "/a", "pth": "/b"}}})
    assert message == (
        "command line: models.a.pth = '/b': "
        "expected no such key; known: path, draft, adapters, n_ctx_seq, device, pooling, keep_alive"
    )


def test_an_unknown_key_of_a_host_lists_those_of_a_host() -> None:
    message = refusal(overrides={"store.hosts": {"registry.example": {"tokn": "x"}}})
    assert message.endswith("expected no such key; known: insecure, token, redirects_to")


def test_hosts_of_the_store_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, '[store.hosts]\n"registry.example:5000" = { redirects_to = ["[::1]:8080"] }\n')
    hosts = load(path).store.hosts
    assert list(hosts) == ["registry.example:5000"]
    assert hosts["registry.example:5000"].redirects_to == ("[::1]:8080",)


@pytest.mark.parametrize(
    "token", ["secret\r\nHost: evil", "secret with blanks", 5, "secret" * 1000, "s\u00e9cret"]
)
def test_a_wrong_token_is_refused_and_never_told(token: object) -> None:
    message = refusal(overrides={"store.hosts": {"registry.example": {"token": token}}})
    assert "store.hosts.registry.example.token = '(not shown)'" in message
    assert str(token) not in message.replace("4096", "")


def test_a_token_is_not_shown_with_its_settings() -> None:
    config = load(overrides={"store.hosts": {"registry.example": {"token": "hush-hush"}}})
    assert "hush-hush" not in repr(config)


def test_a_value_out_of_bounds_names_the_bound_and_the_source(tmp_path: Path) -> None:
    path = written(tmp_path, "[engine]\nn_ubatch = 3\n")
    assert refusal(path) == f"{path}: engine.n_ubatch = 3: expected 0, or 32 to 8192"
    assert refusal(overrides={"engine.n_ubatch": 3}).startswith("command line: engine.n_ubatch = 3:")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("server.listen", "localhost"),
        ("server.listen", "127.0.0.1:70000"),
        ("server.listen", ":80"),
        ("queue.max_running", "5"),
        ("queue.max_running", 5.0),
        ("queue.max_running", True),
        ("queue.patience_s", float("nan")),
        ("queue.patience_s", float("inf")),
        ("engine.speculation", 1),
        ("engine.type_k", "q9"),
        ("runner.sandbox", "yes"),
        ("models", {"-a": "/a"}),
        ("models", {"a": ""}),
        ("models", {"a": 3}),
        ("models", {"a": {"draft": "/d"}}),
        ("models", 3),
        ("store.floor_fraction", 1.0),
        ("store.floor_fraction", -0.1),
        ("store.scrub_interval_h", -1),
        ("store.scrub_bytes_per_s", 0),
        ("store.scrub_bytes_per_s", 1.5e6),
        ("store.gc_interval_h", float("nan")),
        ("store.hub", "hub.example"),
        ("store.hub", "file:///etc/passwd"),
        ("store.hub", "https://user@hub.example"),
        ("store.hub", "https://hub.example/?q=1"),
        ("store.hub", "https://Hub.example"),
        ("store.hub", "https://hub.example\n"),
        ("store.hosts", ["registry.example"]),
        ("store.hosts", {"*": {}}),
        ("store.hosts", {"https://registry.example": {}}),
        ("store.hosts", {"registry.example/v2": {}}),
        ("store.hosts", {"Registry.example": {}}),
        ("store.hosts", {"registry.example:": {}}),
        ("store.hosts", {"registry.example:0": {}}),
        ("store.hosts", {"registry.example:65536": {}}),
        ("store.hosts", {"registry.example\n": {}}),
        ("store.hosts", {"user@registry.example": {}}),
        ("store.hosts", {"a..b": {}}),
        ("store.hosts", {"": {}}),
        ("store.hosts", {"registry.example": True}),
        ("store.hosts", {"registry.example": {"insecure": "no"}}),
        ("store.hosts", {"registry.example": {"redirects_to": "blobs.example"}}),
        ("store.hosts", {"registry.example": {"redirects_to": ["*"]}}),
        ("access.keys", {"short": SHA256}),
        ("access.keys", {"abcd1234": "ek_abcd1234_secret"}),
        ("access.keys", {"abcd1234": {}}),
        ("access.keys", {"abcd1234": {"scopes": ["infer"]}}),
        ("access.keys", {"abcd1234": {"sha256": SHA256, "scopes": []}}),
        ("access.keys", {"abcd1234": {"sha256": SHA256, "scopes": ["models"]}}),
        ("access.keys", {"abcd1234": {"sha256": SHA256, "scopes": "infer"}}),
        ("access.keys", {"abcd1234": {"sha256": SHA256, "scope": ["infer"]}}),
        ("server.proxy_socket", 5),
        ("server.proxy_socket", "/run/" + "a" * 120),
        ("server.proxy_socket", "/run/a\0b"),
        ("access.keys", {"abcd1234": {"sha256": SHA256, "concurrency": 0}}),
        ("access.trusted_subnets", ["10.0.0.1/8"]),
        ("access.trusted_subnets", ["lan"]),
        ("server.trusted_proxies", ["*"]),
        ("server.trusted_proxies", ["localhost"]),
        ("server.trusted_proxies", ["127.0.0.1:80"]),
        ("server.trusted_proxies", ["10.0.0.1/8"]),
        ("server.trusted_proxies", "127.0.0.2"),
        ("data.dir", ""),
        ("log.level", "loud"),
    ],
)
def test_a_wrong_value_is_an_error_with_its_key(key: str, value: object) -> None:
    assert refusal(overrides={key: value}).startswith(f"command line: {key}")


def test_a_configuration_never_changes() -> None:
    config = Config()
    with pytest.raises(ValidationError):
        config.server.listen = "0.0.0.0:1"


@pytest.mark.parametrize(
    ("text", "parts"),
    [("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:11434", ("::1", 11434)), ("localhost:80", ("localhost", 80))],
)
def test_an_address_is_split_into_host_and_port(text: str, parts: tuple[str, int]) -> None:
    assert parse_listen(text) == parts


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.4", False),
        ("board.local", False),
    ],
)
def test_only_loopback_counts_as_private(host: str, private: bool) -> None:
    assert is_loopback(host) is private


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "128.0.0.0/1", "2000::/3", "0.0.0.0/7"])
def test_a_trusted_subnet_that_lets_everyone_in_has_to_be_meant(network: str) -> None:
    with pytest.raises(ConfigError, match="allow_everyone = true"):
        load(overrides={"access.trusted_subnets": ["10.0.0.0/8", network]})
    told = load(overrides={"access.trusted_subnets": [network], "access.allow_everyone": True})
    assert told.access.trusted_subnets == (network,)


def test_a_key_is_a_hash_or_a_table_with_scopes(tmp_path: Path) -> None:
    keys = load(
        written(
            tmp_path,
            f'[access.keys]\nabcd1234 = "{SHA256}"\n'
            f'efgh5678 = {{ sha256 = "{SHA256}", scopes = ["models:read", "metrics"] }}\n'
            f'ijkl9012 = {{ sha256 = "{SHA256}" }}\n',
        )
    ).access.keys
    assert {key_id: (key.sha256, key.scopes) for key_id, key in keys.items()} == {
        "abcd1234": (SHA256, ("infer",)),
        "efgh5678": (SHA256, ("models:read", "metrics")),
        "ijkl9012": (SHA256, ("infer",)),
    }


def test_the_scopes_of_the_file_are_those_that_the_door_knows() -> None:
    assert set(get_args(KeyScope)) == set(Scope)
    assert set(KeySettings(sha256=SHA256).scopes) == DEFAULT


def test_a_key_that_was_written_in_place_of_its_hash_is_not_told(tmp_path: Path) -> None:
    for entry in ('"ek_abcd1234_secret"', '{ sha256 = "ek_abcd1234_secret" }'):
        told = refusal(written(tmp_path, f"[access.keys]\nabcd1234 = {entry}\n"))
        assert "a SHA-256 in 64" in told
        assert "secret" not in told


def test_an_unknown_field_of_a_key_is_told_with_those_there_are(tmp_path: Path) -> None:
    text = f'[access.keys]\nabcd1234 = {{ sha256 = "{SHA256}", scope = ["infer"] }}\n'
    assert "no such key; known: sha256, scopes, name, models, " in refusal(written(tmp_path, text))
