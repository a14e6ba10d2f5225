"""Run every attack in one tier of the sandbox, or keep the table of docs/security.md.

    python tests/attacks/suite TIER [--root DIR] [--only WORD]      one JSON document on stdout
    python tests/attacks/suite TIER --honest                        what does no harm, in the same place
    python tests/attacks/suite --write DOCUMENT…                    merge such documents into docs/security.md

TIER is a value of `sandbox.tier`: "none" runs the controls, as root those that take root too. The document is
{"tier": …, "root": …, "attacks": {name: {"succeeded": …, "stopped_by": {part: what stopped it, null for nothing}}}}.
DIR is where the victims' files go, by default the directory for temporary files.
"""

import argparse
import json
import os
import re
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parent))

import table
from cases import CASES, LIMITS
from victims import SECRET_VARIABLE, Victims

from repairlab import sandbox as box

HONESTLY = b"""
import subprocess, sys
with open("test_honest.py", "wb") as file:
    file.write(stream.recv())
argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:timeout"]
done = subprocess.run([*argv, "test_honest.py"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
stream.send(done.stdout)
"""
SETTINGS = {"memory_mb": 256, "processes": 24, "tmpfs_mb": 4, "open_files": 64, "file_mb": 8}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tier", nargs="?")
    parser.add_argument("--root", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--only", default="")
    parser.add_argument("--honest", action="store_true")
    parser.add_argument("--write", type=Path, nargs="+", metavar="DOCUMENT")
    told = parser.parse_args()
    if told.write:
        table.write([json.loads(path.read_bytes()) for path in told.write])
        return 0
    if not told.tier:
        parser.error("name a tier")
    if told.honest:
        print(json.dumps(honest(told.tier)))
        return 0
    print(json.dumps(run(told.tier, told.root, told.only), indent=1))
    return 0


def honest(name: str) -> dict[str, object]:
    """Run honest.py by pytest in the sandbox; return how many tests passed, which failed, and all that was said."""
    limits = box.SandboxLimits(wall_s=40, tmpfs_mb=64)
    tier = box.open_sandbox(SimpleNamespace(tier=name, **{**SETTINGS, "memory_mb": 1024, "processes": 64}))
    with tier.start(HONESTLY, limits=limits) as confined:
        confined.stream.send((Path(__file__).parent / "honest.py").read_bytes())
        said = confined.stream.recv(limits.wall_s).decode()
    failed = re.findall(r"^FAILED test_honest.py::(\w+)", said, re.MULTILINE)
    return {"passed": int((re.search(r"(\d+) passed", said) or [0, 0])[1]), "failed": failed, "said": said}


def run(name: str, root: Path, only: str) -> dict[str, object]:
    """Run the attacks whose name or program has `only` in it."""
    tier = box.open_sandbox(SimpleNamespace(tier=name, **SETTINGS))
    attacks = {}
    with Victims(tier, replace(LIMITS, wall_s=600), root) as victims:  # an attack on one that is gone proves nothing
        for case in CASES:
            if only in case.name or only in case.attack:
                if victims.control and case.root and os.geteuid() != 0:
                    continue
                started = time.monotonic()
                attacks[case.name] = {**case.run(victims), "s": round(time.monotonic() - started, 3)}
    return {"tier": tier.tier, "root": os.geteuid() == 0, "attacks": attacks}


if __name__ == "__main__":
    if SECRET_VARIABLE not in os.environ:  # /proc shows the environment that a program was started with
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, SECRET_VARIABLE: os.urandom(16).hex()})
    sys.exit(main())
