"""documents: write the links of a chain: CycloneDX by its own library, the attestation as in-toto's statement v1.

A document's name is the hash of its bytes, and it never changes: two that write the same one at a time write one, two
that know different things of a bundle write two. A link that is known already is not written again.

The library takes a third of a second to import, so it is imported when a document is written and not before.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from repairlab.chain.reading import ATTESTATION, DOCUMENT, PREFIX, documents, names, read
from repairlab.spool.disk import Disk, trouble

if TYPE_CHECKING:
    from cyclonedx.model import AttachedText
    from cyclonedx.model.component import Component, Pedigree

SPACE = uuid.UUID("6d4b9b0e-0d3c-5a63-9a0e-3f1b5a7c2d10")  # of the serial numbers, which are names of links
MAX_NAMES = 1000
TRIES = 3


@dataclass(frozen=True, kw_only=True)
class Link:
    """One bundle: its hash, whose lineage it is, and, unless it is an origin, parent, patch and what that mends."""

    sha256: str
    lineage: str
    at: datetime | None = None
    parent_sha256: str | None = None
    patch: bytes = b""
    failing: Sequence[str] = ()
    strategy: str = ""


def record(directory: Path, link: Link, *, by: str = "") -> Path:
    """Write the document of a link durably, and that of its parent where that has none; return its path.

    What is known of a bundle stays: as an origin it is recorded only where nothing is known, as the work of a repair
    beside all else. Its children name a document by the hash of its bytes. `by` is the job that is held, if one is.
    """
    known = list(documents(directory, link.sha256))
    for one in known:
        if link.parent_sha256 is None or (one.parent, one.patch) == (link.parent_sha256, link.patch):
            return _used(one.path)
    above = None
    if link.parent_sha256 is not None:
        parent = record(directory, Link(sha256=link.parent_sha256, lineage=link.lineage), by=by)
        above = parent.name.removesuffix(DOCUMENT)
    return _put(directory / link.sha256, _cyclonedx(link, above), DOCUMENT, by)


def attest(directory: Path, link: Link, *, passed: Sequence[str], runs: int, sandbox: str, by: str = "") -> Path:
    """Write the attestation of a link's bundle (in-toto Statement v1, test-result v0.1); return its path.

    One that says as much is enough: nothing is written beside it, and nothing ever in its place.
    """
    passed = list(passed)[:MAX_NAMES]
    for path, said in _attested(directory, link.sha256):
        if set(passed) <= said[0] and runs <= said[1] and sandbox == said[2]:
            return _used(path)
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": link.lineage, "digest": {"sha256": link.sha256}}],
        "predicateType": "https://in-toto.io/attestation/test-result/v0.1",
        "predicate": {
            "result": "PASSED",
            "configuration": [{"name": "sandbox", "annotations": {"tier": sandbox, "runs": str(runs)}}],
            "passedTests": passed,
            "warnedTests": [],
            "failedTests": [],
        },
    }
    raw = json.dumps(statement, indent=1, sort_keys=True, ensure_ascii=True).encode() + b"\n"
    return _put(directory / link.sha256, raw, ATTESTATION, by)


def _used(path: Path) -> Path:
    """Let the time to live of a bundle's documents start again: a cleanup that has looked at them looks once more."""
    with trouble("write the chain"):
        os.utime(path.parent)
    return path


def _attested(directory: Path, sha256: str) -> Iterator[tuple[Path, tuple[set[str], int, str]]]:
    """Yield what each attestation of a bundle says: the tests that passed, in how many runs, in which sandbox."""
    for path in names(directory, sha256, ATTESTATION):
        with suppress(ValueError, LookupError, TypeError, AttributeError):
            predicate = read(path, sha256)["predicate"]
            told = predicate["configuration"][0]["annotations"]
            yield path, (set(predicate["passedTests"]), int(told["runs"]), told["tier"])


def _put(place: Path, raw: bytes, suffix: str, by: str) -> Path:
    """Write a document under the name that its bytes have; who finds it there has nothing to do."""
    path = place / f"{hashlib.sha256(raw).hexdigest()}{suffix}"
    disk = Disk()
    with trouble("write the chain"):
        place.mkdir(parents=True, exist_ok=True)
        disk.put_new("chain", str(path), raw, by=by)
        disk.sync_directory("chain.directory", str(place))
        disk.sync_directory("chain.top", str(place.parent))
    return path


def _cyclonedx(link: Link, above: str | None) -> bytes:
    from cyclonedx.model import Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.output.json import JsonV1Dot6

    bom = Bom(serial_number=uuid.uuid5(SPACE, f"{link.sha256} {link.parent_sha256} {above}"))
    if link.at is not None:
        bom.metadata.timestamp = link.at
    bom.metadata.component = _component(link, link.sha256, _pedigree(link) if link.parent_sha256 else None)
    if above is not None:
        bom.metadata.properties.add(Property(name=f"{PREFIX}parent-document-sha256", value=above))
    if link.strategy:
        bom.metadata.properties.add(Property(name=f"{PREFIX}strategy", value=link.strategy))
    return _written(JsonV1Dot6(bom).output_as_string(indent=1), timed=link.at is not None)


def _written(text: str, *, timed: bool) -> bytes:
    """Return the document with its keys in one order, so that equal links have equal bytes."""
    document = json.loads(text)
    if not timed:
        del document["metadata"]["timestamp"]  # the library's own clock
    return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"


def _component(link: Link, sha256: str, pedigree: "Pedigree | None" = None) -> "Component":
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        type=ComponentType.APPLICATION,
        name=link.lineage,
        version=sha256,
        bom_ref=sha256,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)],
        pedigree=pedigree,
    )


def _pedigree(link: Link) -> "Pedigree":
    from cyclonedx.model.component import Diff, Patch, PatchClassification, Pedigree
    from cyclonedx.model.issue import IssueClassification, IssueType

    assert link.parent_sha256 is not None  # an origin has no pedigree
    defects = [IssueType(type=IssueClassification.DEFECT, id=name, name=name) for name in link.failing[:MAX_NAMES]]
    diff = Diff(text=_attached(link.patch))
    patches = [Patch(type=PatchClassification.UNOFFICIAL, diff=diff, resolves=defects)] if link.patch else []
    return Pedigree(ancestors=[_component(link, link.parent_sha256)], patches=patches)


def _attached(patch: bytes) -> "AttachedText":
    """Return the patch as text where it is UTF-8, else as Base64: its bytes are what makes the bundle."""
    import base64

    from cyclonedx.model import AttachedText, Encoding

    try:
        return AttachedText(content=patch.decode(), content_type="text/x-diff")
    except UnicodeDecodeError:
        text = base64.b64encode(patch).decode()
        return AttachedText(content=text, content_type="text/x-diff", encoding=Encoding.BASE_64)
