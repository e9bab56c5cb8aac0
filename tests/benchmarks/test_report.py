"""From results to tables and bars."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from benchmarks.__main__ import store
from benchmarks.contenders import CONTENDERS
from benchmarks.hashing import hashes_of
from benchmarks.measure import Result
from benchmarks.plots import bars
from benchmarks.report import CaseReport, commands_to_markdown
from benchmarks.rounds import is_known, shifted, shuffled
from benchmarks.tasks import Task, Wanted

from benchmarks import lag

KNOWN = {contender.name: contender for contender in CONTENDERS}


def report(*rounds: list[Result], yardsticks: tuple[str, ...] = ()) -> CaseReport:
    names = dict.fromkeys(result.contender for round_ in rounds for result in round_)
    commands = {name: f"{name} --fast" for name in names}
    return CaseReport(
        "a", "a case", 1_000_000_000, 1, commands, set(yardsticks), {"modelfetch"}, list(rounds)
    )


def row(made: CaseReport, name: str) -> list[str]:
    lines = made.to_markdown().splitlines()
    (line,) = [line for line in lines if line.startswith(f"| {name} ")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_what_is_stored_later_keeps_the_other_cases(tmp_path) -> None:
    first = report([Result("modelfetch", 1.0), Result("curl", 2.0)])
    second = replace(report([Result("modelfetch", 3.0)]), letter="b", title="another")
    store([second], ["a machine"], tmp_path)
    store([first], ["a machine"], tmp_path)
    store([replace(second, title="measured again")], ["a machine"], tmp_path)
    text = (tmp_path / "results.md").read_text()
    assert text.index("(a) a case") < text.index("(b) measured again")
    assert text.count("a machine") == 1
    assert "| curl | 1 | 2.00" in text
    assert "another" not in text


def test_a_case_that_is_kept_says_where_it_was_measured(tmp_path) -> None:
    kept = report([Result("modelfetch", 1.0)])
    store([kept], ["a machine", "another version"], tmp_path)
    store([replace(kept, letter="b", title="another")], ["a machine", "a version"], tmp_path)
    head, case_a, case_b = (tmp_path / "results.md").read_text().split("### (", 2)
    assert "a machine  \na version  " in head
    assert "a) a case: a file of 1,000 MB\n\nanother version  \n\n| " in case_a
    assert "version" not in case_b


def test_a_case_that_was_stored_without_it_was_measured_where_all_of_its_file_were(
    tmp_path,
) -> None:
    kept = report([Result("modelfetch", 1.0)])
    store([kept], ["an old machine"], tmp_path)
    raw = json.loads((tmp_path / "results.json").read_text())
    del raw["cases"][0]["about"]
    (tmp_path / "results.json").write_text(json.dumps(raw))
    store([replace(kept, letter="b")], ["a new machine"], tmp_path)
    assert "an old machine  \n\n| " in (tmp_path / "results.md").read_text()


def test_ratios_are_of_pairs_of_the_same_round_and_not_of_the_medians() -> None:
    made = report(
        [Result("modelfetch", 1.0), Result("curl", 2.0)],
        [Result("modelfetch", 6.0), Result("curl", 3.0)],
        [Result("curl", 3.0), Result("modelfetch", 2.4)],
    )
    assert row(made, "curl")[4] == "0.80 (0.50 to 2.00)"
    assert row(made, "modelfetch")[4] == ""


def test_a_round_without_one_of_the_two_has_no_ratio() -> None:
    made = report(
        [Result("modelfetch", 1.0), Result("curl", 2.0)],
        [Result("modelfetch", 6.0, failure="no"), Result("curl", 2.0)],
    )
    assert row(made, "curl")[4] == "0.50 (0.50 to 0.50)"
    assert row(made, "modelfetch (1 of 2 failed: no)")[2] == "1.00 (1.00 to 1.00)"


def test_cpu_is_per_gigabyte_and_the_wire_per_size() -> None:
    result = Result("curl", 2.0, 0.5, 3.0, 64_000_000, 17, 1_100_000_000)
    assert row(report([result]), "curl") == [
        "curl", "1", "2.00 (2.00 to 2.00)", "0.50", "", "3.00", "64", "17", "1.100",
    ]  # fmt: skip


def test_the_table_says_who_verifies_who_was_hashed_and_who_left_nothing() -> None:
    made = report(
        [Result("modelfetch", 1.0), Result("curl", 2.0, 0.25), Result("nowhere", 1.0)],
        yardsticks=("nowhere",),
    )
    assert row(made, "modelfetch")[3] == "verifies itself"
    assert row(made, "curl")[3] == "0.25"
    assert row(made, "nowhere")[3] == "writes and verifies nothing"


def test_who_never_ends_right_is_last_with_the_reasons() -> None:
    made = report(
        [Result("axel", 1.0, failure="a|b"), Result("curl", 2.0)],
        [Result("axel", 1.0, failure="other"), Result("curl", 2.0)],
    )
    assert row(made, "axel")[2] == "failed: a/b; other"
    assert made.to_markdown().strip().splitlines()[-1].startswith("| axel")


def test_faults_are_told_against_the_same_contender_without_them() -> None:
    made = report([Result("curl", 3.0, without_faults=2.0)])
    assert row(made, "curl")[-1] == "1.50 (1.50 to 1.50)"


def test_bars_have_medians_their_range_and_what_failed() -> None:
    made = report(
        [Result("curl", 1.0, 0.25), Result("axel", 1.0, failure="no")],
        [Result("curl", 3.0, 0.25), Result("axel", 1.0, failure="no")],
        [Result("curl", 9.0, failure="no"), Result("axel", 1.0, failure="no")],
    )
    curl, axel = bars(made.to_dict())
    assert (curl.name, curl.seconds, curl.hashing, curl.low, curl.high) == ("curl", 2, 0.25, 1, 3)
    assert curl.label == "2.00 s, 1 of 3 failed"
    assert (axel.name, axel.label) == ("axel", "failed")


def test_everybody_is_first_once() -> None:
    rounds = [shifted(CONTENDERS, number) for number in range(len(CONTENDERS))]
    assert {round_[0].name for round_ in rounds} == {it.name for it in CONTENDERS}
    assert all(len(round_) == len(CONTENDERS) for round_ in rounds)


def test_nobody_always_follows_the_same_one() -> None:
    names = [it.name for it in CONTENDERS]
    rounds = [shuffled(names, number) for number in range(7)]
    assert all(sorted(round_) == sorted(names) for round_ in rounds)
    assert rounds == [shuffled(names, number) for number in range(7)]
    before = {(name, round_[round_.index(name) - 1]) for round_ in rounds for name in names}
    assert all(len({one for it, one in before if it == name}) > 2 for name in names)


def test_who_is_far_behind_has_fewer_runs_and_ours_has_all() -> None:
    times = {
        "curl": 6.0,
        "modelfetch": 99.0,
        "axel": 8.9,
        "aria2c": 9.1,
        "wget2": 61.0,
        "line": 1.0,
    }
    one = [Result(name, seconds) for name, seconds in times.items()]
    one.append(Result("parfive", 0.1, failure="no"))
    made = [report(*[one] * count, yardsticks=("line",)) for count in (0, 1, 2, 3)]
    known = [{it.contender for it in one if is_known(it.contender, of)} for of in made]
    assert known == [set(), {"wget2"}, {"wget2"}, {"wget2", "aria2c"}]


def test_the_best_of_the_others_has_all_runs_and_who_is_soon_done_too() -> None:
    times = {"modelfetch": 5.5, "curl": 60.0, "axel": 61.0}
    far = report(*[[Result(name, seconds) for name, seconds in times.items()]] * 3)
    assert [name for name in times if is_known(name, far)] == ["axel"]
    soon = {name: seconds / 12.5 for name, seconds in times.items()}
    near = report(*[[Result(name, seconds) for name, seconds in soon.items()]] * 3)
    assert [name for name in soon if is_known(name, near)] == []


def test_how_many_runs_a_median_is_of_is_told() -> None:
    made = report([Result("curl", 1.0), Result("axel", 3.0)], [Result("curl", 2.0)])
    assert (row(made, "curl")[1], row(made, "axel")[1]) == ("2", "1")


@pytest.fixture
def task(tmp_path, monkeypatch) -> Task:
    monkeypatch.setenv("MODELFETCH_ADOPT_FROM", "/models")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    files = [Wanted(f"http://cdn/{n}", f"{n}.gguf", f"{n}" * 64, 10**9) for n in range(3)]
    return Task("http://hub", tuple(files), tmp_path)


def test_a_run_has_a_home_of_its_own_and_nothing_of_the_user(task) -> None:
    environment = task.environment
    assert environment["HOME"].startswith(str(task.folder))
    assert environment["HF_HOME"].startswith(str(task.folder))
    assert environment["MODELFETCH_ADOPT"] == "0"
    assert not {"MODELFETCH_ADOPT_FROM", "HF_TOKEN", "https_proxy"} & environment.keys()


def test_whoever_takes_many_files_and_urls_is_told_all_of_them(task) -> None:
    for contender in CONTENDERS:
        if not contender.takes_many or contender.is_yardstick:
            continue
        command = contender.command(task)
        given = " ".join(command.words) + command.stdin
        if "http://cdn/0" in given:
            assert all(file.url in given for file in task.files), contender.name


def test_whoever_is_said_to_verify_and_takes_urls_is_told_the_hashes(task) -> None:
    command = KNOWN["aria2c"].command(task)
    assert all(f"checksum=sha-256={file.sha256}" in command.stdin for file in task.files)
    alone = KNOWN["aria2c"].command(replace(task, files=task.files[:1]))
    assert f"--checksum=sha-256={task.only.sha256}" in alone.words


def test_a_command_is_told_once_for_the_cases_in_which_it_is_the_same() -> None:
    first = report([Result("curl", 1.0)])
    second = replace(first, letter="b", commands={"curl": f"curl http://10.0.0.1:4/ {'1' * 64}"})
    third = replace(first, letter="c", commands={"curl": f"curl http://10.0.0.2:5/ {'a' * 64}"})
    told = commands_to_markdown([first, second, third])
    assert "curl (a):\n\n```sh\ncurl --fast\n```" in told
    assert "curl (b, c):\n\n```sh\ncurl http://HOST/ SHA256\n```" in told


def test_files_are_hashed_at_once_and_told_in_their_order(tmp_path) -> None:
    paths = [tmp_path / f"{number}" for number in range(5)]
    for path in paths:
        path.write_text(path.name)
    assert hashes_of(paths) == [hashlib.sha256(path.name.encode()).hexdigest() for path in paths]
    assert hashes_of([]) == []


def test_one_file_is_split_among_all_connections_and_many_have_one_each(task) -> None:
    alone = replace(task, files=task.files[:1])
    assert {"-x16", "-s16", "-k1M"} <= set(KNOWN["aria2c"].command(alone).words)
    assert {"-x1", "-s1", "-j16"} <= set(KNOWN["aria2c"].command(task).words)
    assert f"--chunk-size={10**9 // 16}" in KNOWN["wget2"].command(alone).words


def test_what_a_host_feels_is_told_beside_the_same_host_when_idle() -> None:
    row = dict.fromkeys(lag.ADDED, 2.0) | {f"idle {name}": 0.5 for name in lag.ADDED}
    peers = row | dict.fromkeys(lag.ADDED, 3.5)
    raw = {
        "title": "a line", "size_mb": 9, "rounds": {lag.NOTHING: [row], lag.PEER: [peers]},
        "added": {kind: dict.fromkeys(lag.ADDED, by) for kind, by in
                  ((lag.NOTHING, 1.5), (lag.PEER, 3.0))},
    }  # fmt: skip
    text = lag.to_markdown(raw)
    assert text.startswith("### a line, 9 MiB, 1 rounds\n")
    assert f"| {lag.NOTHING} | +1.50 (0.50 of huggingface_hub's) |" in text
