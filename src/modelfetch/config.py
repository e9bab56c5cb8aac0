"""Every setting, its default, and why; the environment is read once, when a `Config` is made.

For each field: an explicit argument wins, then `MODELFETCH_<FIELD>`, then what else its line
names (`HF_ENDPOINT`, `HF_HUB_OFFLINE` and the short names of the command line), then the default.
An empty variable is one that is not set. Where no token is given, huggingface_hub looks it up
(`HF_TOKEN`, `HF_TOKEN_PATH`, `hf auth login`) when it is needed; where no proxy and no certificates
are given, they come from `HTTPS_PROXY` and its kin and from `SSL_CERT_FILE`: see docs/network.md.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

from modelfetch.core.bounds import SPEED, Bounds
from modelfetch.core.proxies import checked_proxy
from modelfetch.core.retry import RetryPolicy
from modelfetch.core.sizes import parse_size
from modelfetch.errors import InvalidConfiguration
from modelfetch.settings import (
    DAY,
    DEFAULT_ENDPOINT,
    boolean,
    bundle_of_requests,
    check_retry,
    checked_endpoint,
    checked_endpoints,
    checked_headers,
    checked_names,
    checked_path,
    checked_paths,
    headers_of,
    hubs_boolean,
    is_field_value,
    is_token,
    least_rate,
    names_of,
    parse_rate,
    paths_of,
    proxy_of,
    retry_of,
    setting,
    token_of,
)

__all__ = ["Config", "parse_rate"]

PUBLISHERS = ("{owner}", "ggml-org", "lmstudio-community", "unsloth", "bartowski")
WAYS = ("reflink", "hardlink", "copy")
LAYOUTS = ("plain", "lmstudio")
# A process of its own gets a socket by inheritance, which Windows has not.
ISOLATIONS = ("auto", "thread") if sys.platform == "win32" else ("auto", "thread", "process")

_SECONDS = Bounds(0.001, DAY, "seconds")
_BOUNDS = {
    "connections": Bounds(1, 128, whole=True),
    "max_bytes_per_second": SPEED,
    "slow_endpoint_rate": Bounds(0, 1e15, "bytes per second"),
    "memory_bytes": Bounds(1, 1 << 60, "bytes", whole=True, optional=True),
    "flush_seconds": _SECONDS,
    "flush_bytes": Bounds(1, 1 << 50, "bytes", whole=True),
    "connect_timeout": _SECONDS,
    "first_byte_timeout": _SECONDS,
    "read_timeout": _SECONDS,
    "hub_timeout": _SECONDS,
    "max_jobs": Bounds(1, 1000, whole=True),
    "finished_jobs": Bounds(0, 1_000_000, whole=True),
    "finished_seconds": Bounds(0, 3650 * DAY, "seconds"),
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """How an `Engine` works. Every field has a default: `Config()` is complete.

    `MODELFETCH_<FIELD>` sets a field, such as `MODELFETCH_READ_TIMEOUT=10`: times are in seconds,
    sizes and rates may be `12G` or `20M`, what is on or off is `1` or `0`, `MODELFETCH_RETRY` is
    `attempts,base_seconds,max_seconds`, and `MODELFETCH_TOKEN=0` is for no token.

    Attributes:
        cache_dir: Root of the cache, in the Hugging Face hub layout. Point it at the Hub's own
            cache (`~/.cache/huggingface/hub`) to share that.
        endpoint: URL of the Hub or a mirror of it; the token and `headers` are for it alone.
        endpoints: Others that have the same repositories, and `endpoint` among them, in the order
            in which they are asked; each but the first only when those before it do not help. Empty
            for `endpoint` alone.
        slow_endpoint_rate: Bytes per second; where a file comes slower than that, the other
            `endpoints` are tried. 0 for never.
        token: Access token; `None` for the one that huggingface_hub finds, `False` for none.
        proxy: URL of a proxy, which may have a user and a password; `None` for those of the
            environment, `False` for none.
        ca_bundle: Certificates to trust in place of the system's: a file in PEM form, or a folder
            in that of OpenSSL.
        headers: Fields to send to the endpoint besides the usual ones, and to no other host.
        allow_http_token: Whether the token and `headers` may go to an http endpoint on another
            machine, where everybody on the way can read them.
        offline: Never contact the Hub; only complete cached models are returned.
        connections: Most connections of the engine at once, over all jobs and files.
        adaptive: Whether only as many of them are used to a host as make it faster; without it, all
            are, at once.
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
        isolation: Where transfers run: `thread`, in a thread of this process, or `process`, in one
            of their own, which disturbs a busy host least; `auto` for that where it can be had.
        first_byte_timeout: Seconds that a host has from being called to the head of its answer; a
            mirror that first fetches the file itself may need minutes.
        read_timeout: Seconds without any byte of a body after which a connection is replaced.
        hub_timeout: Seconds that the Hub has for an answer about metadata.
        retry: Patience with a file that does not come.
        user_agent: Put before modelfetch's own, so that servers are recognised.
        state_dir: Where jobs are written down, and what this machine's files hash to; engines that
            share it share their jobs.
        resume_on_start: Whether jobs go on by themselves here, that ran when their engine ended.
        max_jobs: Jobs that run at once; the others wait in line.
        finished_jobs: Jobs that are over and still listed; older ones are forgotten.
        finished_seconds: Time after which a job that is over is forgotten.
    """

    cache_dir: Path = field(
        default_factory=setting(
            "cache_dir", Path, lambda: platformdirs.user_cache_path("modelfetch")
        )
    )
    endpoint: str = field(
        default_factory=setting("endpoint", str, lambda: DEFAULT_ENDPOINT, HF_ENDPOINT=str)
    )
    endpoints: tuple[str, ...] = field(
        default_factory=setting("endpoints", names_of, lambda: names_of(""))
    )
    slow_endpoint_rate: float = field(
        default_factory=setting("slow_endpoint_rate", least_rate, lambda: 1e6)
    )
    token: str | bool | None = field(
        default_factory=setting("token", token_of, lambda: None), repr=False
    )
    proxy: str | bool | None = field(
        default_factory=setting("proxy", proxy_of, lambda: None), repr=False
    )
    ca_bundle: Path | None = field(default_factory=setting("ca_bundle", Path, bundle_of_requests))
    headers: Mapping[str, str] = field(
        default_factory=setting("headers", headers_of, lambda: headers_of("")),
        repr=False,
        hash=False,
    )
    allow_http_token: bool = field(
        default_factory=setting("allow_http_token", boolean, lambda: False)
    )
    offline: bool = field(
        default_factory=setting(
            "offline",
            boolean,
            lambda: False,
            HF_HUB_OFFLINE=hubs_boolean,
            TRANSFORMERS_OFFLINE=hubs_boolean,
        )
    )
    connections: int = field(default_factory=setting("connections", int, lambda: 32))
    adaptive: bool = field(default_factory=setting("adaptive", boolean, lambda: True))
    isolation: str = field(default_factory=setting("isolation", str, lambda: "auto"))
    max_bytes_per_second: float | None = field(
        default_factory=setting(
            "max_bytes_per_second", parse_rate, lambda: None, MODELFETCH_LIMIT_RATE=parse_rate
        )
    )
    include_mmproj: bool = field(default_factory=setting("include_mmproj", boolean, lambda: True))
    memory_bytes: int | None = field(
        default_factory=setting(
            "memory_bytes", parse_size, lambda: None, MODELFETCH_MEMORY=parse_size
        )
    )
    catalog: Path | None = field(default_factory=setting("catalog", Path, lambda: None))
    lmstudio_home: Path | None = field(default_factory=setting("lmstudio_home", Path, lambda: None))
    allow_conversions: bool = field(
        default_factory=setting("allow_conversions", boolean, lambda: False)
    )
    publishers: tuple[str, ...] = field(
        default_factory=setting("publishers", names_of, lambda: PUBLISHERS)
    )
    check_gguf: bool = field(default_factory=setting("check_gguf", boolean, lambda: True))
    durable: bool = field(default_factory=setting("durable", boolean, lambda: True))
    flush_seconds: float = field(default_factory=setting("flush_seconds", float, lambda: 1.0))
    flush_bytes: int = field(default_factory=setting("flush_bytes", parse_size, lambda: 128 << 20))
    connect_timeout: float = field(default_factory=setting("connect_timeout", float, lambda: 30.0))
    first_byte_timeout: float = field(
        default_factory=setting("first_byte_timeout", float, lambda: 60.0)
    )
    read_timeout: float = field(default_factory=setting("read_timeout", float, lambda: 30.0))
    hub_timeout: float = field(default_factory=setting("hub_timeout", float, lambda: 30.0))
    retry: RetryPolicy = field(default_factory=setting("retry", retry_of, RetryPolicy))
    user_agent: str | None = field(default_factory=setting("user_agent", str, lambda: None))
    resume_on_start: bool = field(
        default_factory=setting("resume_on_start", boolean, lambda: False)
    )
    max_jobs: int = field(default_factory=setting("max_jobs", int, lambda: 3))
    finished_jobs: int = field(default_factory=setting("finished_jobs", int, lambda: 100))
    finished_seconds: float = field(
        default_factory=setting("finished_seconds", float, lambda: 7 * DAY)
    )
    state_dir: Path = field(
        default_factory=setting(
            "state_dir", Path, lambda: platformdirs.user_state_path("modelfetch")
        )
    )
    local_dir: Path | None = field(default_factory=setting("local_dir", Path, lambda: None))
    layout: str = field(default_factory=setting("layout", str, lambda: "plain"))
    adopt: bool = field(default_factory=setting("adopt", boolean, lambda: True))
    adopt_from: tuple[Path, ...] = field(
        default_factory=setting("adopt_from", paths_of, lambda: paths_of(""))
    )
    adopt_by: tuple[str, ...] = field(
        default_factory=setting("adopt_by", names_of, lambda: ("reflink", "copy"))
    )
    use_symlinks: bool = field(
        default_factory=setting(
            "use_symlinks",
            boolean,
            lambda: True,
            HF_HUB_DISABLE_SYMLINKS=lambda text: not hubs_boolean(text),
        )
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "cache_dir", checked_path("cache_dir", self.cache_dir))
        object.__setattr__(self, "state_dir", checked_path("state_dir", self.state_dir))
        object.__setattr__(self, "adopt_from", checked_paths("adopt_from", self.adopt_from))
        object.__setattr__(self, "adopt_by", checked_names("adopt_by", self.adopt_by))
        if self.isolation not in ISOLATIONS:
            raise InvalidConfiguration(f"isolation is {self.isolation!r}; it is {ISOLATIONS}.")
        if self.layout not in LAYOUTS:
            raise InvalidConfiguration(f"layout is {self.layout!r}; it is one of {LAYOUTS}.")
        if not set(self.adopt_by) <= set(WAYS):
            raise InvalidConfiguration(f"adopt_by is {self.adopt_by!r}; its words are {WAYS}.")
        if self.proxy is not None and self.proxy is not False:
            object.__setattr__(self, "proxy", checked_proxy(self.proxy))
        object.__setattr__(self, "headers", checked_headers(self.headers))
        for name in ("ca_bundle", "catalog", "lmstudio_home", "local_dir"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, checked_path(name, getattr(self, name)))
        object.__setattr__(self, "publishers", checked_names("publishers", self.publishers))
        object.__setattr__(self, "endpoint", checked_endpoint(self.endpoint))
        object.__setattr__(self, "endpoints", checked_endpoints(self.endpoints, self.endpoint))
        for name, bounds in _BOUNDS.items():
            bounds.check(name, getattr(self, name))
        check_retry(self.retry)
        for name in (
            "allow_http_token",
            "offline",
            "include_mmproj",
            "allow_conversions",
            "check_gguf",
            "durable",
            "adaptive",
            "resume_on_start",
            "adopt",
            "use_symlinks",
        ):
            if not isinstance(getattr(self, name), bool):
                raise InvalidConfiguration(f"{name} must be True or False.")
        if isinstance(self.token, str) and not is_token(self.token):
            raise InvalidConfiguration(
                "The token has characters that no token has.",
                hint="Give the token alone, without quotes, spaces or line ends.",
            )
        if self.user_agent is not None and not is_field_value(self.user_agent):
            raise InvalidConfiguration(
                "The user_agent has characters that a header field cannot have.",
                hint="Give printable ASCII, such as my-server/1.0.",
            )
