"""One question to the Hub about metadata; blocking.

In a program that uses huggingface_hub it goes through the session of that, which is the program's
to set. In one that does not, nobody can have set anything there, and loading it for one answer
takes a tenth of a second: where no proxy is on the way, `direct` asks.

Its `HfApi` methods are not used: they ask a telemetry route on huggingface.co whatever the endpoint
is, and follow paging links with the token to whatever host a mirror names. Redirects are followed
here, since no library knows that a header of the user is as secret as the token.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

from modelfetch._version import __version__
from modelfetch.config import Config
from modelfetch.core.origins import host_of, next_url, origin
from modelfetch.core.refusals import refusal, refused_by_proxy
from modelfetch.direct import FAILURES, Answer, Direct
from modelfetch.errors import HubUnavailable, ModelFetchError, Offline
from modelfetch.http1 import Malformed
from modelfetch.hubsession import HubSession, is_in_use
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
        self._session = HubSession(config)
        self._direct: Direct | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()
        if self._direct is not None:
            self._direct.close()

    def json(self, url: str) -> Any:
        """Return the JSON that `url` answers."""
        answer = self._get(url)
        with self.understood():
            return answer.json()

    def pages(self, url: str, most: int | None = None) -> Iterator[Any]:
        """Yield the entries of all pages from `url` on; each page stays on the endpoint.

        Args:
            url: The first page.
            most: How many pages there may be; `None` for the bound of this module.
        """
        most = MAX_PAGES if most is None else most
        for _ in range(most):
            answer = self._get(url)
            with self.understood():
                link = answer.next_page
                yield from answer.json()
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

    def _get(self, url: str) -> Answer:
        for _ in range(MAX_REDIRECTS):
            answer = self._answer(url)
            status, headers, host = answer.status, answer.headers, host_of(url)
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
            return answer
        raise nonsense(self._host, "redirects without end")

    def _answer(self, url: str) -> Answer:
        fields = {"User-Agent": user_agent(self._config)}
        if origin(url) == self._hub:
            fields |= self._hub_fields
        proxy = self._proxies.of(url)
        if proxy is None and (needs_own_client(self._config) or not is_in_use()):
            if self._direct is None:
                self._direct = Direct(trust_for(self._config), self._config.hub_timeout)
            try:
                return self._direct.get(url, fields)
            except FAILURES as error:
                raise self._silence(url, error) from None
        try:
            return self._session.get(url, fields, proxy)
        except ModelFetchError:
            raise
        except self._session.failures as error:
            raise self._silence(url, error) from None

    def _silence(self, url: str, error: Exception) -> HubUnavailable:
        host, proxy = host_of(url), self._proxies.of(url)
        if proxy is not None and type(error).__name__ == "ProxyError":
            # Its text begins with the status that the proxy gave.
            said = str(error)[:3]
            status = int(said) if said.isdecimal() else None
            return refused_by_proxy(HubUnavailable, status, host_of(proxy), host)
        what = error if isinstance(error, Malformed) else type(error).__name__
        through = f" through the proxy {host_of(proxy)}" if proxy is not None else ""
        return HubUnavailable(
            f"{host} gives no answer{through}: {what}.",
            host=host,
            hint="Check the network, HF_ENDPOINT and any proxy.",
        )


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
