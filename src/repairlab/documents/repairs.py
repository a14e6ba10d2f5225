"""repairs: what one attempt at a repair says of itself."""

from enum import StrEnum
from typing import Annotated

import msgspec

from repairlab.documents.wire import Count, Document, Seconds, Sha256, Share, Text, matching


class Strategy(StrEnum):
    """How a repair was found; `exhausted` when none was."""

    NOOP = "noop"
    PATTERN_TRANSPLANT = "pattern_transplant"
    SIGNATURE_ADAPTER = "signature_adapter"
    HEURISTIC_MICROFIX = "heuristic_microfix"
    MULTI_EDIT = "multi_edit"
    LLM_PATCH = "llm_patch"
    EXHAUSTED = "exhausted"


class Candidate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The best patch of one cluster of the N-best list; `diff` is its file name in the output directory.

    A cluster is what behaves alike on all inputs that were tried; `cluster_size` counts its patches. `correct` is what
    the held-out tests say of this patch, absent where they did not run.
    """

    diff: str
    strategy: Strategy
    transformation: str
    file: str
    line: Count
    score: float
    passed: Count = 0
    tests: Count = 0
    pattern_id: str | None = None
    cluster: Count = 0
    cluster_size: Count = 1
    correct: bool | None = None
    confidence: Share | None = None


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One call on which the two likeliest clusters differ, for a person to say which of them is right."""

    call: Text
    likeliest: Text
    other: Text


class Findings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the search for a repair found besides the patch, as the agent tells it.

    `tests` ran in the search; of these `failed` failed before, which is null where the code did not load and nothing
    was counted. `clusters` counts the plausible patches that behave differently, `next_confidence` is the
    highest of the others', and `question` a call on which the two likeliest differ.
    """

    tests: Count
    failed: Count | None = None
    clusters: Count = 0
    next_confidence: Share | None = None
    question: Question | None = None


class StrategyRun(msgspec.Struct, frozen=True, kw_only=True):
    """What one strategy cost and brought: candidates tried, plausible ones, wall time.

    `why` says how it ended (found, exhausted, deadline, interrupted, tests fail, tests pass) or why it had nothing to
    try (none known, not configured, not reached, and other reasons in words); `details` what else there is to know.
    """

    strategy: Strategy
    tried: Count
    plausible: Count
    wall_s: Seconds
    why: str
    details: Text = ""


class Suspect(msgspec.Struct, frozen=True, kw_only=True):
    """One line that fault localization suspects; `suspiciousness` is Ochiai's, 0 to 1."""

    file: str
    line: Count
    suspiciousness: float


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the wall time of one attempt went, in seconds of the monotonic clock.

    `sandbox_s` is the start of all sandboxes until the bundle and all of our program are in them (what a search had to
    start again counts in `search_s`, too), `collect_s` the import of pytest and the collection of the tests, `verify_s`
    what comes after the search but for its sandboxes: the plain runs of pytest. `first_s` is when, after the attempt
    began, a patch first passed all tests in the search; 0 where none did.
    """

    sandbox_s: Seconds = 0.0
    collect_s: Seconds = 0.0
    baseline_s: Seconds = 0.0
    localize_s: Seconds = 0.0
    search_s: Seconds = 0.0
    first_s: Seconds = 0.0
    probe_s: Seconds = 0.0
    verify_s: Seconds = 0.0
    total_s: Seconds = 0.0


class Telemetry(Document, frozen=True, kw_only=True, omit_defaults=False):
    """What one run of the agent found; exactly one object on its stdout.

    `ok` says that the tests pass after (or, for `noop`, before) what the agent did, in a fresh sandbox. `attempts` is
    the number of candidates tried. `bundle_sha256` is the bundle as the patch leaves it, `parent_sha256` as it came.
    `correct` is what the held-out tests say of the first patch, null where there are none or they did not run;
    `confidence` is how often a first patch with such evidence was right on the development set, a hint that rests on
    what the sandbox says. `clusters` counts the plausible patches that behave differently, the ones that are not shown
    included. `failed` counts the tests that fail as it came (`failing` names no more than 100), null where it does not
    load; `first_tried` the candidates until one first passed all tests in the search, 0 where none did.
    """

    ok: bool
    attempts: Count
    strategy: Strategy
    pattern_id: str | None
    details: Text
    bundle_sha256: Sha256
    parent_sha256: Sha256
    schema: Annotated[str, matching(r"telemetry/1")] = "telemetry/1"
    version: str = ""
    effort: Count = 1
    reason: str | None = None  # a named outcome where not ok: exhausted, deadline, no_tests, collection_error, ...
    candidates_per_s: float = 0.0
    first_tried: Count = 0
    tests: Count = 0
    failed: Count | None = None
    failing: list[str] = msgspec.field(default_factory=list)
    localization: list[Suspect] = msgspec.field(default_factory=list)
    timings: Timings = Timings()
    strategies: list[StrategyRun] = msgspec.field(default_factory=list)
    candidates: list[Candidate] = msgspec.field(default_factory=list)
    correct: bool | None = None
    confidence: Share | None = None
    clusters: Count = 0
    question: Question | None = None
    sandbox: str = ""
    python: str = ""
