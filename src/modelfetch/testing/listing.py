"""What the Hub's metadata routes list: info, tree, paths-info, refs and search."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from modelfetch.testing.repos import Entry, Repo

__all__ = ["info", "paths_info", "refs", "search", "tree"]

_PUSHED_AT = "2026-01-01T00:00:00.000Z"
_UNSCANNED = {"status": "unscanned", "avScan": None, "pickleImportScan": None}


def info(repo: Repo, commit: str, *, with_sizes: bool) -> dict[str, Any]:
    """Return what `/api/models/<repo>/revision/<rev>` says."""
    entries = repo.commits[commit].values()
    siblings = [entry.to_sibling(blobs=with_sizes) for entry in entries]
    return {**_card(repo, commit), "siblings": siblings}


def search(repos: Iterable[Repo], query: Mapping[str, str], tags: set[str]) -> list[dict[str, Any]]:
    """Return the repositories that `/api/models` finds.

    Args:
        repos: Those that the caller may know of.
        query: `search` is part of the id in any case, `author` its owner; `sort=downloads` puts the
            most downloaded first.
        tags: Tags that all must be there.
    """
    wanted, author = query.get("search", "").lower(), query.get("author")
    found = [
        _card(repo, repo.branches["main"])
        for repo in repos
        if "main" in repo.branches
        and wanted in repo.repo_id.lower()
        and author in (None, repo.repo_id.partition("/")[0])
        and tags <= set(repo.tags)
    ]
    if query.get("sort") == "downloads":
        found.sort(key=lambda card: -int(card["downloads"]))
    return found


def refs(repo: Repo, *, with_pull_requests: bool) -> dict[str, Any]:
    """Return what `/api/models/<repo>/refs` says."""
    branches, pulls = [], []
    for name, commit in repo.branches.items():
        if name.startswith("refs/"):
            pulls.append({"name": name, "ref": name, "targetCommit": commit})
        else:
            branches.append({"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit})
    listed: dict[str, Any] = {"branches": branches, "tags": [], "converts": []}
    return {**listed, "pullRequests": pulls} if with_pull_requests else listed


def tree(
    repo: Repo, commit: str, folder: str, *, recursive: bool, expand: bool, xet: bool
) -> list[dict[str, Any]]:
    """Return what is in a folder, `""` for all; folders are listed too, as on the Hub."""
    entries = repo.commits[commit]
    head = f"{folder}/" if folder else ""
    paths: dict[str, None] = {}
    for path in entries:
        if path.startswith(head):
            parts = path.removeprefix(head).split("/")
            for depth in range(1, len(parts) + 1 if recursive else 2):
                paths[head + "/".join(parts[:depth])] = None
    return [_listed(entries, path, commit, expand=expand, xet=xet) for path in paths]


def paths_info(
    repo: Repo, commit: str, paths: Iterable[str], *, expand: bool, xet: bool
) -> list[dict[str, Any]]:
    """Return the same about single files and folders; what is not there is left out."""
    entries = repo.commits[commit]
    return [
        _listed(entries, path, commit, expand=expand, xet=xet)
        for path in paths
        if path in entries or any(other.startswith(f"{path}/") for other in entries)
    ]


def _listed(
    entries: Mapping[str, Entry], path: str, commit: str, *, expand: bool, xet: bool
) -> dict[str, Any]:
    entry = entries.get(path)
    if entry is None:
        # Any 40 hex digits that are stable will do: nobody can ask for a tree by its id.
        oid = hashlib.sha1(f"tree {commit}/{path}".encode()).hexdigest()
        listed: dict[str, Any] = {"type": "directory", "oid": oid, "size": 0, "path": path}
    else:
        listed = entry.to_tree()
        if xet and entry.is_lfs:
            listed["xetHash"] = entry.cdn_etag
        if expand:
            listed["securityFileStatus"] = _UNSCANNED
    if expand:
        listed["lastCommit"] = {"id": commit, "title": "Push", "date": _PUSHED_AT}
    return listed


def _card(repo: Repo, commit: str) -> dict[str, Any]:
    return {
        "_id": "0" * 24,
        "id": repo.repo_id,
        "modelId": repo.repo_id,
        "author": repo.repo_id.partition("/")[0],
        "sha": commit,
        "private": repo.private,
        "gated": "manual" if repo.gated else False,
        "disabled": repo.disabled,
        "createdAt": _PUSHED_AT,
        "lastModified": _PUSHED_AT,
        "tags": repo.tags,
        "downloads": repo.downloads,
        "likes": 0,
        **({} if repo.gguf is None else {"gguf": dict(repo.gguf)}),
    }
