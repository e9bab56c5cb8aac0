"""How much of an offer is on disk: finished files, and partials as far as their journal proves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from modelfetch.core.pieces import SpanSet
from modelfetch.offers import ModelVariants, Sidecar, VariantInfo
from modelfetch.storage.journals import read_journal
from modelfetch.storage.layout import BlobPaths, Layout
from modelfetch.storage.recovery import header_now
from modelfetch.storage.snapshots import is_present
from modelfetch.types import RemoteFile, Snapshot

__all__ = ["held_bytes", "proved_bytes", "with_holdings"]


def with_holdings(layout: Layout, snapshot: Snapshot, offered: ModelVariants) -> ModelVariants:
    """Return `offered` with what is on disk filled in; blocking."""
    if not layout.repo(snapshot.repo).is_dir():
        return offered
    files = {file.path: file for file in snapshot.files}

    def sidecar(one: Sidecar) -> Sidecar:
        return replace(one, downloaded_bytes=held_bytes(layout, snapshot, files[one.path]))

    def variant(one: VariantInfo) -> VariantInfo:
        sidecars = tuple(sidecar(file) for file in one.sidecars)
        held = _held(layout, snapshot, files, one)
        return replace(one, downloaded_bytes=held, sidecars=sidecars)

    variants = tuple(variant(one) for one in offered.variants)
    return replace(offered, variants=variants, others=tuple(sidecar(one) for one in offered.others))


def held_bytes(layout: Layout, snapshot: Snapshot, file: RemoteFile) -> int:
    """Return how much of a file is on disk: all of it, or what its journal proves."""
    if is_present(layout, snapshot.repo, snapshot.commit, file):
        return file.size_bytes
    if not (file.sha256 or file.git_oid):
        return 0
    return proved_bytes(layout.blob(snapshot.repo, file.blob_name), file)


def proved_bytes(paths: BlobPaths, file: RemoteFile) -> int:
    """Return how much of a file that is not finished its partials hold, whoever fills them."""
    return max((_proved_bytes(one, file) for one in paths.partials()), default=0)


def _proved_bytes(paths: BlobPaths, file: RemoteFile) -> int:
    journal = read_journal(paths.journal)
    if journal is None:
        return 0
    try:
        end = paths.partial.stat().st_size
    except OSError:
        return 0
    pieces = journal.trusted(header_now(file))
    return SpanSet(piece.span for piece in pieces if piece.span.stop <= end).size


def _held(
    layout: Layout, snapshot: Snapshot, files: Mapping[str, RemoteFile], variant: VariantInfo
) -> int:
    if variant.joined_path is not None:
        # The whole, by its name in the snapshot: no hash of it is published.
        whole = RemoteFile(variant.joined_path, variant.size_bytes, None)
        if is_present(layout, snapshot.repo, snapshot.commit, whole):
            return variant.size_bytes
    return sum(held_bytes(layout, snapshot, files[path]) for path in variant.paths)
