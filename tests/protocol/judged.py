"""A bundle in the real server, and what it says of candidates."""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from repairlab.config import Settings
from repairlab.sandbox import SandboxLimits, open_sandbox
from repairlab.sandbox.tree import BundleLimits
from repairlab.trial.bundle import Bundle
from repairlab.trial.source import Edit
from repairlab.trial.validation import Server, Setup, Verdict


def opened(path: Path, files: Mapping[str, str]) -> Server:
    """Return a server for a bundle of these files."""
    path.mkdir()
    for name, text in files.items():
        (path / name).write_text(text)
    settings = Settings().sandbox
    bundle = Bundle.read(path, tests=[], editable=[], limits=BundleLimits())
    setup = Setup(open_sandbox(settings), SandboxLimits.from_settings(settings, wall_s=100), bundle, None, {})
    return Server(setup, 100)


def verdicts(server: Server, candidates: Sequence[Iterable[Edit]], *, alone: bool = False) -> list[Verdict]:
    """Return the verdicts on candidates that are submitted in one request."""
    server.submit(candidates, scale=1.0, partial=1, alone=alone)
    return [server.result(time.monotonic() + 60) for _ in candidates]
