"""Which host is asked through which proxy."""

from __future__ import annotations

import pytest

from modelfetch import InvalidConfiguration
from modelfetch.core.proxies import Proxies, checked_proxy, exemption


@pytest.mark.parametrize(
    ("listed", "host", "is_exempt"),
    [
        ("", "hub.example", False),
        ("*", "hub.example", True),
        ("a.example, hub.example", "hub.example", True),
        ("a.example hub.example", "hub.example", True),
        ("hub.example", "HUB.example.", True),
        ("HUB.EXAMPLE", "hub.example", True),
        ("hub.example", "cdn.hub.example", True),
        (".hub.example", "cdn.hub.example", True),
        (".hub.example", "hub.example", True),
        ("*.hub.example", "cdn.hub.example", True),
        ("hub.example", "evilhub.example", False),
        ("hub.example", "hub.example.org", False),
        (".", "hub.example", False),
        ("example:444", "hub.example", False),
        ("example:443", "hub.example", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.12", False),
        ("127.0.0.1:443", "127.0.0.1", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "10.example", False),
        ("10.1.2.3/8", "10.9.9.9", True),
        ("0.1", "127.0.0.1", False),
        ("::1", "::1", True),
        ("[::1]", "::1", True),
        ("[::1]:443", "::1", True),
        ("[::1]:444", "::1", False),
        ("fd00::/8", "fd12::1", True),
        ("fd00::/8", "127.0.0.1", False),
        ("127.0.0.0/33", "127.0.0.1", False),
    ],
)
def test_exemptions(listed: str, host: str, is_exempt: bool) -> None:
    assert exemption(listed)(host, 443) is is_exempt


def test_the_proxy_of_the_scheme_then_that_of_all() -> None:
    proxies = Proxies({"https": "one.example:1", "all": "http://two.example"}, exemption("x.test"))
    assert proxies.of("https://hub.example/a") == "http://one.example:1"
    assert proxies.of("http://hub.example/a") == "http://two.example"
    assert proxies.of("https://x.test") is None
    assert Proxies({}, exemption("")).of("https://hub.example") is None
    assert Proxies({"https": ""}, exemption("")).of("https://hub.example") is None


def test_an_unfit_proxy_is_an_error_only_where_it_would_be_used() -> None:
    proxies = Proxies({"all": "socks5://proxy.example"}, exemption("x.test"))
    assert proxies.of("https://x.test") is None
    with pytest.raises(InvalidConfiguration, match=r"socks5://proxy\.example"):
        proxies.of("https://hub.example")


@pytest.mark.parametrize(
    "text", ["http://p:1", "https://p", "http://u:p%40@[::1]:3128/", "HTTP://P", " http://p "]
)
def test_fit_proxies(text: str) -> None:
    assert checked_proxy(text) == text.strip()
