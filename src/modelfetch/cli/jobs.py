"""`modelfetch jobs`: what is written down of downloads, and what can be asked of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click
from rich.filesize import decimal
from rich.markup import escape

import modelfetch
from modelfetch.blocking import by_itself
from modelfetch.cli.cache import new_table, show_table
from modelfetch.cli.display import JsonLines
from modelfetch.cli.options import JOB_OPTIONS, config_of, options
from modelfetch.cli.running import followed, guarded
from modelfetch.config import Config
from modelfetch.status import JobState, JobStatus
from modelfetch.types import LocalModel

__all__ = ["COMMANDS", "jobs"]

# Those that go on run here until they are over; the others are done at once.
GOING_ON = ("resume", "retry")
ACTIONS = ("pause", *GOING_ON, "cancel", "forget")


@click.command("jobs")
@options(
    click.argument("action", required=False, type=click.Choice(ACTIONS)),
    click.argument("job_ids", nargs=-1, metavar="[JOB_ID]..."),
    click.option("--delete", is_flag=True, help="With cancel: remove what came, too."),
    *JOB_OPTIONS,
    click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs."),
)
def jobs(
    action: str | None, job_ids: tuple[str, ...], delete: bool, as_json: bool, **settings: Any
) -> None:
    """List the downloads of this cache, or ask something of some of them.

    Those of a running server are among them. pause, cancel and forget are done when the command
    ends. resume and retry go on with a job here, until it is over, and print the model's path, as
    get does; a job that another process runs stays there, and is only watched.
    """
    if bool(action) != bool(job_ids) or (action in GOING_ON and len(job_ids) > 1):
        wanted = "one JOB_ID" if action in GOING_ON else "at least one JOB_ID"
        raise click.UsageError(f"{action or 'An action'} needs {wanted}.")
    if delete and action != "cancel":
        raise click.UsageError("--delete is for cancel.")
    config = by_itself(config_of(settings))
    if action in GOING_ON:
        job, model = guarded(_go_on(config, action, job_ids[0], as_json), as_json)
        if as_json:
            JsonLines.finish(job.status, model)
        else:
            click.echo(model.path)
        return
    found = guarded(_done(config, action, job_ids, delete), as_json)
    if as_json:
        click.echo(json.dumps([_object(job) for job in found], indent=2))
    elif action != "forget":
        _show(found)


COMMANDS: tuple[click.Command, ...] = (jobs,)


async def _done(
    config: Config, action: str | None, job_ids: Sequence[str], delete: bool
) -> list[modelfetch.Job]:
    async with modelfetch.Engine(config) as engine:
        if action is None:
            return engine.jobs()
        found = [await engine.find(job_id) for job_id in job_ids]
        for job in found:
            if action == "forget":
                await engine.forget(str(job.id))
            elif action == "cancel":
                await job.cancel(delete=delete)
            else:
                await job.pause()
        return found


async def _go_on(
    config: Config, action: str, job_id: str, as_json: bool
) -> tuple[modelfetch.Job, LocalModel]:
    async with modelfetch.Engine(config) as engine:
        job = await engine.find(job_id)
        await (job.retry() if action == "retry" else job.resume())
        return job, await followed(job, as_json)


def _object(job: modelfetch.Job) -> dict[str, Any]:
    plan = job.plan
    return {**job.status.to_dict(), "model": plan.repo, "quantization": plan.quantization}


def _show(found: Sequence[modelfetch.Job]) -> None:
    table = new_table("job", "model", ">done", ">size", "status")
    for job in found:
        status, label = job.status, job.plan.quantization or job.plan.files[0].path
        table.add_row(
            job.id,
            escape(f"{job.plan.repo}:{label}"),
            f"{_percent(status)} %",
            decimal(status.total_size_bytes),
            escape(_words(status)),
        )
    show_table(table)


def _percent(status: JobStatus) -> int:
    # Rounded down: what is not complete is not 100 %.
    return 100 * status.downloaded_bytes // max(1, status.total_size_bytes)


def _words(status: JobStatus) -> str:
    if status.is_queued:
        return "waiting"
    if status.state is JobState.DOWNLOADING:
        return f"downloading, {decimal(int(status.bytes_per_second))}/s"
    why = status.pause_reason if status.state is JobState.PAUSED else None
    if status.error is not None:
        why = status.error["message"].partition("\n")[0]
    return f"{status.state.value}: {why}" if why else status.state.value
