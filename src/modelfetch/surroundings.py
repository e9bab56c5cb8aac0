"""What stands between this machine and the Hub: proxies, certificates, and who one is there.

A proxy that is set is used for everything but what `NO_PROXY` exempts. Otherwise the environment
decides, and where it says nothing, on Windows and macOS, the system's settings do.
"""

from __future__ import annotations

import os
import ssl
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from modelfetch.config import Config
from modelfetch.core.origins import host_of, is_loopback, origin
from modelfetch.core.proxies import Proxies, exemption
from modelfetch.errors import InvalidConfiguration

__all__ = ["Place", "hub_fields", "needs_own_client", "places_of", "proxies_for", "trust_for"]


class Place(NamedTuple):
    """One endpoint.

    Attributes:
        config: The settings for it, which have it as the only endpoint.
        is_hub: Whether the token is for it.
    """

    config: Config
    is_hub: bool

    @property
    def host(self) -> str:
        """`host[:port]` for messages."""
        return host_of(self.config.endpoint)


def places_of(config: Config) -> list[Place]:
    """Return the endpoints in the order in which to ask them."""
    hub, places = origin(config.endpoint), []
    for endpoint in config.endpoints or (config.endpoint,):
        is_hub = origin(endpoint) == hub
        headers = config.headers if is_hub else {}
        alone = replace(config, endpoint=endpoint, endpoints=(), headers=headers)
        places.append(Place(alone, is_hub))
    return places


def hub_fields(config: Config, token: str | None) -> dict[str, str]:
    """Return the header fields that are for the origin of the endpoint, and for no other.

    Raises:
        InvalidConfiguration: They would go over the network in the clear.
    """
    fields = dict(config.headers)
    if token is not None and not any(name.lower() == "authorization" for name in fields):
        fields["Authorization"] = f"Bearer {token}"
    if fields and not config.allow_http_token and _is_open(config):
        what = "A token" if token is not None else "The headers"
        raise InvalidConfiguration(
            f"{what} would go to {host_of(config.endpoint)} over http, for everybody on the way "
            "to read.",
            hint="Use https; or no token (token=False, MODELFETCH_TOKEN=0) and no headers; or, "
            "on a network that you trust, allow_http_token=True (MODELFETCH_ALLOW_HTTP_TOKEN=1).",
            host=host_of(config.endpoint),
        )
    return fields


def _is_open(config: Config) -> bool:
    """Return whether what is sent to the endpoint can be read on a network."""
    scheme, host, _ = origin(config.endpoint)
    is_here = is_loopback(host) or host == "localhost" or host.endswith(".localhost")
    # What is called loopback is somebody else's when a proxy is asked for it.
    return scheme == "http" and not (is_here and proxies_for(config).of(config.endpoint) is None)


def proxies_for(config: Config) -> Proxies:
    """Return the proxies to use."""
    environment = _environment()
    is_exempt = exemption(environment.get("no", ""))
    if config.proxy is False:
        return Proxies({}, is_exempt)
    if isinstance(config.proxy, str):
        return Proxies({"all": config.proxy}, is_exempt)
    if environment or sys.platform not in ("win32", "darwin"):
        return Proxies(environment, is_exempt)
    from urllib.request import getproxies, proxy_bypass

    return Proxies(getproxies(), lambda host, _: bool(proxy_bypass(host)))


def needs_own_client(config: Config) -> bool:
    """Return whether metadata cannot be left to huggingface_hub's session.

    That reads `NO_PROXY` in another way in places (`[::1]:80`, lists with spaces). Over https the
    worst of it is a detour; over http a proxy would see the token of an endpoint on this machine.
    """
    if config.proxy is not None or config.ca_bundle is not None:
        return True
    is_set = bool(set(_environment()) & {"http", "all"})
    is_http = origin(config.endpoint)[0] == "http"
    return is_set and is_http and proxies_for(config).of(config.endpoint) is None


def _environment() -> dict[str, str]:
    """Return the proxies that the environment names, by scheme."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return {}
    # A twentieth of what a command has to load before its first request, and most have no proxy.
    from urllib.request import getproxies_environment

    return getproxies_environment()


def trust_for(config: Config) -> ssl.SSLContext | None:
    """Return what decides whom to trust, `None` for what each HTTP library trusts; blocking.

    Raises:
        InvalidConfiguration: The bundle that is set cannot be used.
    """
    bundle = config.ca_bundle
    if bundle is None:
        return None
    try:
        # A folder is one in OpenSSL's form, with names made by `openssl rehash`.
        if bundle.is_dir():
            return ssl.create_default_context(capath=bundle)
        return ssl.create_default_context(cafile=bundle)
    except OSError as error:
        raise _unusable(bundle, error) from None


def _unusable(bundle: Path, error: OSError) -> InvalidConfiguration:
    reason = "it has no certificate" if isinstance(error, ssl.SSLError) else error.strerror
    return InvalidConfiguration(
        f"ca_bundle cannot be used: {bundle}: {reason}.",
        hint="Give a file of certificates in PEM form; REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE are "
        "read too.",
        path=str(bundle),
    )
