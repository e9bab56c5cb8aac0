"""One question to the Hub about metadata, through huggingface_hub's session; blocking.

That session has the proxies, certificates, offline mode and client factory of the host program.
Its `HfApi` methods are not used: they ask a telemetry route on huggingface.co whatever the endpoint
is, and follow paging links with the token to whatever host a mirror names.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from modelfetch._version import __version__
from modelfetch.config import Config
from modelfetch.core.origins import host_of
from modelfetch.core.refusals import refusal
from modelfetch.errors import HubUnavailable, Offline

__all__ = ["HubCall", "Understood", "nonsense", "user_agent"]

# Of a tree a page has 1000 files: no repository is that large, but a mirror may go in circles.
MAX_PAGES = 1000


def user_agent(config: Config) -> str:
    """Return the User-Agent of all requests."""
    own = f"modelfetch/{__version__}"
    return f"{config.user_agent} {own}" if config.user_agent else own


class HubCall:
    """Requests about one repository through huggingface_hub's session.

    Args:
        config: The endpoint, and how long it may take.
        token: Access token, `None` for none.
        repo: `owner/name` that it is about, for errors.
        revision: Revision that it is about, for errors.

    Raises:
        Offline: Offline mode is on; nothing is asked.
    """

    def __init__(self, config: Config, token: str | None, repo: str, revision: str) -> None:
        if config.offline:
            raise Offline(
                "Offline mode is on.",
                hint="Unset HF_HUB_OFFLINE, or ask for a model in the cache.",
            )
        self._config, self._repo, self._revision = config, repo, revision
        self._host = host_of(config.endpoint)
        self._headers = {"User-Agent": user_agent(config)}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"

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
                url = self._on_endpoint(link)
        raise nonsense(self._host, f"more than {most} pages")

    def understood(self) -> Understood:
        """Return a context in which surprises in an answer become a `HubUnavailable`."""
        return Understood(self._host)

    def _on_endpoint(self, link: str) -> str:
        parts = urlsplit(link)
        root = urlsplit(self._config.endpoint)
        path = parts.path if parts.path.startswith(root.path) else root.path + parts.path
        return f"{root.scheme}://{root.netloc}{path}?{parts.query}"

    def _get(self, url: str) -> tuple[Any, str | None]:
        from huggingface_hub import get_session
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        # The base of huggingface_hub's errors is that of its HTTP library, which we need not name.
        failures: type[BaseException] = next(
            base
            for base in HfHubHTTPError.__mro__
            if base.__name__ == "HTTPError" and issubclass(base, BaseException)
        )
        try:
            answer = get_session().get(url, headers=self._headers, timeout=self._config.hub_timeout)
        except OfflineModeIsEnabled:
            raise Offline("Offline mode is on.", hint="Unset HF_HUB_OFFLINE.") from None
        except (failures, OSError, ValueError) as error:
            raise HubUnavailable(
                f"{self._host} gives no answer: {type(error).__name__}.",
                host=self._host,
                hint="Check the network, HF_ENDPOINT and any proxy.",
            ) from None
        if answer.status_code != 200:
            status, headers = answer.status_code, answer.headers
            raise refusal(status, headers, self._host, self._repo, self._revision, time.time())
        with self.understood():
            return answer.json(), answer.links.get("next", {}).get("url")


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
