"""bench/trials: one attempt of the real agent, and what the judge's tests say of a patch, in a sandbox of their own."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from repairlab import config
from repairlab.sandbox import SandboxLimits, open_sandbox
from repairlab.sandbox.tree import BundleLimits
from repairlab.trial.bundle import Bundle
from repairlab.trial.validation import ARGUMENTS, PlainRun, Setup, ask

ROOT = Path(__file__).resolve().parent.parent
RUN_S = 60.0


def attempt(handoff: Mapping[str, object], out: Path, wall_s: float, effort: int = 1) -> dict:
    """Run the agent on a handoff; return its telemetry with `wall_s` as seen from outside."""
    (out / "handoff.json").write_text(json.dumps({**handoff, "limits": {"wall_s": wall_s}}))
    command = [sys.executable, ROOT / "bin/repairlab-agent", "--handoff", out / "handoff.json", "--out", out]
    begun = time.monotonic()
    done = subprocess.run([*command, "--effort", str(effort)], capture_output=True, check=False)
    telemetry = json.loads(done.stdout) if done.stdout else {"ok": False, "reason": f"exit {done.returncode}"}
    return telemetry | {"wall_s": time.monotonic() - begun, "stderr": done.stderr.decode()[-500:]}


@contextmanager
def patched(bundle: Path, diff: Path) -> Iterator[Path]:
    """Yield a copy of the bundle with the patch applied by git, for as long as the block lasts."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "bundle"
        shutil.copytree(bundle, copy, symlinks=True)
        if diff.stat().st_size:
            environment = {**os.environ, "GIT_DIR": "/nonexistent"}
            subprocess.run(["git", "apply", "-p1", diff], cwd=copy, check=True, env=environment)
        yield copy


def pytest_run(
    directory: Path, tests: Sequence[str] = (), *, limit_s: float = RUN_S, options: Sequence[str] = ()
) -> PlainRun:
    """Run plain pytest on a directory in a fresh sandbox, with a hash seed that does not change from run to run."""
    settings = config.load()
    bundle = Bundle.read(directory, tests=list(tests), editable=[], limits=BundleLimits())
    limits = SandboxLimits.from_settings(settings.sandbox, wall_s=limit_s)
    environment = {"PYTHONHASHSEED": "0"}
    confined, _ = Setup(open_sandbox(settings.sandbox), limits, bundle, None, environment).start(None, limit_s + 5)
    with confined:
        request = {"op": "pytest", "arguments": [*ARGUMENTS, *options, *bundle.tests], "limit_s": limit_s}
        return ask(confined, request, PlainRun, limit_s + 10)


def half(name: str) -> str:
    """Return which half of a set a case belongs to, whatever the set: one to look at, one to hold back."""
    return "AB"[hashlib.sha256(name.encode()).digest()[0] & 1]
