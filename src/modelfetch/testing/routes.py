"""The FakeHub's own routes, with the shapes of the real ones.

Seen on the Hub: 401 RepoNotFound for whatever an anonymous user may not know of; a wrong token
named only in X-Error-Message; metadata of gated repositories open to all, their files not; a large
file as 302 to the CDN with the file's own size and hash in X-Linked-*; any other file as a relative
307.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from aiohttp import web

from modelfetch.testing.cdn import ranged
from modelfetch.testing.faults import Reply
from modelfetch.testing.log import LoggedRequest
from modelfetch.testing.repos import Entry, Repo
from modelfetch.testing.sending import send

if TYPE_CHECKING:
    from modelfetch.testing.hub import FakeHub

__all__ = ["Routes"]

_BAD_TOKEN = "Invalid credentials in Authorization header"
_UNKNOWN = "Invalid username or password."
_SHUT = "Access to this resource is disabled."


class _Denied(Exception):
    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        headers = {"X-Error-Message": message, "Content-Type": "application/json"}
        if code is not None:
            headers["X-Error-Code"] = code
        self.reply = Reply(status, headers, json.dumps({"error": message}).encode())


class Routes:
    """Answers for one FakeHub."""

    def __init__(self, hub: FakeHub) -> None:
        self._hub = hub

    def app(self) -> web.Application:
        """Return the server."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        return app

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        record = self._hub.record("hub", request)
        parts = [unquote(part) for part in record.path.strip("/").split("/")]
        is_resolve = len(parts) > 4 and parts[2] == "resolve"
        on_cache = parts[:2] == ["api", "resolve-cache"]
        try:
            if is_resolve:
                reply = self._resolve(request, record, parts)
            elif on_cache:
                reply = self._cached(request, record, parts)
            else:
                reply = self._api(request, record, parts)
        except _Denied as denied:
            reply = denied.reply
        reply = self._hub.scripted("resolve" if is_resolve or on_cache else "api", record, reply)
        reply = reply.with_headers(X_Request_Id=f"Root=1-{secrets.token_hex(8)}")
        if "RateLimit" not in reply.headers:
            kind = "resolvers" if is_resolve else "api"
            reply = reply.with_headers(
                RateLimit=f'"{kind}";r=499;t=240',
                RateLimit_Policy=f'"fixed window";"{kind}";q=500;w=300',
            )
        return await send(request, reply, record, lambda: None)

    def _api(self, request: web.Request, record: LoggedRequest, parts: list[str]) -> Reply:
        if parts == ["api", "models"]:
            return _json(self._search(request))
        if parts == ["api", "agent-harnesses"]:
            return _json({"standardEnvVars": [], "harnesses": {}})
        if parts == ["api", "whoami-v2"]:
            self._token(request, needed=True)
            return _json({"type": "user", "name": "tester"})
        if parts[:2] != ["api", "models"] or len(parts) < 4:
            raise _Denied(404, "Not Found")
        repo = self._repo(request, f"{parts[2]}/{parts[3]}")
        record.repo = repo.repo_id
        route, rest = (parts[4] if len(parts) > 4 else "revision"), parts[5:]
        if route == "refs":
            return _json(_refs(repo))
        commit = self._commit(repo, rest[0] if rest else "main")
        entries = repo.commits[commit]
        if route == "revision":
            return _json(self._info(repo, commit, blobs="blobs" in request.query))
        if route == "tree":
            return self._tree(request, list(entries.values()), "/".join(rest[1:]))
        raise _Denied(404, "Not Found")

    def _info(self, repo: Repo, commit: str, *, blobs: bool) -> dict[str, Any]:
        with_sizes = blobs and self._hub.lists_sizes
        entries = repo.commits[commit].values()
        return {
            "_id": "0" * 24,
            "id": repo.repo_id,
            "modelId": repo.repo_id,
            "sha": commit,
            "private": repo.private,
            "gated": "manual" if repo.gated else False,
            "disabled": repo.disabled,
            "tags": ["gguf"],
            "downloads": 0,
            "likes": 0,
            "siblings": [entry.to_sibling(blobs=with_sizes) for entry in entries],
        }

    def _tree(self, request: web.Request, entries: list[Entry], folder: str) -> Reply:
        below = f"{folder}/" if folder else ""
        inside = [entry for entry in entries if entry.path.startswith(below)]
        first = int(request.query.get("cursor", "0"))
        page = inside[first : first + self._hub.page_size]
        reply = _json([entry.to_tree() for entry in page])
        following = first + len(page)
        if following >= len(inside):
            return reply
        query = {**request.query, "cursor": str(following)}
        text = "&".join(f"{key}={quote(value)}" for key, value in query.items())
        path = request.raw_path.partition("?")[0]
        return reply.with_headers(Link=f'<{self._hub.endpoint}{path}?{text}>; rel="next"')

    def _search(self, request: web.Request) -> list[dict[str, Any]]:
        wanted = request.query.get("search", "").lower()
        author = request.query.get("author")
        return [
            {"id": repo_id, "modelId": repo_id, "private": repo.private, "downloads": 0, "tags":
            ["gguf"]} for repo_id, repo in self._hub.repos.items()
            if wanted in repo_id.lower() and author in (None, repo_id.partition("/")[0])
        ]  # fmt: skip

    def _resolve(self, request: web.Request, record: LoggedRequest, parts: list[str]) -> Reply:
        repo = self._repo(request, f"{parts[0]}/{parts[1]}")
        record.repo = repo.repo_id
        commit = self._commit(repo, parts[3])
        self._pass_gate(request, repo)
        path = "/".join(parts[4:])
        entry = repo.commits[commit].get(path)
        if entry is None:
            raise _Denied(404, "Entry not found", "EntryNotFound")
        record.file = path
        reply = self._redirect(repo, commit, entry)
        return reply.with_headers(X_Repo_Commit=commit, Accept_Ranges="bytes")

    def _redirect(self, repo: Repo, commit: str, entry: Entry) -> Reply:
        if not entry.is_lfs:
            target = f"/api/resolve-cache/models/{repo.repo_id}/{commit}/{quote(entry.path)}"
            location = f"{target}?%2F{quote(entry.path, safe='')}=&etag=%22{entry.etag}%22"
            body = f"Temporary Redirect. Redirecting to {location}".encode()
            return Reply(307, {"Location": location, "ETag": f'"{entry.etag}"'}, body)
        location = self._hub.cdn.sign(repo.repo_id, entry)
        headers = {
            "Location": location,
            "X-Linked-Size": str(entry.content.size),
            "X-Linked-ETag": f'"{entry.etag}"',
            "Vary": "Accept",
        }
        return Reply(302, headers, f"Found. Redirecting to {location}".encode())

    def _cached(self, request: web.Request, record: LoggedRequest, parts: list[str]) -> Reply:
        repo = self._repo(request, f"{parts[3]}/{parts[4]}")
        self._pass_gate(request, repo)
        record.repo, record.file = repo.repo_id, "/".join(parts[6:])
        entry = repo.commits[self._commit(repo, parts[5])].get(record.file)
        if entry is None:
            raise _Denied(404, "Entry not found", "EntryNotFound")
        return ranged(request, entry, f'"{entry.etag}"').with_headers(X_Repo_Commit=parts[5])

    def _token(self, request: web.Request, *, needed: bool = False) -> str | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer":
            if needed:
                raise _Denied(401, _UNKNOWN)
            return None
        if token not in self._hub.tokens:
            raise _Denied(401, _BAD_TOKEN)
        return token

    def _pass_gate(self, request: web.Request, repo: Repo) -> None:
        if repo.gated and (token := self._token(request)) not in repo.allowed:
            raise _Denied(401 if token is None else 403, _gate_text(repo), "GatedRepo")

    def _repo(self, request: web.Request, repo_id: str) -> Repo:
        token = self._token(request)
        repo = self._hub.repos.get(repo_id)
        if repo is None or (repo.private and token not in repo.allowed):
            status, message = (401, _UNKNOWN) if token is None else (404, "Repository not found")
            raise _Denied(status, message, "RepoNotFound")
        if repo.disabled:
            raise _Denied(403, _SHUT)
        return repo

    def _commit(self, repo: Repo, revision: str) -> str:
        commit = repo.commit_of(revision)
        if commit is None:
            raise _Denied(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit


def _json(value: object) -> Reply:
    return Reply(
        200, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(value).encode()
    )


def _refs(repo: Repo) -> dict[str, Any]:
    branches = [
        {"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit}
        for name, commit in repo.branches.items()
        if not name.startswith("refs/")
    ]
    return {"branches": branches, "tags": [], "converts": []}


def _gate_text(repo: Repo) -> str:
    return f"Access to model {repo.repo_id} is restricted. You must have access to it."
