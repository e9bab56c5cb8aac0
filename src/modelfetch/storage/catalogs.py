"""Catalogues on this machine: the user's own, and the stubs of LM Studio. Read only.

A file that cannot be read or is no model.yaml is skipped with a warning in the log: it may be half
written, or from a newer version of the format, and the model may be known elsewhere.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelfetch.core.catalog import CatalogModel, read_model
from modelfetch.errors import InvalidConfiguration

__all__ = ["find_in_lmstudio", "find_in_own", "lmstudio_home"]

# Real ones have a few kilobytes; a parser in Python takes seconds for a megabyte.
MAX_BYTES = 256 << 10
MAX_FILES = 10_000

_log = logging.getLogger("modelfetch")


def find_in_own(catalog: Path, model: str) -> CatalogModel | None:
    """Return what the user's catalogue says of an id, `None` when it does not know it.

    Args:
        catalog: A file with one or more YAML documents, or a folder of such files (`*.yaml`,
            `*.yml`), at any depth.
        model: The id.

    Raises:
        InvalidConfiguration: There is no such file or folder, or two files say different things.
    """
    found: CatalogModel | None = None
    for path in _files(catalog):
        for entry in _read(path, model):
            if found is not None and found != entry:
                raise InvalidConfiguration(
                    f"The catalogue says two different things of {model}.",
                    hint="Keep one of its model.yaml files for it.",
                    path=str(path),
                )
            found = entry
    return found


def find_in_lmstudio(home: Path, model: str) -> CatalogModel | None:
    """Return what LM Studio has written down about an id of its catalogue, if anything.

    Args:
        home: LM Studio's folder.
        model: The id, which is also the path of the stub.
    """
    path = home / "hub" / "models" / model / "model.yaml"
    # A stub comes from a server, and anybody may publish one: it speaks for its own id only.
    return next(iter(_read(path, model)), None) if path.is_file() else None


def lmstudio_home() -> Path:
    """Return LM Studio's folder, whether it is there or not.

    The rule of LM Studio (`findLMStudioHome`): the path in `~/.lmstudio-home-pointer`, else
    `~/.cache/lm-studio` if that is there, else `~/.lmstudio`.
    """
    user = Path.home()
    try:
        pointed = (user / ".lmstudio-home-pointer").read_text(encoding="utf-8")[:4096].strip()
    except (OSError, ValueError):
        pointed = ""
    if pointed and Path(pointed).is_absolute():
        return Path(pointed)
    older = user / ".cache" / "lm-studio"
    return older if older.is_dir() else user / ".lmstudio"


def _files(catalog: Path) -> Iterator[Path]:
    if catalog.is_file():
        yield catalog
        return
    if not catalog.is_dir():
        raise InvalidConfiguration(
            "The catalogue is neither a file nor a folder.",
            hint="Set MODELFETCH_CATALOG to a model.yaml, or to a folder of such files.",
            path=str(catalog),
        )
    left = MAX_FILES
    for folder, folders, names in os.walk(catalog):
        folders.sort()
        for name in sorted(names):
            if name.endswith((".yaml", ".yml")):
                if not left:
                    _log.warning(
                        "%s has more than %d files: the rest is left out", catalog, MAX_FILES
                    )
                    return
                left -= 1
                yield Path(folder, name)


def _read(path: Path, model: str) -> list[CatalogModel]:
    """Return what a file says of an id."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
        # Most files of a folder are about other models, and parsing takes a thousand times longer.
        if model.encode() not in text:
            return []
        return [read_model(it) for it in _documents(text) if _names(it) == model]
    except (OSError, ValueError, RecursionError) as error:
        _log.warning("%s is skipped: %s", path, error)
        return []


def _names(document: object) -> object:
    return document.get("model") if isinstance(document, dict) else None


def _documents(text: bytes) -> list[Any]:
    # It comes with huggingface_hub, which needs it too.
    import yaml

    try:
        # Texts, lists and mappings are all that is needed; a loader that knows more, numbers and
        # dates and merges, has more that hostile files can break.
        return list(yaml.load_all(text, Loader=yaml.BaseLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise ValueError(f"it is not YAML{where}") from None
