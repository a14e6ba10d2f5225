"""What the start of a sandbox costs, tier by tier, beside what a plain interpreter costs.

    python bench/sandbox.py [--samples N]         the tiers that this machine gives to this user
    python bench/sandbox.py --lab [--samples N]   as root: all of them, in a container with a systemd of its own

A sample is the time from the call to the first frame of a program that sends one at once: the unit or the namespaces,
the interpreter, the boot inside. An attempt starts one sandbox for the search, whatever number of candidates it tries,
and one for each verification. `interpreter` is a fork, an exec and `python -s -S -c pass`: nobody can start sooner.
The tiers take turns, so that a busy moment of the machine meets them all.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import program
from machine import machine, percentile, table

PROJECT = Path(__file__).resolve().parents[1]
SETTINGS = {"memory_mb": 256, "processes": 16, "tmpfs_mb": 16, "open_files": 64, "file_mb": 16}
TIERS = ("systemd", "bubblewrap", "landlock", "none")
PARTS = ("pyproject.toml", "README.md", "src", "bin", "deploy", "systemd", "docs", "examples", "bench")


def interpreter() -> None:
    subprocess.run([sys.executable, "-s", "-S", "-c", "pass"], check=True)


def starter(name: str):
    from repairlab import sandbox
    from repairlab.errors import RepairLabError

    try:
        tier = sandbox.open_sandbox(SimpleNamespace(tier=name, **SETTINGS))
    except RepairLabError:
        return None, name

    def start() -> None:
        with tier.start("stream.send(b'here')") as confined:
            confined.stream.recv(30)
            start.taken = time.perf_counter()

    try:
        start()
    except RepairLabError:
        return None, name
    return start, tier.tier


def measure(samples: int) -> dict[str, list[float]]:
    """Milliseconds of each sample, by tier."""
    starters = {told: start for start, told in map(starter, TIERS) if start}
    taken: dict[str, list[float]] = {"interpreter": [], **{name: [] for name in starters}}
    for _ in range(samples):
        began = time.perf_counter()
        interpreter()
        taken["interpreter"].append((time.perf_counter() - began) * 1000)
        for name, start in starters.items():
            began = time.perf_counter()
            start()
            taken[name].append((start.taken - began) * 1000)
    return taken


def in_a_lab(samples: int) -> dict[str, list[float]]:
    """Install into a container, and measure there as the service's user and as a person."""
    sys.path.insert(0, str(PROJECT / "tests/system"))
    from lab import Lab

    with tempfile.TemporaryDirectory() as directory, Lab() as lab:
        os.chmod(directory, 0o755)
        source = Path(directory, "usr/src/repairlab")
        source.mkdir(parents=True)
        subprocess.run(["cp", "-r", *(PROJECT / part for part in PARTS), source], check=True)
        subprocess.run([source / "deploy/install", "--root", directory], check=True, capture_output=True)
        lab.outside("cp", "-a", f"{directory}/.", lab.ROOT, check=True)
        lab.boot()
        lab.run("/usr/src/repairlab/deploy/install", timeout_s=60)
        lab.run("systemctl", "start", "repairlab-sandbox.socket")
        lab.run("useradd", "-m", "person")
        lab.run("loginctl", "enable-linger", "person")
        uid = lab.run("id", "-u", "person").stdout.strip()
        own = {"XDG_RUNTIME_DIR": f"/run/user/{uid}", "DBUS_SESSION_BUS_ADDRESS": f"unix:path=/run/user/{uid}/bus"}
        lab.until(lambda: lab.run("test", "-S", f"/run/user/{uid}/bus", check=False).returncode == 0)
        lab.run("systemctl", "--user", "start", "repairlab-sandbox.socket", user="person", env=own)
        python = lab.run("head", "-n1", "/usr/local/bin/repairlab").stdout.removeprefix("#!").split()[0]
        taken: dict[str, list[float]] = {}
        for user, env in (("person", own), ("repairlab", {})):
            here = [python, "-s", "/usr/src/repairlab/bench/sandbox.py", "--json", "--samples", str(samples)]
            taken |= json.loads(lab.run(*here, user=user, env=env, timeout_s=300).stdout)
        return taken


def main() -> None:
    parser = program.parser(__doc__)
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--lab", action="store_true", help="all tiers, in a container (root)")
    parser.add_argument("--json", action="store_true", help="every sample, in milliseconds")
    args = parser.parse_args()
    taken = in_a_lab(args.samples) if args.lab else measure(args.samples)
    if args.json:
        print(json.dumps(taken))
        return
    print(f"{args.samples} starts each; ms from the call to the first frame; {machine(PROJECT)}\n")
    rows = [
        [name, *(f"{percentile(values, share):.1f}" for share in (0.5, 0.9, 0.99))]
        for name, values in sorted(taken.items(), key=lambda item: percentile(item[1], 0.5))
    ]
    print(table(["tier", "p50", "p90", "p99"], rows))


if __name__ == "__main__":
    main()
