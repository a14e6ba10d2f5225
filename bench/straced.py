"""bench/straced: a few of the faults of bench/faults.py once more, by the kernel: strace strikes the real programs.

    python bench/straced.py [--faults 40] [--seed N]

The layer of `injection` replaces functions of Python. Here `strace --inject` makes the system calls of bin/repairlab
and bin/repairlab-queue-watcher fail or kill, in every process that they start, with nothing of theirs replaced; EINTR
is among the errors. Who carries on and who judges is the same. Exit 0 when nothing is violated, 1 otherwise.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import invariants
from room import PROJECT
from scenes import SCENES
from stage import SETTINGS, Stage, in_a_fork

from repairlab.process.helpers import PR_SET_CHILD_SUBREAPER, prctl

CALLS = ("renameat2", "rename", "mkdir", "fsync", "flock")
WHAT = ("signal=KILL", "signal=SEGV", "error=EIO", "error=ENOSPC", "error=EROFS", "error=EINTR", "delay_enter=50000")
PATIENCE_S = 20  # strace strikes each new process alike: what is kept until the disk takes it again would be for ever
PROGRAMS = {
    "hold": ("repairlab", ["hold"]),
    "retry": ("repairlab", ["retry"]),
    "watch": ("repairlab-queue-watcher", ["--once"]),
}


def struck(stage, program, inject):
    """Run a real program under strace; return how it ended."""
    name, argv = PROGRAMS[program]
    argv = [*argv, stage.only()] if name == "repairlab" else argv
    settings = {f"REPAIRLAB_{key}": value for key, value in SETTINGS.items()}
    settings |= {"REPAIRLAB_ROOT": str(stage.root), "REPAIRLAB_WATCHER_AGENT": json.dumps(stage.agent())}
    call = inject.partition(":")[0]
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={inject}"]
    command += [sys.executable, str(PROJECT / "bin" / name), *argv]
    with subprocess.Popen(
        command, env={**os.environ, **settings}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0
    ) as process:
        try:
            return process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.wait()


def quietly(act, stage):
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(null, stream)
    act(stage)


def judged(base, program, inject):
    """Return the exit code of the struck program, and what does not hold when healthy ones have carried on."""
    stage = Stage(base)
    scene = SCENES["watch-repair" if program == "watch" else program]
    in_a_fork(lambda: scene.ready(stage))
    code = struck(stage, program, inject)
    in_a_fork(lambda: quietly(scene.served, stage))
    return code, invariants.check(stage.root, stage.ledger, machine=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=40)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    dice, bad, hit = random.Random(options.seed), 0, 0
    for number in range(options.faults):
        program = dice.choice(list(PROGRAMS))
        inject = f"{dice.choice(CALLS)}:{dice.choice(WHAT)}:when={dice.randint(1, 4)}"
        with tempfile.TemporaryDirectory(prefix="repairlab-straced-", dir="/dev/shm") as scratch:
            base = Path(scratch) / str(number)
            base.mkdir()
            code, found = judged(base, program, inject)
            shutil.rmtree(base / "state" / "bundles", ignore_errors=True)
        hit += code != 0
        bad += bool(found)
        print(f"{program}\t{inject}\texit {code}\t{found or 'nothing violated'}", flush=True)
    print(f"seed {options.seed}: {options.faults} runs, {hit} ended by their fault, {bad} violated something")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
