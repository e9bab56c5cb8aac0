"""Which proxy a URL is asked through.

A list of exemptions is read as curl reads `NO_PROXY`: a name stands for itself and what is below
it, with or without a dot before it; an address for itself; `*` for everything; and beyond curl,
`10.0.0.0/8` for a network and `host:port` for one port. Names are compared, never looked up.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from modelfetch.core.origins import host_of, origin
from modelfetch.errors import InvalidConfiguration

__all__ = ["Proxies", "checked_proxy", "exemption"]

_HINT = "Give a proxy such as http://proxy.example:3128; one for SOCKS cannot be used."


class Proxies:
    """A choice of proxies.

    Args:
        by_scheme: URLs of proxies for `http`, `https`, and `all` for what has none of its own.
        is_exempt: Says which host and port are asked directly.
    """

    def __init__(self, by_scheme: Mapping[str, str], is_exempt: Callable[[str, int], bool]) -> None:
        self._by_scheme, self._is_exempt = dict(by_scheme), is_exempt

    def of(self, url: str) -> str | None:
        """Return the URL of the proxy for `url`, `None` for none. It may have a password in it.

        Raises:
            InvalidConfiguration: It is of a kind that cannot be used.
            ValueError: `url` is not an http(s) URL.
        """
        scheme, host, port = origin(url)
        proxy = self._by_scheme.get(scheme) or self._by_scheme.get("all")
        if not proxy or self._is_exempt(host, port):
            return None
        return checked_proxy(proxy)


def checked_proxy(text: object) -> str:
    """Return the URL of a proxy; what has no scheme is http, as everywhere.

    Raises:
        InvalidConfiguration: It is none that can be used. The message has no password in it.
    """
    url = text.strip() if isinstance(text, str) else ""
    url = url if "://" in url else f"http://{url}"
    try:
        origin(url)
        parts = urlsplit(url)
        is_plain = url.isascii() and url.isprintable() and " " not in url
        # A password with a slash in it ends as a path, and its beginning would pass for a host.
        is_sound = is_plain and parts.path in ("", "/") and not (parts.query or parts.fragment)
    except ValueError:
        is_sound = False
    if not is_sound:
        raise InvalidConfiguration(
            f"The proxy {_shown(url)} is not an http(s) proxy.", hint=_HINT
        ) from None
    return url


def _shown(url: str) -> str:
    """Return what may be told of it: a password may stand anywhere before the last at-sign."""
    scheme, _, rest = url.partition("://")
    host = host_of(f"//{rest.rpartition('@')[2]}")
    is_telling = scheme.isalnum() and host.isascii() and host.isprintable()
    return f"{scheme}://{host}" if is_telling else "that is set"


def exemption(listed: str) -> Callable[[str, int], bool]:
    """Return what says whether a host and port are in a list like that of `NO_PROXY`."""
    entries = [entry.lower() for entry in listed.replace(",", " ").split()]

    def is_exempt(host: str, port: int) -> bool:
        return any(_fits(entry, host.lower().rstrip("."), port) for entry in entries)

    return is_exempt


def _fits(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    name, colon, number = entry.rpartition(":")
    if colon and number.isdecimal() and (":" not in name or name.endswith("]")):
        if int(number) != port:
            return False
        entry = name
    entry = entry.strip("[]")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = entry.removeprefix("*").strip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))
    try:
        return address in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
