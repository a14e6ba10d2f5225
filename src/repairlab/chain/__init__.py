"""chain: where a champion comes from, as documents that others' tools read and that anybody can verify.

    <root>/sbom/BUNDLE/SHA256.cdx.json      CycloneDX 1.6 of the bundle of that hash: itself, its parent and the patch
    <root>/sbom/BUNDLE/SHA256.intoto.json   in-toto statement: which tests of it passed, how often

SHA256 is the hash of the document's own bytes. A bundle has as many documents as there are ways in which it came about:
as an origin, and by the repair of each parent. A document names its parent's bundle by hash, and the parent's document
by name. `verify` walks from a bundle to its origin: every document must be there and be what its name says, every
bundle that is kept must have its hash, every patch must make of the parent what it says.
"""

from repairlab.chain.documents import Link, attest, record
from repairlab.chain.verify import Broken, Step, verify

__all__ = ["Broken", "Link", "Step", "attest", "record", "verify"]
