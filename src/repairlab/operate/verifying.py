"""verifying: `repairlab verify-chain`: where a champion comes from, link by link, recomputed."""

from typing import Any

import click

from repairlab import config
from repairlab.errors import BadInput, NegativeAnswer
from repairlab.operate import output
from repairlab.operate.app import Answer, App, command


@command("verify-chain")
@click.argument("name", metavar="ID")
def verify_chain_command(app: App, name: str) -> Answer:
    """Verify where a champion comes from, link by link.

    ID is a lineage (its champion), a champion's id, or a bundle's SHA-256. Columns: SHA256, PARENT, BUNDLE (present:
    its bytes were hashed again; absent: the cleanup removed them), LINEAGE. Exit code 1 names the first link that does
    not hold.
    """
    from repairlab.chain import Broken, Step, verify

    rows: list[Step] = []
    sha256, broken = _sha256(app, name), None
    try:
        rows.extend(verify(config.sbom_dir(app.root), config.bundles_dir(app.root), sha256))
    except Broken as error:
        broken = NegativeAnswer(f"{error.sha256}: {error}", field="chain", fix="do not trust what comes after it")
    data: list[dict[str, Any]] = [vars(step) for step in rows]
    cells = [[row["sha256"], row["parent_sha256"] or "-", row["bundle"], row["lineage"]] for row in data]
    lines = output.table(["SHA256", "PARENT", "BUNDLE", "LINEAGE"], cells)
    return Answer(data={"links": data, "broken": None if broken is None else broken.message}, text=lines, error=broken)


def _sha256(app: App, name: str) -> str:
    """Return the hash of the bundle that a name stands for."""
    from repairlab.champions import Champions

    store = Champions(config.champions_dir(app.root))
    if len(name) == 64:
        return name
    for lineage in store.lineages():
        if lineage == name and (champion := store.current(lineage)) is not None:
            return champion.bundle_sha256
        for champion in store.all(lineage):
            if champion.id == name:
                return champion.bundle_sha256
    raise BadInput(f"{name!r} names no champion", field="id", fix="see `repairlab leaderboard`")
