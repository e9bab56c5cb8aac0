"""Where other programs keep models on this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

__all__ = ["Place", "PlaceKind", "downloads_folder", "known_places"]


class PlaceKind(StrEnum):
    """How a folder is organised."""

    HUB = "hub"
    """huggingface_hub's cache, which llama.cpp uses too: `models--*/blobs/<SHA-256>`."""
    OLLAMA = "ollama"
    """Ollama's store: `blobs/sha256-<SHA-256>`."""
    FOLDER = "folder"
    """Files under any names, at any depth."""


class Place(NamedTuple):
    """A folder to look in.

    Attributes:
        kind: How it is organised.
        folder: Its path.
    """

    kind: PlaceKind
    folder: str


def known_places(
    environ: Mapping[str, str], home: str, lmstudio_models: str, platform: str
) -> list[Place]:
    """Return the folders in which other programs keep models, those with hashes as names first.

    Args:
        environ: The environment.
        home: The user's folder.
        lmstudio_models: LM Studio's folder of models.
        platform: `sys.platform`.

    Sources: huggingface_hub `constants.py`; Ollama `docs/faq.md`; llama.cpp `common/hf-cache.cpp`,
    and `common/common.cpp` of versions before it used huggingface_hub's cache.
    """
    join = _windows_join if platform == "win32" else _join
    cache = environ.get("XDG_CACHE_HOME") or join(home, ".cache")
    hub = (
        environ.get("HF_HUB_CACHE")
        or environ.get("HUGGINGFACE_HUB_CACHE")
        or join(environ.get("HF_HOME") or join(cache, "huggingface"), "hub")
    )
    if platform == "darwin":
        cache = join(home, "Library", "Caches")
    elif platform == "win32":
        cache = environ.get("LOCALAPPDATA") or join(home, "AppData", "Local")
    llama = environ.get("LLAMA_CACHE") or join(cache, "llama.cpp")
    ollama = [environ.get("OLLAMA_MODELS") or join(home, ".ollama", "models")]
    if platform == "linux":
        ollama.append("/usr/share/ollama/.ollama/models")
    return [
        Place(PlaceKind.HUB, hub),
        Place(PlaceKind.HUB, llama),
        *(Place(PlaceKind.OLLAMA, folder) for folder in ollama),
        Place(PlaceKind.FOLDER, lmstudio_models),
        Place(PlaceKind.FOLDER, llama),
    ]


def downloads_folder(settings: str | None) -> str | None:
    """Return the folder of models that LM Studio's `settings.json` names, if it names one."""
    try:
        found = json.loads(settings or "{}")
    except (ValueError, RecursionError):
        return None
    folder = found.get("downloadsFolder") if isinstance(found, dict) else None
    return folder if isinstance(folder, str) and folder else None


def _join(*parts: str) -> str:
    return "/".join(parts)


def _windows_join(*parts: str) -> str:
    return "\\".join(parts)
