"""chain: where a champion comes from, as documents that others' tools read and that anybody can verify.

    <root>/sbom/SHA256.cdx.json      CycloneDX 1.6 of the bundle of that hash: itself, its parent and the patch
    <root>/sbom/SHA256.intoto.json   in-toto statement: which tests of it passed, how often

A document names its parent's bundle by hash, and the parent's document by the hash of its bytes. `verify` walks from a
bundle to its origin: every document must be there and be the one that its child names, every bundle that is kept must
have its hash, every patch must make of the parent what it says.
"""

from repairlab.chain.documents import Link, attest, record
from repairlab.chain.verify import Broken, Step, verify

__all__ = ["Broken", "Link", "Step", "attest", "record", "verify"]
