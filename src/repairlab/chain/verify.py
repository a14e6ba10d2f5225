"""verify: walk a chain from a bundle to its origin, and name the first link that does not hold.

Every document of every bundle on the way must be what its name says. A document names that of its parent; where that
one says that the parent is an origin, and the parent was made by a repair as well, the walk goes on by the older one.
What is kept of a bundle (its frozen directory) is hashed, and a patch whose parent is kept is applied again; a bundle
that the cleanup has removed is told as `absent` and breaks nothing: its hash is what its child names.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from repairlab.chain.reading import ATTESTATION, DOCUMENT, HASH, Damaged, Known, known, names, read
from repairlab.errors import BadInput
from repairlab.sandbox.bundle import content_digest, hash_manifest, manifest, tree_hash
from repairlab.sandbox.patch import BadPatch, applied

MAX_LINKS = 10_000


class Broken(Exception):
    """A link does not hold: `sha256` names it, the message says why; `untold` where it lacks a document."""

    def __init__(self, sha256: str, why: str, *, untold: bool = False) -> None:
        super().__init__(why)
        self.sha256, self.untold = sha256, untold


@dataclass(frozen=True, kw_only=True)
class Step:
    """One link that holds: the bundle, its parent, and what its frozen directory said: `present` or `absent`."""

    sha256: str
    parent_sha256: str | None
    bundle: str
    lineage: str
    document: str


def verify(directory: Path, bundles: Path, sha256: str, made: tuple[str, bytes] | None = None) -> Iterator[Step]:
    """Yield the links from a bundle to its origin as they hold; raise `Broken` at the first that does not.

    With `made`, a parent's hash and a patch, the walk begins with the document that says just that of the bundle.
    """
    if not HASH.fullmatch(sha256):
        raise BadInput("is no SHA-256", field="id", fix="name a bundle's hash, or a champion's id")
    store, seen = _Store(bundles), set[str]()
    wanted: str | None = sha256
    named: str | None = None
    for _ in range(MAX_LINKS):
        if wanted is None:
            return
        seen.add(wanted)
        link = _chosen(wanted, _held(directory, wanted), named, seen, made)
        yield Step(
            sha256=wanted, parent_sha256=link.parent, bundle=store.proved(wanted, link), lineage=link.lineage,
            document=link.name,
        )  # fmt: skip
        wanted, named, made = link.parent, link.above, None
    raise Broken(sha256, f"the chain has more than {MAX_LINKS} links")


def _held(directory: Path, sha256: str) -> dict[str, Known]:
    """Return the documents of a bundle by name, the oldest first; all that is there must hold."""
    try:
        found = [known(path, sha256) for path in names(directory, sha256, DOCUMENT)]
        for path in names(directory, sha256, ATTESTATION):
            read(path, sha256)
    except Damaged as error:
        raise Broken(sha256, str(error)) from None
    if not found:
        raise Broken(sha256, "it has no document", untold=True)
    return {link.name: link for link in sorted(found, key=lambda link: (link.at, link.name))}


def _chosen(
    sha256: str, held: dict[str, Known], named: str | None, seen: set[str], made: tuple[str, bytes] | None
) -> Known:
    """Return the document by which the walk goes on."""
    if made is not None:
        for link in held.values():
            if (link.parent, link.patch) == made:
                return link
        raise Broken(sha256, "no document tells how it was made", untold=True)
    if named is not None and named not in held:
        raise Broken(sha256, "the document that its child names is not there")
    if named is not None and held[named].parent is not None:
        return held[named]
    made_since = [link for link in held.values() if link.parent is not None and link.parent not in seen]
    origin = held[named] if named is not None else next(iter(held.values()))
    return made_since[0] if made_since else origin


class _Store:
    """The frozen bundles that are kept, by hash; a submitter's copy of one is called HASH.UID."""

    def __init__(self, bundles: Path) -> None:
        self._places: dict[str, list[Path]] = {}
        for name in sorted(os.listdir(bundles)) if bundles.is_dir() else ():
            if (bundles / name).is_dir() and not name.startswith("."):
                self._places.setdefault(name.partition(".")[0], []).append(bundles / name)

    def proved(self, sha256: str, link: Known) -> str:
        """Recompute a bundle from what is kept: its own frozen directories, its parent's and the patch."""
        for place in (own := self._places.get(sha256, [])):
            if tree_hash(place) != sha256:
                raise Broken(sha256, "its frozen directory has been changed")
        above = self._places.get(link.parent or "", [])
        for place in above:
            self._patched(sha256, link, place)
        return "present" if own or above else "absent"

    @staticmethod
    def _patched(sha256: str, link: Known, above: Path) -> None:
        found = manifest(above)
        if hash_manifest(found) != link.parent:
            raise Broken(str(link.parent), "its frozen directory has been changed")
        try:
            for name, content in (applied(link.patch, above) if link.patch else {}).items():
                found[name] = (found[name][0], content_digest(content))
        except (BadPatch, KeyError) as error:
            raise Broken(sha256, f"its patch does not apply to its parent: {error}") from None
        if hash_manifest(found) != sha256:
            raise Broken(sha256, "its patch makes another bundle of its parent")
