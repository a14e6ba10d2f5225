"""tournament: what an evaluation found, and what was decided of it."""

from enum import StrEnum
from typing import Annotated

import msgspec

from repairlab.documents.jobs import PatchEncoding
from repairlab.documents.repairs import Strategy
from repairlab.documents.wire import Count, Document, Instant, Name, PathText, Sha256, Share, Text, matching

TOOLGEN = "repairlab-toolgen"  # the source of challengers that are plain synthesis


class Decision(StrEnum):
    """What an evaluation ended in. `promoted` and `demoted` changed the champion, the others left it."""

    PROMOTED = "promoted"
    NOT_BETTER = "not_better"  # correct and stable, but not better than the champion beyond noise
    INCORRECT = "incorrect"  # a test fails that should not
    UNSTABLE = "unstable"  # the same code passes and fails
    OVERFITTED = "overfitted"  # made for the tests it was shown
    UNSAFE = "unsafe"  # does what its parent did not: network, processes, files, forged results
    DEMOTED = "demoted"  # by an operator


class Course(StrEnum):
    """How a row came about: evaluating a repair, an operator's change of champions, evaluating a tool from a spec."""

    CHALLENGER = "challenger"
    PROMOTION = "promotion"
    SYNTHESIS = "synthesis"


class Components(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a fitness, each 0 to 1; the weighted sum is multiplied by `stability`."""

    correctness: Share
    safety: Share
    performance: Share
    robustness: Share
    documentation: Share
    stability: Share


class MetricsRow(Document, frozen=True, kw_only=True, omit_defaults=False):
    """One evaluation: one line of metrics.jsonl.

    `id` is the id of the challenger's job, and there once in the log. `median_ms` is the median wall time of a
    run of the tests, from the start of its process to its end; `benchmark_ms` is that of `benchmark`, by which it was
    timed. `missed` says which of its targets it has not reached, null where it has none.
    `fitness` is 0 where a test fails.
    """

    timestamp: Instant
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    path: Course
    lineage: Name
    fitness: Share
    components: Components
    decision: Decision
    meta_repair: bool
    bundle_sha256: Sha256
    parent_sha256: Sha256 | None
    domain: Text | None = None
    spec_id: Text | None = None
    spec_path: PathText | None = None
    epoch: Count | None = None
    impl_style: Text | None = None
    median_ms: Annotated[float, msgspec.Meta(ge=0)] | None = None
    benchmark: PathText | None = None
    benchmark_ms: Annotated[float, msgspec.Meta(ge=0)] | None = None
    missed: list[str] | None = None
    repair_strategy: Strategy | None = None
    repair_pattern_id: Text | None = None
    repair_attempts: Count | None = None
    schema: Annotated[str, matching(r"metrics/1")] = "metrics/1"


class Champion(Document, frozen=True, kw_only=True, omit_defaults=False):
    """What stands at the head of a lineage, or once stood there: a frozen bundle and the patch that made it so.

    `id` is the id of the challenger's job, `parent` that of the champion before it. The bundle of `bundle_dir` (hash
    `parent_sha256`) becomes the champion (hash `bundle_sha256`) by `patch`, which is empty where it passed as it came.
    `path` is that of its row in the log: `synthesis` is a tool that was made from its spec. `benchmark` is the
    file of the bundle by which challengers are timed.
    """

    id: Annotated[str, matching(r"[0-9a-f]{24}")]
    at: Instant
    lineage: Name
    parent: Annotated[str, matching(r"[0-9a-f]{24}")] | None
    bundle_dir: PathText
    bundle_sha256: Sha256
    parent_sha256: Sha256
    patch: Annotated[str, msgspec.Meta(max_length=1 << 24)]
    fitness: Share
    components: Components
    strategy: Strategy
    pattern_id: Text | None = None
    spec_path: PathText | None = None
    median_ms: Annotated[float, msgspec.Meta(ge=0)] | None = None
    tests: Annotated[list[PathText], msgspec.Meta(max_length=1000)] = msgspec.field(default_factory=list)
    patch_encoding: PatchEncoding = PatchEncoding.UTF_8
    path: Course = Course.CHALLENGER
    benchmark: PathText | None = None
    schema: Annotated[str, matching(r"champion/1")] = "champion/1"
