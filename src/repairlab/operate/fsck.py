"""fsck: `repairlab fsck`: prove that every job is in exactly one place; mend what is safe and say the rest."""

import click

from repairlab.errors import NegativeAnswer
from repairlab.operate import output
from repairlab.operate.app import Answer, App, command, queue_option


@command("fsck")
@click.option("--mend", is_flag=True, help="Mend what can be mended without losing anything.")
@queue_option()
def fsck_command(app: App, mend: bool, queue: str) -> Answer:
    """Prove that every job is in exactly one place.

    Columns: MENDED (yes, no), KIND, PATH, WHAT, FIX. Exit 1 if something is left to do. Safe beside running watchers.
    """
    found = app.queue(queue).fsck(mend=mend)
    left = [finding for finding in found if not finding.mended]
    error = None
    if left:
        fix = "see the findings" if mend else "`repairlab fsck --mend` mends what is safe"
        error = NegativeAnswer(f"{output.plural(len(left), 'finding')} left in queue {queue}", fix=fix)
    rows = [["yes" if item.mended else "no", item.kind, item.path, item.message, item.fix] for item in found]
    return Answer(data=found, text=output.table(["MENDED", "KIND", "PATH", "WHAT", "FIX"], rows), error=error)
