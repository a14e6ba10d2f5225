"""verify: walk a chain from a bundle to its origin, and name the first link that does not hold.

Documents are read as others' work: bounded, and believed in nothing that cannot be recomputed. What is kept of a bundle
(its frozen directory) is hashed; a bundle that the cleanup has removed is told as `absent` and breaks nothing: its hash
is what its child names.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repairlab.chain.documents import PREFIX, path_of
from repairlab.errors import BadInput
from repairlab.sandbox.bundle import content_digest, hash_manifest, manifest, tree_hash
from repairlab.sandbox.patch import BadPatch, applied
from repairlab.spool.disk import read_file

MAX_DOCUMENT = 1 << 26
MAX_LINKS = 10_000
HEX = frozenset("0123456789abcdef")


class Broken(Exception):
    """A link does not hold: `sha256` names it, the message says why."""

    def __init__(self, sha256: str, why: str) -> None:
        super().__init__(why)
        self.sha256 = sha256


@dataclass(frozen=True, kw_only=True)
class Step:
    """One link that holds: the bundle, its parent, and what its frozen directory said: `present` or `absent`."""

    sha256: str
    parent_sha256: str | None
    bundle: str
    lineage: str


def verify(directory: Path, bundles: Path, sha256: str) -> Iterator[Step]:
    """Yield the links from a bundle to its origin as they hold; raise `Broken` at the first that does not."""
    expected: str | None = None
    wanted: str | None = sha256
    for _ in range(MAX_LINKS):
        if wanted is None:
            return
        document = _document(directory, wanted, expected)
        component = _member(document, wanted, "metadata", "component")
        parent, patch = _parentage(component, wanted)
        yield Step(
            sha256=wanted,
            parent_sha256=parent,
            bundle=_bundle(bundles, wanted, parent, patch),
            lineage=str(component.get("name", "")),
        )
        expected = _property(document, f"{PREFIX}parent-document-sha256")
        if parent is not None and expected is None:
            raise Broken(wanted, "it does not name its parent's document")
        wanted = parent
    raise Broken(sha256, f"the chain has more than {MAX_LINKS} links")


def _document(directory: Path, sha256: str, expected: str | None) -> dict[str, Any]:
    if len(sha256) != 64 or not set(sha256) <= HEX:
        raise BadInput("is no SHA-256", field="id", fix="name a bundle's hash, or a champion's id")
    try:
        raw = read_file(path_of(directory, sha256), MAX_DOCUMENT)
        document = json.loads(raw)
    except OSError as error:
        raise Broken(sha256, f"its document cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise Broken(sha256, "its document is not JSON") from None
    if expected is not None and hashlib.sha256(raw).hexdigest() != expected:
        raise Broken(sha256, "its document is not the one that its child names")
    hashes = _member(document, sha256, "metadata", "component").get("hashes") or [{}]
    if hashes[0].get("alg") != "SHA-256" or hashes[0].get("content") != sha256:
        raise Broken(sha256, "its document is about another bundle")
    return dict(document)


def _member(document: Any, sha256: str, *path: str) -> dict[str, Any]:
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    if not isinstance(document, dict):
        raise Broken(sha256, f"its document has no {'.'.join(path)}")
    return document


def _parentage(component: dict[str, Any], sha256: str) -> tuple[str | None, str]:
    """Return the parent's hash and the patch; (None, '') for an origin."""
    pedigree = component.get("pedigree")
    if pedigree is None:
        return None, ""
    try:
        parent = str(pedigree["ancestors"][0]["hashes"][0]["content"])
        patch = str(pedigree["patches"][0]["diff"]["text"]["content"]) if pedigree.get("patches") else ""
    except (LookupError, TypeError):
        raise Broken(sha256, "its pedigree names no ancestor and patch") from None
    return parent, patch


def _property(document: dict[str, Any], name: str) -> str | None:
    for entry in document.get("metadata", {}).get("properties") or ():
        if isinstance(entry, dict) and entry.get("name") == name:
            return str(entry.get("value"))
    return None


def _bundle(bundles: Path, sha256: str, parent: str | None, patch: str) -> str:
    """Recompute the bundle from what is kept: its own frozen directory, or its parent's and the patch."""
    own = bundles / sha256
    if own.is_dir():
        if tree_hash(own) != sha256:
            raise Broken(sha256, "its frozen directory has been changed")
        return "present"
    above = bundles / parent if parent is not None else None
    if above is None or not above.is_dir():
        return "absent"
    found = manifest(above)
    if hash_manifest(found) != parent:
        raise Broken(str(parent), "its frozen directory has been changed")
    try:
        for name, content in (applied(patch.encode(), above) if patch else {}).items():
            found[name] = (found[name][0], content_digest(content))
    except (BadPatch, KeyError) as error:
        raise Broken(sha256, f"its patch does not apply to its parent: {error}") from None
    if hash_manifest(found) != sha256:
        raise Broken(sha256, "its patch makes another bundle of its parent")
    return "present"
