"""contest: one challenger measured beside the champion of its lineage.

Everything that runs, runs in fresh sandboxes; nothing of a bundle is imported here. The order saves time: what fails a
test is settled after a few runs and never meets the champion.

The champion is measured by the challenger's tests, on its own code, in runs that alternate with the challenger's, so
that both meet the same machine; where a benchmark is declared, time and memory are taken of that (`yardstick`). Test
files that the champion's bundle had and the challenger's has no more are put back: a challenger does not get better by
leaving a test out. What is a test on one side is the same bytes for both, whatever the other takes it for.
"""

import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from repairlab.config import Settings
from repairlab.documents import Challenger, Champion, Components, Decision
from repairlab.errors import BadInput, TemporaryFailure
from repairlab.evaluate import comparison, documentation, fitness, safety, yardstick
from repairlab.evaluate.comparison import EQUAL, Ratio
from repairlab.evaluate.robustness import edits_of, robustness
from repairlab.evaluate.sides import Side, Sides
from repairlab.evaluate.yardstick import Objection, Yardstick, unfit
from repairlab.sandbox import SandboxLimits, open_sandbox
from repairlab.trial.overfitting import Guard
from repairlab.trial.runs import Run, Trial, stable
from repairlab.trial.source import Edit
from repairlab.trial.validation import Setup

UNSAFE = 0.5  # of safety: less is not promoted, however good
TIME_SHARE = 0.8  # of performance; the rest is memory
MAX_NAMES = 1000
CHAMPION_TRIES = 3
MAX_WHY = 500
HEAVY_KB = 4096  # a difference in memory that is less than this is the interpreter's


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a contest found. `rival` is the champion's fitness in it, None where there was none to meet."""

    decision: Decision
    fitness: float
    components: Components
    rival: float | None = None
    median_ms: float | None = None
    benchmark: str | None = None  # by which it was timed, and not by its tests
    benchmark_ms: float | None = None
    tests: int = 0
    runs: int = 0
    inputs: int = 0  # generated ones, that robustness was taken of
    time_ratio: tuple[float, float, float] = (1.0, 1.0, 1.0)  # median, low, high; challenger to champion
    memory_ratio: tuple[float, float, float] = (1.0, 1.0, 1.0)
    findings: dict[str, int] = {}
    passed: list[str] = []
    retired: list[str] = []  # tests of the champion that were asked of nobody
    sandbox: str = ""
    why: str = ""

    def missed(self, targets: Mapping[str, float]) -> list[str] | None:
        """Return what to say of the targets that were not reached; None where there are none."""
        times = {"fitness": self.fitness, "median_ms": self.median_ms, "benchmark_ms": self.benchmark_ms}
        return fitness.missed(targets, msgspec.structs.asdict(self.components) | times) if targets else None


@dataclass(frozen=True)
class Duel:
    """The runs of both, pairwise: of the tests, or of a benchmark."""

    ours: list[Run]
    theirs: list[Run]
    benchmark: str | None = None

    @property
    def objection(self) -> Objection | None:
        """What decides without any time."""
        return yardstick.objection(self.ours, self.theirs) if self.benchmark else None

    def ratio(self, value: Callable[[Run], float]) -> Ratio:
        """Compare one figure of both."""
        pairs = [(value(a), value(b)) for a, b in zip(self.ours, self.theirs, strict=True)]
        return comparison.compared(pairs)


@dataclass
class Evidence:
    """What was seen of one contestant."""

    runs: list[Run]
    findings: Mapping[str, int]
    duel: Duel | None = None
    robustness: float = 1.0
    inputs: int = 0
    retired: list[str] = dataclasses.field(default_factory=list)  # tests of the champion that were asked of nobody
    measured: list[Run] = dataclasses.field(default_factory=list)  # of its own benchmark

    @property
    def all_runs(self) -> list[Run]:
        """Those of the tests, in the duel too."""
        return [*self.runs, *(self.duel.ours if self.duel and not self.duel.benchmark else ())]

    @property
    def benchmark_runs(self) -> list[Run]:
        """Those of the benchmark by which it is timed."""
        return self.duel.ours if self.duel and self.duel.benchmark else self.measured

    @property
    def time(self) -> Ratio:
        """What a run costs beside the champion: more time where that is proved, else CPU.

        Both are seen from outside, and the CPU of all its processes counts: no code can tell it shorter or hide it.
        """
        if self.duel is None:
            return EQUAL
        wall = self.duel.ratio(lambda run: run.wall_s)
        return wall if wall.proved > 1 else self.duel.ratio(lambda run: run.cpu_s)

    @property
    def memory(self) -> Ratio:
        """The largest resident set, beside the champion."""
        return self.duel.ratio(lambda run: run.peak_kb + HEAVY_KB) if self.duel else EQUAL


@dataclass(frozen=True)
class Standing:
    """The champion, its tests that hold (and what belongs to them), those of them that the challenger has no more.

    `retired` are the others, which the challenger's document says to hold no more.
    """

    record: Champion
    side: Side
    tests: Mapping[str, bytes]
    left_out: Mapping[str, bytes]
    retired: list[str]

    @property
    def named(self) -> list[str] | None:
        """The tests that its record names and that hold, [] for all that pytest finds; None where none are left.

        Its configuration may call any file a test, so that without a retired one nothing is taken for none.
        """
        told = self.side.bundle.tests
        names = [name for name in told if not self.retired or self.side.holds(name.partition("::")[0], self.tests)]
        whole = not told and (not self.retired or self.side.holds(".", self.tests))
        return names if names or whole else None


class Contest:
    """Evaluates challengers under one configuration; `beat` is called after every run."""

    def __init__(self, settings: Settings, root: Path, beat: Callable[[], object]) -> None:
        self._settings, self._beat, self._sides = settings, beat, Sides(settings, root)
        self._sandbox = open_sandbox(settings.sandbox)

    def evaluate(self, challenger: Challenger, champion: Champion | None) -> Outcome:
        """Measure a challenger; TemporaryFailure where no sandbox can be had."""
        ours = self._sides.side(challenger)
        if champion is not None and champion.bundle_sha256 == challenger.bundle_sha256:
            return Outcome(
                decision=Decision.NOT_BETTER, fitness=champion.fitness, components=champion.components,
                rival=champion.fitness, median_ms=champion.median_ms, why="it is the champion",
            )  # fmt: skip
        theirs = None if champion is None else self._standing(champion, ours, challenger.retired_tests)
        left_out = {} if theirs is None else theirs.left_out
        asked = [*ours.bundle.tests, *filter(_holds_tests, left_out)] if ours.bundle.tests else []
        trial = self._trial(ours, {**left_out, **ours.files}, challenger, asked)
        seen = Evidence(self._runs(trial, ours.code), safety.added(ours.code_before, ours.code))
        if done := safety.observed(kind for run in seen.runs for kind in run.seen):
            before = self._trial(ours, {**left_out, **ours.files, **ours.code_before}, challenger, asked)
            seen.findings = safety.united(seen.findings, done - safety.observed(before.run(sources=ours.code).seen))
        if not all(run.passed for run in seen.runs):
            return self._failed(ours, seen)
        edits = [edit for path, source in ours.bundle.sources.items() for edit in edits_of(source, ours.files[path])]
        if edits and (why := Guard(ours.bundle).objection(edits)) is not None:
            return self._worthless(ours, seen, Decision.OVERFITTED, 1.0, why)  # it answers its tests, not the question
        if path := ours.bundle.benchmark:
            seen.measured = [self._measured(trial, path)]
            seen.measured += [] if unfit(seen.measured[0]) else [self._measured(trial, path)]
            if wrong := yardstick.fault(seen.measured):
                return self._worthless(ours, seen, wrong[0], 1.0, wrong[1])
        if theirs is not None and (why := self._fought(ours, theirs, challenger, seen, trial)) is not None:
            return self._worthless(ours, seen, Decision.INCORRECT, 0.0, why)
        seen.robustness, seen.inputs = self._robust(ours, edits, challenger)
        if champion is not None and not seen.inputs:  # what could not be looked at is no better than what was
            seen.robustness = champion.components.robustness
        return self._ranked(ours, theirs, seen)

    def _fought(self, ours: Side, theirs: Standing, challenger: Challenger, seen: Evidence, trial: Trial) -> str | None:
        """Measure both against each other; return why the challenger is not even correct, None where it is."""
        side, left_out, seen.retired = theirs.side, theirs.left_out, theirs.retired
        anew = {path: ours.files[path] for path in theirs.retired if path in ours.files}
        if theirs.named is not None:
            beyond = self._trial(ours, {**ours.code, **anew, **theirs.tests}, challenger, theirs.named).run()
            self._beat()
            if not beyond.passed:  # it has other tests than those that stability is taken of
                names = ", ".join(_failing(beyond)[:3]) or "none ran to its end"
                return f"it fails tests that the champion passed: {names}; if they hold no more, see retired_tests"
        rival = self._trial(side, {**side.code, **left_out, **ours.tests}, challenger, trial.tests)
        if self._stands(rival):
            benchmark = Yardstick.of(ours, None if side.bundle.benchmark in theirs.retired else side)
            if benchmark is None:
                seen.duel = self._pairs(Duel([], []), trial.run, rival.run, self._settings.evaluator.pairs)
            else:
                both = (self._trial(each, benchmark.beside(each.code), challenger) for each in (ours, side))
                seen.duel = self._timed(benchmark.path, *both)
        return None

    def _standing(self, champion: Champion, ours: Side, retired: Sequence[str]) -> Standing:
        """Return the champion; TemporaryFailure where it cannot be read: no challenger is to blame for that."""
        try:
            side = self._sides.side(champion)
        except BadInput as error:
            message = f"the champion {champion.id} of {champion.lineage} cannot be read: {error.message}"
            fix = f"put {champion.bundle_dir} back, or `repairlab demote {champion.lineage} {champion.id}`"
            raise TemporaryFailure(message, field="champion", fix=fix) from None
        named = {path.removeprefix("./").rstrip("/") for path in retired}
        held = {path: text for path, text in side.tests.items() if named.isdisjoint(_above(path))}
        gone = [path for path in side.tests if path not in held]
        left_out = {path: text for path, text in held.items() if path not in ours.files}
        return Standing(champion, side, held, left_out, gone)

    def _trial(
        self,
        side: Side,
        files: Mapping[str, bytes],
        challenger: Challenger,
        tests: Sequence[str] = (),
    ) -> Trial:
        bundle = side.bundle
        env = {name: value for name, value in challenger.env.items() if not name.startswith("PYTEST_")}
        entries = [(path, "x" if path in bundle.executable else "f", text) for path, text in files.items()]
        entries += [(path, "l", target.encode()) for path, target in bundle.links.items() if path not in files]
        limits = SandboxLimits.from_settings(
            self._settings.sandbox, wall_s=self._settings.evaluator.wall_s, memory_mb=self._settings.agent.memory_mb
        )
        return Trial(
            self._sandbox, limits, tuple(entries), tuple(tests), challenger.python, env,
            tuple(bundle.import_paths),
        )  # fmt: skip

    def _robust(self, side: Side, edits: list[Edit], challenger: Challenger) -> tuple[float, int]:
        """Return the challenger's robustness, and on how many inputs."""
        limits = SandboxLimits.from_settings(self._settings.sandbox, wall_s=self._settings.evaluator.wall_s)
        found = robustness(Setup(self._sandbox, limits, side.bundle, challenger.python, challenger.env), edits)
        self._beat()
        return found

    def _runs(self, trial: Trial, sources: Iterable[str]) -> list[Run]:
        """Run in different orders, under different hash seeds, and watch the sources; stop at the second that fails."""
        runs: list[Run] = []
        for seed in range(1, self._settings.evaluator.runs + 1):
            runs.append(trial.run(seed=seed, sources=sources))
            self._beat()
            if sum(not run.passed for run in runs) > 1:
                break
        return runs

    def _stands(self, rival: Trial) -> bool:
        """Whether the champion's code passes the challenger's tests; else there is nothing to compare."""
        for _ in range(CHAMPION_TRIES):  # one run that a busy machine spoilt dethrones nobody
            passed = rival.run().passed
            self._beat()
            if passed:
                return True
        return False

    def _timed(self, path: str, ours: Trial, theirs: Trial) -> Duel:
        """Run a benchmark in pairs; what speaks against comparing them need not be seen more than once."""
        duel = Duel([self._measured(ours, path)], [self._measured(theirs, path, CHAMPION_TRIES)], path)
        if duel.objection is None:
            count = self._settings.evaluator.pairs - 1
            self._pairs(duel, lambda: ours.measure(path), lambda: theirs.measure(path), count)
        return duel

    def _pairs(self, duel: Duel, ours: Callable[[], Run], theirs: Callable[[], Run], count: int) -> Duel:
        chance = random.Random(0)
        for _ in range(count):
            order = [(ours, duel.ours), (theirs, duel.theirs)]
            if chance.random() < 0.5:
                order.reverse()
            for run, runs in order:
                runs.append(run())
                self._beat()
        return duel

    def _measured(self, trial: Trial, path: str, tries: int = 1) -> Run:
        """Return a run of the benchmark: the first that measures anything, else the last."""
        run = trial.measure(path)
        self._beat()
        return run if tries == 1 or not unfit(run) else self._measured(trial, path, tries - 1)

    def _failed(self, side: Side, seen: Evidence) -> Outcome:
        """Return the outcome of a challenger that did not pass every run."""
        worst = min(seen.runs, key=lambda run: (run.passed, run.counts[0]))
        good, total = worst.counts
        names = _failing(worst)
        why = f"{len(names)} tests fail: {', '.join(names[:3])}" if names else worst.output.strip()[-300:] or worst.why
        decision = Decision.UNSTABLE if any(run.passed for run in seen.runs) else Decision.INCORRECT
        return self._worthless(side, seen, decision, good / total if total else 0.0, why)

    def _worthless(self, side: Side, seen: Evidence, decision: Decision, correctness: float, why: str) -> Outcome:
        parts = _components(side, seen, correctness=correctness)
        return Outcome(
            decision=decision, fitness=0.0, components=parts, tests=seen.runs[0].counts[1], runs=len(seen.runs),
            findings=dict(seen.findings), why=why[:MAX_WHY],
        )  # fmt: skip

    def _ranked(self, ours: Side, theirs: Standing | None, seen: Evidence) -> Outcome:
        """Return the outcome of a challenger that passed every run, beside its champion if that passes too."""
        time, memory, weights = seen.time, seen.memory, self._settings.evaluator.weights
        mine, other = _performance(time, memory)
        parts = _components(ours, seen, performance=mine)
        value, rival = fitness.fitness(parts, weights), None
        if theirs is not None:
            rival = 0.0
            if seen.duel is not None:
                side, known = theirs.side, theirs.record.components
                facts = Evidence(seen.duel.theirs, safety.added(side.code_before, side.code))
                facts.robustness = known.robustness
                stood = _components(side, facts, performance=other)
                rival = fitness.fitness(msgspec.structs.replace(stood, stability=known.stability), weights)
        decision, why = (seen.duel and seen.duel.objection) or _decided(parts, value, rival)
        value = 0.0 if decision in (Decision.UNSTABLE, Decision.INCORRECT) else value
        runs, timed = seen.all_runs, seen.benchmark_runs
        return Outcome(
            decision=decision, fitness=value, components=parts, rival=rival, median_ms=_median_ms(runs),
            benchmark=seen.duel.benchmark if seen.duel else ours.bundle.benchmark or None,
            benchmark_ms=_median_ms(timed) if timed else None,
            tests=runs[0].counts[1], runs=len(runs), inputs=seen.inputs, time_ratio=_told(time),
            memory_ratio=_told(memory), findings=dict(seen.findings), passed=_passed(runs[0]),
            sandbox=self._sandbox.tier, why=why[:MAX_WHY], retired=seen.retired[:MAX_NAMES],
        )  # fmt: skip


def _components(side: Side, seen: Evidence, *, correctness: float = 1.0, performance: float = 1.0) -> Components:
    return Components(
        correctness=correctness,
        safety=safety.score(Counter(seen.findings)),
        performance=performance,
        robustness=seen.robustness,
        documentation=documentation.score(side.code),
        stability=stable(seen.all_runs),
    )


def _performance(time: Ratio, memory: Ratio) -> tuple[float, float]:
    """Return the performance of challenger and champion."""
    quick, light = comparison.scores(time.proved), comparison.scores(memory.proved)
    ours, theirs = (TIME_SHARE * a + (1 - TIME_SHARE) * b for a, b in zip(quick, light, strict=True))
    return ours, theirs


def _decided(parts: Components, value: float, rival: float | None) -> tuple[Decision, str]:
    if parts.stability < 1:
        return Decision.UNSTABLE, "the same code passes and fails"
    if parts.safety < UNSAFE:
        return Decision.UNSAFE, "it could do what its parent could not"
    if rival is None:
        return Decision.PROMOTED, "the first correct one of its lineage"
    if rival == 0:
        return Decision.PROMOTED, "the champion fails its tests"
    if fitness.better(value, rival):
        return Decision.PROMOTED, f"fitness {value:.3f} beats {rival:.3f}"
    return Decision.NOT_BETTER, f"fitness {value:.3f} does not beat {rival:.3f} beyond noise"


def _passed(run: Run) -> list[str]:
    return [f"{cls}::{name}"[:300] for cls, name, letter in run.cases or () if letter == "p"][:MAX_NAMES]


def _above(path: str) -> list[str]:
    """Return a path and the directories that it lies in: no pattern of a stranger's is tried on each file here."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _failing(run: Run) -> list[str]:
    return [f"{cls}::{name}" for cls, name, letter in run.cases or () if letter not in "ps"]


def _holds_tests(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.endswith("_test.py") or (name.startswith("test_") and name.endswith(".py"))


def _told(ratio: Ratio) -> tuple[float, float, float]:
    return round(ratio.median, 4), round(ratio.low, 4), round(ratio.high, 4)


def _median_ms(runs: Iterable[Run]) -> float:
    times = sorted(run.wall_s for run in runs)
    return round(1000 * times[len(times) // 2], 4)
