"""patterns: what a verified repair taught, to be used again: a generalised edit, or a whole function."""

import hashlib
from enum import StrEnum
from typing import Annotated

import msgspec
import orjson

from repairlab.documents.wire import Count, Document, Name, Seconds, Sha256, matching

MAX_TEMPLATE = 4000
MAX_SOURCE = 20_000
MAX_HOLES = 24
MINHASHES = 32

Template = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEMPLATE)]
SourceText = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_SOURCE)]
Identifier = Annotated[str, matching(r"[^\W\d]\w*", min_length=1, max_length=200)]
Hole = Annotated[str, matching(r"[a-z][a-z0-9]{0,15}")]
PatternId = Annotated[str, matching(r"[0-9a-f]{32}")]


class PatternKind(StrEnum):
    """What a pattern holds."""

    EDIT = "edit"
    FUNCTION = "function"


class HoleKind(StrEnum):
    """What a hole stands for: an identifier, or any expression."""

    NAME = "name"
    EXPRESSION = "expression"


class EditPattern(msgspec.Struct, frozen=True, kw_only=True):
    """Python before and after an edit, with holes written `$x`; each binds alike wherever it stands.

    One expression, or statements; the body `...` of a compound statement stands for any body. A hole that only `after`
    has is filled with names in scope.
    """

    before: Template
    after: Template
    holes: Annotated[dict[Hole, HoleKind], msgspec.Meta(max_length=MAX_HOLES)]


class ParameterKind(StrEnum):
    """How a parameter may be given; the words of `inspect`."""

    POSITIONAL_ONLY = "positional_only"
    POSITIONAL = "positional_or_keyword"
    VAR_POSITIONAL = "var_positional"
    KEYWORD_ONLY = "keyword_only"
    VAR_KEYWORD = "var_keyword"


class Parameter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One parameter; `default` and `annotation` are Python expressions."""

    name: Identifier
    kind: ParameterKind = ParameterKind.POSITIONAL
    default: Template | None = None
    annotation: Template | None = None


class FunctionPattern(msgspec.Struct, frozen=True, kw_only=True):
    """A verified function as it stood in its file, dedented, without its decorators.

    `imports` are the statements that bind the modules it uses, `helpers` the functions of its file that it calls,
    called ones first. `ast_sha256` is the hash of its syntax with names by order of appearance, `minhash` estimates
    the share of token triples that two functions have in common.
    """

    name: Identifier
    source: SourceText
    parameters: Annotated[list[Parameter], msgspec.Meta(max_length=50)]
    imports: Annotated[list[Template], msgspec.Meta(max_length=50)]
    helpers: Annotated[list[SourceText], msgspec.Meta(max_length=20)]
    ast_sha256: Sha256
    minhash: Annotated[
        list[Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]], msgspec.Meta(min_length=MINHASHES, max_length=MINHASHES)
    ]


class PatternQuality(msgspec.Struct, frozen=True, kw_only=True):
    """How a pattern has fared: tournaments won, transplants tried and verified, median seconds of such a repair."""

    wins: Count = 0
    transplants: Count = 0
    succeeded: Count = 0
    median_s: Seconds | None = None


class Pattern(Document, frozen=True, kw_only=True, omit_defaults=True):
    """One pattern, a file of the library. `id` is derived from the content (`pattern_id`), `origin` a spec or lineage.

    `provenance` names the bundles (`bundle_sha256`) that it was mined from.
    """

    id: PatternId
    origin: Name
    kind: PatternKind
    schema: Annotated[str, matching(r"pattern/1")] = "pattern/1"
    edit: EditPattern | None = None
    function: FunctionPattern | None = None
    quality: PatternQuality = PatternQuality()
    provenance: Annotated[list[Sha256], msgspec.Meta(max_length=1000)] = msgspec.field(default_factory=list)

    @property
    def told(self) -> str:
        """The name that telemetry gives it."""
        return f"{self.origin}:{self.id}"


def pattern_id(content: EditPattern | FunctionPattern) -> str:
    """Return the id of a pattern with this content: the same content has the same id, whoever mined it."""
    raw = orjson.dumps(msgspec.to_builtins(content), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(b"repairlab-pattern/1\0" + raw).hexdigest()[:32]
