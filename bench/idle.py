"""bench/idle: what the programs cost when there is nothing to do: CPU of each service, cold start of each executable.

    python bench/idle.py [--seconds 30] [--starts 10]

Services: CPU seconds a minute and memory, with all that they started, in an empty state directory; all of them run at
once. Starts: `--help`, and the first useful act where there is one with nothing to do: each is a new process, its
byte code and the disk's cache warm. `floor` is an interpreter that does nothing, likewise.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from machine import family, machine, shared_mib, spread, table
from program import parser

BIN = Path(__file__).resolve().parents[1] / "bin"
SERVICES = ("repairlab-queue-watcher", "repairlab-evaluator", "repairlab-toolgen")
ACTS = {
    "repairlab": ["list"],
    "repairlab-queue-watcher": ["--once"],
    "repairlab-evaluator": ["--once"],
    "repairlab-toolgen": ["--once"],
    "repairlab-cleanup": ["--dry-run"],
    "repairlab-auto-specder": [],
    "repairlab-library-extract": [],
}
SETTLED_S = 5.0
SPELLS = 3


def environment(root: Path) -> dict[str, str]:
    outer = {key: value for key, value in os.environ.items() if key not in ("PYTHONDONTWRITEBYTECODE", "NOTIFY_SOCKET")}
    return {**outer, "REPAIRLAB_ROOT": str(root), "REPAIRLAB_WATCHER_MIN_FREE_MB": "0"}


def spent_ns(pid: int) -> int:
    """Return what the living threads of the family have run so far (proc(5), schedstat)."""
    tasks = [task for each in family(pid) for task in Path(f"/proc/{each}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def services(root: Path, seconds: float) -> list[list[str]]:
    """Run all services idly; one that ends says so in its row."""
    running = {}
    for name in SERVICES:
        log = (root / f"{name}.log").open("wb")
        running[name] = subprocess.Popen([sys.executable, BIN / name], env=environment(root), stderr=log, stdout=log)
    time.sleep(SETTLED_S)
    alive = {name: process for name, process in running.items() if process.poll() is None}
    spells: dict[str, list[float]] = {name: [] for name in alive}
    for _ in range(SPELLS):
        before = {name: (spent_ns(process.pid), time.monotonic()) for name, process in alive.items()}
        time.sleep(seconds / SPELLS)
        for name, (cpu, since) in before.items():
            spent = spent_ns(alive[name].pid) - cpu
            spells[name].append(spent / 1e9 / (time.monotonic() - since) * 60)
    rows = []
    for name, process in running.items():
        if name not in alive or process.poll() is not None:
            words = (root / f"{name}.log").read_text(errors="replace").strip().splitlines()
            rows.append([name, f"ended with {process.returncode}: {(words or [''])[-1][:80]}", ""])
            continue
        rows.append([name, spread(spells[name], ".3f"), f"{shared_mib(family(process.pid)):.0f}"])
        process.terminate()
    for process in running.values():
        process.wait(30)
    return rows


def started(argv: Sequence[str | Path], root: Path, starts: int) -> str:
    """Return median and spread, in ms, of runs of a command to their end."""
    times = []
    for _ in range(starts):
        began = time.perf_counter()
        done = subprocess.run(argv, env=environment(root), capture_output=True, check=False)
        times.append((time.perf_counter() - began) * 1e3)
    if done.returncode not in (0, 1):
        return f"ended with {done.returncode}"
    return spread(times, ".0f")


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--seconds", type=float, default=30.0, help="for which the services are watched")
    made.add_argument("--starts", type=int, default=10)
    options = made.parse_args()
    with tempfile.TemporaryDirectory(prefix="repairlab-idle-") as scratch:
        root = Path(scratch)
        print(f"{options.seconds:g} s of idling, {options.starts} starts; {machine(root)}\n", flush=True)
        print(table(["service", "CPU s a minute", "PSS MiB"], services(root, options.seconds)) + "\n", flush=True)
        floor = started([sys.executable, "-c", "pass"], root, options.starts)
        rows = [["floor", floor, ""]]
        for program in sorted(BIN.iterdir()):
            act = [sys.executable, program, *ACTS[program.name]] if program.name in ACTS else []
            told = started(act, root, options.starts) if act else ""
            told += f": {' '.join(map(str, act[2:])) or 'without arguments'}" if act else ""
            rows.append([program.name, started([sys.executable, program, "--help"], root, options.starts), told])
        print(table(["executable", "--help ms", "first act ms"], rows))


if __name__ == "__main__":
    main()
