"""Which hosts may be called: nothing but what is named."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import OutboundRefused
from appliance.store.outbound import HostSettings, Outbound, forbidden_peer, parse_origin

POLICY = Outbound(
    hosts={
        "registry.example": HostSettings(
            token="alice:secret", redirects_to=("cdn.example", "*.storage.example", "plain.example")
        ),
        "Mirror.example:8443": HostSettings(token="a-bearer-token"),
        "plain.example": HostSettings(insecure=True),
        "127.0.0.1:5000": HostSettings(insecure=True),
        "[::1]:5000": HostSettings(insecure=True),
        "10.0.0.5": HostSettings(insecure=True),
        "localhost": HostSettings(insecure=True),
    }
)


@pytest.mark.parametrize(
    "url",
    [
        "https://registry.example/v2/",
        "https://REGISTRY.example:443/v2/",
        "https://registry.example./v2/",
        "https://mirror.example:8443/",
        "http://plain.example/",
        "http://127.0.0.1:5000/",
        "http://[::1]:5000/",
    ],
)
def test_a_named_host_may_be_called(url: str) -> None:
    POLICY.check(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example/",
        "http://registry.example/",  # not marked insecure
        "https://registry.example:444/",
        "https://registry.example@elsewhere.example/",
        "https://elsewhere.example/@registry.example/",
        "https://registry.example.elsewhere.example/",
        "https://xregistry.example/",
        "https://registry.example\\@elsewhere.example/",
        "https://mirror.example/",  # named with a port
        "http://127.0.0.1/",
        "http://127.0.0.1:5001/",
        "http://127.1:5000/",
        "http://2130706433:5000/",
        "http://0x7f000001:5000/",
        "http://017700000001:5000/",
        "http://0.0.0.0:5000/",
        "http://[::ffff:127.0.0.1]:5000/",
        "http://10.0.0.5/",  # an address needs its port
        "http://localhost/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fe80::1%25eth0]/",
        "file:///etc/passwd",
        "ftp://registry.example/",
        "gopher://registry.example/",
        "//registry.example/",
        "registry.example",
        "",
        "https://",
        "https://:443/",
        "https://registry.example:0/",
        "https://registry.example:99999/",
        "https://registry.example:x/",
        "https://registry.example /",
        "https://registry.example\r\nHost: x/",
        "https://regıstry.example/",
        "https://registry.example/" + "x" * 9000,
    ],
)
def test_anything_else_may_not(url: str) -> None:
    with pytest.raises(OutboundRefused):
        POLICY.check(url)


def test_without_configuration_nothing_is_called() -> None:
    with pytest.raises(OutboundRefused):
        Outbound().check("https://registry.example/")
    with pytest.raises(OutboundRefused):
        Outbound().base_url("registry.example")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("registry.example", "https://registry.example"),
        ("plain.example", "http://plain.example"),
        ("mirror.example:8443", "https://mirror.example:8443"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000"),
    ],
)
def test_the_configuration_decides_between_tls_and_plain(host: str, url: str) -> None:
    assert POLICY.base_url(host) == url


@pytest.mark.parametrize(
    "url",
    [
        "https://registry.example/else",
        "https://cdn.example/blob?signature=x",
        "https://a.storage.example/blob",
        "https://a.b.storage.example/blob",
        "http://plain.example/blob",
    ],
)
def test_a_redirect_may_lead_where_the_first_host_allows(url: str) -> None:
    POLICY.check_redirect(POLICY.check("https://registry.example/"), url)


@pytest.mark.parametrize(
    "url",
    [
        "http://registry.example/else",  # from TLS to plain
        "http://cdn.example/blob",
        "https://storage.example/blob",
        "https://evilstorage.example/blob",
        "https://a.storage.example:8443/blob",
        "https://mirror.example:8443/",  # named, but not for this host
        "http://127.0.0.1:5000/",
        "https://127.0.0.1.storage.example.evil/",
        "file:///etc/passwd",
    ],
)
def test_a_redirect_may_lead_nowhere_else(url: str) -> None:
    first = POLICY.check("https://registry.example/")
    with pytest.raises(OutboundRefused):
        POLICY.check_redirect(first, url)


def test_a_secret_is_for_its_own_host() -> None:
    assert POLICY.authorization(POLICY.check("https://registry.example/")) == "Basic YWxpY2U6c2VjcmV0"
    assert POLICY.authorization(POLICY.check("https://mirror.example:8443/")) == "Bearer a-bearer-token"
    assert POLICY.authorization(POLICY.check("http://plain.example/")) is None
    cdn = POLICY.check_redirect(POLICY.check("https://registry.example/"), "https://cdn.example/")
    assert POLICY.authorization(cdn) is None


def test_a_secret_is_not_printed() -> None:
    assert "secret" not in repr(POLICY)


@pytest.mark.parametrize(
    ("host", "peer", "forbidden"),
    [
        ("registry.example", "203.0.113.5", False),
        ("registry.example", "192.168.1.5", False),  # a mirror in the house
        ("registry.example", "127.0.0.1", True),
        ("registry.example", "::1", True),
        ("registry.example", "::ffff:127.0.0.1", True),
        ("registry.example", "169.254.169.254", True),
        ("registry.example", "fe80::1%eth0", True),
        ("registry.example", "0.0.0.0", True),
        ("registry.example", "", True),
        ("127.0.0.1", "127.0.0.1", False),
        ("localhost", "::1", False),
    ],
)
def test_a_name_must_not_resolve_to_this_machine(host: str, peer: str, forbidden: bool) -> None:
    assert forbidden_peer(host, peer) is forbidden


WRAPPED = {
    "mapped": "::ffff:{a}.{b}.{c}.{d}",
    "compatible": "::{a}.{b}.{c}.{d}",
    "translated": "::ffff:0:{a}.{b}.{c}.{d}",
    "NAT64": "64:ff9b::{a}.{b}.{c}.{d}",
    "NAT64 local, 96 bits": "64:ff9b:1:7:8:9:{a}.{b}.{c}.{d}",
    "NAT64 local, 64 bits": "64:ff9b:1:fffe:{a:02x}:{b:02x}{c:02x}:{d:02x}00:0",
    "NAT64 local, 56 bits": "64:ff9b:1:33{a:02x}:{b:02x}:{c:02x}{d:02x}::",
    "NAT64 local, 48 bits": "64:ff9b:1:{a:02x}{b:02x}:{c:02x}:{d:02x}00::",
    "6to4": "2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1",
    "Teredo server": "2001:0:{a:02x}{b:02x}:{c:02x}{d:02x}:0:0:3434:fefa",
    "Teredo client": "2001:0:cb00:7105:0:0:{na:02x}{nb:02x}:{nc:02x}{nd:02x}",
    "ISATAP": "fd00::5efe:{a}.{b}.{c}.{d}",
    "ISATAP, universal": "2001:db8::200:5efe:{a}.{b}.{c}.{d}",
}


def wrapped(form: str, address: str) -> str:
    octets = [int(part) for part in address.split(".")]
    plain = dict(zip("abcd", octets, strict=True))
    turned = {f"n{letter}": 255 - octet for letter, octet in plain.items()}
    return str(ipaddress.IPv6Address(WRAPPED[form].format(**plain, **turned)))


@pytest.mark.parametrize("form", WRAPPED)
@pytest.mark.parametrize("own", ["127.0.0.1", "127.1.2.3", "169.254.169.254", "0.0.0.0", "224.0.0.1"])
def test_no_wrapping_in_ipv6_leads_to_this_machine(form: str, own: str) -> None:
    if own == "0.0.0.0" and "local" in form:  # a gateway sends nothing there; zeros are also what fills up
        return
    assert forbidden_peer("registry.example", wrapped(form, own))


@pytest.mark.parametrize("form", WRAPPED)
@pytest.mark.parametrize("other", ["203.0.113.5", "192.168.1.5"])
def test_a_wrapped_address_of_another_machine_is_let_pass(form: str, other: str) -> None:
    assert not forbidden_peer("registry.example", wrapped(form, other))


@pytest.mark.parametrize(
    "peer", ["64:ff9b::7f00:1", "::127.0.0.1", "::7f00:1", "2002:7f00:1::", "0.1.2.3", "::ffff:0.1.2.3"]
)
def test_the_forms_that_once_passed_do_not(peer: str) -> None:
    assert forbidden_peer("registry.example", peer)


def test_plain_addresses_of_ipv6_are_let_pass() -> None:
    for peer in ("2001:db8::1", "2606:4700::1111", "fd12:3456::1"):
        assert not forbidden_peer("registry.example", peer)


@given(st.text(max_size=60))
def test_no_text_is_more_than_refused(text: str) -> None:
    for url in (text, f"https://{text}", f"https://{text}/", f"http://registry.example{text}"):
        origin = parse_origin(url)
        assert origin is None or (origin.host == origin.host.lower() and 0 < origin.port < 65536)


@given(st.from_regex(r"https?://[a-z0-9.@:\[\]%#?/\\-]{0,40}", fullmatch=True))
def test_what_is_let_through_is_a_named_host(url: str) -> None:
    try:
        origin = POLICY.check(url)
    except OutboundRefused:
        return
    named = {"registry.example", "mirror.example", "plain.example", "127.0.0.1", "::1"}
    assert origin.host in named
