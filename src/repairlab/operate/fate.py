"""fate: `repairlab hold | release | retry | drop`: what an operator decides about jobs.

Ids are given by unique prefix, or piped in (`-`). One id that cannot be done does not keep the others from being done;
the exit code is then that of the first error. Columns: ID, STATE (where the job is now; `gone` for dropped ones).
"""

from collections.abc import Callable, Iterable
from typing import Any

import click

from repairlab.errors import RepairLabError
from repairlab.operate import output, views
from repairlab.operate.app import Answer, App, command, ids_argument, queue_option, read_ids, record


def _each(app: App, ids: Iterable[str], queue: str, act: Callable[[Any, str], Any], kind: str) -> Answer:
    spool = app.queue(queue)
    done: list[dict[str, Any]] = []
    errors: list[RepairLabError] = []
    for given in read_ids(ids):
        try:
            job = views.find(spool, given)
            moved = act(spool, job.id)
            if kind:
                record(app, kind, f"{kind.removeprefix('JOB_').lower()} by hand in {queue}", JOB_ID=job.id)
            done.append({"id": job.id, "state": str(getattr(moved, "state", "gone")), "error": None})
        except RepairLabError as error:
            errors.append(error)
            done.append({"id": given, "state": None, "error": output.error_object(error)})
    for later in errors[1:]:
        output.say(f"repairlab: {later}")
    text = output.table(["ID", "STATE"], [[item["id"], item["state"]] for item in done if item["state"]])
    return Answer(data=done, text=text, error=errors[0] if errors else None)


@command("hold")
@ids_argument()
@queue_option()
def hold_command(app: App, ids: tuple[str, ...], queue: str) -> Answer:
    """Park waiting or deferred jobs until they are released.

    A job that is being worked on is refused with exit code 75.
    """
    return _each(app, ids, queue, lambda spool, job_id: spool.hold(job_id), "JOB_HELD")


@command("release")
@ids_argument()
@queue_option()
def release_command(app: App, ids: tuple[str, ...], queue: str) -> Answer:
    """Let held jobs run again, at once."""
    return _each(app, ids, queue, lambda spool, job_id: spool.release(job_id), "JOB_RELEASED")


@command("retry")
@ids_argument()
@queue_option()
def retry_command(app: App, ids: tuple[str, ...], queue: str) -> Answer:
    """Run ended or deferred jobs again at once, their failures forgiven.

    What is known of the same bundle under other names is forgiven too.
    """
    return _each(app, ids, queue, lambda spool, job_id: spool.retry(job_id), "JOB_RETRIED")


@command("drop")
@ids_argument()
@click.option("--dry-run", is_flag=True, help="Only say which jobs would be removed.")
@queue_option()
def drop_command(app: App, ids: tuple[str, ...], dry_run: bool, queue: str) -> Answer:
    """Remove jobs for good.

    Their history and patches go too. A job that is being worked on is refused with exit code 75.
    """
    if dry_run:
        return _each(app, ids, queue, lambda _spool, _job_id: None, "")
    return _each(app, ids, queue, lambda spool, job_id: spool.drop(job_id), "JOB_DROPPED")
