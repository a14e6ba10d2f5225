"""llm: what is asked of a model, and what comes back; both travel as files, by a program that has a network."""

from typing import Annotated

import msgspec

from repairlab.documents.patterns import PatternId
from repairlab.documents.repairs import StrategyRun
from repairlab.documents.wire import Count, Document, Name, Seconds, Sha256, matching

MAX_DIFF = 256 << 10
MAX_PATCHES = 10
MAX_CODE = 64 << 10
MAX_TOLD = 4000  # characters of a task, an example, a property, a constraint
Told = Annotated[str, msgspec.Meta(max_length=MAX_TOLD)]


class FailingTest(msgspec.Struct, frozen=True, kw_only=True):
    """A failing test and what it says."""

    id: Annotated[str, msgspec.Meta(max_length=500)]
    message: Annotated[str, msgspec.Meta(max_length=1000)]


class SuspectFunction(msgspec.Struct, frozen=True, kw_only=True):
    """A function, or another stretch of a file, that may be at fault; `line` is its first in the file."""

    file: str
    line: Count
    suspiciousness: float
    source: Annotated[str, msgspec.Meta(max_length=20_000)]


class LlmRequest(Document, frozen=True, kw_only=True, omit_defaults=True):
    """A question of the agent, and all that may be told of the bundle. The same question has the same `id`.

    The answer is waited for at `llm/responses/<id>.json`, for at most `wait_s`. Everything in here came from a bundle.
    """

    id: PatternId
    parent_sha256: Sha256
    effort: Count
    wait_s: Seconds
    failing: Annotated[list[FailingTest], msgspec.Meta(max_length=20)]
    functions: Annotated[list[SuspectFunction], msgspec.Meta(max_length=20)]
    tried: Annotated[list[StrategyRun], msgspec.Meta(max_length=20)] = msgspec.field(default_factory=list)
    schema: Annotated[str, matching(r"llm-request/1")] = "llm-request/1"


class LlmResponse(Document, frozen=True, kw_only=True, omit_defaults=True):
    """What a model proposes: unified diffs of the bundle's files, likeliest first, and what asking has cost."""

    id: PatternId
    patches: Annotated[list[Annotated[str, msgspec.Meta(max_length=MAX_DIFF)]], msgspec.Meta(max_length=MAX_PATCHES)]
    model: Annotated[str, msgspec.Meta(max_length=200)] = ""
    cost_usd: Annotated[float, msgspec.Meta(ge=0, le=1e6)] = 0.0
    schema: Annotated[str, matching(r"llm-response/1")] = "llm-response/1"


class ToolExample(msgspec.Struct, frozen=True, kw_only=True):
    """A call as Python, and what comes out of it."""

    call: Told
    result: Told


class ToolRequest(Document, frozen=True, kw_only=True, omit_defaults=True):
    """A question of toolgen: the function that a spec wants, in bounds. The same question has the same `id`.

    `header` is its `def` line. Some examples are kept back, to judge the answer.
    """

    id: PatternId
    spec_id: Name
    task: Told
    header: Told
    examples: Annotated[list[ToolExample], msgspec.Meta(max_length=20)]
    properties: Annotated[list[Told], msgspec.Meta(max_length=20)] = msgspec.field(default_factory=list)
    constraints: Annotated[list[Told], msgspec.Meta(max_length=20)] = msgspec.field(default_factory=list)
    schema: Annotated[str, matching(r"llm-tool-request/1")] = "llm-tool-request/1"


class ToolResponse(Document, frozen=True, kw_only=True, omit_defaults=True):
    """What a model proposes: Python with the function, likeliest first, and what asking has cost.

    Words around a fenced block of code are left out.
    """

    id: PatternId
    functions: Annotated[list[Annotated[str, msgspec.Meta(max_length=MAX_CODE)]], msgspec.Meta(max_length=MAX_PATCHES)]
    model: Annotated[str, msgspec.Meta(max_length=200)] = ""
    cost_usd: Annotated[float, msgspec.Meta(ge=0, le=1e6)] = 0.0
    schema: Annotated[str, matching(r"llm-tool-response/1")] = "llm-tool-response/1"
