"""verifying: `repairlab verify-chain`: where a champion comes from, link by link, recomputed."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repairlab import config
from repairlab.errors import BadInput, NegativeAnswer
from repairlab.operate import output
from repairlab.operate.app import Answer, App, command

if TYPE_CHECKING:
    from repairlab.chain import Broken
    from repairlab.documents import Champion

MAX_PATCH = 1 << 26


@command("verify-chain")
@click.argument("name", metavar="ID")
def verify_chain_command(app: App, name: str) -> Answer:
    """Verify where a champion comes from, link by link.

    ID is a lineage (its champion), a champion's id, or a bundle's SHA-256. Columns: SHA256, PARENT, BUNDLE (present:
    its bytes were hashed again; absent: the cleanup removed them), LINEAGE. Exit code 1 names the first link that does
    not hold.
    """
    from repairlab.chain import Broken, Step, verify
    from repairlab.documents import patch_bytes

    rows: list[Step] = []
    champion, broken = _champion(app, name), None
    sha256 = name if champion is None else champion.bundle_sha256
    made = None
    if champion is not None and champion.patch:
        made = (champion.parent_sha256, patch_bytes(champion.patch, champion.patch_encoding))
    try:
        if champion is not None:
            _copies(app.root, champion)
        rows.extend(verify(config.sbom_dir(app.root), config.bundles_dir(app.root), sha256, made))
    except Broken as error:
        broken = NegativeAnswer(f"{error.sha256}: {error}", field="chain", fix=_fix(error, champion))
    data: list[dict[str, Any]] = [vars(step) for step in rows]
    cells = [[row["sha256"], row["parent_sha256"] or "-", row["bundle"], row["lineage"]] for row in data]
    lines = output.table(["SHA256", "PARENT", "BUNDLE", "LINEAGE"], cells)
    return Answer(data={"links": data, "broken": None if broken is None else broken.message}, text=lines, error=broken)


def _fix(error: "Broken", champion: "Champion | None") -> str:
    """Return what to do: the evaluator writes the documents of what it evaluates where they are not there."""
    if not error.untold or champion is None or error.sha256 != champion.bundle_sha256:
        return "do not trust what comes after it"
    again = f"repairlab retry --queue challengers {champion.id}"
    return f"have it evaluated anew, which writes one: `{again}`"


def _champion(app: App, name: str) -> "Champion | None":
    """Return the champion that a name stands for; None for the hash of a bundle."""
    from repairlab.champions import Champions

    store = Champions(config.champions_dir(app.root))
    if len(name) == 64:
        return None
    for lineage in store.lineages():
        if lineage == name and (champion := store.current(lineage)) is not None:
            return champion
        for champion in store.all(lineage):
            if champion.id == name:
                return champion
    raise BadInput(f"{name!r} names no champion", field="id", fix="see `repairlab leaderboard`")


def _copies(root: Path, champion: "Champion") -> None:
    """Compare the copies of a champion's patch with its record: beside it, and as the mail that people apply."""
    from repairlab.chain import Broken
    from repairlab.documents import patch_bytes
    from repairlab.spool import read_file

    patch = patch_bytes(champion.patch, champion.patch_encoding)
    beside = config.champions_dir(root) / champion.lineage / champion.id / "patch.diff"
    mail = config.patches_dir(root) / champion.lineage / f"{champion.id}.patch"
    try:
        if read_file(beside, MAX_PATCH) != patch:
            raise Broken(champion.bundle_sha256, f"{beside} has been changed")
    except FileNotFoundError:
        raise Broken(champion.bundle_sha256, f"{beside} is missing") from None
    if mail.exists() and b"\n---\n" + patch + b"-- \n" not in read_file(mail, MAX_PATCH):
        raise Broken(champion.bundle_sha256, f"{mail} holds another patch")
