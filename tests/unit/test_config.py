"""Every setting: where it comes from, and what it may be."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from modelfetch import Config, Engine, InvalidConfiguration
from modelfetch.core.retry import RetryPolicy

# For each field: a text that sets it, what it means, and texts that cannot be used.
FIELDS: dict[str, tuple[str, Any, list[str]]] = {
    "cache_dir": ("/srv/models", Path("/srv/models"), ["~nosuchuser/x"]),
    "endpoint": ("https://hub.example/", "https://hub.example", ["hub.example"]),
    "endpoints": (
        "http://mirror.example/, https://huggingface.co, http://mirror.example",
        ("http://mirror.example", "https://huggingface.co"),
        ["http://mirror.example", "mirror.example,https://huggingface.co"],
    ),
    "token": ("hf_abc", "hf_abc", ["two words"]),
    "proxy": (
        "proxy.example:3128",
        "http://proxy.example:3128",
        ["socks5://x", "a b", "http://u:p/w@x"],
    ),
    "ca_bundle": ("/etc/company.pem", Path("/etc/company.pem"), ["~nosuchuser/x"]),
    "headers": ("X-Team: a: b\nX-Key:c", {"X-Team": "a: b", "X-Key": "c"}, ["X-Team", "a b: c"]),
    "allow_http_token": ("1", True, ["maybe"]),
    "offline": ("yes", True, ["maybe"]),
    "connections": ("3", 3, ["0", "129", "x", "1.5"]),
    "max_bytes_per_second": ("20M", 20e6, ["nan", "0", "-1"]),
    "slow_endpoint_rate": ("0", 0.0, ["nan", "-1"]),
    "include_mmproj": ("0", False, ["none"]),
    "memory_bytes": ("12G", 12_000_000_000, ["0", "much"]),
    "durable": ("off", False, ["x"]),
    "flush_seconds": ("2.5", 2.5, ["0", "nan", "inf", "-1", "1s"]),
    "flush_bytes": ("1MiB", 1 << 20, ["0", "-5"]),
    "connect_timeout": ("5", 5.0, ["0", "nan", "inf", "-1"]),
    "adaptive": ("0", False, ["perhaps"]),
    "isolation": ("process", "process", ["fork"]),
    "first_byte_timeout": ("5", 5.0, ["0", "nan", "inf", "-1"]),
    "read_timeout": ("5", 5.0, ["0", "nan", "inf", "-1"]),
    "hub_timeout": ("5", 5.0, ["0", "nan", "inf", "-1"]),
    "retry": ("5,0.5", RetryPolicy(5, 0.5), ["0", "5,-1", "5,1,nan", "1,2,3,4", "x"]),
    "catalog": ("/etc/models", Path("/etc/models"), ["~nosuchuser/x"]),
    "lmstudio_home": ("/opt/lms", Path("/opt/lms"), ["~nosuchuser/x"]),
    "allow_conversions": ("1", True, ["perhaps"]),
    "check_gguf": ("0", False, ["perhaps"]),
    "publishers": ("{owner}, me", ("{owner}", "me"), []),
    "user_agent": ("server/1.0", "server/1.0", ["a\x01b", "naïve"]),
    "state_dir": ("/srv/state", Path("/srv/state"), ["~nosuchuser/x"]),
    "resume_on_start": ("1", True, ["perhaps"]),
    "max_jobs": ("2", 2, ["0", "x"]),
    "local_dir": ("/srv/plain", Path("/srv/plain"), ["~nosuchuser/x"]),
    "layout": ("lmstudio", "lmstudio", ["flat"]),
    "adopt": ("0", False, ["perhaps"]),
    "adopt_from": ("/a:/b", (Path("/a"), Path("/b")), ["~nosuchuser/x"]),
    "adopt_by": ("hardlink, copy", ("hardlink", "copy"), ["symlink"]),
    "use_symlinks": ("no", False, ["perhaps"]),
    "finished_jobs": ("7", 7, ["-1", "x"]),
    "finished_seconds": ("60", 60.0, ["-1", "nan"]),
}
ARGUMENTS = [
    {"cache_dir": ""},
    {"cache_dir": None},
    {"cache_dir": "a\0b"},
    {"cache_dir": "~nosuchuser/x"},
    {"cache_dir": b"/tmp"},
    {"endpoint": None},
    {"connections": "8"},
    {"connections": True},
    {"connections": 2.0},
    {"max_bytes_per_second": float("nan")},
    {"max_bytes_per_second": float("inf")},
    {"max_bytes_per_second": 0},
    {"memory_bytes": -1},
    {"flush_seconds": 0},
    {"flush_bytes": 0},
    {"read_timeout": 0},
    {"read_timeout": None},
    {"connect_timeout": float("nan")},
    {"hub_timeout": -1},
    {"retry": RetryPolicy(attempts=0)},
    {"retry": RetryPolicy(base_seconds=-1.0)},
    {"retry": RetryPolicy(max_seconds=float("nan"))},
    {"retry": 5},
    {"durable": "no"},
    {"allow_conversions": "no"},
    {"catalog": 5},
    {"publishers": "unsloth"},
    {"publishers": [1]},
    {"offline": None},
    {"layout": None},
    {"adopt": "no"},
    {"adopt_from": "/one/path"},
    {"adopt_from": [5]},
    {"adopt_by": ("symlink",)},
    {"use_symlinks": None},
    {"user_agent": "a\r\nX-Evil: 1"},
    {"state_dir": ""},
    {"resume_on_start": 1},
    {"max_jobs": 0},
    {"endpoints": "https://huggingface.co"},
    {"endpoints": [5]},
    {"endpoints": ["https://mirror.example"]},
    {"endpoints": ["https://huggingface.co", "ftp://mirror.example"]},
    {"proxy": True},
    {"proxy": ""},
    {"proxy": "ftp://proxy.example"},
    {"proxy": "http://proxy.example/path"},
    {"proxy": "http://proxy.example\r\nX-Evil: 1"},
    {"ca_bundle": 5},
    {"headers": "X-Team: a"},
    {"headers": {"X-Team": 5}},
    {"headers": {"X-Team": "a\r\nX-Evil: 1"}},
    {"headers": {"X-Team": " a"}},
    {"headers": {"X-Team": "naïve"}},
    {"headers": {"X-Team\r\nX-Evil": "1"}},
    {"headers": {"X-Team:": "1"}},
    {"headers": {"": "1"}},
    {"headers": {5: "1"}},
    {"headers": {"Host": "elsewhere.example"}},
    {"headers": {"range": "bytes=0-1"}},
    {"headers": {"Transfer-Encoding": "chunked"}},
    {"headers": {"Proxy-Authorization": "Basic x"}},
    {"headers": {"X-Team": "a", "x-team": "b"}},
    {"finished_jobs": -1},
    {"finished_seconds": float("inf")},
]


def test_this_table_has_every_field() -> None:
    assert set(FIELDS) == {field.name for field in fields(Config)}


@pytest.mark.parametrize("name", FIELDS)
def test_the_environment_sets_every_field(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, meant, _ = FIELDS[name]
    monkeypatch.delenv(f"MODELFETCH_{name.upper()}", raising=False)  # what all tests have
    default = getattr(Config(), name)
    monkeypatch.setenv(f"MODELFETCH_{name.upper()}", f" {text} ")
    assert getattr(Config(), name) == meant != default
    assert getattr(Config(**{name: default}), name) == default, "an argument wins"
    monkeypatch.setenv(f"MODELFETCH_{name.upper()}", " ")
    assert getattr(Config(), name) == default, "empty is not set"


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name in FIELDS for text in FIELDS[name][2]]
)
def test_what_the_environment_says_is_checked(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"MODELFETCH_{name.upper()}", text)
    with pytest.raises(InvalidConfiguration, match=rf"(?i){name}"):
        Engine()


@pytest.mark.parametrize("settings", ARGUMENTS, ids=str)
def test_arguments_that_cannot_work_are_refused_with_a_hint(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfiguration) as raised:
        Engine(**settings)
    assert next(iter(settings)) in raised.value.message
    assert "of them" not in str(raised.value)


@pytest.mark.parametrize(
    ("variable", "text", "field", "meant"),
    [
        ("HF_ENDPOINT", "https://mirror.example", "endpoint", "https://mirror.example"),
        ("HF_HUB_OFFLINE", "1", "offline", True),
        ("HF_HUB_OFFLINE", "whatever", "offline", False),
        ("TRANSFORMERS_OFFLINE", "ON", "offline", True),
        ("HF_HUB_DISABLE_SYMLINKS", "1", "use_symlinks", False),
        ("HF_HUB_DISABLE_SYMLINKS", "whatever", "use_symlinks", True),
        ("MODELFETCH_LIMIT_RATE", "1.5M", "max_bytes_per_second", 1.5e6),
        ("MODELFETCH_MEMORY", "8GiB", "memory_bytes", 8 << 30),
    ],
)
def test_other_variables(
    variable: str, text: str, field: str, meant: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    assert getattr(Config(), field) == meant


def test_no_token_can_be_asked_for_and_none_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELFETCH_TOKEN", "0")
    assert Config().token is False
    assert "hf_secret" not in repr(Config(token="hf_secret"))


def test_headers_are_the_engine_s_own_from_then_on() -> None:
    given = {"X-Team": "a"}
    config = Config(headers=given)
    given["X-Team"] = "b\r\nX-Evil: 1"
    assert config.headers == {"X-Team": "a"}
    assert isinstance(hash(config), int)


@pytest.mark.parametrize(
    "settings",
    [
        {"proxy": "socks5://joe:hunter2@proxy.example"},
        {"proxy": "http://joe:hunter2/x@proxy.example"},
        {"proxy": "http://joe:hunter2@proxy.example:x"},
        {"proxy": "joe:hunter2@proxy .example"},
        {"headers": {"X-Key": "hunter2\n"}},
        {"headers": {"Host": "hunter2"}},
    ],
    ids=str,
)
def test_what_is_refused_is_not_shown_where_it_may_be_a_secret(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfiguration) as raised:
        Config(**settings)
    assert "hunter2" not in repr(raised.value) + str(raised.value)
