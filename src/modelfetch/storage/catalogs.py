"""Catalogues on this machine: the user's own, the stubs of LM Studio, and searches remembered.

The user's own is his word: a file of it that is about the id and cannot be understood is an error,
since what it was to say is not known. LM Studio's stubs come from its server, where anybody may
publish: one that cannot be understood is passed over with a warning, as the model may be known
elsewhere.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelfetch.core.catalog import CatalogModel, read_model
from modelfetch.errors import InvalidConfiguration, StorageError
from modelfetch.storage.layout import Layout
from modelfetch.storage.records import read_text, write_text

__all__ = ["find_in_lmstudio", "find_in_own", "lmstudio_home", "recall", "remember"]

# Real ones have a few kilobytes; a parser in Python takes seconds for a megabyte.
MAX_STUB = 64 << 10
MAX_OWN = 8 << 20
MAX_FILES = 10_000
# In a repository's folder: ids for which a search of the Hub has found that repository.
_SEARCHED = ".modelfetch-ids"

_ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be")  # what YAML may be in

_log = logging.getLogger("modelfetch")


def find_in_own(catalog: Path, model: str) -> CatalogModel | None:
    """Return what the user's catalogue says of an id, `None` when it does not know it.

    Args:
        catalog: A file with one or more YAML documents, or a folder of such files (`*.yaml`,
            `*.yml`), at any depth.
        model: The id.

    Raises:
        InvalidConfiguration: There is no such file or folder, a file that mentions the id cannot
            be understood, or two say different things.
    """
    found: CatalogModel | None = None
    for path in _files(catalog):
        try:
            entries = _read(path, model, MAX_OWN, needed=path == catalog)
        except (OSError, ValueError, RecursionError) as error:
            raise InvalidConfiguration(
                f"The catalogue's file {path} cannot be used: {_reason(error)}.",
                hint="Repair or remove it.",
                path=str(path),
            ) from None
        for entry in entries:
            if found is not None and found != entry:
                raise InvalidConfiguration(
                    f"The catalogue says two different things of {model}, once in {path}.",
                    hint="Keep one of its model.yaml files for it.",
                    path=str(path),
                )
            found = entry
    return found


def find_in_lmstudio(home: Path | None, model: str) -> CatalogModel | None:
    """Return what LM Studio has written down about an id of its catalogue, if anything.

    Args:
        home: LM Studio's folder; `None` for where it is by itself.
        model: The id, which is also the path of the stub.
    """
    try:
        path = (home or lmstudio_home()) / "hub" / "models" / model / "model.yaml"
        # A stub speaks for its own id only.
        return next(iter(_read(path, model, MAX_STUB)), None)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError, RuntimeError) as error:
        # Also of a service without a home, or with one that it may not look into.
        _log.warning("LM Studio's model.yaml of %s is skipped: %s", model, _reason(error))
        return None


def lmstudio_home() -> Path:
    """Return LM Studio's folder, whether it is there or not.

    The rule of LM Studio (`findLMStudioHome`): the path in `~/.lmstudio-home-pointer`, else
    `~/.cache/lm-studio` if that is there, else `~/.lmstudio`.

    Raises:
        OSError, RuntimeError: This user's home cannot be looked into, or there is none.
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


def remember(layout: Layout, repo: str, model: str) -> None:
    """Write down that a search has found `repo` for an id, for when the Hub cannot be asked."""
    path = layout.repo(repo) / _SEARCHED
    known = set((read_text(path) or "").split())
    if model not in known:
        try:
            write_text(path, "\n".join(sorted({*known, model})) + "\n")
        except StorageError:
            _log.warning("%s cannot be written", path)


def recall(layout: Layout, repos: list[str], model: str) -> list[str]:
    """Return those of `repos` that a search has found for an id."""
    return [r for r in repos if model in (read_text(layout.repo(r) / _SEARCHED) or "").split()]


def _files(catalog: Path) -> Iterator[Path]:
    if catalog.is_file():
        yield catalog
        return
    if not catalog.is_dir():
        raise InvalidConfiguration(
            f"The catalogue {catalog} is neither a file nor a folder.",
            hint="Set MODELFETCH_CATALOG to a model.yaml, or to a folder of such files.",
            path=str(catalog),
        )
    left = MAX_FILES
    for folder, folders, names in os.walk(catalog):
        folders.sort()
        for name in sorted(names):
            if name.endswith((".yaml", ".yml")):
                if not left:
                    raise InvalidConfiguration(
                        f"The catalogue {catalog} has more than {MAX_FILES} files.",
                        hint="Point to the folder of model.yaml files itself.",
                        path=str(catalog),
                    )
                left -= 1
                yield Path(folder, name)


def _read(path: Path, model: str, most: int, *, needed: bool = True) -> list[CatalogModel]:
    """Return what a file says of an id.

    Args:
        path: The file.
        model: The id.
        most: Bytes that it may have.
        needed: Whether it must be sound even when it does not mention the id.
    """
    # Opened so that a pipe of that name does not block.
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("it is no regular file")
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it has more than {most} bytes")
    # Most files of a folder are about other models, and parsing takes a thousand times longer.
    if not needed and not any(
        model.encode(code) in data for code in ("utf-8", "utf-16-le", "utf-16-be")
    ):
        return []
    return [read_model(it) for it in _documents(data) if _names(it) == model]


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


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error)
