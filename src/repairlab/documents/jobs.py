"""jobs: what waits in a queue: the handoff that asks for a repair, the challenger that was made of it."""

from enum import StrEnum
from typing import Annotated

import msgspec

from repairlab.documents.repairs import Findings, Strategy
from repairlab.documents.wire import Count, Document, Instant, Name, PathText, Sha256, Share, Targets, Text, matching
from repairlab.errors import BadInput


class HandoffMetrics(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the producer measured before it gave up."""

    correctness: Share | None = None
    fitness: float | None = None


class Limits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one attempt may use; absent means the configured default. `wall_s` seconds, `memory_mb` MiB."""

    wall_s: Annotated[float, msgspec.Meta(gt=0, le=86400)] | None = None
    memory_mb: Annotated[int, msgspec.Meta(ge=64, le=1 << 20)] | None = None


class Handoff(Document, frozen=True, kw_only=True, omit_defaults=True):
    """Failing Python code with its tests, asking to be repaired.

    `bundle_dir` is the only required field. `tests`, `editable` and `held_out` are paths or globs relative to it;
    held-out tests are kept from the search and judge its patches. `benchmark` is the path of a Python file in it
    that the evaluator runs to time the code, in place of the tests; it is never edited. `targets` are numbers that the
    evaluator tells of where they are missed. `retired_tests` are paths, of files or directories, of the champion's
    tests (or of its benchmark) that hold no more, so that they are asked of nobody. `priority` 0 is normal, higher is
    sooner. `ts` is seconds since the epoch, `not_before` an RFC 3339 instant with its offset.
    """

    bundle_dir: PathText
    schema: Annotated[str, matching(r"handoff/1")] = "handoff/1"
    ts: float | None = None
    source: Text | None = None
    spec_path: PathText | None = None
    epoch: Count | None = None
    impl_style: Text | None = None
    reason: Text | None = None
    metrics: HandoffMetrics | None = None
    lineage: Name | None = None
    tests: Annotated[list[PathText], msgspec.Meta(max_length=1000)] = msgspec.field(default_factory=list)
    editable: Annotated[list[PathText], msgspec.Meta(max_length=1000)] = msgspec.field(default_factory=list)
    held_out: Annotated[list[PathText], msgspec.Meta(max_length=1000)] = msgspec.field(default_factory=list)
    benchmark: PathText | None = None
    targets: Targets = msgspec.field(default_factory=dict)
    retired_tests: Annotated[list[PathText], msgspec.Meta(max_length=1000)] = msgspec.field(default_factory=list)
    python: PathText | None = None
    env: dict[str, Text] = msgspec.field(default_factory=dict)
    limits: Limits = Limits()
    priority: Annotated[int, msgspec.Meta(ge=-100, le=100)] = 0
    not_before: Instant | None = None
    idempotency_key: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None


class PatchEncoding(StrEnum):
    """How the characters of a patch become its bytes."""

    UTF_8 = "utf-8"
    LATIN_1 = "latin-1"  # of sources that are not UTF-8: a character for each byte


class Challenger(Document, frozen=True, kw_only=True, omit_defaults=False):
    """A verified repair on its way into the tournament.

    `bundle_dir` is the frozen snapshot that the patch applies to (hash `parent_sha256`); `bundle_sha256` is the hash
    after `patch`, a unified diff with `a/` and `b/` prefixes, has been applied. `meta_repair` is true exactly when a
    repair was applied. `idempotency_key` is the id of the job, so that a second publication is the same job. `correct`
    is what held-out tests say, null where there are none; `confidence` is the share of such patches that were right.
    `tests` (held-out ones too), `benchmark`, `python` and `env` are how it is to be run. `findings` is for who reads of
    it. `submitter` is the uid whose turn it takes, where that is another user than the service's own.
    """

    ts: float
    source: str
    bundle_dir: PathText
    spec_path: PathText | None
    lineage: Name
    original_epoch: Count | None
    original_fitness: float | None
    repair_strategy: Strategy
    repair_pattern_id: str | None
    repair_attempts: Count
    repair_details: Text
    bundle_sha256: Sha256
    parent_sha256: Sha256
    meta_repair: bool
    patch: Annotated[str, msgspec.Meta(max_length=1 << 24)]
    idempotency_key: str
    correct: bool | None = None
    confidence: Share | None = None
    tests: Annotated[list[PathText], msgspec.Meta(max_length=1000)] = msgspec.field(default_factory=list)
    python: PathText | None = None
    env: dict[str, Text] = msgspec.field(default_factory=dict)
    failing: list[str] = msgspec.field(default_factory=list)  # tests that failed before the repair
    findings: Findings | None = None
    submitter: Count | None = None
    patch_encoding: PatchEncoding = PatchEncoding.UTF_8
    benchmark: PathText | None = None
    targets: Targets = msgspec.field(default_factory=dict)
    retired_tests: Annotated[list[PathText], msgspec.Meta(max_length=1000)] = msgspec.field(default_factory=list)
    schema: Annotated[str, matching(r"challenger/1")] = "challenger/1"


def patch_bytes(patch: str, encoding: PatchEncoding) -> bytes:
    """Return the patch of a challenger or champion as the bytes that apply; `BadInput` where it cannot be so."""
    try:
        return patch.encode(encoding)
    except UnicodeEncodeError as error:
        raise BadInput(f"is not {encoding}: {error.reason}", field="patch", fix="see patch_encoding") from None
