"""validation: the agent's end of the server in the sandbox.

`Server` keeps one sandbox with warm pytest and judges candidates; what it says is a hint, since the code under repair
runs in the same processes. `verification` says what is believed.
"""

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self, TypeVar

import msgspec

from repairlab.errors import BadInput, RepairLabError, TemporaryFailure, Unavailable
from repairlab.sandbox import Confined, Sandbox, SandboxLimits, StreamError, StreamTimeout, Why
from repairlab.sandbox.api import send_program
from repairlab.trial import server
from repairlab.trial.ahead import Ahead
from repairlab.trial.bundle import Bundle
from repairlab.trial.source import Edit
from repairlab.trial.testrun import TestRun

# What search and verification tell pytest: nothing is written, the order is the file's, no process is started.
ARGUMENTS = ("-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist", "-p", "no:faulthandler")
SEARCH_ARGUMENTS = (*ARGUMENTS, "--assert=plain", "--tb=native", "-s", "--basetemp=../scratch")
GRACE_S = 15.0  # beyond the server's own limits, before the agent takes its silence for death
PROMISING = 8  # times its allowance, for a candidate that has repaired a test (server/lanes.py)
NOT_RUN = "-"  # the letter of a test that had no turn before one that had (server/batch.py)
PROGRAM = "<repairlab server>"  # what tracebacks from inside call it
LOST_S = 1.0  # how long after its stream a sandbox that was ended from outside may take to be gone
MAX_TESTS = 20_000
MAX_NAMES = 1 << 23  # characters in the names of all tests
MAX_CPU_S = 86400.0

Letter = Annotated[str, msgspec.Meta(max_length=8)]
Letters = Annotated[str, msgspec.Meta(max_length=MAX_TESTS + 16)]
Text = Annotated[str, msgspec.Meta(max_length=16_000)]  # the server cuts what may be long; a path, a name fit whole
Index = Annotated[int, msgspec.Meta(ge=0, le=MAX_TESTS)]
Indices = Sequence[int]


class Cause(msgspec.Struct):
    """Why something could not be loaded: kind and message of the exception, the name it misses, frames, innermost last.

    `base` is SyntaxError, ImportError, NameError or AttributeError where it is one of these.
    """

    where: Text = ""
    kind: Text = ""
    base: Text = ""
    message: Text = ""
    name: Text = ""
    frames: Annotated[list[tuple[Text, int]], msgspec.Meta(max_length=200)] = []


Causes = Annotated[list[Cause], msgspec.Meta(max_length=1000)]


class Loaded(msgspec.Struct):
    """What came of loading everything with other texts; `outcomes` only where there are no `causes`."""

    ids: list[str] = []
    causes: Causes = []
    outcomes: Annotated[list[tuple[Index, Letter]], msgspec.Meta(max_length=MAX_TESTS)] = []
    lost: Text = ""


class Collected(msgspec.Struct):
    """What collection found: test ids, and the files that define them, doctests aside.

    `missing` where pytest cannot be imported, `lost` where the tests ended the worker; `own_s` went into loading the
    server's other parts.
    """

    ids: list[str] = []
    files: list[str] = []
    errors: Annotated[list[tuple[Text, Text]], msgspec.Meta(max_length=1000)] = []
    causes: Causes = []
    missing: Text = ""
    lost: Text = ""
    own_s: float = 0.0


class BaselineTest(msgspec.Struct):
    """One test of a baseline run, as the server reports it."""

    index: Index
    outcome: Letter
    cpu: float = 0.0
    wall: float = 0.0
    message: str = ""
    lines: dict[str, list[tuple[int, int]]] = {}
    earlier: dict[str, list[tuple[int, int, int]]] = {}
    crash: list[tuple[str, int]] = []
    types: list[tuple[str, int, str, str]] = []


class Baseline(msgspec.Struct):
    """All tests of a baseline run; `missing` are those that no time was left for."""

    tests: list[BaselineTest] = []
    missing: list[Index] = []
    lost: Text = ""


class Verdicts(msgspec.Struct):
    """Verdicts on some of the candidates that were sent: with a letter for each test that ran, and fresh or not."""

    verdicts: list[tuple[Letter, Letters, bool]]


class Verdict(msgspec.Struct):
    """What came of one candidate: passed, failed, hang, died, syntax, same (as it was), ids (other tests), or lost."""

    verdict: Letter = "lost"
    outcomes: list[tuple[Index, Letter]] = []
    fresh: bool = False
    lost: str = ""


class Cost(msgspec.Struct):
    """CPU seconds spent inside so far: pristine server, its fresh forks, hot worker, compiling in it, its forks."""

    pristine: float = 0.0
    fresh: float = 0.0
    hot: float = 0.0
    compile: float = 0.0
    forks: float = 0.0


class PlainRun(msgspec.Struct):
    """How a plain pytest run ended; `cases` is None where it left no complete report."""

    exit: int = -1
    wall_s: float = 0.0
    timed_out: bool = False
    output: str = ""
    cases: list[tuple[str, str, Letter]] | None = None


A = TypeVar("A", bound=msgspec.Struct)


class ServerLost(RepairLabError):
    """The server in the sandbox is gone or talks nonsense."""


class OutOfTime(RepairLabError):
    """The answer has not come by the deadline."""


@dataclass(frozen=True)
class Setup:
    """What every run of a bundle's tests needs."""

    sandbox: Sandbox
    limits: SandboxLimits
    bundle: Bundle
    python: str | None
    env: Mapping[str, str]
    started_s: list[float] = dataclasses.field(default_factory=list)  # until bundle and program were in it
    ends: list[Callable[[], object]] = dataclasses.field(default_factory=list)  # what `close` waits for

    def start(
        self, files: Mapping[str, bytes] | None, wall_s: float, ahead: Ahead | None = None
    ) -> tuple[Confined, str]:
        """Return a fresh sandbox where the server runs, and its path of the bundle, `files` replacing its own."""
        began = time.monotonic()
        confined = (ahead.take() if ahead else None) or self._one(server.program(), wall_s)
        try:
            request = {"op": "tree", "path": self.bundle.import_paths, "env": self.env}
            root = ask(confined, request, Unpacked, 30, self.bundle.entries(files)).root
        except BaseException:
            confined.__exit__(None, None, None)
            raise
        self.started_s.append(time.monotonic() - began)
        return confined, root

    def dismiss(self, confined: Confined) -> None:
        """Have a sandbox ended while the caller goes on to something else."""
        self.ends.append(lambda: confined.__exit__(None, None, None))
        confined.dismiss()

    def close(self) -> None:
        """Return when nothing is left of the sandboxes that were dismissed or started ahead."""
        while self.ends:
            self.ends.pop()()

    def ahead(self, wall_s: float) -> Ahead:
        """Begin to start a sandbox for a plain run of `start`."""
        ahead = Ahead(lambda: self._sandbox(server.program(plain=True), wall_s))
        self.ends.append(ahead.close)
        return ahead

    def _one(self, program: str, wall_s: float) -> Confined:
        """Start a sandbox; where there is no room for another, once those that were dismissed are gone."""
        try:
            return self._sandbox(program, wall_s)
        except TemporaryFailure:
            if not self.ends:
                raise
        self.close()
        return self._sandbox(program, wall_s)

    def _sandbox(self, program: str, wall_s: float) -> Confined:
        """Start the server; an interpreter that was named and starts nothing, where ours does, is a bad one."""
        limits = dataclasses.replace(self.limits, wall_s=wall_s, cpu_s=int(wall_s) + 10)
        try:
            return self.sandbox.start(program, python=self.python, limits=limits, name=PROGRAM)
        except (TemporaryFailure, Unavailable) as error:
            if self.python is None:
                raise
            with self.sandbox.start("", limits=limits):
                fix = "name a Python 3.8 or newer, or leave python out"
                raise BadInput(f"{self.python} starts no Python: {error.message}", field="python", fix=fix) from None


class Answer(msgspec.Struct):
    """An answer that says nothing."""


class Unpacked(msgspec.Struct):
    """Where the bundle lies inside."""

    root: str = ""


def ask(
    confined: Confined,
    request: Mapping[str, Any],
    kind: type[A],
    timeout: float,
    entries: Iterable[tuple[str, str, bytes]] | None = None,
    program: str = "",
) -> A:
    """Send one request (with files, or more of the program) and return its answer as a `kind`; else `ServerLost`."""
    try:
        confined.stream.send(msgspec.json.encode(request))
        if program:
            send_program(confined.stream, confined.stream.told, program, PROGRAM)
        if entries is not None:
            confined.stream.send_files(entries)
        return msgspec.json.decode(confined.stream.recv(timeout), type=kind)
    except (StreamError, msgspec.DecodeError, UnicodeDecodeError) as error:
        if (ended := confined.wait(LOST_S)) is not None and ended.why is Why.LOST:
            fix = "see `journalctl -u 'repairlab-sandbox@*'`"
            raise RepairLabError("the sandbox was ended by somebody outside", fix=fix) from None
        tail = confined.stderr_tail().decode("utf-8", "replace").strip()[-500:]
        raise ServerLost(f"{type(error).__name__}: {error} {tail}".strip()) from None


class Server:
    """One sandbox in which pytest has collected the bundle's tests."""

    def __init__(self, setup: Setup, wall_s: float) -> None:
        self.setup = setup
        self._confined, self.root = setup.start(None, wall_s + GRACE_S)
        self._plan: dict[str, Any] = {}
        self._limit_s = 0.0
        self._verdicts: deque[tuple[str, str, bool]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._confined.__exit__(None, None, None)

    def dismiss(self) -> None:
        """End it without waiting for its end, which is left to the setup's `close`."""
        self.setup.dismiss(self._confined)

    def collect(self, limit_s: float) -> Collected:
        """Import pytest and collect, for at most `limit_s` seconds."""
        bundle = self.setup.bundle
        encodings = {path: source.encoding for path, source in bundle.sources.items()}
        request = {
            "op": "start",
            "arguments": [*SEARCH_ARGUMENTS, *bundle.options, *bundle.tests],
            "encodings": encodings,
            "collect_s": limit_s,
        }
        began = time.monotonic()
        found = ask(self._confined, request, Collected, limit_s + GRACE_S, program=server.search())
        self.setup.started_s[-1] += min(max(0.0, found.own_s), time.monotonic() - began)
        if len(found.ids) > MAX_TESTS or sum(map(len, found.ids)) > MAX_NAMES:
            raise ServerLost(f"more than {MAX_TESTS} tests, or names of more than {MAX_NAMES} characters")
        return found

    def load(self, texts: Mapping[str, str], *, limit_s: float, wall_s: float) -> Loaded:
        """Load everything anew with other texts of editable files; run each test for at most `limit_s` CPU seconds."""
        request = {"op": "load", "texts": texts, "limit_s": limit_s, "wall_s": wall_s}
        return ask(self._confined, request, Loaded, wall_s + 10 + GRACE_S)

    def baseline(
        self, order: Indices, *, limit_s: float, wall_s: float, trace: bool, plain: bool, brief: Indices = ()
    ) -> Baseline:
        """Run the tests `order`, each for at most `limit_s` CPU seconds, all for at most about `wall_s`.

        Of the tests `brief` a trace tells which lines they run, and not how often. `plain` calls test functions
        directly that pytest's fixtures, marks and hooks have nothing to do with.
        """
        request = {"op": "baseline", "order": list(order), "limit_s": limit_s, "wall_s": wall_s}
        request |= {"trace": trace, "plain": plain, "brief": list(brief)}
        found = ask(self._confined, request, Baseline, 2 * wall_s + 10 + GRACE_S)
        if not {test.index for test in found.tests} <= set(order):
            raise ServerLost("an answer about tests that nobody asked about")
        return found

    def plan(
        self,
        order: Indices,
        failing: int,
        allow: Sequence[float],
        ids: Sequence[str],
        whole: Indices,
        endless: Indices = (),
    ) -> None:
        """Tell the order of the tests, the failing ones first, CPU seconds of each, which are never called plainly.

        Those that never ended at baseline, or ended their process, are `endless`.
        """
        self._plan = {"op": "plan", "order": list(order), "failing": failing, "allow": list(allow), "ids": list(ids)}
        self._plan |= {"whole": list(whole), "endless": list(endless)}
        ask(self._confined, self._plan, Answer, GRACE_S)

    def submit(self, candidates: Sequence[Iterable[Edit]], *, scale: float, partial: int, alone: bool = False) -> None:
        """Queue candidates, `alone` each in a fork of its own; `result` returns the verdicts in this order."""
        limit_s = (4 * sum(self._plan["allow"]) * scale * PROMISING + 10) * len(candidates)
        request = {"op": "batch", "scale": scale, "partial": partial, "limit_s": limit_s, "alone": alone}
        request["batch"] = [by_path(edits) for edits in candidates]
        self._limit_s = 2 * limit_s + GRACE_S
        try:
            self._confined.stream.send(msgspec.json.encode(request))
        except StreamError as error:
            raise ServerLost(str(error)) from None

    def result(self, deadline: float) -> Verdict:
        """Return the next verdict; raise `OutOfTime` where it has not come by `deadline` (monotonic)."""
        if not self._verdicts:
            self._verdicts.extend(self._received(max(0.0, deadline - time.monotonic())))
        verdict, letters, fresh = self._verdicts.popleft()
        outcomes = [pair for pair in zip(self._plan["order"], letters, strict=False) if pair[1] != NOT_RUN]
        return Verdict(verdict, outcomes, fresh, "the worker is gone" if verdict == "lost" else "")

    def _received(self, left: float) -> "list[tuple[str, str, bool]]":
        try:
            found = msgspec.json.decode(self._confined.stream.recv(min(left, self._limit_s)), type=Verdicts).verdicts
        except StreamTimeout as error:
            raise (OutOfTime if left < self._limit_s else ServerLost)(str(error)) from None
        except (StreamError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ServerLost(str(error)) from None
        if not found:
            raise ServerLost("an answer without a verdict")
        return found

    def cost(self) -> Cost:
        """Return the CPU seconds spent inside so far; nothing may be in the pipe."""
        return ask(self._confined, {"op": "cost"}, Cost, GRACE_S)

    def ask(self, request: Mapping[str, Any], kind: type[A], timeout: float) -> A:
        """Send one request and return its answer; raise `ServerLost` for anything but a `kind`."""
        return ask(self._confined, request, kind, timeout)

    def relative(self, path: str) -> str:
        """Return the bundle's name for a path inside the sandbox, or '' where it is none."""
        return path.removeprefix(self.root + "/") if path.startswith(self.root + "/") else ""

    def test_run(self, ids: Sequence[str], test: BaselineTest) -> TestRun:
        """Translate a reported test into the bundle's terms; what does not belong to its sources is dropped."""
        sources = self.setup.bundle.sources
        lines = {
            (name, line): hits
            for path, found in test.lines.items()
            if (name := self.relative(path)) in sources
            for line, hits in found
            if 1 <= line <= len(sources[name].starts)
        }
        earlier = {
            (name, line): (bool(last), max(0, calls))
            for path, found in test.earlier.items()
            if (name := self.relative(path)) in sources
            for line, last, calls in found
        }
        crash = tuple(
            (name, line)
            for path, line in test.crash
            if (name := self.relative(path)) in sources and 1 <= line <= len(sources[name].starts)
        )
        cpu_s = min(max(0.0, test.cpu), MAX_CPU_S)
        return TestRun(ids[test.index], test.outcome, cpu_s, test.message[:500], lines, crash, earlier)


def by_path(edits: Iterable[Edit]) -> dict[str, list[tuple[int, int, str]]]:
    """Return edits as the server takes them."""
    found: dict[str, list[tuple[int, int, str]]] = {}
    for edit in edits:
        found.setdefault(edit.path, []).append((edit.start, edit.end, edit.text))
    return found
