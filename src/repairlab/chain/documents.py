"""documents: write the links of a chain: CycloneDX by its own library, the attestation as in-toto's statement v1.

The library takes a third of a second to import, so it is imported when a document is written and not before. What is
written follows from the link alone: the same link has the same bytes, and writing it twice is harmless.
"""

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from repairlab.spool.disk import Disk, trouble

if TYPE_CHECKING:
    from cyclonedx.model.component import Component, Pedigree

SPACE = uuid.UUID("6d4b9b0e-0d3c-5a63-9a0e-3f1b5a7c2d10")  # of the serial numbers, which are names of links
PREFIX = "repairlab:"
MAX_NAMES = 1000


@dataclass(frozen=True, kw_only=True)
class Link:
    """One bundle: its hash, whose lineage it is, and, unless it is an origin, parent, patch and what that mends."""

    sha256: str
    lineage: str
    at: datetime | None = None
    parent_sha256: str | None = None
    patch: str = ""
    failing: Sequence[str] = ()
    strategy: str = ""


def path_of(directory: Path, sha256: str) -> Path:
    """Return where the CycloneDX document of a bundle is."""
    return directory / f"{sha256}.cdx.json"


def record(directory: Path, link: Link) -> Path:
    """Write the document of a link durably, and that of its parent; return its path.

    A document that is there stays as it is: its children name it by the hash of its bytes.
    """
    if (known := path_of(directory, link.sha256)).exists():
        return known
    parent = None
    if link.parent_sha256 is not None:
        parent = record(directory, Link(sha256=link.parent_sha256, lineage=link.lineage))
    above = hashlib.sha256(parent.read_bytes()).hexdigest() if parent else None
    return _put(path_of(directory, link.sha256), _cyclonedx(link, above))


def attest(directory: Path, link: Link, *, passed: Sequence[str], runs: int, sandbox: str) -> Path:
    """Write the attestation of a link's bundle (in-toto Statement v1, test-result v0.1); return its path."""
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": link.lineage, "digest": {"sha256": link.sha256}}],
        "predicateType": "https://in-toto.io/attestation/test-result/v0.1",
        "predicate": {
            "result": "PASSED",
            "configuration": [{"name": "sandbox", "annotations": {"tier": sandbox, "runs": str(runs)}}],
            "passedTests": list(passed)[:MAX_NAMES],
            "warnedTests": [],
            "failedTests": [],
        },
    }
    raw = json.dumps(statement, indent=1, sort_keys=True, ensure_ascii=True).encode() + b"\n"
    return _put(directory / f"{link.sha256}.intoto.json", raw)


def _put(path: Path, raw: bytes) -> Path:
    with trouble("write the chain"):
        path.parent.mkdir(parents=True, exist_ok=True)
        disk = Disk()
        disk.replace("chain", str(path), raw, sync=True)
        disk.sync_directory("chain.directory", str(path.parent))
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
    from cyclonedx.model import AttachedText
    from cyclonedx.model.component import Diff, Patch, PatchClassification, Pedigree
    from cyclonedx.model.issue import IssueClassification, IssueType

    assert link.parent_sha256 is not None  # an origin has no pedigree
    defects = [IssueType(type=IssueClassification.DEFECT, id=name, name=name) for name in link.failing[:MAX_NAMES]]
    diff = Diff(text=AttachedText(content=link.patch, content_type="text/x-diff"))
    patches = [Patch(type=PatchClassification.UNOFFICIAL, diff=diff, resolves=defects)] if link.patch else []
    return Pedigree(ancestors=[_component(link, link.parent_sha256)], patches=patches)
