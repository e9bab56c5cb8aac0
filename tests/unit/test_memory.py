"""The memory of made-up machines: `/proc` and `/sys` are folders of the test."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfetch.memory import free_memory

GiB = 1 << 30
NO_LIMIT_V1 = 0x7FFFFFFFFFFFF000


def machine(root: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def meminfo(available_gib: int) -> str:
    return f"MemTotal:  {64 << 20} kB\nMemFree: 1 kB\nMemAvailable:  {available_gib << 20} kB\n"


def v2(folder: str, limit: str, used: int, idle: int = 0) -> dict[str, str]:
    return {
        f"sys/fs/cgroup{folder}/memory.max": f"{limit}\n",
        f"sys/fs/cgroup{folder}/memory.current": f"{used}\n",
        f"sys/fs/cgroup{folder}/memory.stat": f"anon 5\ninactive_file {idle}\nactive_file 9\n",
    }


def test_what_the_kernel_takes_for_available(tmp_path: Path) -> None:
    assert free_memory(machine(tmp_path, {"proc/meminfo": meminfo(20)})) == 20 * GiB


def test_a_container_s_limit_counts_and_idle_file_pages_do_not(tmp_path: Path) -> None:
    files = {"proc/meminfo": meminfo(20), "proc/self/cgroup": "0::/\n"}
    files |= v2("", str(8 * GiB), used=6 * GiB, idle=5 * GiB)
    assert free_memory(machine(tmp_path, files)) == 7 * GiB


@pytest.mark.parametrize(
    ("outer", "inner", "left"), [("max", 4, 3), (3, "max", 2), (2, 4, 1), ("max", "max", 20)]
)
def test_the_tightest_of_nested_groups_counts(
    tmp_path: Path, outer: int | str, inner: int | str, left: int
) -> None:
    def limit(value: int | str) -> str:
        return value if isinstance(value, str) else str(value * GiB)

    files = {"proc/meminfo": meminfo(20), "proc/self/cgroup": "0::/a.slice/b.scope\n"}
    files |= v2("/a.slice", limit(outer), used=GiB) | v2("/a.slice/b.scope", limit(inner), used=GiB)
    assert free_memory(machine(tmp_path, files)) == left * GiB


def test_a_group_of_the_host_that_is_not_there(tmp_path: Path) -> None:
    files = {"proc/meminfo": meminfo(20), "proc/self/cgroup": "0::/docker/4c01db0b339c\n"}
    files |= v2("", str(2 * GiB), used=GiB)
    assert free_memory(machine(tmp_path, files)) == GiB
    (tmp_path / "proc/self/cgroup").write_text("0::/../../../../etc\n")
    assert free_memory(tmp_path) == GiB


@pytest.mark.parametrize(("limit", "left"), [(4 * GiB, 3 * GiB), (NO_LIMIT_V1, 20 * GiB)])
def test_groups_of_version_1(tmp_path: Path, limit: int, left: int) -> None:
    group = "sys/fs/cgroup/memory/docker/x"
    lines = ["12:cpu,cpuacct:/docker/x", "4:memory:/docker/x", "1:name=systemd:/docker/x", "0::/"]
    files = {
        "proc/meminfo": meminfo(20),
        "proc/self/cgroup": "\n".join(lines),
        f"{group}/memory.limit_in_bytes": str(limit),
        f"{group}/memory.usage_in_bytes": str(2 * GiB),
        f"{group}/memory.stat": f"inactive_file 7\ntotal_inactive_file {GiB}\n",
    }
    assert free_memory(machine(tmp_path, files)) == left


def test_a_group_beyond_its_limit_has_nothing(tmp_path: Path) -> None:
    files = {"proc/meminfo": meminfo(20), "proc/self/cgroup": "0::/\n"}
    assert free_memory(machine(tmp_path, files | v2("", "1000", used=GiB))) == 0


@pytest.mark.parametrize("text", ["", "\0\xff", "MemAvailable:", "MemAvailable: many kB", "x" * 99])
def test_nonsense_falls_back_to_the_c_library(tmp_path: Path, text: str) -> None:
    files = {"proc/meminfo": text, "proc/self/cgroup": "::\n:\n0\n" + text}
    found = free_memory(machine(tmp_path, files))
    assert found is None or found > 0


def test_nonsense_in_a_group_is_no_limit(tmp_path: Path) -> None:
    files = {"proc/meminfo": meminfo(20), "proc/self/cgroup": "0::/\n0\n:\n"}
    files |= v2("", "lots", used=1) | {"sys/fs/cgroup/memory.stat": "inactive_file"}
    assert free_memory(machine(tmp_path, files)) == 20 * GiB


def test_this_machine_tells_something_sane() -> None:
    found = free_memory()
    assert found is None or 0 <= found < 1 << 50
