"""bench/throughput: jobs a second from a producer's publish to a consumer's claim, beside the disk's own fsync rate.

    python bench/throughput.py [--jobs 5000] [--dir DIR]

One producer publishes, then one consumer claims (and abandons) every job; the rates are of each half and of both. The
disk's own rate is that of writing a file of the same size and fsyncing it, and its directory, in the same run.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import program
from machine import machine, table

from repairlab.spool import Spool

PROBES = 300


def document(number: int) -> bytes:
    return json.dumps({"bundle_dir": "/var/lib/repairlab/bundles/example", "number": number, "pad": "x" * 200}).encode()


def raw_rate(directory: Path) -> tuple[float, float]:
    """Return file fsyncs a second, and directory fsyncs a second."""
    directory.mkdir()
    fd = os.open(directory, os.O_RDONLY)
    spent = [0.0, 0.0]
    for number in range(PROBES):
        began = time.perf_counter()
        with (directory / str(number)).open("wb") as file:
            file.write(document(number))
            file.flush()
            os.fsync(file.fileno())
        between = time.perf_counter()
        os.fsync(fd)
        spent[0] += between - began
        spent[1] += time.perf_counter() - between
    os.close(fd)
    return PROBES / spent[0], PROBES / spent[1]


def row(directory: Path, label: str, jobs: int, publish: Callable[[Spool, range], None], batch: int) -> list[str]:
    spool = Spool(directory)
    spool.create()
    began = time.perf_counter()
    for start in range(0, jobs, batch):
        publish(spool, range(start, min(start + batch, jobs)))
    published = time.perf_counter()
    claim_all(spool, jobs)
    ended = time.perf_counter()
    rates = [jobs / (published - began), jobs / (ended - published), jobs / (ended - began)]
    return [label, f"{jobs:,}", *(f"{rate:,.0f}" for rate in rates)]


def claim_all(spool: Spool, jobs: int) -> None:
    backlog = spool.backlog()
    claimed = 0
    while claimed < jobs:
        backlog.scan(0.01)
        while claim := backlog.take():
            claim.close()
            claimed += 1
    backlog.close()


def one(durable: bool) -> Callable[[Spool, range], None]:
    return lambda spool, numbers: [spool.publish(document(number), durable=durable) for number in numbers] and None


def many(durable: bool) -> Callable[[Spool, range], None]:
    return lambda spool, numbers: spool.publish_many([document(number) for number in numbers], durable=durable) and None


def main() -> None:
    parser = program.parser(__doc__)
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--dir", type=Path, help="where to put the queues (default: $TMPDIR)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="repairlab-throughput-", dir=options.dir) as scratch:
        root = Path(scratch)
        files, directories = raw_rate(root / "raw")
        print(machine(root))
        print(f"the disk's own rate: {files:,.0f} file fsyncs/s, {directories:,.0f} directory fsyncs/s\n", flush=True)
        kinds = [
            ("durable, one at a time", min(options.jobs, 1000), one(True), 1),
            ("durable, 100 a commit", options.jobs, many(True), 100),
            ("durable, 1000 a commit", options.jobs, many(True), 1000),
            ("relaxed, one at a time", options.jobs, one(False), 1),
            ("relaxed, 1000 at a time", options.jobs, many(False), 1000),
        ]
        rows = [row(root / str(n), *kind) for n, kind in enumerate(kinds)]
        print(table(["publish", "jobs", "published/s", "claimed/s", "both/s"], rows))


if __name__ == "__main__":
    main()
