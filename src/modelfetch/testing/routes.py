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

from modelfetch.testing import listing
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
_EXPANDED_PAGE = 50
# Requests in five minutes of somebody without an account, by the kind of route.
_QUOTAS = {"api": 500, "resolvers": 3000}


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
            if (moved := self._moved(request.raw_path, parts)) is not None:
                reply = moved
            elif is_resolve:
                reply = self._resolve(request, record, parts)
            elif on_cache:
                reply = self._cached(request, record, parts)
            else:
                reply = await self._api(request, record, parts)
        except _Denied as denied:
            reply = denied.reply
        reply = self._hub.scripted("resolve" if is_resolve or on_cache else "api", record, reply)
        reply = reply.with_headers(X_Request_Id=f"Root=1-{secrets.token_hex(8)}")
        if "RateLimit" not in reply.headers:
            kind = "resolvers" if is_resolve else "api"
            quota = _QUOTAS[kind]
            reply = reply.with_headers(
                RateLimit=f'"{kind}";r={quota - 1};t=240',
                RateLimit_Policy=f'"fixed window";"{kind}";q={quota};w=300',
            )
        return await send(request, reply, record)

    def _moved(self, raw_path: str, parts: list[str]) -> Reply | None:
        at = 2 if parts[:2] == ["api", "models"] else 0
        old = "/".join(parts[at : at + 2])
        new = self._hub.renamed.get(old)
        if new is None:
            return None
        location = raw_path.replace(quote(old), quote(new), 1)
        return Reply(307, {"Location": location}, f"Redirecting to {location}".encode())

    async def _api(self, request: web.Request, record: LoggedRequest, parts: list[str]) -> Reply:
        if parts == ["api", "models"]:
            return self._search(request)
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
            return _json(listing.refs(repo, with_pull_requests="include_prs" in request.query))
        commit = self._commit(repo, rest[0] if rest else "main")
        if route == "revision":
            with_sizes = self._hub.lists_sizes and _is_set(request, "blobs")
            return _json(listing.info(repo, commit, with_sizes=with_sizes))
        if route == "tree":
            return self._tree(request, repo, commit, "/".join(rest[1:]))
        if route == "paths-info" and request.method == "POST":
            return await self._paths_info(request, repo, commit)
        raise _Denied(404, "Not Found")

    def _tree(self, request: web.Request, repo: Repo, commit: str, folder: str) -> Reply:
        expand = _is_set(request, "expand")
        listed = listing.tree(
            repo, commit, folder, recursive=_is_set(request, "recursive"), expand=expand,
            xet=self._hub.announces_xet,
        )  # fmt: skip
        if folder and not listed:
            raise _Denied(404, f"{folder} does not exist on this revision", "EntryNotFound")
        return self._page(request, listed, _EXPANDED_PAGE if expand else self._hub.page_size)

    async def _paths_info(self, request: web.Request, repo: Repo, commit: str) -> Reply:
        paths, expand = await _posted(request)
        xet = self._hub.announces_xet
        return _json(listing.paths_info(repo, commit, paths, expand=expand, xet=xet))

    def _search(self, request: web.Request) -> Reply:
        token = self._token(request)
        repos = [r for r in self._hub.repos.values() if not r.private or token in r.allowed]
        tags = {tag for tags in request.query.getall("filter", []) for tag in tags.split(",")}
        if self._hub.ignores_queries:
            found = listing.search(repos, {}, set())
        else:
            found = listing.search(repos, request.query, tags)
        return self._page(request, found, self._hub.page_size)

    def _page(self, request: web.Request, listed: list[dict[str, Any]], most: int) -> Reply:
        most = min(most, self._hub.page_size, _number(request, "limit", most) or 1)
        first = _number(request, "cursor", 0)
        reply = _json(listed[first : first + most])
        if first + most >= len(listed):
            return reply
        path, _, query = request.raw_path.partition("?")
        kept = [field for field in query.split("&") if field and not field.startswith("cursor=")]
        query = "&".join([*kept, f"cursor={first + most}"])
        return reply.with_headers(Link=f'<{self._hub.endpoint}{path}?{query}>; rel="next"')

    def _resolve(self, request: web.Request, record: LoggedRequest, parts: list[str]) -> Reply:
        repo = self._repo(request, f"{parts[0]}/{parts[1]}")
        record.repo = repo.repo_id
        commit = self._commit(repo, parts[3])
        self._pass_gate(request, repo)
        entry = self._entry(repo, commit, "/".join(parts[4:]))
        self._hub.about(record, repo.repo_id, entry)
        reply = self._redirect(repo, commit, entry)
        return reply.with_headers(X_Repo_Commit=commit, Accept_Ranges="bytes")

    def _redirect(self, repo: Repo, commit: str, entry: Entry) -> Reply:
        if not entry.is_lfs:
            target = f"/api/resolve-cache/models/{repo.repo_id}/{commit}/{quote(entry.path)}"
            location = f"{target}?%2F{quote(entry.path, safe='')}=&etag=%22{entry.etag}%22"
            body = f"Temporary Redirect. Redirecting to {location}".encode()
            return Reply(307, {"Location": location, "ETag": f'"{entry.etag}"'}, body)
        location = self._hub.location(repo.repo_id, entry)
        headers = {
            "Location": location,
            "X-Linked-Size": str(entry.content.size),
            "X-Linked-ETag": f'"{entry.etag}"',
            "Vary": "Accept",
        }
        if self._hub.announces_xet:
            auth = f"{self._hub.endpoint}/api/models/{repo.repo_id}/xet-read-token/{commit}"
            headers["X-Xet-Hash"] = entry.cdn_etag
            headers["Link"] = f'<{auth}>; rel="xet-auth"'
        return Reply(302, headers, f"Found. Redirecting to {location}".encode())

    def _cached(self, request: web.Request, record: LoggedRequest, parts: list[str]) -> Reply:
        repo = self._repo(request, f"{parts[3]}/{parts[4]}")
        self._pass_gate(request, repo)
        entry = self._entry(repo, self._commit(repo, parts[5]), "/".join(parts[6:]))
        self._hub.about(record, repo.repo_id, entry)
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

    def _entry(self, repo: Repo, commit: str, path: str) -> Entry:
        entry = repo.commits[commit].get(path)
        if entry is None:
            raise _Denied(404, "Entry not found", "EntryNotFound")
        return entry

    def _commit(self, repo: Repo, revision: str) -> str:
        commit = repo.commit_of(revision)
        if commit is None:
            raise _Denied(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit


def _json(value: object) -> Reply:
    return Reply(
        200, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(value).encode()
    )


def _is_set(request: web.Request, name: str) -> bool:
    return request.query.get(name, "").lower() in ("true", "1")


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isdecimal():
        raise _Denied(400, f"Invalid {name}: {text}")
    return int(text)


async def _posted(request: web.Request) -> tuple[list[str], bool]:
    # huggingface_hub posts a form, huggingface.js JSON.
    if request.content_type == "application/json":
        sent = await request.json()
        return list(sent.get("paths", [])), bool(sent.get("expand"))
    form = await request.post()
    expand = str(form.get("expand", "")).lower() in ("true", "1")
    return [str(path) for path in form.getall("paths", [])], expand


def _gate_text(repo: Repo) -> str:
    return f"Access to model {repo.repo_id} is restricted. You must have access to it."
