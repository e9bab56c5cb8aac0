from __future__ import annotations

import pytest

from modelfetch.core.origins import host_of, next_url, origin

SIGNED = "https://cdn.example/a%2fb/x?P=%27%27&Sig=a+b~c%3D&empty=&q?"


def test_an_absolute_location_passes_byte_for_byte() -> None:
    assert next_url("https://hub.example/o/r/resolve/main/f", SIGNED) == SIGNED


def test_a_relative_location_keeps_its_query() -> None:
    base = "https://hub.example:8443/o/r/resolve/main/f?x=1"
    assert next_url(base, "/api/resolve-cache/f?%2Fe&etag=%22a%22") == (
        "https://hub.example:8443/api/resolve-cache/f?%2Fe&etag=%22a%22"
    )
    assert next_url(base, "g?y=2") == "https://hub.example:8443/o/r/resolve/main/g?y=2"


@pytest.mark.parametrize(
    "location",
    [
        "http://cdn.example/x",
        "ftp://cdn.example/x",
        "file:///etc/passwd",
        "https:///x",
        "https://a..b/x",
        "https://.example/x",
        f"https://{'x' * 64}/x",
        "https://cdn.example/a b",
        "https://cdn.example/\r\nX: 1",
        "https://cdn.example/ü",
    ],
)
def test_a_redirect_that_leads_nowhere_good(location: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        next_url("https://hub.example/f", location)


def test_origins_know_default_ports() -> None:
    assert origin("https://Hub.Example/x") == origin("https://hub.example:443/y")
    assert origin("http://hub.example/") != origin("https://hub.example/")


def test_a_host_for_messages_has_no_secret() -> None:
    assert host_of(SIGNED) == "cdn.example"
    assert host_of("https://user:pw@cdn.example:81/x") == "cdn.example:81"
