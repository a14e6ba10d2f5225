"""reading: the documents of a chain as they lie there, believed in nothing that cannot be recomputed.

A document is what its name says (the hash of its bytes), or `Damaged`; so no byte of it can change unseen.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repairlab.spool.disk import read_file

PREFIX = "repairlab:"
DOCUMENT, ATTESTATION = ".cdx.json", ".intoto.json"
MAX_DOCUMENT = 1 << 26
HASH = re.compile(r"[0-9a-f]{64}")


class Damaged(ValueError):
    """A document is not what it was; the message says what it is."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What one document says: the bundle's parent and the patch (None and nothing for an origin), and since when."""

    path: Path
    name: str  # the hash of its bytes
    lineage: str
    parent: str | None
    patch: bytes
    above: str | None  # the hash of the parent's document
    at: str


def names(directory: Path, sha256: str, suffix: str) -> Iterator[Path]:
    """Yield the paths of the documents of one kind about a bundle, by name."""
    with suppress(FileNotFoundError):
        for path in sorted((directory / sha256).iterdir()):
            if path.name.endswith(suffix) and not path.name.startswith("."):
                yield path


def read(path: Path, sha256: str) -> dict[str, Any]:
    """Return one document about a bundle; `Damaged` where its bytes are not those of its name."""
    try:
        raw = read_file(path, MAX_DOCUMENT)
        document = json.loads(raw)
    except OSError as error:
        raise Damaged(f"its document cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise Damaged("its document is not JSON") from None
    if hashlib.sha256(raw).hexdigest() != path.name.partition(".")[0]:
        raise Damaged("its document has been changed")
    if not isinstance(document, dict) or _subject(document) != sha256:
        raise Damaged("its document is about another bundle")
    return document


def documents(directory: Path, sha256: str) -> Iterator[Known]:
    """Yield the documents of a bundle that hold; what does not is `verify`'s to tell."""
    for path in names(directory, sha256, DOCUMENT):
        with suppress(Damaged):
            yield known(path, sha256)


def known(path: Path, sha256: str) -> Known:
    """Return what a document says; `Damaged` where it does not hold."""
    document = read(path, sha256)
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(component := metadata.get("component"), dict):
        raise Damaged("its document is no CycloneDX")
    parent, patch = _parentage(component)
    above = _property(metadata, f"{PREFIX}parent-document-sha256")
    if parent is not None and above is None:
        raise Damaged("it does not name its parent's document")
    return Known(
        path=path, name=path.name.partition(".")[0], lineage=str(component.get("name", "")),
        parent=parent, patch=patch, above=above, at=str(metadata.get("timestamp", "")),
    )  # fmt: skip


def _subject(document: dict[str, Any]) -> object:
    """Return the hash of the bundle that a document is about."""
    try:
        if "subject" in document:
            return document["subject"][0]["digest"]["sha256"]
        (found,) = document["metadata"]["component"]["hashes"]
        return found["content"] if found["alg"] == "SHA-256" else None
    except (LookupError, TypeError, ValueError):
        return None


def _parentage(component: dict[str, Any]) -> tuple[str | None, bytes]:
    """Return the parent's hash and the patch; (None, nothing) for an origin."""
    import base64

    pedigree = component.get("pedigree")
    if pedigree is None:
        return None, b""
    try:
        parent = str(pedigree["ancestors"][0]["hashes"][0]["content"])
        text = pedigree["patches"][0]["diff"]["text"] if pedigree.get("patches") else {"content": ""}
        coded = text.get("encoding") == "base64"
        patch = base64.b64decode(text["content"], validate=True) if coded else text["content"].encode()
    except (LookupError, TypeError, AttributeError, ValueError):
        raise Damaged("its pedigree names no ancestor and patch") from None
    if not HASH.fullmatch(parent):
        raise Damaged("its parent is no SHA-256")
    return parent, patch


def _property(metadata: dict[str, Any], name: str) -> str | None:
    properties = metadata.get("properties")
    for entry in properties if isinstance(properties, list) else ():
        if isinstance(entry, dict) and entry.get("name") == name:
            return str(entry.get("value"))
    return None
