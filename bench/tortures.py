"""bench/tortures: every torture at full size, one after the other, each with one line of result.

    python bench/tortures.py [--quick] [--only NAME …] [--logs DIR]

Each part is a program of its own (bench/kept.py): one that takes too long is ended and counts as a finding, and nothing
is left of any. What it says goes into DIR/NAME.log. What cannot be had here (no root, no atheris) is left out with the
reason. Exit 0 when nothing was found, 1 otherwise. The parts and the minutes that they may take:

"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(Path(__file__).parent))
import kept
import program

WORLDS = ("-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "tests/system/test_odd_worlds.py")


@dataclass(frozen=True)
class Part:
    """One torture: its arguments, those of a quick run, the minutes that it may take."""

    name: str
    full: tuple[str, ...]
    quick: tuple[str, ...]
    minutes: float


PARTS = (
    Part("kills", ("bench/torture.py", "--seconds", "60"), ("bench/torture.py", "--seconds", "3"), 10),
    Part("crew", ("bench/crew.py", "--minutes", "15"), ("bench/crew.py", "--examples", "5"), 20),
    Part("flood", ("bench/flood.py",), ("bench/flood.py", "--documents", "2000"), 15),
    Part("worlds", WORLDS, (*WORLDS, "-k", "inotify or descriptor"), 15),
    Part("powercut", ("bench/powercut.py",), ("bench/powercut.py", "--acknowledged", "100", "--handoffs", "0"), 60),
    *(
        Part(
            f"powercut-{kind}",
            ("bench/powercut.py", "--kind", kind, "--acknowledged", "10000"),
            ("bench/powercut.py", "--kind", kind, "--acknowledged", "50", "--handoffs", "0"),
            20,
        )
        for kind in ("xfs", "btrfs")
    ),
    Part("fuzz", ("bench/fuzz.py", "--seconds", "600"), ("bench/fuzz.py", "--seconds", "2"), 30),
    Part(
        "faults",
        ("bench/faults.py", "--faults", "10000", "--minutes", "50", "--jobs", "2"),
        ("bench/faults.py", "--faults", "5", "--only", "publish", "--jobs", "1"),
        60,
    ),
    Part("straced", ("bench/straced.py",), ("bench/straced.py", "--faults", "1"), 10),
)


def carried_out(part: Part, arguments: tuple[str, ...], logs: Path) -> bool:
    """Run a part and print its line; return whether it found nothing."""
    began, log = time.monotonic(), logs / f"{part.name}.log"
    limited = [sys.executable, str(ROOT / "bench/kept.py"), str(part.minutes * 60), sys.executable]
    with log.open("wb") as out:
        status = subprocess.run([*limited, *arguments], cwd=ROOT, stdout=out, stderr=out, check=False).returncode
    said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    verdicts = {os.EX_OK: "nothing found", os.EX_UNAVAILABLE: "left out", kept.LATE: "TOOK TOO LONG"}
    verdict = verdicts.get(status, f"FOUND (exit status {status}, {log})")
    print(f"{part.name:<15}{time.monotonic() - began:>6.0f} s  {verdict}: {said[-1] if said else ''}", flush=True)
    return status in (os.EX_OK, os.EX_UNAVAILABLE)


def main() -> int:
    table = "".join(f"    {part.name:<15}{part.minutes:>4}  {' '.join(part.full)}\n" for part in PARTS)
    made = program.parser(__doc__ + table)
    made.add_argument("--quick", action="store_true", help="each as small as it can be: does the whole work?")
    made.add_argument("--only", nargs="+", choices=[part.name for part in PARTS], metavar="NAME")
    made.add_argument("--logs", type=Path, default=ROOT / "build/torture")
    options = made.parse_args()
    options.logs.mkdir(parents=True, exist_ok=True)
    wanted = [part for part in PARTS if not options.only or part.name in options.only]
    fine = [carried_out(part, part.quick if options.quick else part.full, options.logs) for part in wanted]
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(main())
