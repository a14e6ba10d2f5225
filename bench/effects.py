"""bench/effects: what jobs were for, for the judge: each effect is there once, whole, and none without its decision.

    challenger       one for each repair that ended in ok with an answer, byte for byte the one that was decided
    tool             one challenger or handoff for each spec that ended in ok, and its bundle with the spec in it
    spec             one for each that `specder/state.json` says was written
    row              one for each evaluation; one for each demotion, of a champion that has its mark and stands no more
    champion         record, bundle, mail and page of each promotion, and of nothing else
    document         sbom/: each named by the hash of its bytes, one at least for each row's bundle, none of another's
    pattern          named by its id, learnt from champions alone

Imports nothing of the project.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from layout import TERMINAL, Finding, Queue, children, digest, document_of, whole_lines

SPEC = "spec-"  # begins the key of what a spec's job has made: spec-JOB-TOOL
CHAIN = (".cdx.json", ".intoto.json")


def check(root: Path, ledger) -> Iterator[Finding]:
    """Yield what does not hold of the effects of all jobs."""
    yield from _challengers(root, ledger)
    yield from _tools(root)
    yield from _specs(root, ledger)
    rows = _rows(root)
    yield from _evaluations(root, rows, ledger.dropped())
    yield from _champions(root, rows)
    yield from _demotions(root, rows)
    yield from _chain(root, rows, ledger.dropped())
    yield from _patterns(root)


def made_here(document: dict, queue: str) -> bool:
    """Whether a document that no producer offered may be an effect, which is judged here."""
    return queue != "repair" or str(document.get("idempotency_key")).startswith(SPEC)


def _documents(root, name):
    queue = Queue(root / "spool" / name)
    if not queue.path.is_dir():
        return []
    return [*queue.arrivals(), *(path / "job.json" for _, path in queue.jobs())]


def _jobs(root, name):
    return Queue(root / "spool" / name).jobs()


# Repairs and tools


def _challengers(root, ledger):
    if not (root / "spool" / "challengers").is_dir():
        return
    offered = ledger.read("challengers")[1]
    documents = [path for path in _documents(root, "challengers") if digest(path.read_bytes()) not in offered]
    made = Counter(str(document_of(path).get("idempotency_key")) for path in documents)
    kept = {document_of(path).get("idempotency_key"): path.read_bytes() for path in documents}
    for state, job in _jobs(root, "repair"):
        own = job / "challenger.json"
        wanted = int(state == "ok" and (own.exists() or (job / "telemetry.json").exists()))
        found = made.pop(job.name, 0)
        # What an operator dropped and somebody handed in again may have the challenger of its former life.
        former = found == 1 and job.name in ledger.dropped()
        if found != wanted and not former and (state in TERMINAL or not own.exists()):
            yield "effect", f"{job.name} in {state} should have {wanted} challengers"
        elif wanted and kept[job.name] != own.read_bytes():
            yield "effect", f"{job.name}: its challenger is not the one that was decided"
    for job_id in made.keys() - ledger.dropped():
        if not job_id.startswith(SPEC):
            yield "effect", f"there is a challenger of {job_id}, and no such job"


def _tools(root):
    made = defaultdict(list)
    for document in map(document_of, (*_documents(root, "challengers"), *_documents(root, "repair"))):
        made[str(document.get("idempotency_key")).rpartition("-")[0]].append(document)
    for state, job in _jobs(root, "specs"):
        tools = made.pop(SPEC + job.name, [])
        if state in TERMINAL and len(tools) != (state == "ok"):
            yield "effect", f"spec {job.name} in {state} has {len(tools)} tools"
        for tool in tools:
            if not Path(tool["bundle_dir"]).is_dir() or not Path(tool["spec_path"]).is_file():
                yield "effect", f"the tool of spec {job.name} has no bundle, or that no spec"
    for key in made:
        if key.startswith(SPEC):
            yield "effect", f"there is a tool of {key}, and no such spec"
    for path in (root / "bundles").glob(f"{SPEC}*"):
        yield "temporary", str(path)


def _specs(root, ledger):
    offered = ledger.read("specs")[1]
    documents = [path for path in _documents(root, "specs") if digest(path.read_bytes()) not in offered]
    made = Counter(str(document_of(path).get("id")) for path in documents)
    written = Counter(document_of(root / "specder" / "state.json").get("written", []))
    for spec in made.keys() | written.keys():
        if (made[spec], written[spec]) != (1, 1):
            yield "effect", f"{made[spec]} specs {spec}, {written[spec]} written down"


# The tournament


def logs(root):
    return sorted((root / "metrics").glob("*.jsonl"))


def _rows(root):
    return [row for path in logs(root) for row in map(json.loads, whole_lines(path)) if isinstance(row, dict)]


def _evaluations(root, rows, dropped):
    ended = (job for state, job in _jobs(root, "challengers") if state == "ok")
    evaluated = {job.name for job in ended if (job / "evaluation.json").exists()}
    count = Counter(str(row.get("id")) for row in rows if row.get("decision") != "demoted")
    for job_id in (evaluated | set(count)) - dropped:
        if count[job_id] != (job_id in evaluated):
            yield "effect", f"{job_id} has {count[job_id]} rows in the metrics log"


def _champions(root, rows):
    promoted = {(row["lineage"], row["id"]) for row in rows if row.get("decision") == "promoted"}
    stands = {(lineage.name, path.name) for lineage, path in _records(root)}
    letters = {(path.parent.name, path.stem) for path in (root / "patches").glob("*/*")}
    for lineage, job_id in promoted | stands:
        yield from _promoted(root, lineage, job_id)
    for lineage, job_id in (stands | letters) - promoted:
        yield "effect", f"{job_id} of {lineage} was not promoted, and has a record or a letter"
    for lineage in children(root / "champions"):
        current = lineage / "current"
        if current.is_symlink() and not (current / "champion.json").exists():
            yield "effect", f"{current} names no champion"
        elif current.is_symlink() and not Path(document_of(current / "champion.json").get("bundle_dir", "")).is_dir():
            yield "effect", f"the champion of {lineage.name} has no bundle"


def _records(root):
    for lineage in children(root / "champions"):
        yield from ((lineage, path) for path in children(lineage) if path.is_dir() and not path.is_symlink())


def _promoted(root, lineage, job_id):
    champion = document_of(root / "champions" / lineage / job_id / "champion.json")
    if champion.get("id") != job_id:
        yield "effect", f"{job_id} was promoted and is no champion"
    for suffix in ("patch", "md"):
        if len(list((root / "patches").glob(f"*/{job_id}.{suffix}"))) != bool(champion.get("patch")):
            yield "effect", f"{job_id} was promoted and its .{suffix} is not there once"


def _demotions(root, rows):
    told = Counter(str(row["id"]).rpartition("-")[0] for row in rows if row.get("decision") == "demoted")
    marked = {path.name: lineage for lineage, path in _records(root) if (path / "demoted.json").exists()}
    for job_id in told.keys() | marked.keys():
        if (told[job_id], job_id in marked) != (1, True):
            yield "effect", f"{job_id} has {told[job_id]} rows of its demotion, marked: {job_id in marked}"
        elif (marked[job_id] / "current").is_symlink() and (marked[job_id] / "current").readlink().name == job_id:
            yield "effect", f"{job_id} was demoted, and stands"


def _chain(root, rows, dropped):
    bundles = {row["bundle_sha256"] for row in rows if row.get("bundle_sha256") and row["id"] not in dropped}
    known = {row["bundle_sha256"] for row in rows if row.get("bundle_sha256")}
    known |= {row["parent_sha256"] for row in rows if row.get("parent_sha256")}
    for directory in children(root / "sbom"):
        if directory.name not in known:
            yield "effect", f"{directory} is about a bundle that nobody evaluated"
        for path in children(directory):
            if path.name not in {digest(path.read_bytes()) + suffix for suffix in CHAIN}:
                yield "effect", f"{path} is not named by its bytes"
    for bundle in bundles:
        if not list((root / "sbom" / bundle).glob("*.cdx.json")):
            yield "effect", f"{bundle} was evaluated, and nothing says where it comes from"


def _patterns(root):
    learnt = {document_of(path / "champion.json").get("bundle_sha256") for _, path in _records(root)}
    for path in sorted((root / "patterns").glob("*.json")):
        pattern = document_of(path)
        if pattern.get("id") != path.stem or not set(pattern.get("provenance", [None])) <= learnt:
            yield "effect", f"{path} is not named by its id, or learnt from no champion"
