"""One question to the Hub about metadata, through huggingface_hub's session; blocking.

That session has the proxies, certificates, offline mode and client factory of the host program. A
proxy or certificates that are set for the engine are not for the whole process, so then it is a
client of our own, from the same library.

Its `HfApi` methods are not used: they ask a telemetry route on huggingface.co whatever the endpoint
is, and follow paging links with the token to whatever host a mirror names. Redirects are followed
here, since no library knows that a header of the user is as secret as the token.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

from modelfetch._version import __version__
from modelfetch.config import Config
from modelfetch.core.origins import host_of, next_url, origin
from modelfetch.core.refusals import refusal, refused_by_proxy
from modelfetch.errors import HubUnavailable, Offline
from modelfetch.surroundings import hub_fields, needs_own_client, proxies_for, trust_for

__all__ = ["HubCall", "Understood", "nonsense", "user_agent"]

# Of a tree a page has 1000 files: no repository is that large, but a mirror may go in circles.
MAX_PAGES = 1000
MAX_REDIRECTS = 10


def user_agent(config: Config) -> str:
    """Return the User-Agent of all requests."""
    own = f"modelfetch/{__version__}"
    return f"{config.user_agent} {own}" if config.user_agent else own


class HubCall:
    """Requests about one repository, within a `with`.

    Args:
        config: The endpoint, and how long it may take.
        token: Access token, `None` for none.
        repo: `owner/name` that it is about, for errors.
        revision: Revision that it is about, for errors.

    Raises:
        Offline: Offline mode is on; nothing is asked.
        InvalidConfiguration: The proxy or the certificates cannot be used.
    """

    def __init__(self, config: Config, token: str | None, repo: str, revision: str) -> None:
        if config.offline:
            raise Offline(
                "Offline mode is on.",
                hint="Unset HF_HUB_OFFLINE, or ask for a model in the cache.",
            )
        self._config, self._repo, self._revision = config, repo, revision
        self._host = host_of(config.endpoint)
        self._hub = origin(config.endpoint)
        self._hub_fields = hub_fields(config, token)
        self._proxies = proxies_for(config)
        self._proxies.of(config.endpoint)  # huggingface_hub fails in its own way if that is unfit
        self._own: Any = None

    def __enter__(self) -> Self:
        if needs_own_client(self._config):
            library, proxy = _library(), self._proxies.of(self._config.endpoint)
            trust = trust_for(self._config) or library.create_ssl_context()
            if proxy is not None and origin(proxy)[0] == "https":
                proxy = library.Proxy(proxy, ssl_context=trust)
            self._own = library.Client(proxy=proxy, verify=trust, trust_env=False)
        return self

    def __exit__(self, *_: object) -> None:
        if self._own is not None:
            self._own.close()

    def json(self, url: str) -> Any:
        """Return the JSON that `url` answers."""
        return self._get(url)[0]

    def pages(self, url: str, most: int | None = None) -> Iterator[Any]:
        """Yield the entries of all pages from `url` on; each page stays on the endpoint.

        Args:
            url: The first page.
            most: How many pages there may be; `None` for the bound of this module.
        """
        most = MAX_PAGES if most is None else most
        for _ in range(most):
            entries, link = self._get(url)
            with self.understood():
                yield from entries
                if not link:
                    return
                url = self._on_endpoint(urljoin(url, link))
        raise nonsense(self._host, f"more than {most} pages")

    def understood(self) -> Understood:
        """Return a context in which surprises in an answer become a `HubUnavailable`."""
        return Understood(self._host)

    def _on_endpoint(self, link: str) -> str:
        parts = urlsplit(link)
        root = urlsplit(self._config.endpoint)
        is_below = parts.path.startswith(f"{root.path}/")
        path = parts.path if is_below else root.path + parts.path
        return f"{root.scheme}://{root.netloc}{path}?{parts.query}"

    def _get(self, url: str) -> tuple[Any, str | None]:
        for _ in range(MAX_REDIRECTS):
            answer = self._answer(url)
            status, headers, host = answer.status_code, answer.headers, host_of(url)
            if 300 <= status < 400 and "Location" in headers:
                try:
                    url = next_url(url, headers["Location"])
                except ValueError as error:
                    raise nonsense(host, f"a bad redirect: {error}") from None
                continue
            if status == 407 and (proxy := self._proxies.of(url)) is not None:
                raise refused_by_proxy(HubUnavailable, status, host_of(proxy), host)
            if status != 200:
                raise refusal(status, headers, host, self._repo, self._revision, time.time())
            with self.understood():
                return answer.json(), answer.links.get("next", {}).get("url")
        raise nonsense(self._host, "redirects without end")

    def _answer(self, url: str) -> Any:
        from huggingface_hub import get_session
        from huggingface_hub.errors import OfflineModeIsEnabled

        fields = {"User-Agent": user_agent(self._config)}
        if origin(url) == self._hub:
            fields |= self._hub_fields
        try:
            session = get_session() if self._own is None else self._own
            return session.get(
                url, headers=fields, timeout=self._config.hub_timeout, follow_redirects=False
            )
        except OfflineModeIsEnabled:
            raise Offline("Offline mode is on.", hint="Unset HF_HUB_OFFLINE.") from None
        except (_library().HTTPError, _library().InvalidURL, OSError, ValueError) as error:
            raise self._silence(url, error) from None

    def _silence(self, url: str, error: Exception) -> HubUnavailable:
        host, proxy = host_of(url), self._proxies.of(url)
        if proxy is not None and type(error).__name__ == "ProxyError":
            # Its text begins with the status that the proxy gave.
            said = str(error)[:3]
            status = int(said) if said.isdecimal() else None
            return refused_by_proxy(HubUnavailable, status, host_of(proxy), host)
        through = f" through the proxy {host_of(proxy)}" if proxy is not None else ""
        return HubUnavailable(
            f"{host} gives no answer{through}: {type(error).__name__}.",
            host=host,
            hint="Check the network, HF_ENDPOINT and any proxy.",
        )


def _library() -> Any:
    """Return the HTTP library of huggingface_hub, which need not be named: it has changed."""
    from huggingface_hub.errors import HfHubHTTPError

    base = next(it for it in HfHubHTTPError.__mro__ if it.__name__ == "HTTPError")
    return importlib.import_module(base.__module__.partition(".")[0])


class Understood:
    """Turns what parsing raises into an error that names the host."""

    def __init__(self, host: str) -> None:
        self._host = host

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: object, _: object) -> None:
        if kind is not None and issubclass(
            kind, ValueError | KeyError | TypeError | AttributeError | RecursionError
        ):
            raise nonsense(self._host, "something that is not the Hub's answer") from None


def nonsense(host: str, what: str) -> HubUnavailable:
    """Return the error for an answer that no Hub gives."""
    return HubUnavailable(
        f"{host} sent {what}.",
        host=host,
        hint="Is the endpoint a Hub, and is there a proxy or a login page between?",
    )
