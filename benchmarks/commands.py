"""The command of each contender for a task: as its manual says, with the connections it may have.

`Task.patience` is given to whoever has an option for it; such a task has faults, and then those
that can be told to try again are.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.machine import python
from benchmarks.tasks import CONNECTIONS, REPO, Command, Task

TRIES = 5


def modelfetch(task: Task) -> Command:
    program = shutil.which("modelfetch") or str(Path(python()).with_name("modelfetch"))
    cache = str(task.folder / "cache")
    return Command([program, "get", REPO, "--cache-dir", cache, "--endpoint", task.endpoint])


def another(source: str) -> Callable[[Task], Command]:
    """Return the command of another version of ours.

    Args:
        source: The folder that has its package.
    """
    return lambda task: Command(["env", f"PYTHONPATH={source}", *modelfetch(task).words])


def _script(code: str) -> Callable[[Task], Command]:
    """Return the command of a Python program that finds its task in `t`, from stdin."""

    def command(task: Task) -> Command:
        known = {
            "files": [(file.url, file.name) for file in task.files], "folder": str(task.folder),
            "repo": REPO, "endpoint": task.endpoint, "connections": CONNECTIONS,
            "certificate": str(task.certificate) if task.certificate else None,
            "patience": task.patience, "tries": TRIES,
            # Of many files, as many are fetched at once; more than one connection for each would
            # only cost those who do not look at the size first.
            "splits": CONNECTIONS if len(task.files) == 1 else 1,
        }  # fmt: skip
        program = f"import json, sys\nt = json.load(sys.stdin){code}"
        return Command([python(), "-c", program], json.dumps(known))

    return command


library = _script("""
import modelfetch
modelfetch.fetch(t["repo"], endpoint=t["endpoint"], cache_dir=t["folder"] + "/cache", token=False)
""")
huggingface_hub = _script("""
from huggingface_hub import hf_hub_download, snapshot_download
if len(t["files"]) == 1:
    hf_hub_download(t["repo"], t["files"][0][1], token=False)
else:
    snapshot_download(t["repo"], token=False, max_workers=t["connections"])
""")
hf_transfer = _script("""
import hf_transfer
for url, name in t["files"]:
    hf_transfer.download(url, t["folder"] + "/" + name, t["connections"], 10485760, 3, t["tries"])
""")
pypdl = _script("""
from pypdl import Pypdl
waits = {} if t["patience"] is None else {"retries": t["tries"]}
tasks = [{"url": url, "file_path": t["folder"] + "/" + name} for url, name in t["files"]]
with_many = Pypdl(max_concurrent=t["connections"] // t["splits"])
with_many.start(tasks=tasks, segments=t["splits"], multisegment=t["splits"] > 1, overwrite=True,
                display=False, block=True, **waits)
""")
parfive = _script("""
import aiohttp, functools, ssl
from parfive import Downloader, SessionConfig
def session(config):
    tls = ssl.create_default_context(cafile=t["certificate"]) if t["certificate"] else None
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls) if tls else None)
waits = {} if t["patience"] is None else {
    "timeouts": aiohttp.ClientTimeout(total=None, sock_read=t["patience"])}
config = SessionConfig(aiohttp_session_generator=session, **waits)
loader = Downloader(max_conn=t["connections"], max_splits=t["splits"], progress=False,
                    config=config)
for url, name in t["files"]:
    loader.enqueue_file(url, path=t["folder"], filename=name)
results = loader.download()
for _ in range(t["tries"] if waits else 0):
    if results.errors:
        results = loader.retry(results)
if results.errors:
    what = str(results.errors[0].exception).split("?")[0]
    raise SystemExit(f"{len(results.errors)} failed: {what}")
""")


def aria2c(task: Task) -> Command:
    trusted = [f"--ca-certificate={task.certificate}"] if task.certificate else []
    waits = [] if task.patience is None else [
        f"--timeout={task.patience:.0f}", f"--max-tries={TRIES}", "--retry-wait=1",
    ]  # fmt: skip
    common = ["aria2c", "-q", *trusted, *waits, "-d", str(task.folder)]
    if len(task.files) == 1:
        file = task.only
        # It splits nothing that is smaller than 40 MB, unless told to.
        splits = [f"-x{CONNECTIONS}", f"-s{CONNECTIONS}", "-k1M"]
        checked = ["-o", file.name, f"--checksum=sha-256={file.sha256}", file.url]
        return Command([*common, *splits, *checked])
    listed = "".join(
        f"{file.url}\n  out={file.name}\n  checksum=sha-256={file.sha256}\n" for file in task.files
    )
    return Command([*common, "-x1", "-s1", f"-j{CONNECTIONS}", "-i", "-"], listed)


def curl(task: Task) -> Command:
    waits = [] if task.patience is None else [
        "--retry", str(TRIES), "--retry-all-errors",
        "--speed-limit", "1", "--speed-time", f"{task.patience:.0f}",
    ]  # fmt: skip
    if len(task.files) == 1:
        return Command(
            ["curl", "-sSf", *waits, "-o", str(task.folder / task.only.name), task.only.url]
        )
    listed = "".join(
        f'url = "{file.url}"\noutput = "{task.folder / file.name}"\n' for file in task.files
    )
    many = ["--parallel", "--parallel-max", str(CONNECTIONS), "-L", "-K", "-"]
    return Command(["curl", "-sSf", *waits, *many], listed)


def curl_to_nowhere(task: Task) -> Command:
    return Command(["curl", "-sSf", "-o", "/dev/null", task.only.url])


def wget2(task: Task) -> Command:
    trusted = [f"--ca-certificate={task.certificate}"] if task.certificate else []
    waits = [] if task.patience is None else [
        f"--read-timeout={task.patience:.0f}", f"--tries={TRIES}", "--waitretry=1",
    ]  # fmt: skip
    common = ["wget2", "-q", f"--max-threads={CONNECTIONS}", *trusted, *waits]
    if len(task.files) == 1:
        out = str(task.folder / task.only.name)
        chunk = -(-task.only.size // CONNECTIONS)
        return Command([*common, f"--chunk-size={chunk}", "-O", out, task.only.url])
    # It hangs with a list on stdin (1.99.1), but not if that is a file.
    listed = "".join(f"{file.url}\n" for file in task.files)
    return Command([*common, "-P", str(task.folder), "-i", "/dev/stdin"], listed)


def axel(task: Task) -> Command:
    # It has no option for a certificate of one's own.
    out = str(task.folder / task.only.name)
    return Command(["axel", "-q", "-k", "-n", str(CONNECTIONS), "-o", out, task.only.url])
