"""Metadata through huggingface_hub's HTTP library; blocking.

Its session has the proxies, certificates, offline mode and client factory of the host program. What
is set for an engine is not for the whole process, so with that it is a client of our own, from the
same library. Which one that is has changed between its versions, so it is not named here.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

from modelfetch.config import Config
from modelfetch.core.origins import origin
from modelfetch.direct import Answer
from modelfetch.errors import Offline
from modelfetch.surroundings import needs_own_client, trust_for

__all__ = ["HubSession", "is_in_use"]


def is_in_use() -> bool:
    """Return whether anybody in this process has loaded huggingface_hub, and so may have set it."""
    return "huggingface_hub" in sys.modules


class HubSession:
    """That session, or clients of our own.

    Args:
        config: What is set for the engine.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._own: dict[str, Any] = {}

    def get(self, url: str, fields: Mapping[str, str], proxy: str | None) -> Answer:
        """Return the answer to GET of `url`; follows nothing.

        Args:
            url: Where to.
            fields: Header fields.
            proxy: What is on the way; the session knows that by itself.

        Raises:
            Offline: Offline mode is on.
            Exception: There is none; see `failures`.
        """
        from huggingface_hub.errors import OfflineModeIsEnabled

        client = self._client(proxy)
        try:
            answer = client.get(
                url,
                headers=fields,
                timeout=self._config.hub_timeout,
                follow_redirects=False,
            )
        except OfflineModeIsEnabled:
            raise Offline("Offline mode is on.", hint="Unset HF_HUB_OFFLINE.") from None
        links = answer.headers.get("Link", "")
        return Answer(answer.status_code, answer.headers, links, answer.content)

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """What is raised for a host that gives no answer, or none that is HTTP."""
        library = _library()
        return (library.HTTPError, library.InvalidURL, OSError, ValueError)

    def close(self) -> None:
        """Close what is ours."""
        for client in self._own.values():
            client.close()

    def _client(self, proxy: str | None) -> Any:
        if proxy is None or not needs_own_client(self._config):
            from huggingface_hub import get_session

            return get_session()
        if proxy not in self._own:
            library, through = _library(), proxy
            trust = trust_for(self._config) or library.create_ssl_context()
            if origin(proxy)[0] == "https":
                through = library.Proxy(proxy, ssl_context=trust)
            self._own[proxy] = library.Client(proxy=through, verify=trust, trust_env=False)
        return self._own[proxy]


def _library() -> Any:
    from huggingface_hub.errors import HfHubHTTPError

    base = next(it for it in HfHubHTTPError.__mro__ if it.__name__ == "HTTPError")
    return importlib.import_module(base.__module__.partition(".")[0])
