"""A model id and a quantization in, verified GGUF files on disk out.

    import modelfetch

    model = modelfetch.fetch("unsloth/Qwen3-4B-GGUF", "Q4_K_M")
    model.path      # the first GGUF: what llama.cpp is given

Inside a server use `Engine`, and `modelfetch.web` for its HTTP API. Importing this package is
cheap: the HTTP client and huggingface_hub are imported at first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelfetch import errors
from modelfetch._version import __version__
from modelfetch.errors import *  # noqa: F403
from modelfetch.offers import Fit, ModelVariants, Sidecar, VariantInfo
from modelfetch.status import FileStatus, JobState, JobStatus
from modelfetch.types import (
    FileRole,
    LocalFile,
    LocalModel,
    ModelMetadata,
    Plan,
    PlannedFile,
    ResolvedBy,
)

if TYPE_CHECKING:
    from modelfetch.blocking import fetch as fetch
    from modelfetch.cache import Cache as Cache
    from modelfetch.config import Config as Config
    from modelfetch.engine import Engine as Engine
    from modelfetch.inventory import CachedBuild as CachedBuild
    from modelfetch.inventory import CachedModel as CachedModel
    from modelfetch.inventory import CachedPartial as CachedPartial
    from modelfetch.inventory import DamagedFile as DamagedFile
    from modelfetch.inventory import DiskUsage as DiskUsage
    from modelfetch.inventory import Removal as Removal
    from modelfetch.inventory import RemovedItem as RemovedItem
    from modelfetch.inventory import Verification as Verification
    from modelfetch.jobs import Job as Job

__all__ = [
    "__version__",
    "fetch",
    "Engine",
    "Job",
    "Config",
    "Plan",
    "PlannedFile",
    "ResolvedBy",
    "FileRole",
    "ModelVariants",
    "VariantInfo",
    "Sidecar",
    "Fit",
    "LocalModel",
    "LocalFile",
    "ModelMetadata",
    "JobState",
    "JobStatus",
    "FileStatus",
    "Cache",
    "CachedModel",
    "CachedBuild",
    "CachedPartial",
    "Verification",
    "DamagedFile",
    "Removal",
    "RemovedItem",
    "DiskUsage",
    *errors.__all__,
]

_LAZY = {
    "fetch": "modelfetch.blocking",
    "Engine": "modelfetch.engine",
    "Job": "modelfetch.jobs",
    "Config": "modelfetch.config",
    "Cache": "modelfetch.cache",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "web":
        return import_module("modelfetch.web")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # What is neither here already nor in the table is what housekeeping found.
    value = globals()[name] = getattr(import_module(_LAZY.get(name, "modelfetch.inventory")), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
