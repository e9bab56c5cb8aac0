"""The real listings of `tests/data/listings.json`, which says of each how complete it is."""

from __future__ import annotations

import json
from pathlib import Path

from modelfetch.testing import FakeHub, PositionCoded
from modelfetch.types import RemoteFile

DATA = Path(__file__).parent / "data" / "listings.json"
LISTINGS = {
    entry["repo"]: [
        RemoteFile(f["path"], f.get("size") or f.get("approx_size") or 1, f.get("sha256"))
        for f in entry["files"]
    ]
    for entry in json.loads(DATA.read_text())
}


def on_hub(hub: FakeHub, repo: str) -> None:
    """Let `hub` list a repository as the real one does; its files cannot be downloaded."""
    files = {
        file.path: PositionCoded(file.size_bytes, n, sha256=file.sha256 or f"{n:064x}")
        for n, file in enumerate(LISTINGS[repo])
    }
    hub.add(repo, files, lfs=lambda path, content: True)
