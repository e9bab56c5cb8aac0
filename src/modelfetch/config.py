"""Every setting, its default, and why; the environment is read once, when a `Config` is made.

For each field: an explicit argument wins, then `MODELFETCH_<FIELD>`, then the Hub's own variable
(`HF_ENDPOINT`, `HF_HUB_OFFLINE`), then the default. The token is looked up by huggingface_hub
(`HF_TOKEN`, `HF_TOKEN_PATH`, `hf auth login`) when it is needed; proxies and certificates come from
`HTTPS_PROXY`, `NO_PROXY` and `SSL_CERT_FILE`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import platformdirs

from modelfetch.core.fit import parse_size
from modelfetch.core.retry import RetryPolicy
from modelfetch.errors import InvalidConfiguration

__all__ = ["Config", "parse_rate"]

DEFAULT_ENDPOINT = "https://huggingface.co"
MAX_CONNECTIONS = 128
PUBLISHERS = ("{owner}", "ggml-org", "lmstudio-community", "unsloth", "bartowski")
WAYS = ("reflink", "hardlink", "copy")
LAYOUTS = ("plain", "lmstudio")
_TRUE = frozenset({"1", "ON", "YES", "TRUE"})  # huggingface_hub's reading of booleans
_RATE = re.compile(r"(\d+(?:\.\d+)?) ?([kmg]?)i?b?(?:/s)?", re.IGNORECASE)
_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_T = TypeVar("_T")


def parse_rate(text: str) -> float:
    """Return the bytes per second that `20M`, `500k`, `1.5G` or `1000000` mean (decimal units).

    Raises:
        ValueError: It is none of those, or zero.
    """
    match = _RATE.fullmatch(text.strip())
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{text!r} is not a rate; try 20M for 20 million bytes per second")
    return float(match[1]) * _UNITS[match[2].lower()]


def _from_env(field_name: str, convert: Callable[[str], _T], default: _T, *others: str) -> _T:
    for name in (f"MODELFETCH_{field_name}", *others):
        text = os.environ.get(name, "").strip()
        if text:
            try:
                return convert(text)
            except ValueError as error:
                raise InvalidConfiguration(f"{name} cannot be used: {error}.") from None
    return default


def _boolean(text: str) -> bool:
    return text.upper() in _TRUE


def _cache_dir() -> Path:
    return _from_env("CACHE_DIR", Path, platformdirs.user_cache_path("modelfetch"))


def _endpoint() -> str:
    return _from_env("ENDPOINT", str, DEFAULT_ENDPOINT, "HF_ENDPOINT")


def _rate() -> float | None:
    return _from_env("LIMIT_RATE", parse_rate, 0.0) or None


def _publishers() -> tuple[str, ...]:
    return _from_env("PUBLISHERS", _names, PUBLISHERS)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(Path(path) for path in text.split(os.pathsep) if path)


def _adopt_from() -> tuple[Path, ...]:
    return _from_env("ADOPT_FROM", _paths, _paths(""))


def _state_dir() -> Path:
    return _from_env("STATE_DIR", Path, platformdirs.user_state_path("modelfetch"))


def _memory() -> int | None:
    return _from_env("MEMORY", parse_size, 0) or None


@dataclass(frozen=True, kw_only=True)
class Config:
    """How an `Engine` works. Every field has a default: `Config()` is complete.

    Attributes:
        cache_dir: Root of the cache, in the Hugging Face hub layout. Point it at the Hub's own
            cache (`~/.cache/huggingface/hub`) to share that.
        state_dir: Where small notes are kept that are about this machine.
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
        local_dir: A folder that models are put in beside the cache, as plain files that share their
            content with it where the disk can do that; `None` for the cache only.
        layout: Where in it: `plain` for `<dir>/<file>`, `lmstudio` for LM Studio's tree,
            `<dir>/<owner>/<repository>/<file>`.
        adopt: Whether files that other programs have on this machine are taken in place of fetching
            them: huggingface_hub, llama.cpp, Ollama, LM Studio.
        adopt_from: More folders to look in, at any depth.
        adopt_by: How such files come into the cache, best first: `reflink`, `copy`, and `hardlink`,
            which makes both names the same file.
        use_symlinks: Whether names in snapshots may be links; where the disk has none, they are
            not anyway.
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
    """

    cache_dir: Path = field(default_factory=_cache_dir)
    state_dir: Path = field(default_factory=_state_dir)
    endpoint: str = field(default_factory=_endpoint)
    token: str | bool | None = field(default=None, repr=False)
    offline: bool = field(
        default_factory=lambda: _from_env(
            "OFFLINE", _boolean, False, "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"
        )
    )
    connections: int = field(default_factory=lambda: _from_env("CONNECTIONS", int, 8))
    max_bytes_per_second: float | None = field(default_factory=_rate)
    include_mmproj: bool = True
    memory_bytes: int | None = field(default_factory=_memory)
    catalog: Path | None = field(default_factory=lambda: _from_env("CATALOG", Path, None))
    lmstudio_home: Path | None = field(
        default_factory=lambda: _from_env("LMSTUDIO_HOME", Path, None)
    )
    allow_conversions: bool = field(
        default_factory=lambda: _from_env("ALLOW_CONVERSIONS", _boolean, False)
    )
    publishers: tuple[str, ...] = field(default_factory=_publishers)
    local_dir: Path | None = field(default_factory=lambda: _from_env("LOCAL_DIR", Path, None))
    layout: str = field(default_factory=lambda: _from_env("LAYOUT", str, "plain"))
    adopt: bool = field(default_factory=lambda: _from_env("ADOPT", _boolean, True))
    adopt_from: tuple[Path, ...] = field(default_factory=_adopt_from)
    adopt_by: tuple[str, ...] = ("reflink", "copy")
    use_symlinks: bool = field(
        default_factory=lambda: (
            not _from_env("DISABLE_SYMLINKS", _boolean, False, "HF_HUB_DISABLE_SYMLINKS")
        )
    )
    durable: bool = True
    flush_seconds: float = 1.0
    flush_bytes: int = 128 << 20
    connect_timeout: float = 30.0
    read_timeout: float = 30.0
    hub_timeout: float = 30.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    user_agent: str | None = None

    def __post_init__(self) -> None:
        for name in ("cache_dir", "state_dir", "catalog", "lmstudio_home", "local_dir"):
            path = getattr(self, name)
            if path is not None:
                object.__setattr__(self, name, Path(path).expanduser().absolute())
        folders = tuple(Path(path).expanduser().absolute() for path in self.adopt_from)
        object.__setattr__(self, "adopt_from", folders)
        object.__setattr__(self, "endpoint", _checked_endpoint(self.endpoint))
        if not 1 <= self.connections <= MAX_CONNECTIONS:
            raise InvalidConfiguration(
                f"connections is {self.connections}; it must be from 1 to {MAX_CONNECTIONS}."
            )
        if isinstance(self.publishers, str):
            raise InvalidConfiguration(
                "publishers is one text; it must be a list of names.",
                hint="In the environment they are divided by commas.",
            )
        object.__setattr__(self, "publishers", tuple(self.publishers))
        if self.max_bytes_per_second is not None and self.max_bytes_per_second <= 0:
            raise InvalidConfiguration("max_bytes_per_second must be above zero, or None.")
        if self.layout not in LAYOUTS:
            raise InvalidConfiguration(f"layout is {self.layout!r}; it is one of {LAYOUTS}.")
        if not set(self.adopt_by) <= set(WAYS):
            raise InvalidConfiguration(f"adopt_by is {self.adopt_by!r}; its words are {WAYS}.")
        if self.memory_bytes is not None and self.memory_bytes <= 0:
            raise InvalidConfiguration("memory_bytes must be above zero, or None.")
        if isinstance(self.token, str) and not _is_token(self.token):
            raise InvalidConfiguration(
                "The token has characters that no token has.",
                hint="Give the token alone, without quotes, spaces or line ends.",
            )


def _is_token(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def _checked_endpoint(endpoint: str) -> str:
    hint = f"Give a URL such as {DEFAULT_ENDPOINT}."
    text = endpoint.strip().rstrip("/")
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
