"""What a program does to a folder, operation by operation, and what a crash may leave of it.

`Recorder` notes every change below a folder: creations, positioned writes, flushes, renames,
removals, links. `after_kill` and `after_power_cut` build the folder as it may be found when the
program, or the machine, stopped after the first so many of them.

The model of a power cut is POSIX's, which is stricter than any one file system: written data counts
only once its file was flushed, a name only once its folder was. What is not flushed may be there or
not, in any combination, and data in part. New folders are taken to be there.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Fate", "Op", "Recorder", "after_kill", "after_power_cut", "built"]

_SECTOR = 512


class Fate(StrEnum):
    """What becomes of something that was not flushed."""

    KEPT = "kept"
    LOST = "lost"
    ZEROS = "zeros"
    """The size is kept, the bytes are not."""
    TORN = "torn"
    """Some sectors of it are there."""


@dataclass(frozen=True)
class Op:
    """One change.

    Attributes:
        kind: make, write, cut, sync, folder, rename, unlink, link or mkdir.
        path: The name it is about, relative; for write, cut and sync the name at that time.
        inode: Which file, whatever its name.
        offset: Of a write; the size, of a cut.
        data: Of a write.
        target: New name of a rename, text of a link.
    """

    kind: str
    path: str
    inode: int = -1
    offset: int = 0
    data: bytes = b""
    target: str = ""


class Recorder:
    """Records all changes below `root` that go through `os`, in one order for all threads."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root = Path(os.path.realpath(root))
        self.ops: list[Op] = []
        self._lock = threading.RLock()
        self._inodes: dict[str, int] = {}
        self._sizes: dict[int, int] = {}
        self._fds: dict[int, tuple[str, int]] = {}
        self._real = {name: getattr(os, name) for name in dir(os) if callable(getattr(os, name))}
        for name in (
            "open", "close", "write", "pwrite", "pwritev", "fsync", "fdatasync", "ftruncate",
            "replace", "rename", "unlink", "symlink", "link", "mkdir", "rmdir", "truncate",
        ):  # fmt: skip
            patch.setattr(os, name, self._patched(name))

    def _patched(self, name: str) -> Any:
        real, note = self._real[name], getattr(self, f"_{name}", self._unforeseen)

        def call(*args: Any, **more: Any) -> Any:
            with self._lock:
                return note(real, *args, **more)

        return call

    def _unforeseen(self, real: Any, *args: Any, **more: Any) -> Any:
        names = [self._name(arg) for arg in args if isinstance(arg, str | os.PathLike)]
        assert not any(names), f"{real.__name__} is not recorded"
        return real(*args, **more)

    def _name(self, path: Any) -> str | None:
        if isinstance(path, int):
            return None
        full = Path(os.path.realpath(Path(path).parent)) / Path(path).name
        return str(full.relative_to(self.root)) if full.is_relative_to(self.root) else None

    def _add(self, kind: str, path: str, inode: int = -1, **more: Any) -> None:
        self.ops.append(Op(kind, path, inode, **more))

    def _known(self, name: str) -> int:
        """Return the inode of a name; files made behind our back appear when they are renamed."""
        if name not in self._inodes:
            inode = self._inodes[name] = len(self._sizes)
            data = (self.root / name).read_bytes()
            self._sizes[inode] = len(data)
            self._add("make", name, inode)
            self._add("write", name, inode, data=data)
        return self._inodes[name]

    def _open(self, real: Any, path: Any, flags: int, *args: Any, **more: Any) -> int:
        name = self._name(path)
        existed = name is not None and os.path.lexists(path)
        fd: int = real(path, flags, *args, **more)
        if name is None:
            return fd
        if Path(path).is_dir():
            self._fds[fd] = (name, -1)
            return fd
        if not existed:
            self._inodes[name] = len(self._sizes)
            self._sizes[self._inodes[name]] = 0
            self._add("make", name, self._inodes[name])
        inode = self._known(name)
        if existed and flags & os.O_TRUNC:
            self._sizes[inode] = 0
            self._add("cut", name, inode)
        self._fds[fd] = (name, inode)
        return fd

    def _close(self, real: Any, fd: int) -> None:
        self._fds.pop(fd, None)
        real(fd)

    def _wrote(
        self, fd: int, parts: Iterable[bytes | memoryview], count: int, at: int | None
    ) -> None:
        if fd not in self._fds:
            return
        name, inode = self._fds[fd]
        data = b"".join(parts)[:count]
        offset = self._sizes[inode] if at is None else at
        self._sizes[inode] = max(self._sizes[inode], offset + len(data))
        self._add("write", name, inode, offset=offset, data=data)

    def _write(self, real: Any, fd: int, data: Any) -> int:
        count: int = real(fd, data)
        self._wrote(fd, [bytes(data)], count, None)  # only ever to files that are appended to
        return count

    def _pwrite(self, real: Any, fd: int, data: Any, offset: int) -> int:
        count: int = real(fd, data, offset)
        self._wrote(fd, [bytes(data)], count, offset)
        return count

    def _pwritev(self, real: Any, fd: int, parts: Sequence[Any], offset: int) -> int:
        count: int = real(fd, parts, offset)
        self._wrote(fd, parts, count, offset)
        return count

    def _fsync(self, real: Any, fd: int) -> None:
        real(fd)
        if fd in self._fds:
            name, inode = self._fds[fd]
            self._add("folder" if inode < 0 else "sync", name, inode)

    _fdatasync = _fsync

    def _ftruncate(self, real: Any, fd: int, size: int) -> None:
        real(fd, size)
        if fd in self._fds:
            name, inode = self._fds[fd]
            self._sizes[inode] = size
            self._add("cut", name, inode, offset=size)

    def _rename(self, real: Any, source: Any, target: Any) -> None:
        old, new = self._name(source), self._name(target)
        if old is None or new is None:
            real(source, target)
            return
        is_link = Path(source).is_symlink()
        inode = -1 if is_link else self._known(old)
        real(source, target)
        self._inodes.pop(old, None)
        if not is_link:
            self._inodes[new] = inode
            self._fds = {
                fd: (new if one == inode else name, one) for fd, (name, one) in self._fds.items()
            }
        self._add("rename", old, inode, target=new)

    _replace = _rename

    def _unlink(self, real: Any, path: Any, **more: Any) -> None:
        real(path, **more)
        name = self._name(path)
        if name is not None:
            self._add("unlink", name, self._inodes.pop(name, -1))

    def _symlink(self, real: Any, text: Any, path: Any, *args: Any, **more: Any) -> None:
        real(text, path, *args, **more)
        if (name := self._name(path)) is not None:
            self._add("link", name, target=os.fspath(text))

    def _mkdir(self, real: Any, path: Any, *args: Any, **more: Any) -> None:
        real(path, *args, **more)
        if (name := self._name(path)) is not None:
            self._add("mkdir", name)


@dataclass
class _Folder:
    folders: list[str]
    names: dict[str, int | str]
    files: dict[int, bytearray]


def _apply(ops: Iterable[Op]) -> _Folder:
    made = _Folder([], {}, {})
    for op in ops:
        file = made.files.setdefault(op.inode, bytearray())
        if op.kind == "mkdir":
            made.folders.append(op.path)
        elif op.kind in ("make", "link"):
            made.names[op.path] = op.inode if op.kind == "make" else op.target
        elif op.kind == "rename" and op.path in made.names:
            made.names[op.target] = made.names.pop(op.path)
        elif op.kind == "unlink":
            made.names.pop(op.path, None)
        elif op.kind == "cut":
            file[op.offset :] = bytes(max(0, op.offset - len(file)))
        elif op.kind == "write":
            file.extend(bytes(max(0, op.offset - len(file))))
            file[op.offset : op.offset + len(op.data)] = op.data
    return made


def built(made: _Folder, root: Path) -> None:
    """Put a folder on the disk, outside of any recording."""
    root.mkdir(parents=True)
    for path in made.folders:
        (root / path).mkdir(exist_ok=True)
    for path, what in made.names.items():
        if isinstance(what, str):
            (root / path).symlink_to(what)
        else:
            (root / path).write_bytes(made.files[what])


def after_kill(ops: Sequence[Op], count: int, torn: random.Random | None = None) -> _Folder:
    """Return what is there when the program was killed after `count` operations.

    The kernel has all that was done. With `torn`, the last one was a write that it did in part.
    """
    kept = list(ops[:count])
    if torn is not None and kept and kept[-1].kind == "write":
        last = kept.pop()
        part = last.data[: torn.randrange(len(last.data))]
        kept.append(Op("write", last.path, last.inode, last.offset, part))
    return _apply(kept)


def after_power_cut(
    ops: Sequence[Op], count: int, names: Fate, data: Fate, journal: Fate, chance: random.Random
) -> _Folder:
    """Return what may be there when the machine stopped after `count` operations.

    Args:
        ops: All operations.
        count: How many were done.
        names: What becomes of creations, renames and removals that were not flushed: all kept, all
            lost, or, torn, any of them.
        data: What becomes of bytes that were not flushed.
        journal: The same, for files whose name has `.journal` in it.
        chance: Decides what is torn, and where.
    """
    done = ops[:count]
    loose = [i for i, op in enumerate(done) if not _is_durable(done, i)]
    movable = [i for i in loose if done[i].kind in ("make", "rename", "unlink", "link")]
    share = {Fate.LOST: 1.0, Fate.TORN: 0.5}.get(names, 0.0)
    lost = {i for i in movable if chance.random() < share}
    kept: list[Op] = []
    for i, op in enumerate(done):
        if i in lost:
            continue
        if op.kind == "write" and i in loose:
            fate = journal if ".journal" in op.path else data
            kept.extend(_remains(op, fate, chance))
        else:
            kept.append(op)
    return _apply(kept)


def _is_durable(done: Sequence[Op], at: int) -> bool:
    op, later = done[at], done[at + 1 :]
    if op.kind in ("write", "cut"):
        return any(one.kind == "sync" and one.inode == op.inode for one in later)
    if op.kind in ("make", "rename", "unlink", "link"):
        folder = str(Path(op.target if op.kind == "rename" else op.path).parent)
        return any(one.kind == "folder" and one.path == folder for one in later)
    return True


def _remains(op: Op, fate: Fate, chance: random.Random) -> list[Op]:
    def part(start: int, data: bytes) -> Op:
        return Op("write", op.path, op.inode, op.offset + start, data)

    if fate is Fate.KEPT:
        return [op]
    if fate is Fate.ZEROS:
        return [part(0, bytes(len(op.data)))]
    if fate is Fate.LOST:
        return []
    size = max(_SECTOR, len(op.data) // 16 // _SECTOR * _SECTOR)
    starts = [start for start in range(0, len(op.data), size) if chance.random() < 0.5]
    return [part(start, op.data[start : start + size]) for start in starts]
