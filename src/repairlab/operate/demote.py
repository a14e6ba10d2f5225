"""demote: `repairlab demote`: take a champion back; the one before it stands again."""

from typing import TYPE_CHECKING, Any

import click

from repairlab import config
from repairlab.operate.app import Answer, App, command, record

if TYPE_CHECKING:
    from repairlab.champions import Mark
    from repairlab.documents import Champion, MetricsRow


@command("demote")
@click.argument("lineage")
@click.argument("champion_id", metavar="[ID]", required=False)
def demote_command(app: App, lineage: str, champion_id: str | None) -> Answer:
    """Take the champion of a lineage back, so that the one before it stands again.

    With ID only that champion: where another stands by now, nothing is changed. Where there is none before it the
    lineage has no champion, and the next correct challenger becomes it. Patches that have been written stay where they
    are. What was demoted may win again. A demotion that was killed is gone on with by the next one, which demotes no
    other.
    """
    from repairlab.champions import Champions
    from repairlab.metrics import MetricsLog, Position

    champions, log = Champions(config.champions_dir(app.root)), MetricsLog(config.metrics_dir(app.root))

    def log_end() -> tuple[int, int]:
        end = log.end()
        return end.segment, end.offset

    with champions.demotion(lineage, champion_id, log_end) as (demoted, mark):
        log.append(_row(demoted, mark), since=Position(*mark.since))
    log.close()
    before = demoted.parent
    record(app, "CHAMPION_DEMOTED", f"{lineage}: {demoted.id} was demoted", LINEAGE=lineage, JOB_ID=demoted.id)
    data: dict[str, Any] = {"lineage": lineage, "demoted": demoted.id, "champion": before}
    said = "none stands now" if before is None else f"{before} stands again"
    return Answer(data=data, text=[f"{lineage}: {demoted.id} is no longer the champion; {said}"])


def _row(demoted: "Champion", mark: "Mark") -> "MetricsRow":
    """Return the log's row of a demotion, under an id that it has each time."""
    from repairlab.documents import Course, Decision, MetricsRow

    return MetricsRow(
        timestamp=mark.at, id=f"{demoted.id}-{mark.at:%Y%m%dT%H%M%S%f}", path=Course.PROMOTION,
        lineage=demoted.lineage, fitness=demoted.fitness, components=demoted.components, decision=Decision.DEMOTED,
        meta_repair=False, bundle_sha256=demoted.bundle_sha256, parent_sha256=demoted.parent_sha256,
    )  # fmt: skip
