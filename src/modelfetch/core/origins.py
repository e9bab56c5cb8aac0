"""Where a URL leads: origins, redirects, and who may see the token.

The rules are those of the Hub's clients (its redirects mix relative and absolute ones), with one
addition: a redirect never leads from https down to http.

A signed URL is a string of bytes that its issuer signed. It is passed on as it came: parsed to look
at it, never rebuilt from its parts.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urljoin, urlsplit

__all__ = ["DEFAULT_PORTS", "host_of", "is_loopback", "next_url", "origin", "target_of"]

_ABSOLUTE = re.compile(r"https?://", re.IGNORECASE)
DEFAULT_PORTS = {"http": 80, "https": 443}


def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port (RFC 6454 section 4).

    Raises:
        ValueError: Not an http(s) URL with a host, or no host has such a name (RFC 1035 section
            2.3.4).
    """
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    if scheme not in DEFAULT_PORTS or not parts.hostname:
        raise ValueError("not an http(s) URL")
    labels = parts.hostname.removesuffix(".").split(".")
    if not all(0 < len(label) < 64 for label in labels):
        raise ValueError("no host has such a name")
    return scheme, parts.hostname.lower(), parts.port or DEFAULT_PORTS[scheme]


def target_of(url: str) -> str:
    """Return what stands in a request line (RFC 9112 section 3.2.1), as it stands in the URL."""
    rest = url.partition("://")[2].partition("#")[0]
    path = rest[len(urlsplit(url).netloc) :]
    return path if path.startswith("/") else f"/{path}"


def host_of(url: str) -> str:
    """Return `host[:port]` for messages: never the path or the query, which may be a secret."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or "unknown host"
    except ValueError:
        return "unknown host"


def is_loopback(address: str) -> bool:
    """Whether an address, not a name, is this machine's own: 127.0.0.0/8, ::1."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


def next_url(url: str, location: str) -> str:
    """Return where a redirect from `url` to `location` leads, byte-exact where it is absolute.

    Raises:
        ValueError: It leads nowhere, or from https to http.
    """
    if not location.isascii() or any(ord(char) <= 0x20 for char in location):
        raise ValueError("the redirect is not a URL")
    if _ABSOLUTE.match(location):
        target = location
    elif location.startswith("/") and not location.startswith("//"):
        parts = urlsplit(url)
        target = f"{parts.scheme}://{parts.netloc}{location}"
    else:
        target = urljoin(url, location)
    scheme = origin(target)[0]
    if scheme == "http" and origin(url)[0] == "https":
        raise ValueError("the redirect leads from https to http")
    return target
