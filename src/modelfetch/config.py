"""Every setting, its default, and why; the environment is read once, when a `Config` is made.

For each field: an explicit argument wins, then `MODELFETCH_<FIELD>`, then what else its line
names (`HF_ENDPOINT`, `HF_HUB_OFFLINE` and the short names of the command line), then the default.
An empty variable is one that is not set. Where no token is given, huggingface_hub looks it up
(`HF_TOKEN`, `HF_TOKEN_PATH`, `hf auth login`) when it is needed; proxies and certificates come from
`HTTPS_PROXY`, `NO_PROXY` and `SSL_CERT_FILE`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import platformdirs

from modelfetch.core.bounds import Bounds
from modelfetch.core.fit import parse_size
from modelfetch.core.retry import RetryPolicy
from modelfetch.errors import InvalidConfiguration

__all__ = ["Config", "parse_rate"]

DEFAULT_ENDPOINT = "https://huggingface.co"
PUBLISHERS = ("{owner}", "ggml-org", "lmstudio-community", "unsloth", "bartowski")
_TRUE = frozenset({"1", "ON", "YES", "TRUE"})  # huggingface_hub's reading of booleans
_FALSE = frozenset({"0", "OFF", "NO", "FALSE"})
_RATE = re.compile(r"(\d+(?:\.\d+)?) ?([kmg]?)i?b?(?:/s)?", re.IGNORECASE)
_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_DAY = 86400.0
_T = TypeVar("_T")

_SECONDS = Bounds(0.001, _DAY, "seconds")
_BOUNDS = {
    "connections": Bounds(1, 128, whole=True),
    "max_bytes_per_second": Bounds(1, 1e15, "bytes per second", optional=True),
    "memory_bytes": Bounds(1, 1 << 60, "bytes", whole=True, optional=True),
    "flush_seconds": _SECONDS,
    "flush_bytes": Bounds(1, 1 << 50, "bytes", whole=True),
    "connect_timeout": _SECONDS,
    "read_timeout": _SECONDS,
    "hub_timeout": _SECONDS,
    "finished_jobs": Bounds(0, 1_000_000, whole=True),
    "finished_seconds": Bounds(0, 3650 * _DAY, "seconds"),
}
_RETRY_BOUNDS = {
    "attempts": Bounds(1, 1_000_000, whole=True),
    "base_seconds": Bounds(0, _DAY, "seconds"),
    "max_seconds": Bounds(0, _DAY, "seconds"),
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


def _boolean(text: str) -> bool:
    if text.upper() not in _TRUE | _FALSE:
        raise ValueError(f"{text!r} is neither yes nor no; try 1 or 0")
    return text.upper() in _TRUE


def _hubs_boolean(text: str) -> bool:
    return text.upper() in _TRUE


def _token(text: str) -> str | bool | None:
    return False if text.upper() in _FALSE else text


def _retry(text: str) -> RetryPolicy:
    words = text.split(",")
    if len(words) > 3:
        raise ValueError(f"{text!r} is not attempts,base_seconds,max_seconds; try 30,0.25,30")
    return RetryPolicy(int(words[0]), *map(float, words[1:]))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _setting(
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


@dataclass(frozen=True, kw_only=True)
class Config:
    """How an `Engine` works. Every field has a default: `Config()` is complete.

    `MODELFETCH_<FIELD>` sets a field, such as `MODELFETCH_READ_TIMEOUT=10`: times are in seconds,
    sizes and rates may be `12G` or `20M`, what is on or off is `1` or `0`, `MODELFETCH_RETRY` is
    `attempts,base_seconds,max_seconds`, and `MODELFETCH_TOKEN=0` is for no token.

    Attributes:
        cache_dir: Root of the cache, in the Hugging Face hub layout. Point it at the Hub's own
            cache (`~/.cache/huggingface/hub`) to share that.
        endpoint: URL of the Hub or a mirror of it.
        token: Access token; `None` for the one that huggingface_hub finds, `False` for none.
        offline: Never contact the Hub; only complete cached models are returned.
        connections: Connections of the engine at once, over all jobs and files.
        max_bytes_per_second: Bound on the engine's speed; `None` for no bound.
        include_mmproj: Whether a multimodal model comes with its projector.
        memory_bytes: Memory that a model may use, which the quantization `auto` goes by; `None`
            for what is free at the time.
        catalog: The user's own catalogue of models: a model.yaml, or a folder of such files.
        lmstudio_home: LM Studio's folder, whose catalogue is read; `None` for where LM Studio
            itself would look. A folder without one turns that off.
        allow_conversions: Whether a repository without GGUF files may be answered with somebody's
            conversion of it.
        publishers: Whose conversions go first; `{owner}` is the owner of what is converted. Those
            of others follow by their downloads.
        check_gguf: Whether a file whose first bytes show that nothing here can load it is refused
            then (`UnusableModel`); without it any file is fetched.
        durable: Whether data is flushed to the disk while it arrives and before it is published.
            Without it a power cut may cost the whole partial; wrong bytes are still never
            published.
        flush_seconds: Longest time for which arrived bytes may be lost in a power cut.
        flush_bytes: Most arrived bytes that may be lost in a power cut.
        connect_timeout: Seconds to reach a host.
        read_timeout: Seconds without any byte after which a connection is replaced.
        hub_timeout: Seconds that the Hub has for an answer about metadata.
        retry: Patience with a file that does not come.
        user_agent: Put before modelfetch's own, so that servers are recognised.
        finished_jobs: Jobs that are over and still listed; older ones are forgotten.
        finished_seconds: Time after which a job that is over is forgotten.
    """

    cache_dir: Path = field(
        default_factory=_setting(
            "cache_dir", Path, lambda: platformdirs.user_cache_path("modelfetch")
        )
    )
    endpoint: str = field(
        default_factory=_setting("endpoint", str, lambda: DEFAULT_ENDPOINT, HF_ENDPOINT=str)
    )
    token: str | bool | None = field(
        default_factory=_setting("token", _token, lambda: None), repr=False
    )
    offline: bool = field(
        default_factory=_setting(
            "offline",
            _boolean,
            lambda: False,
            HF_HUB_OFFLINE=_hubs_boolean,
            TRANSFORMERS_OFFLINE=_hubs_boolean,
        )
    )
    connections: int = field(default_factory=_setting("connections", int, lambda: 8))
    max_bytes_per_second: float | None = field(
        default_factory=_setting(
            "max_bytes_per_second", parse_rate, lambda: None, MODELFETCH_LIMIT_RATE=parse_rate
        )
    )
    include_mmproj: bool = field(default_factory=_setting("include_mmproj", _boolean, lambda: True))
    memory_bytes: int | None = field(
        default_factory=_setting(
            "memory_bytes", parse_size, lambda: None, MODELFETCH_MEMORY=parse_size
        )
    )
    catalog: Path | None = field(default_factory=_setting("catalog", Path, lambda: None))
    lmstudio_home: Path | None = field(
        default_factory=_setting("lmstudio_home", Path, lambda: None)
    )
    allow_conversions: bool = field(
        default_factory=_setting("allow_conversions", _boolean, lambda: False)
    )
    publishers: tuple[str, ...] = field(
        default_factory=_setting("publishers", _names, lambda: PUBLISHERS)
    )
    check_gguf: bool = field(default_factory=_setting("check_gguf", _boolean, lambda: True))
    durable: bool = field(default_factory=_setting("durable", _boolean, lambda: True))
    flush_seconds: float = field(default_factory=_setting("flush_seconds", float, lambda: 1.0))
    flush_bytes: int = field(default_factory=_setting("flush_bytes", parse_size, lambda: 128 << 20))
    connect_timeout: float = field(default_factory=_setting("connect_timeout", float, lambda: 30.0))
    read_timeout: float = field(default_factory=_setting("read_timeout", float, lambda: 30.0))
    hub_timeout: float = field(default_factory=_setting("hub_timeout", float, lambda: 30.0))
    retry: RetryPolicy = field(default_factory=_setting("retry", _retry, RetryPolicy))
    user_agent: str | None = field(default_factory=_setting("user_agent", str, lambda: None))
    finished_jobs: int = field(default_factory=_setting("finished_jobs", int, lambda: 100))
    finished_seconds: float = field(
        default_factory=_setting("finished_seconds", float, lambda: 7 * _DAY)
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "cache_dir", _checked_path("cache_dir", self.cache_dir))
        for name in ("catalog", "lmstudio_home"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _checked_path(name, getattr(self, name)))
        object.__setattr__(self, "publishers", _checked_names("publishers", self.publishers))
        object.__setattr__(self, "endpoint", _checked_endpoint(self.endpoint))
        for name, bounds in _BOUNDS.items():
            bounds.check(name, getattr(self, name))
        _check_retry(self.retry)
        for name in ("offline", "include_mmproj", "allow_conversions", "check_gguf", "durable"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidConfiguration(f"{name} must be True or False.")
        if isinstance(self.token, str) and not _is_token(self.token):
            raise InvalidConfiguration(
                "The token has characters that no token has.",
                hint="Give the token alone, without quotes, spaces or line ends.",
            )
        if self.user_agent is not None and not _is_field_value(self.user_agent):
            raise InvalidConfiguration(
                "The user_agent has characters that a header field cannot have.",
                hint="Give printable ASCII, such as my-server/1.0.",
            )


def _is_token(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def _is_field_value(text: object) -> bool:
    return isinstance(text, str) and text.isascii() and text.isprintable()


def _checked_path(name: str, path: object) -> Path:
    hint = "Give a folder such as /var/lib/models, or leave it out: there is a default."
    if not isinstance(path, str | os.PathLike) or not os.fspath(path) or "\0" in str(path):
        raise InvalidConfiguration(f"{name} is not a path: {path!r}.", hint=hint)
    try:
        return Path(path).expanduser().absolute()
    except (RuntimeError, TypeError):
        raise InvalidConfiguration(f"{name} names a home that is not there.", hint=hint) from None


def _checked_names(name: str, names: object) -> tuple[str, ...]:
    if isinstance(names, Sequence) and not isinstance(names, str):
        texts = tuple(text for text in names if isinstance(text, str))
        if len(texts) == len(names):
            return texts
    raise InvalidConfiguration(f"{name} is not a list of names.", hint="Give a list of texts.")


def _check_retry(retry: object) -> None:
    if not isinstance(retry, RetryPolicy):
        raise InvalidConfiguration(f"retry is {retry!r}.", hint="Give a RetryPolicy.")
    for name, bounds in _RETRY_BOUNDS.items():
        bounds.check(f"retry.{name}", getattr(retry, name))


def _checked_endpoint(endpoint: object) -> str:
    hint = f"Give a URL such as {DEFAULT_ENDPOINT}."
    text = str(endpoint).strip().rstrip("/")
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
