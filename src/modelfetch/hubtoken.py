"""The access token that huggingface_hub would use.

That library looks it up, and may refresh or exchange it over the network. But loading it takes a
twentieth of a second, so in a program that does not use it, the two cases that need nothing of it
are told before: a token in the environment, and none anywhere (huggingface_hub's `get_token`,
"Environment variables" in its documentation).
"""

# ruff: noqa: PTH111, PTH118  # paths are made as huggingface_hub does it, to the letter

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from os.path import expanduser, expandvars, join

from modelfetch.config import Config
from modelfetch.errors import InvalidToken
from modelfetch.hubsession import is_in_use
from modelfetch.settings import is_token

__all__ = ["find_token"]


def find_token(config: Config) -> str | None:
    """Return the access token to use, looked up as huggingface_hub does unless given; blocking.

    Raises:
        InvalidToken: It is none; or huggingface_hub was to exchange it, and could not.
    """
    if isinstance(config.token, str):
        return config.token
    if config.token is False:
        return None
    if not is_in_use() and not _needs_library(os.environ):
        token = _of_environment(os.environ)
        if token is not None and not is_token(token):
            text = "The token in HF_TOKEN, or HUGGING_FACE_HUB_TOKEN, has characters of no token."
            raise InvalidToken(text)
        return token
    from huggingface_hub import get_token

    try:
        return get_token()
    except Exception as error:
        # It may refresh or exchange a token over the network, with errors of many families.
        raise InvalidToken(
            f"huggingface_hub has no token to give: {type(error).__name__}.",
            hint="Log in again with 'hf auth login', give a token, or use none (token=False).",
        ) from None


def _needs_library(environ: Mapping[str, str]) -> bool:
    if environ.get("HF_OIDC_RESOURCE"):
        return True  # it is exchanged for another
    if _of_environment(environ) is not None:
        return False
    # What was stored may have to be refreshed, and a notebook of Colab has a vault.
    return "IPython" in sys.modules or "HUGGINGFACE_CO_STAGING" in environ or _is_stored(environ)


def _of_environment(environ: Mapping[str, str]) -> str | None:
    token = environ.get("HF_TOKEN") or environ.get("HUGGING_FACE_HUB_TOKEN") or ""
    return token.replace("\r", "").replace("\n", "").strip() or None


def _is_stored(environ: Mapping[str, str]) -> bool:
    """Return whether there is a token file, or may be one: where it is, is told step by step."""
    cache = environ.get("XDG_CACHE_HOME", join(expanduser("~"), ".cache"))
    home = expandvars(expanduser(environ.get("HF_HOME", join(cache, "huggingface"))))
    path = expandvars(expanduser(environ.get("HF_TOKEN_PATH", join(home, "token"))))
    try:
        os.lstat(path or os.curdir)
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True
    return True
