"""runs: one run of a bundle's tests, or of its benchmark, in a fresh sandbox: nothing is kept from the run before.

What comes back is untrusted: the tests themselves, and the code they test, ran in the process that wrote the report. A
run counts as passed only where its exit status and its report agree.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import msgspec

from repairlab.errors import TemporaryFailure
from repairlab.sandbox import Sandbox, SandboxLimits, StreamError, Why

GRACE_S = 15.0  # beyond the limit that the inside keeps, before its silence is taken for death
MAX_FRAME = 1 << 24
PYTEST = ("-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist", "-p", "no:faulthandler")
Entry = tuple[str, str, bytes]
Case = tuple[str, str, Annotated[str, msgspec.Meta(max_length=1)]]


@cache
def program() -> str:
    """Return what runs inside."""
    here = Path(__file__).parent
    return "\n".join((here / part).read_text(encoding="utf-8") for part in ("server/plain.py", "inside.py"))


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """How one run ended. `cases` are (class, name, p/f/e/s) of the report, None where there is no whole one.

    Time, CPU (of all processes of the run) and memory are what a process saw from outside that ran nothing of the
    bundle's; `peak_kb` is the largest resident set of one, in KiB. `why` is how the sandbox ended where that is not by
    itself. `seen` are the kinds of things that watched sources did, or tried.
    """

    exit: int = -1
    timed_out: bool = False
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_kb: int = 0
    output: str = ""
    cases: Annotated[list[Case], msgspec.Meta(max_length=100_000)] | None = None
    seen: Annotated[list[str], msgspec.Meta(max_length=50)] = []
    why: str = ""

    @property
    def names(self) -> Counter[tuple[str, str]]:
        """The tests of the report."""
        return Counter((cls, name) for cls, name, _ in self.cases or ())

    @property
    def counts(self) -> tuple[int, int]:
        """(passed, all that were not skipped); (0, 0) without a report."""
        letters = Counter(letter for _, _, letter in self.cases or ())
        return letters["p"], letters.total() - letters["s"]

    @property
    def passed(self) -> bool:
        """Whether every test passed, by status and report together."""
        good, total = self.counts
        return self.exit == 0 and not self.timed_out and good == total > 0


@dataclass(frozen=True)
class Trial:
    """What every run of one contestant needs: its files, and how it is to be run."""

    sandbox: Sandbox
    limits: SandboxLimits
    entries: tuple[Entry, ...]
    tests: tuple[str, ...] = ()
    python: str | None = None
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    import_paths: tuple[str, ...] = ()

    def run(self, *, seed: int | None = None, sources: Iterable[str] = ()) -> Run:
        """Run the tests, in an order of that seed, with that hash seed.

        What the files `sources` do to processes, files and the network is noted, which takes a little time.
        """
        return self._once({
            "op": "run", "seed": seed, "hash_seed": 0 if seed is None else seed % (1 << 32),
            "arguments": [*PYTEST, *self.tests], "sources": list(sources),
        })  # fmt: skip

    def measure(self, path: str) -> Run:
        """Run one file of the bundle, as `python PATH` does in its directory; the run has no cases."""
        return self._once({"op": "measure", "path": path})

    def _once(self, request: Mapping[str, object]) -> Run:
        """Carry out one request in a sandbox of its own.

        A run that the sandbox had to end is one that did not pass. TemporaryFailure: no sandbox could be had, or
        somebody outside ended it.
        """
        limits = dataclasses.replace(self.limits, wall_s=self.limits.wall_s + GRACE_S)
        confined = self.sandbox.start(program(), python=self.python, limits=limits, name="<repairlab trial>")
        with confined:
            try:
                tree = {"op": "tree", "env": dict(self.env), "path": list(self.import_paths)}
                confined.stream.send(msgspec.json.encode(tree))
                confined.stream.send_files(self.entries)
                confined.stream.recv(30)
                confined.stream.send(msgspec.json.encode({**request, "limit_s": self.limits.wall_s}))
                raw = confined.stream.recv(self.limits.wall_s + GRACE_S, max_bytes=MAX_FRAME)
                return msgspec.json.decode(raw, type=Run)
            except (StreamError, msgspec.DecodeError, UnicodeDecodeError) as error:
                ended = confined.wait(1.0)
                if ended is not None and ended.why is Why.LOST:
                    fix = "see `journalctl -u 'repairlab-sandbox@*'`"
                    raise TemporaryFailure("the sandbox was ended by somebody outside", fix=fix) from None
                return Run(why=str(ended.why) if ended else type(error).__name__)


def stable(runs: Iterable[Run]) -> float:
    """Return the share of runs that passed with the tests of the first; 0 for none."""
    found = list(runs)
    return sum(run.passed and run.names == found[0].names for run in found) / len(found) if found else 0.0
