"""How settings are read from texts, and what is refused."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from modelfetch.core.bounds import Bounds
from modelfetch.core.retry import RetryPolicy
from modelfetch.errors import InvalidConfiguration

__all__ = [
    "DAY",
    "DEFAULT_ENDPOINT",
    "boolean",
    "bundle_of_requests",
    "check_retry",
    "checked_endpoint",
    "checked_endpoints",
    "checked_headers",
    "checked_names",
    "checked_path",
    "checked_paths",
    "headers_of",
    "hubs_boolean",
    "is_field_value",
    "is_token",
    "least_rate",
    "names_of",
    "parse_rate",
    "paths_of",
    "proxy_of",
    "retry_of",
    "setting",
    "token_of",
]

DEFAULT_ENDPOINT = "https://huggingface.co"
DAY = 86400.0
_TRUE = frozenset({"1", "ON", "YES", "TRUE"})  # huggingface_hub's reading of booleans
_FALSE = frozenset({"0", "OFF", "NO", "FALSE"})
_FIELD_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 section 5.6.2
# Fields with which the transfer itself works, and those that are for one connection only.
_OWN_FIELDS = {
    "accept-encoding", "connection", "content-encoding", "content-length", "cookie", "expect",
    "host", "if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since",
    "keep-alive", "range", "te", "trailer", "transfer-encoding", "upgrade", "user-agent",
}  # fmt: skip
_RATE = re.compile(r"(\d+(?:\.\d+)?) ?([kmg]?)i?b?(?:/s)?", re.IGNORECASE)
_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_T = TypeVar("_T")

_RETRY_BOUNDS = {
    "attempts": Bounds(1, 1_000_000, whole=True),
    "base_seconds": Bounds(0, DAY, "seconds"),
    "max_seconds": Bounds(0, DAY, "seconds"),
}


def parse_rate(text: str) -> float:
    """Return the bytes per second that `20M`, `500k`, `1.5G` or `1000000` mean (decimal units).

    Raises:
        ValueError: It is none of those, or zero.
    """
    match = _RATE.fullmatch(text.strip())
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{text!r} is not a rate; try 20M for 20 million bytes per second")
    return float(match[1]) * _UNITS[match[2].lower()]


def least_rate(text: str) -> float:
    """Return what `parse_rate` does, and 0 for `0`. Raises: as `parse_rate`."""
    return 0.0 if text.strip() == "0" else parse_rate(text)


def boolean(text: str) -> bool:
    """Return what a word for yes or no means.

    Raises:
        ValueError: It is neither.
    """
    if text.upper() not in _TRUE | _FALSE:
        raise ValueError(f"{text!r} is neither yes nor no; try 1 or 0")
    return text.upper() in _TRUE


def hubs_boolean(text: str) -> bool:
    """Return what huggingface_hub takes a word for: what is not yes is no."""
    return text.upper() in _TRUE


def token_of(text: str) -> str | bool | None:
    """Return the token; `False` for a word that means none."""
    return False if text.upper() in _FALSE else text


def proxy_of(text: str) -> str | bool | None:
    """Return the URL of a proxy; `False` for a word that means none."""
    return False if text.upper() in _FALSE else text


def bundle_of_requests() -> Path | None:
    """Return the certificates that requests and curl would use, unless OpenSSL's variables say."""
    if os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR"):
        return None
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    return next((Path(text) for name in names if (text := os.environ.get(name, "").strip())), None)


def headers_of(text: str) -> Mapping[str, str]:
    """Return the fields in lines of `Name: value`."""
    headers = {}
    for line in filter(str.strip, text.splitlines()):
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError("a line is not `Name: value`")
        headers[name.strip()] = value.strip()
    return headers


def retry_of(text: str) -> RetryPolicy:
    """Return the policy that one to three numbers mean: attempts, base and longest wait."""
    words = text.split(",")
    if len(words) > 3:
        raise ValueError(f"{text!r} is not attempts,base_seconds,max_seconds; try 30,0.25,30")
    return RetryPolicy(int(words[0]), *map(float, words[1:]))


def names_of(text: str) -> tuple[str, ...]:
    """Return the names in a list with commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def paths_of(text: str) -> tuple[Path, ...]:
    """Return the paths in a list, divided as in `PATH`."""
    return tuple(Path(path) for path in text.split(os.pathsep) if path)


def setting(
    name: str,
    convert: Callable[[str], _T],
    default: Callable[[], _T],
    **also: Callable[[str], _T],
) -> Callable[[], _T]:
    """Return what reads the field `name` from `MODELFETCH_<NAME>`, else a variable in `also`."""

    def value() -> _T:
        for variable, converter in {f"MODELFETCH_{name.upper()}": convert, **also}.items():
            text = os.environ.get(variable, "").strip()
            if text:
                try:
                    return converter(text)
                except ValueError as error:
                    raise InvalidConfiguration(f"{variable} cannot be used: {error}.") from None
        return default()

    return value


def is_token(text: str) -> bool:
    """Return whether a text may be a token."""
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def is_field_value(text: object) -> bool:
    """Return whether a text may be the value of a header field."""
    return isinstance(text, str) and text.isascii() and text.isprintable()


def checked_path(name: str, path: object) -> Path:
    """Return an absolute path.

    Raises:
        InvalidConfiguration: It is none.
    """
    hint = "Give a folder such as /var/lib/models, or leave it out: there is a default."
    if not isinstance(path, str | os.PathLike) or not os.fspath(path) or "\0" in str(path):
        raise InvalidConfiguration(f"{name} is not a path: {path!r}.", hint=hint)
    try:
        return Path(path).expanduser().absolute()
    except (RuntimeError, TypeError):
        raise InvalidConfiguration(f"{name} names a home that is not there.", hint=hint) from None


def checked_paths(name: str, paths: object) -> tuple[Path, ...]:
    """Return a list of absolute paths.

    Raises:
        InvalidConfiguration: It is none.
    """
    if not isinstance(paths, Sequence) or isinstance(paths, str | bytes):
        raise InvalidConfiguration(
            f"{name} is not a list of paths.", hint="Give a list of folders."
        )
    return tuple(checked_path(name, path) for path in paths)


def checked_names(name: str, names: object) -> tuple[str, ...]:
    """Return a list of texts.

    Raises:
        InvalidConfiguration: It is none.
    """
    if isinstance(names, Sequence) and not isinstance(names, str):
        texts = tuple(text for text in names if isinstance(text, str))
        if len(texts) == len(names):
            return texts
    raise InvalidConfiguration(f"{name} is not a list of names.", hint="Give a list of texts.")


def checked_headers(headers: object) -> Mapping[str, str]:
    """Return a copy of fields that can be sent beside our own.

    Raises:
        InvalidConfiguration: They cannot. The message has no value in it, which may be a secret.
    """
    if not isinstance(headers, Mapping):
        raise InvalidConfiguration("headers is no mapping.", hint='Give {"Name": "value"}.')
    for name, value in headers.items():
        if not isinstance(name, str) or not _FIELD_NAME.fullmatch(name):
            raise InvalidConfiguration(
                "headers has a name that no header field has.", hint="Such as X-Team, no colon."
            )
        if name.lower() in _OWN_FIELDS or name.lower().startswith("proxy-"):
            raise InvalidConfiguration(
                f"headers has {name}, which is not for it.",
                hint="modelfetch sets it itself; user_agent and proxy are settings of their own.",
            )
        if not is_field_value(value) or value != value.strip():
            raise InvalidConfiguration(
                f"headers has a value for {name} that a header field cannot have.",
                hint="Give printable ASCII, without line ends.",
            )
    if len({name.lower() for name in headers}) != len(headers):
        raise InvalidConfiguration("headers has a name twice.", hint="Give each once.")
    return dict(headers)


def check_retry(retry: object) -> None:
    """Check a policy.

    Raises:
        InvalidConfiguration: It is none, or its numbers make no sense.
    """
    if not isinstance(retry, RetryPolicy):
        raise InvalidConfiguration(f"retry is {retry!r}.", hint="Give a RetryPolicy.")
    for name, bounds in _RETRY_BOUNDS.items():
        bounds.check(f"retry.{name}", getattr(retry, name))


def checked_endpoint(endpoint: object) -> str:
    """Return the URL of a Hub, without a slash at its end.

    Raises:
        InvalidConfiguration: It is none.
    """
    hint = f"Give a URL such as {DEFAULT_ENDPOINT}."
    text = str(endpoint).strip().rstrip("/")
    if not text.isprintable() or " " in text:  # which urlsplit would leave out in silence
        raise InvalidConfiguration("The endpoint has characters that no URL has.", hint=hint)
    try:
        parts = urlsplit(text)
        port_is_sound = parts.port is None or parts.port > 0
    except ValueError:
        raise InvalidConfiguration("The endpoint is not a URL.", hint=hint) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_sound:
        raise InvalidConfiguration("The endpoint is not an http(s) URL.", hint=hint)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InvalidConfiguration(
            "The endpoint has a user, a query or a fragment.",
            hint="Use the token setting for access, and a plain URL for the endpoint.",
        )
    return text


def checked_endpoints(endpoints: object, endpoint: str) -> tuple[str, ...]:
    """Return URLs of Hubs, each once.

    Raises:
        InvalidConfiguration: One is none, or `endpoint` is not among them.
    """
    try:
        urls = dict.fromkeys(map(checked_endpoint, checked_names("endpoints", endpoints)))
    except InvalidConfiguration as error:
        text = f"endpoints cannot be used: {error.message}"
        raise InvalidConfiguration(text, hint=error.hint) from None
    if urls and endpoint not in urls:
        raise InvalidConfiguration(
            f"endpoints does not have {endpoint}, which is the endpoint.",
            hint="Put it where it is to be asked; or set endpoint (HF_ENDPOINT) to the one that "
            "the token is for: no other gets it.",
        )
    return tuple(urls)
