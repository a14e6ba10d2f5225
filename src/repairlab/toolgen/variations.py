"""variations: new specs of one that is stuck: narrowed, widened, composed. Their ids are made of what they are."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import msgspec

from repairlab.documents import MAX_BYTES, Example, Spec, encode
from repairlab.documents.specs import MAX_EXAMPLES
from repairlab.errors import BadInput

SOURCE = "repairlab-auto-specder"


def variations(spec: Spec, others: Iterable[Spec], sign: str) -> Iterator[Spec]:
    """Yield the variations of a spec that a document can hold: two that each have room may have none together."""
    for made in _all(spec, others, sign):
        with suppress(BadInput):
            if len(encode(made)) <= MAX_BYTES:
                yield made


def _all(spec: Spec, others: Iterable[Spec], sign: str) -> Iterator[Spec]:
    if len(spec.examples) > 1:
        kept = sorted(spec.examples, key=lambda each: len(repr(each.input)))[: (len(spec.examples) + 1) // 2]
        yield _derived(spec, "narrowed", sign, [spec], examples=kept)
    for other in others:
        if other.id == spec.id:
            continue
        if _shape(other) == _shape(spec):
            both = [*spec.examples, *other.examples][:MAX_EXAMPLES]
            yield _derived(spec, "widened", sign, [spec, other], examples=both)
        if composed := _composition(spec, other):
            task = f"{other.task} Then, of what comes out: {spec.task}"
            yield _derived(
                spec, "composed", sign, [spec, other], examples=composed, task=task, signature=other.signature,
                io=other.io, properties=[], benchmark=None,
            )  # fmt: skip


def _shape(spec: Spec) -> str:
    """Return the signature without its name."""
    told = (spec.signature or "").partition("(")[2]
    return told or repr(spec.io)


def _composition(outer: Spec, inner: Spec) -> list[Example]:
    """Return the examples of `outer` after `inner`: those whose middle value both know."""
    known = {repr(each.input): each.output for each in outer.examples}
    known |= {repr([value]): result for value, result in ((each.input, each.output) for each in outer.examples)}
    return [
        Example(input=each.input, output=known[repr(each.output)])
        for each in inner.examples
        if repr(each.output) in known
    ]


def _derived(spec: Spec, how: str, sign: str, parents: Sequence[Spec], **changes: object) -> Spec:
    """Return a variation; the same one has the same id wherever it is made.

    Without a signature its function has the name of that id, by which no benchmark of the parent's calls it.
    """
    benchmark = spec.benchmark if spec.signature else None
    common = {"id": "x", "source": SOURCE, "reason": None, "epoch": None, "benchmark": benchmark}
    made = msgspec.structs.replace(spec, parents=[parent.id for parent in parents], **common | changes)
    digest = hashlib.sha256(msgspec.json.encode(made, order="deterministic")).hexdigest()[:12]
    name = f"{spec.id[:80]}-{how}-{digest}"
    reason = f"{sign}: {how} from {', '.join(made.parents)}"
    return msgspec.structs.replace(made, id=name, reason=reason)
