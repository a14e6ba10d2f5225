"""specs: what a tool shall do: a task in words, examples, properties."""

from typing import Annotated, Any

import msgspec

from repairlab.documents.wire import Count, Document, Name, Targets, Text, matching

MAX_EXAMPLES = 200
Expression = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]


class Io(msgspec.Struct, frozen=True, kw_only=True):
    """A signature as a table: parameter → type, in order, and the type of the result."""

    inputs: Annotated[dict[str, str], msgspec.Meta(min_length=1, max_length=10)]
    output: str = "Any"


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """Arguments, by position or by name, and what comes out."""

    input: Any
    output: Any


class Spec(Document, frozen=True, kw_only=True, omit_defaults=True):
    """A tool that shall be made.

    The function is told by `signature` (`def slug(text: str) -> str`) or by `io`; its name is by default the id's.
    `properties` are Python expressions over the parameters' names and `result` that hold for every example's arguments.
    `constraints` are told to a model and to readers. `targets` are numbers to reach: `fitness` or a part of it at
    least, `median_ms` and `benchmark_ms` at most; what misses them is told so. `benchmark` is the text of a program
    that calls the function, and prints what came out, by which the evaluator times it.
    """

    id: Name
    task: Text
    schema: Annotated[str, matching(r"spec/1")] = "spec/1"
    signature: Annotated[str, msgspec.Meta(max_length=2000)] | None = None
    io: Io | None = None
    examples: Annotated[list[Example], msgspec.Meta(max_length=MAX_EXAMPLES)] = msgspec.field(default_factory=list)
    properties: Annotated[list[Expression], msgspec.Meta(max_length=50)] = msgspec.field(default_factory=list)
    constraints: Annotated[list[Text], msgspec.Meta(max_length=50)] = msgspec.field(default_factory=list)
    targets: Targets = msgspec.field(default_factory=dict)
    benchmark: Annotated[str, msgspec.Meta(min_length=1, max_length=20_000)] | None = None
    domain: Text | None = None
    epoch: Count | None = None
    source: Text | None = None
    reason: Text | None = None
    parents: Annotated[list[Name], msgspec.Meta(max_length=10)] = msgspec.field(default_factory=list)
