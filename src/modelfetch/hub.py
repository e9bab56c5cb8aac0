"""The Hub: what a repository holds, and where a file's bytes are.

One call pins everything: `/api/models/<repo>/revision/<rev>?blobs=true` answers with the commit
and, for each file, size and SHA-256. (The tree route has the same but does not name its commit.)
Servers that leave sizes out there, and repositories too large for that listing, get tree calls at
the pinned commit.

A file's URL is found by hand: HEAD on `/resolve/<commit>/<path>`, following redirects only while
they stay on the Hub. The first Location that leaves it is the signed URL; see `core.origins`.

Fields of answers are checked before they become part of a path: commits and hashes are hex, sizes
are sane, file names stay inside.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import quote

from modelfetch.config import Config
from modelfetch.core.contest import Contest
from modelfetch.core.expiry import lifetime, signers_clock
from modelfetch.core.failover import Failure, leads_on, outcome
from modelfetch.core.origins import host_of, next_url, origin
from modelfetch.core.paths import is_safe_path
from modelfetch.core.refs import ModelRef
from modelfetch.core.refusals import refusal
from modelfetch.errors import InvalidReference, ModelFetchError
from modelfetch.hubcall import HubCall, nonsense
from modelfetch.surroundings import Place, places_of
from modelfetch.transport import Reply, Transport
from modelfetch.types import ModelMetadata, RemoteFile, Snapshot

__all__ = ["Locator", "Source", "list_files", "locate"]

# Above this many files the listing inside the info answer is not reliable (huggingface_hub's
# limit).
_LARGE_REPO = 50_000
_MAX_HOPS = 10
_COMMIT = re.compile(r"[0-9a-f]{40}")
_GIT_OID = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a file's bytes are now.

    Attributes:
        url: Usually signed and short-lived: a secret, not for messages.
        lifetime_seconds: How long it is good for, when it says so.
        shun: Says that it is of no use, so that another endpoint is asked next; `None` where there
            is no other.
        outpaced: Takes bytes per second that came from there of late; returns whether another
            endpoint is to be asked now. `None` where there is no other.
    """

    url: str
    lifetime_seconds: float | None = None
    shun: Callable[[], None] | None = None
    outpaced: Callable[[float], bool] | None = None

    @property
    def host(self) -> str:
        """`host[:port]`, which may be told."""
        return host_of(self.url)

    def __repr__(self) -> str:
        return f"Source({self.host})"


def list_files(config: Config, token: str | None, repo: str, revision: str) -> Snapshot:
    """Return the files of `repo` at `revision`, pinned to a commit; blocking.

    Raises:
        ModelNotFound, RevisionNotFound, AccessDenied: The Hub said so.
        HubUnavailable: No usable answer; `RateLimited` and `Offline` are kinds of it.
    """
    base = f"{config.endpoint}/api/models/{repo}"
    with HubCall(config, token, repo, revision) as call:
        info = call.json(f"{base}/revision/{quote(revision, safe='')}?blobs=true")
        with call.understood():
            commit = info["sha"]
            if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
                raise ValueError("no commit")
            files = _files_of_info(info)
        if files is None:
            tree = call.pages(f"{base}/tree/{commit}?recursive=true&expand=false")
            with call.understood():
                files = _files_of_tree(tree)
    safe = tuple(file for file in files if is_safe_path(file.path))
    hub_id, metadata = _own_name(info), _metadata(info.get("gguf"))
    return Snapshot(repo, revision, commit, safe, hub_id=hub_id, metadata=metadata)


class Locator:
    """Says where the bytes of one file are, at whatever endpoint; that is asked by calling it.

    Args:
        config: The endpoints.
        transport: Asks them.
        repo: `owner/name`.
        commit: The commit that is pinned: no endpoint may give another.
        file: The file, whose size and hash an endpoint must not contradict.
    """

    def __init__(
        self, config: Config, transport: Transport, repo: str, commit: str, file: RemoteFile
    ) -> None:
        self._places = places_of(config)
        hosts = tuple(place.host for place in self._places)
        self._contest = Contest(hosts, config.slow_endpoint_rate)
        self._transport = transport
        self._repo, self._commit, self._file = repo, commit, file

    async def __call__(self) -> Source:
        """Return where the bytes are.

        Raises:
            ModelFetchError: As `list_files`, and `NetworkError` when no answer came.
        """
        failures: list[Failure] = []
        for place in tuple(self._places):
            try:
                source = await locate(
                    place.config, self._transport, self._repo, self._commit, self._file
                )
            except ModelFetchError as error:
                failures.append(Failure(place.host, place.is_hub, error))
                if not leads_on(failures[-1]):
                    break
                self._shun(place)
            else:
                if len(self._places) == 1:
                    return source
                return replace(
                    source,
                    shun=partial(self._shun, place),
                    outpaced=partial(self._outpaced, place),
                )
        raise outcome(failures, in_transfer=True)

    def _shun(self, place: Place) -> None:
        self._contest.failed(place.host)
        self._places.remove(place)
        self._places.append(place)

    def _outpaced(self, place: Place, speed: float) -> bool:
        best = self._contest.measured(place.host, speed)
        self._places.sort(key=lambda other: other.host != best)
        return best != place.host


async def locate(
    config: Config, transport: Transport, repo: str, commit: str, file: RemoteFile
) -> Source:
    """Return where the bytes of `file` are, at the endpoint of `config`.

    Raises:
        ModelFetchError: As `list_files`, and `NetworkError` when no answer came.
    """
    hub = origin(config.endpoint)
    url = f"{config.endpoint}/{repo}/resolve/{commit}/{quote(file.path)}"
    for _ in range(_MAX_HOPS):
        reply = await transport.head(url)
        _check_same_file(reply, file)
        location = reply.headers.get("Location")
        if 300 <= reply.status < 400 and location is not None:
            try:
                url = next_url(url, location)
            except ValueError as error:
                raise nonsense(reply.host, f"a bad redirect: {error}") from None
            if origin(url) != hub:
                return Source(url, lifetime(url, signers_clock(reply.headers, time.time())))
        elif reply.status < 300 or reply.status in (405, 501):
            # The endpoint serves the bytes itself; one that has no HEAD is asked by GET.
            return Source(url)
        else:
            raise refusal(reply.status, reply.headers, reply.host, repo, commit, time.time())
    raise nonsense(host_of(url), "redirects without end")


def _own_name(info: Mapping[str, Any]) -> str | None:
    try:
        return ModelRef(str(info.get("id"))).repo
    except InvalidReference:
        return None


def _metadata(told: object) -> ModelMetadata | None:
    """Return what the Hub read in the head of a file: huggingface_hub's `ModelInfo.gguf`."""
    if not isinstance(told, dict):
        return None
    words = told.get("architecture")
    numbers = (told.get("total"), told.get("context_length"))
    parameters, context = (it if type(it) is int and 0 < it < 1 << 62 else None for it in numbers)
    architecture = words if isinstance(words, str) and 0 < len(words) <= 64 else None
    return ModelMetadata(
        architecture=architecture, parameter_count=parameters, context_length=context
    )


def _files_of_info(info: Mapping[str, Any]) -> list[RemoteFile] | None:
    """Return the files of an info answer, `None` when sizes or files may be left out.

    Read by hand: huggingface_hub's classes for it cost the start of every program 0.1 s of imports.
    """
    siblings = info.get("siblings")
    if siblings is None or len(siblings) > _LARGE_REPO:
        return None
    files = []
    for sibling in siblings:
        size, blob_id, lfs = (sibling.get(name) for name in ("size", "blobId", "lfs"))
        if size is None or (blob_id is None and not lfs):
            return None
        sha256 = lfs["sha256"] if lfs else None
        files.append(_checked(sibling["rfilename"], size, sha256, blob_id))
    return files


def _files_of_tree(entries: Iterable[Mapping[str, Any]]) -> list[RemoteFile]:
    files = []
    for entry in entries:
        if entry["type"] == "file":
            lfs = entry.get("lfs")
            sha256 = lfs["oid"] if lfs else None
            files.append(_checked(entry["path"], entry["size"], sha256, entry["oid"]))
    return files


def _checked(path: object, size: object, sha256: object, git_oid: object) -> RemoteFile:
    if not isinstance(path, str) or not isinstance(size, int) or not 0 <= size < 1 << 62:
        raise ValueError("not a file")
    if sha256 is not None and not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
        raise ValueError("not a SHA-256")
    if git_oid is not None and not (isinstance(git_oid, str) and _GIT_OID.fullmatch(git_oid)):
        git_oid = None
    if sha256 is None and git_oid is None:
        raise ValueError("no hash")
    return RemoteFile(path, size, sha256, git_oid)


def _check_same_file(reply: Reply, file: RemoteFile) -> None:
    # Only fields that describe the file itself count: ETag and Content-Length of a redirect do not.
    size = reply.headers.get("X-Linked-Size", "")
    etag = reply.headers.get("X-Linked-Etag", "").removeprefix("W/").strip('"')
    other_size = size.isdecimal() and int(size) != file.size_bytes
    other_hash = file.sha256 is not None and _SHA256.fullmatch(etag) and etag != file.sha256
    if other_size or other_hash:
        raise nonsense(reply.host, f"the description of another file for {file.path}")
