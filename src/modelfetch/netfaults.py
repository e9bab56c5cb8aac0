"""What goes wrong between here and a host, in words that help, and with no secret in them."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator

from modelfetch.connector import ProxyRefused, Unreachable, reason
from modelfetch.core.origins import host_of
from modelfetch.core.refusals import refused_by_proxy
from modelfetch.errors import ModelFetchError, NetworkError
from modelfetch.http1 import Malformed

__all__ = ["network_errors"]


@contextlib.contextmanager
def network_errors(url: str, proxy: str | None = None) -> Iterator[None]:
    """Turn each error of a connection inside into a `NetworkError`.

    Args:
        url: What was asked for.
        proxy: URL of the proxy on the way.
    """
    host = host_of(url)
    through = f" through the proxy {host_of(proxy)}" if proxy is not None else ""
    failure: NetworkError | None = None
    try:
        yield
    except ModelFetchError:
        raise  # a full disk is an `OSError` too
    except ssl.SSLError as error:
        failure = NetworkError(
            f"No secure connection to {host}{through}: {_text(error)}.",
            host=host,
            hint="Check the clock, and that the CA of a proxy between is in SSL_CERT_FILE or "
            "ca_bundle.",
        )
    except ProxyRefused as error:
        failure = refused_by_proxy(NetworkError, error.status, host_of(proxy or url), host)
    except Unreachable as error:
        failure = NetworkError(f"{host} cannot be reached: {error}.", host=host)
        if proxy is not None:
            failure = refused_by_proxy(NetworkError, None, host_of(proxy), host)
    except TimeoutError:
        failure = NetworkError(f"{host} was silent for too long{through}.", host=host)
    except (Malformed, OSError) as error:
        text = f"The connection to {host}{through} broke: {_text(error)}."
        failure = NetworkError(text, host=host)
    # Raised out here, or it would carry the other error, which may have the URL in it.
    if failure is not None:
        raise failure


def _text(error: Exception) -> str:
    return str(error) if isinstance(error, Malformed) else reason(error)
