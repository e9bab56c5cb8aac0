"""What the caller typed: a model reference, and the one way that modelfetch writes it.

    owner/name[@revision][/path][:quantization]          also behind hf:, hf:// or huggingface://
    owner/name@quantization                              as LM Studio's command line has it
    [https://]huggingface.co/owner/name[@...][:...]      and /tree|blob|resolve|raw/REVISION[/path]
    [https://]lmstudio.ai/models/owner/name[@quantization]

What follows a last `@` is a quantization when it begins with a quantization label as a whole word
(`core.labels`: `@Q4_K_M`, `@UD-Q4_K_XL`, `@f16`), and a revision otherwise. A revision that is
called like a label is still reachable: `@f16:Q8_0`, `@f16/path`, or a link with `/tree/f16`.

Percent-encoding is undone everywhere. A slash in a revision must be encoded (`@feature%2Fx`), but
for `refs/pr/1` and `refs/convert/x`. `#revision` (node-llama-cpp) and `.../file@revision` (LocalAI)
work too, but not in links: there, a fragment is a place on the page.

Sources: huggingface_hub `utils/_hf_uris.py` and `utils/_validators.py`; LM Studio `lms get`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import quote, unquote

from modelfetch.core.labels import parse_label
from modelfetch.errors import InvalidReference

__all__ = ["MAX_LENGTH", "ModelRef", "is_catalog_id", "parse"]

# Longer than any link to a file on the Hub; the bound keeps error messages and regexes small.
MAX_LENGTH = 2048

_HUB_HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
_CATALOG_HOSTS = frozenset({"lmstudio.ai", "www.lmstudio.ai"})
# First segments of pages of the Hub that are no models; nobody can be called so.
_NOT_OWNERS = frozenset(
    {"api", "blog", "buckets", "collections", "datasets", "docs", "kernels", "models"}
    | {"organizations", "papers", "posts", "settings", "spaces", "tasks"}
)
_PAGES = frozenset({"tree", "blob", "resolve", "raw", "blame"})

_REPO_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
# lms-shared-types, artifactIdentifierRegex
_CATALOG_ID = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*/[a-z0-9]+(?:[-.][a-z0-9]+)*")
_QUANTIZATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,95}")
_SPECIAL = r"refs/(?:pr/[0-9]+|convert/[A-Za-z0-9_.-]+)(?=[/@]|$)"
_NAME = re.compile(
    rf"(?P<repo>[^/@]*/[^/@]*)(?:@(?P<revision>{_SPECIAL}|[^/@]*))?"
    r"(?:/(?P<path>[^@]*))?(?:@(?P<last>[^/@]*))?"
)
_LINK = re.compile(
    rf"(?P<repo>[^/@]*/[^/@]*)"
    rf"(?:@(?P<last>[^/@]*)|/(?P<page>[^/]*)(?:/(?P<revision>{_SPECIAL}|[^/]*)(?:/(?P<path>.*))?)?)?"
)
# What git and the Hub refuse in the name of a branch or tag (git check-ref-format).
_NOT_IN_REVISION = re.compile(r"[\s~^:?*\[\\]|\.\.|//|@\{|^[-/@]|/$|(?:^|/)\.|\.(?:lock)?(?:/|$)")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SECRET = re.compile(r"hf_[A-Za-z0-9]{8,}|(?<=//)[^/@]+@|[^/@:]+:[^/@]*@|\?.*")

_EXAMPLE = "Examples: unsloth/Qwen3-4B-GGUF:Q4_K_M, https://huggingface.co/unsloth/Qwen3-4B-GGUF."


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model as the caller names it; what does not exist on the Hub may still be a valid name.

    `str` gives the canonical form, from which `parse` makes the same reference.

    Attributes:
        repo: `owner/name`, in the case it was typed in.
        revision: Branch, tag, `refs/pr/N` or commit; `None` for the default branch.
        quantization: As typed; `core.quants.choose` says what it can be.
        file: Path of a file or folder in the repository.
        catalog: True for an id of LM Studio's catalog, which is no repository of the Hub.

    Raises:
        InvalidReference: A field holds what no model has.
    """

    repo: str
    revision: str | None = None
    quantization: str | None = None
    file: str | None = None
    catalog: bool = False

    def __post_init__(self) -> None:
        _check_repo(self.repo)
        if self.catalog and not (self.revision is None and self.file is None):
            raise _invalid("A model of LM Studio's catalog has no revisions and no files.")
        if self.catalog and not is_catalog_id(self.repo):
            raise _invalid(f"{_shown(self.repo)} is not an id of LM Studio's catalog.")
        if self.revision is not None:
            _check_revision(self.revision)
        if self.quantization is not None:
            _check_quantization(self.quantization)
        if self.file is not None:
            _check_path(self.file)
        if len(str(self)) > MAX_LENGTH:
            raise _invalid(f"A model reference has at most {MAX_LENGTH} characters.")

    def __str__(self) -> str:
        suffix = f":{self.quantization}" if self.quantization else ""
        if self.catalog:
            return f"https://lmstudio.ai/models/{self.repo}{suffix}"
        revision = _quote_revision(self.revision) if self.revision else ""
        at = f"@{revision}" if revision else ""
        if self.file is not None:
            return f"hf://{self.repo}{at}/{quote(self.file)}{suffix}"
        if not suffix and self.revision and parse_label(self.revision):
            # After a last `@` this would be a quantization.
            return f"https://huggingface.co/{self.repo}/tree/{revision}"
        return f"{self.repo}{at}{suffix}"


def parse(text: str, *, hosts: Collection[str] = ("huggingface.co", "hf.co")) -> ModelRef:
    """Understand a model reference.

    Args:
        text: What the caller typed, see the head of this module.
        hosts: Hosts whose links name models, as `host` or `host:port`, such as a mirror's.
            Those of the Hub itself are always understood.

    Raises:
        InvalidReference: `text` is no model reference; the message says what was understood.
    """
    text = text.strip()
    if not text or len(text) > MAX_LENGTH:
        raise _invalid(f"A model reference has from 1 to {MAX_LENGTH} characters.")
    if not text.isprintable() or any(c.isspace() for c in text):
        raise _invalid(f"{_shown(text)} contains a space or a control character.")
    if "\\" in text:
        raise _invalid(f"{_shown(text)} contains a backslash; paths on the Hub have slashes.")
    scheme = _SCHEME.match(text)
    if scheme is None:
        host = _host(text)
        if host in _CATALOG_HOSTS or host in _known(hosts):
            return _parse_link(text, hosts)
        if text[0] in "./~":
            raise _invalid(f"{_shown(text)} is a path on this machine, not a model of the Hub.")
        if "." in host and text.count("/") > 1:
            raise _invalid(f"{_shown(host)} looks like a host, and is not the configured Hub's.")
        return _parse_name(text[3:] if text[:3].lower() == "hf:" else text)
    body = text[scheme.end() :]
    if scheme[1].lower() in ("hf", "huggingface"):
        return _parse_name(body.removeprefix("models/"))
    if scheme[1].lower() in ("http", "https"):
        return _parse_link(body, hosts)
    raise _invalid(f"{scheme[1]}:// is not an address of the Hub.")


def is_catalog_id(repo: str) -> bool:
    """Return whether `owner/name` may be an id of LM Studio's catalog: all are in lower case."""
    return _CATALOG_ID.fullmatch(repo) is not None


def _parse_name(body: str) -> ModelRef:
    """Parse `owner/name[@revision][/path][@revision][#revision]` and a quantization at its end."""
    body, _, branch = body.partition("#")
    body, quantization = _split_quantization(body)
    if "/" not in body:
        raise _invalid(f"{_shown(body)} is one word; a model is named owner/name.")
    match = _NAME.fullmatch(body)
    if match is None:
        raise _invalid(f"{_shown(body)} has one @ too many; in a path it is written %40.")
    found = (match["revision"], match["last"], branch or None)
    revisions = [revision for revision in found if revision is not None]
    if len(revisions) > 1:
        raise _invalid(f"{_shown(body)} names more than one revision.")
    revision = revisions[0] if revisions else None
    return _reference(match["repo"], revision, match["path"], quantization)


def _parse_link(body: str, hosts: Collection[str]) -> ModelRef:
    """Parse a link without its scheme."""
    body, _, query = body.partition("#")[0].partition("?")
    host = _host(body)
    if "@" in host:
        raise _invalid("The link contains a user name or a password.")
    path, quantization = _split_quantization(body.partition("/")[2])
    path = path.removeprefix("models/")
    if host in _CATALOG_HOSTS:
        return ModelRef(_decode(path).lower(), quantization=quantization, catalog=True)
    if host not in _known(hosts):
        raise _invalid(f"The link is to {_shown(host)}, which is not the configured Hub.")
    match = _LINK.fullmatch(path)
    if match is None:
        raise _invalid(f"The link leads to {_shown(path)}, which is not owner/name.")
    _check_owner(match["repo"])
    page, revision, file = match["page"], match["revision"], match["path"]
    if page is not None and (page not in _PAGES or not revision):
        raise _invalid(f"The link leads to the page {_shown(page)}, not to a model or its files.")
    if page is None:
        revision, file = match["last"], None
    shown = re.search(r"(?:^|&)show_(?:file_info|tensors)=([^&]+)", query)
    if shown and page in (None, "tree"):  # the file viewer
        file = shown[1]
    return _reference(match["repo"], revision, file, quantization)


def _split_quantization(text: str) -> tuple[str, str | None]:
    """Split `:quantization`, or a last `@` that has the shape of one, off the end."""
    head, colon, tail = text.rstrip("/").partition(":")
    if colon:
        return head.rstrip("/"), _decode(tail)
    start, at, tail = head.rpartition("@")
    tail = _decode(tail)
    if at and "/" not in tail and parse_label(tail):
        return start.rstrip("/"), tail
    return head, None


def _reference(
    repo: str, revision: str | None, path: str | None, quantization: str | None
) -> ModelRef:
    """Undo percent-encoding, and take a file that stands for a quantization as what it is."""
    if quantization is not None and quantization.lower().endswith(".gguf"):
        if path is not None:
            raise _invalid(f"There are two files: {_shown(path)} and {_shown(quantization)}.")
        path, quantization = quote(quantization), None
    return ModelRef(
        _decode(repo),
        None if revision is None else _decode(revision),
        quantization,
        None if path is None else _decode(path),
    )


def _check_repo(repo: str) -> None:
    """Check the Hub's rules for ids (`validate_repo_id` of huggingface_hub)."""
    parts = repo.split("/")
    if len(parts) != 2:
        raise _invalid(f"{_shown(repo)} is not of the form owner/name.")
    _check_owner(repo)
    if not all(_REPO_PART.fullmatch(part) for part in parts):
        raise _invalid(
            f"{_shown(repo)} is no name on the Hub: owner and name have 1 to 96 letters, digits, "
            "'-', '_' and '.', and neither begin nor end with '-' or '.'."
        )
    if "--" in repo or ".." in repo or repo.endswith(".git"):
        raise _invalid(f"{_shown(repo)} is no name on the Hub: '--', '..' and '.git' are not used.")


def _check_owner(repo: str) -> None:
    if repo.partition("/")[0] in _NOT_OWNERS:
        raise _invalid(f"{_shown(repo)} is a page or another kind of repository, not a model.")


def _check_revision(revision: str) -> None:
    if not revision:
        raise _invalid("The revision after the @ is empty.")
    if len(revision) > 255 or not revision.isprintable() or _NOT_IN_REVISION.search(revision):
        raise _invalid(f"{_shown(revision)} is not a branch, tag or commit.")


def _check_quantization(quantization: str) -> None:
    if not quantization:
        raise _invalid("The quantization is empty.")
    if not _QUANTIZATION.fullmatch(quantization) or quantization.lower().endswith(".gguf"):
        raise _invalid(f"{_shown(quantization)} is not a quantization, such as Q4_K_M.")


def _check_path(path: str) -> None:
    parts = path.split("/")
    if not path.isprintable() or "\\" in path or not all(parts) or {".", ".."} & set(parts):
        raise _invalid(f"{_shown(path)} is not the path of a file in a repository.")


def _quote_revision(revision: str) -> str:
    if re.fullmatch(_SPECIAL, revision):
        return revision
    # `refs` as such would take `pr/1` from the path behind it.
    return "%72efs" if revision == "refs" else quote(revision, safe="")


def _decode(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise _invalid(f"{_shown(text)} is not percent-encoded UTF-8.") from None


def _host(body: str) -> str:
    """Return `host[:port]` at the start of a link, in lower case, without a default port."""
    return re.split(r"[/?#]", body, maxsplit=1)[0].lower().removesuffix(":443").removesuffix(":80")


def _known(hosts: Collection[str]) -> frozenset[str]:
    return _HUB_HOSTS.union(_host(host) for host in hosts)


def _shown(text: str) -> str:
    """Return `text` for a message: short, on one line, without what may be a secret."""
    text = _SECRET.sub("...", text[:200])
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _invalid(message: str) -> InvalidReference:
    return InvalidReference(message, hint=_EXAMPLE)
