#!/usr/bin/env python3
"""metrics: what a row of the log costs, and how long a leaderboard over a million of them takes.

    bench/metrics.py [--rows 1000000] [--append 50000] [--directory DIR]

Appends rows one by one, durably, to a log in DIR (default: /dev/shm), beside the same bytes written without lock and
sync; then fills a log with --rows rows (written as segments, since appending them is not what is asked) and times
`repairlab leaderboard` and `analytics` over it as a person calls them, first without any sums, then with them.
"""

import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

import program
from machine import machine

from repairlab.documents import Components, Course, Decision, MetricsRow, Strategy, encode
from repairlab.metrics import MetricsLog

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def row(number: int, lineages: int = 1000) -> MetricsRow:
    """Return a row of ordinary size."""
    share = number % 97 / 97
    parts = Components(
        correctness=1, safety=1, performance=share, robustness=1, documentation=share, stability=1 - share / 10
    )
    return MetricsRow(
        timestamp=EPOCH + timedelta(seconds=7 * number),
        id=f"{number:024x}",
        path=Course.CHALLENGER,
        lineage=f"lineage-{number % lineages}",
        fitness=share,
        components=parts,
        decision=Decision.PROMOTED if number % 11 == 0 else Decision.NOT_BETTER,
        meta_repair=number % 3 != 0,
        bundle_sha256=f"{number:064x}",
        parent_sha256=f"{number + 1:064x}",
        median_ms=1 + share,
        repair_strategy=Strategy.HEURISTIC_MICROFIX,
        repair_pattern_id=f"spec-{number % 50}:{number % 200:012x}",
        repair_attempts=number % 300,
        spec_id=f"spec-{number % 50}",
    )


def appended(directory: Path, count: int) -> None:
    """Print rows a second, through the log and raw."""
    rows = [row(number) for number in range(count)]
    log = MetricsLog(directory / "log")
    begun = time.monotonic()
    for each in rows:
        log.append(each)
    ours = count / (time.monotonic() - begun)
    log.close()
    lines = [encode(each) for each in rows]
    begun = time.monotonic()
    with (directory / "raw").open("ab", buffering=0) as stream:
        for line in lines:
            stream.write(line)
    raw = count / (time.monotonic() - begun)
    print(f"| append, one by one, locked and synced | {ours:,.0f} rows/s |")
    print(f"| the same bytes by write(2) alone      | {raw:,.0f} rows/s |")


def filled(directory: Path, count: int, segment: int = 60_000) -> None:
    """Write a log of `count` rows as full segments and a live rest."""
    directory.mkdir(parents=True)
    for number, first in enumerate(range(0, count, segment), 1):
        rest = count - first <= segment
        name = "metrics.jsonl" if rest else f"metrics-{number:06}.jsonl"
        (directory / name).write_bytes(b"".join(encode(row(n)) for n in range(first, min(first + segment, count))))


def asked(root: Path, *words: str) -> float:
    """Return the seconds that a command takes."""
    environment = {**os.environ, "REPAIRLAB_ROOT": str(root)}
    begun = time.monotonic()
    subprocess.run([ROOT / "bin/repairlab", *words], env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begun


def main() -> int:
    """Run the benchmark."""
    parser = program.parser(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--append", type=int, default=50_000)
    parser.add_argument("--directory", type=Path, default=Path("/dev/shm"))
    options = parser.parse_args()
    print(machine(options.directory))
    with tempfile.TemporaryDirectory(dir=options.directory) as place:
        appended(Path(place), options.append)
        filled(Path(place, "metrics"), options.rows)
        size = sum(path.stat().st_size for path in Path(place, "metrics").iterdir())
        print(f"| rows, bytes                           | {options.rows:,}, {size:,} |")
        print(f"| leaderboard, no sums yet              | {asked(Path(place), 'leaderboard'):.2f} s |")
        times = sorted(asked(Path(place), "leaderboard", "--by", by) for by in ("lineage", "strategy", "pattern"))
        print(f"| leaderboard, median of three          | {times[1]:.2f} s |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
