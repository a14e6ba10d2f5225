"""table: what stopped what in each tier, as a block of docs/security.md that no hand writes.

The block lies between two comments. A row is an attack, a column a tier; a cell says what stopped the parts of the
attack, each reason once. `differences` compares a run with the committed block by the classes of the reasons, so that
another kernel may say EACCES for EPERM, and nothing may be said for something.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cases import CASES

DOCUMENT = Path(__file__).resolve().parents[3] / "docs/security.md"
BEGIN, END = "<!-- attacks: begin -->", "<!-- attacks: end -->"
TIERS = ("systemd", "systemd-user", "bubblewrap", "landlock", "none")
HEADS = {"none": "control"}
CLASSES = {
    "not there": "ENOENT ENOTDIR ENXIO ESRCH closed empty",
    "forbidden": "EPERM EACCES EROFS no_new_privs nosuid refused",
    "not this kind": "ENOSYS EAFNOSUPPORT EPROTONOSUPPORT ESOCKTNOSUPPORT ENODEV EBADF",
    "nobody answers": "ECONNREFUSED ENETUNREACH EHOSTUNREACH EADDRNOTAVAIL ETIMEDOUT",
    # A bound may be hit, or somebody who looks at it may be quicker.
    "no more": "EAGAIN ENOSPC EFBIG ENOMEM EMFILE ETOOMANYREFS MemoryError memory_mb tmpfs_mb inodes processes",
    "ended": "wall_s SIGKILL",
    "nothing in reach": "sealed",
}
CLASS = {reason: name for name, reasons in CLASSES.items() for reason in reasons.split()}
Document = Mapping[str, object]


def cell(told: Mapping[str, object]) -> str:
    """What a run says of one attack, in a few words."""
    if told["succeeded"]:
        if lacking := told.get("lacking"):
            return "succeeds (not here: " + ", ".join(sorted(lacking)) + ")"
        return "succeeds"
    reasons = sorted(set(told["stopped_by"].values()), key=lambda reason: (str(CLASS.get(reason)), reason))
    return ", ".join(f"`{reason}`" for reason in reasons) or "not on this machine"


def columns(documents: Sequence[Document]) -> dict[str, dict[str, str]]:
    """Cells by tier and attack; what succeeds in one run of a tier is not lacking in another."""
    found: dict[str, dict[str, dict]] = {}
    for document in documents:
        column = found.setdefault(str(document["tier"]), {})
        for name, told in document["attacks"].items():
            column[name] = _merged(column[name], told) if name in column else told
    return {tier: {name: cell(told) for name, told in column.items()} for tier, column in found.items()}


def _merged(one: Mapping, other: Mapping) -> dict[str, object]:
    parts = {**one["stopped_by"], **other["stopped_by"]}
    lacking = {**one.get("lacking", {}), **other.get("lacking", {})}
    lacking = {part: said for part, said in lacking.items() if part not in parts}
    return {"succeeded": one["succeeded"] or other["succeeded"], "stopped_by": parts, "lacking": lacking}


def render(found: Mapping[str, Mapping[str, str]]) -> str:
    """The block's text, without its two comments."""
    tiers = [tier for tier in TIERS if tier in found]
    rows = [["attack", *(HEADS.get(tier, tier) for tier in tiers)], ["---"] * (len(tiers) + 1)]
    rows += [[case.name, *(found[tier].get(case.name, "") for tier in tiers)] for case in CASES]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def committed() -> dict[str, dict[str, str]]:
    """The columns that the document has."""
    text = DOCUMENT.read_text()
    lines = [line.strip("| ").split(" | ") for line in text[_between(text)].splitlines()]
    names = {HEADS.get(tier, tier): tier for tier in TIERS}
    if not lines:
        return {}
    return {
        names[head]: {row[0]: row[at] if at < len(row) else "" for row in lines[2:]}
        for at, head in enumerate(lines[0])
        if at
    }


def write(documents: Sequence[Document]) -> None:
    """Put the columns of these runs into the document; the others stay."""
    text = DOCUMENT.read_text()
    at = _between(text)
    DOCUMENT.write_text(text[: at.start] + render({**committed(), **columns(documents)}) + text[at.stop :])


def differences(document: Document) -> list[str]:
    """Where the committed column says another class of reasons than this run."""
    tier = str(document["tier"])
    shown = committed().get(tier, {})
    found = columns([document])[tier]
    return [
        f"{name}: docs/security.md says {shown.get(name)!r}, the run {said!r}"
        for name, said in found.items()
        if classes(shown.get(name, "")) != classes(said)
    ]


def classes(said: str) -> set[str]:
    """The classes of the reasons in a cell; what is no known reason stands for itself."""
    reasons = [reason.strip("` ") for reason in said.split("`, `")]
    return {CLASS.get(reason, reason) for reason in reasons}


def _between(text: str) -> slice:
    return slice(text.index(BEGIN) + len(BEGIN) + 1, text.index(END))
