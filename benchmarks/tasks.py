"""What a contender is asked to do, and what it finds in its environment."""

from __future__ import annotations

import os
import site
from dataclasses import dataclass, field
from pathlib import Path

REPO = "bench/model-GGUF"
CONNECTIONS = 16  # what the peers are told, where they can be told
# What the user has set must not change what is measured.
_FOREIGN = ("MODELFETCH_", "HF_", "HUGGING_FACE_", "XDG_", "PYTHONDONTWRITEBYTECODE")
_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy", "ftp_proxy"}


@dataclass(frozen=True)
class Wanted:
    """A file to fetch: where it is, its path in the repository, its SHA-256, its bytes."""

    url: str
    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Task:
    """Files to fetch.

    Attributes:
        endpoint: The FakeHub.
        files: All of the repository's.
        folder: An empty folder to leave them in.
        certificate: To trust, for TLS.
        patience: Seconds of silence to wait, `None` for the contender's default.
    """

    endpoint: str
    files: tuple[Wanted, ...]
    folder: Path
    certificate: Path | None = None
    patience: float | None = None

    @property
    def only(self) -> Wanted:
        """The first file, which is the only one for most."""
        return self.files[0]

    @property
    def environment(self) -> dict[str, str]:
        """Every contender's environment: the same for all, with nothing of the user's.

        Its home is below `folder`, so that each run begins with nothing.
        """
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_FOREIGN) and name.lower() not in _PROXIES
        }
        trusted = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
        waits = {} if self.patience is None else {
            "HF_HUB_DOWNLOAD_TIMEOUT": f"{self.patience:.0f}",
            "MODELFETCH_READ_TIMEOUT": str(self.patience),
        }  # fmt: skip
        return {
            **kept,
            **(dict.fromkeys(trusted, str(self.certificate)) if self.certificate else {}),
            **waits,
            "HOME": str(self.folder / "home"),
            "PYTHONUSERBASE": site.getuserbase(),
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(self.folder / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "MODELFETCH_ADOPT": "0",
            "MODELFETCH_STATE_DIR": str(self.folder / "state"),
        }


@dataclass(frozen=True)
class Command:
    """What to run: its words, and what it reads from stdin."""

    words: list[str]
    stdin: str = field(default="", repr=False)
