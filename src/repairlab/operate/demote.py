"""demote: `repairlab demote`: take a champion back; the one before it stands again."""

from datetime import UTC, datetime
from typing import Any

import click

from repairlab import config
from repairlab.operate.app import Answer, App, command, record


@command("demote")
@click.argument("lineage")
def demote_command(app: App, lineage: str) -> Answer:
    """Take the champion of a lineage back, so that the one before it stands again.

    Where there is none before it the lineage has no champion, and the next correct challenger becomes it. Patches that
    have been written stay where they are. What was demoted may win again.
    """
    from repairlab.champions import Champions
    from repairlab.documents import Course, Decision, MetricsRow
    from repairlab.metrics import MetricsLog

    demoted, now = Champions(config.champions_dir(app.root)).demote(lineage)
    log, at = MetricsLog(config.metrics_dir(app.root)), datetime.now(UTC)
    log.append(
        MetricsRow(
            timestamp=at, id=f"{demoted.id}-{at:%Y%m%dT%H%M%S%f}", path=Course.PROMOTION, lineage=lineage,
            fitness=demoted.fitness, components=demoted.components, decision=Decision.DEMOTED, meta_repair=False,
            bundle_sha256=demoted.bundle_sha256, parent_sha256=demoted.parent_sha256,
        )
    )  # fmt: skip
    log.close()
    before = None if now is None else now.id
    record(app, "CHAMPION_DEMOTED", f"{lineage}: {demoted.id} was demoted", LINEAGE=lineage, JOB_ID=demoted.id)
    data: dict[str, Any] = {"lineage": lineage, "demoted": demoted.id, "champion": before}
    said = "none stands now" if before is None else f"{before} stands again"
    return Answer(data=data, text=[f"{lineage}: {demoted.id} is no longer the champion; {said}"])
