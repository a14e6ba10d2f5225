"""leaderboard: `repairlab leaderboard`: who wins the tournament, added up over the whole metrics log."""

from typing import Any

import click

from repairlab import config
from repairlab.errors import Unavailable
from repairlab.metrics import BY, MetricsLog, Stats
from repairlab.operate import output
from repairlab.operate.app import Answer, App, command

COLUMNS = ["EVALUATIONS", "CORRECT", "PROMOTED", "REPAIRS", "BEST", "MEAN", "MS", "LAST", "BEST ID"]


@command("leaderboard")
@click.option("--by", type=click.Choice(list(BY)), default="lineage", show_default=True, help="Rows.")
@click.option("--top", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="The N best.")
def leaderboard_command(app: App, by: str, top: int) -> Answer:
    """Rank lineages, strategies, patterns or specs by their evaluations.

    Columns: the name, EVALUATIONS, CORRECT (all tests pass), PROMOTED (became champion), REPAIRS (a repair was applied;
    a bundle that passed as it came is none), BEST and MEAN fitness, MS (geometric mean of the tests' median times),
    LAST (its last evaluation), BEST ID (the challenger of the best fitness). The best stand first: by promotions, then
    best, then mean fitness. Damaged lines of the log are left out and counted on stderr.
    """
    directory = config.metrics_dir(app.root)
    if not directory.is_dir():
        raise Unavailable(f"nothing has been evaluated at {app.root} yet", fix="enable repairlab-evaluator.service")
    sums = MetricsLog(directory).sums()
    rows = [entry(by, name, stats) for name, stats in sums.top(by, top)]
    if sums.damaged:
        output.say(f"repairlab: {output.plural(sums.damaged, 'damaged line')} of the metrics log left out")
    data = {"by": by, "evaluations": sums.all.rows, "damaged": sums.damaged, "rows": rows}
    return Answer(data=data, text=output.table([by.upper(), *COLUMNS], (_cells(by, row) for row in rows)))


def entry(by: str, name: str, stats: Stats) -> dict[str, Any]:
    """Return one row as data."""
    return {
        by: name,
        "evaluations": stats.rows,
        "correct": stats.correct,
        "promoted": stats.promoted,
        "repairs": stats.repairs,
        "best_fitness": round(stats.fitness_best, 6),
        "mean_fitness": round(stats.fitness_mean, 6),
        "median_ms": None if stats.ms is None else round(stats.ms, 3),
        "last": stats.last,
        "best_id": stats.best,
    }


def _cells(by: str, row: dict[str, Any]) -> list[str]:
    numbers = [str(row[key]) for key in ("evaluations", "correct", "promoted", "repairs")]
    fitness = [f"{row[key]:.3f}" for key in ("best_fitness", "mean_fitness")]
    took = "-" if row["median_ms"] is None else f"{row['median_ms']:.1f}"
    return [row[by], *numbers, *fitness, took, row["last"], row["best_id"]]
