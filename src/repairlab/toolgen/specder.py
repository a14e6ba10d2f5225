"""repairlab-auto-specder: where the tournament stands still, write new specs from those that are stuck.

    repairlab-auto-specder [--root DIR] [--dry-run]

Reads the metrics log, the ended jobs of the repair queue, and the specs that they name; writes <root>/spool/specs/
spec-ID.json and <root>/specder/state.json. A sign is looked for in a window, and told once: it fires above one bound
and is armed again only below a lower one, so that what stays bad does not write a spec a day.

| sign | fires | armed again |
|---|---|---|
| plateau | a lineage's last 8 evaluations brought no promotion | a promotion |
| collapse | 90 % of the last 20 repairs, over all lineages, are one strategy or pattern | below 60 % |
| failing | 3 handoffs of a lineage were given up within 7 days | none within 7 days |

New specs are variations of the lineage's own: narrowed (the half of its examples with the smaller inputs), widened
(with the examples of another spec of the same signature), composed (with a spec whose result it can take). Their ids
are made of what they are, so that none is written twice; `reason` says which sign and which variation.

Exit: 0 done · 64 usage · 75 the disk is full · 78 the configuration is wrong.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from repairlab.commandline import Parser
from repairlab.errors import BadInput

if TYPE_CHECKING:
    from repairlab.config import Settings
    from repairlab.documents import Example, MetricsRow, Spec
    from repairlab.spool import Job

PROGRAM = "repairlab-auto-specder"
WINDOW = timedelta(days=7)
MAX_EXAMPLES = 200
PLATEAU, RECENT, COLLAPSED, RECOVERED, GIVEN_UP = 8, 20, 0.9, 0.6, 3
MAX_SPEC = 1 << 20
MAX_NEW = 20  # specs of one run


def parser() -> Parser:
    """Return the command line, for the man page too."""
    made = Parser(PROGRAM, "Write new specs where the tournament stands still.")
    made.add_argument("--dry-run", action="store_true", help="say what would be written, write nothing")
    return made


def main(argv: Sequence[str]) -> int:
    """Look for signs and write what follows from them."""
    options = parser().read(argv)
    from repairlab import config, journal

    journal.configure(PROGRAM)
    run = Specder(config.root(), config.load())
    for spec in run.specs():
        print(f"{spec.id}: {spec.reason}")
        if not options.dry_run:
            run.publish(spec)
    if not options.dry_run:
        run.keep()
    return os.EX_OK


class State(msgspec.Struct):
    """Which signs have been told and are not armed again, and the ids of all specs that were ever written."""

    told: set[str] = set()
    written: set[str] = set()


class Specder:
    """One look at the state directory."""

    def __init__(self, root: Path, settings: "Settings") -> None:
        from repairlab import config
        from repairlab.metrics import MetricsLog
        from repairlab.spool import Policy, Spool
        from repairlab.toolgen.maker import queue

        self._path = root / "specder" / "state.json"
        self._rows = list(MetricsLog(config.metrics_dir(root)).rows())
        self._repair = Spool(config.queue_dir(root), policy=Policy.from_settings(settings.queue))
        self._queue = queue(root, settings)
        self._state = State()
        with suppress(FileNotFoundError, msgspec.DecodeError):
            self._state = msgspec.json.decode(self._path.read_bytes(), type=State)
        self._known = dict(self._specs())

    def specs(self) -> "Iterator[Spec]":
        """Yield the new specs, at most `MAX_NEW`."""
        count = 0
        for sign, lineage in self._fired():
            if count >= MAX_NEW:
                return
            for spec in self._variations(lineage, sign):
                if spec.id not in self._state.written and count < MAX_NEW:
                    self._state.written.add(spec.id)
                    count += 1
                    yield spec

    def publish(self, spec: "Spec") -> None:
        """Hand a spec in; one that is there already is found."""
        from repairlab.documents import encode

        self._queue.create()
        self._queue.publish(encode(spec), f"spec-{spec.id}.json")

    def keep(self) -> None:
        """Write down what has been told; after the specs, so that a death in between writes them again, not never."""
        from repairlab.spool import trouble
        from repairlab.spool.disk import Disk

        with trouble("keep the state of the specder"):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            Disk().replace("specder", str(self._path), msgspec.json.encode(self._state), sync=True)

    # Signs

    def _fired(self) -> Iterator[tuple[str, str]]:
        """Yield (sign, lineage) of the signs that fire now; arm those again that have passed."""
        signs = {**self._plateaus(), **self._failing(), **self._collapse()}
        for name, (fires, passed, lineage) in sorted(signs.items()):
            if passed:
                self._state.told.discard(name)
            elif fires and name not in self._state.told:
                yield name.partition(" ")[0], lineage
                self._state.told.add(name)  # once what follows from it has been written

    def _plateaus(self) -> dict[str, tuple[bool, bool, str]]:
        """Return, of each lineage, whether it stands still, whether its last evaluation won, and its name."""
        by_lineage: dict[str, list[MetricsRow]] = {}
        for row in self._rows:
            by_lineage.setdefault(row.lineage, []).append(row)
        found = {}
        for lineage, rows in by_lineage.items():
            last = [row.decision == "promoted" for row in rows[-PLATEAU:]]
            found[f"plateau {lineage}"] = (len(last) == PLATEAU and not any(last), last[-1], lineage)
        return found

    def _collapse(self) -> dict[str, tuple[bool, bool, str]]:
        """Return whether nearly all recent repairs are alike, and whose the latest of them is."""
        recent = [row for row in self._rows if row.meta_repair][-RECENT:]
        if len(recent) < RECENT:
            return {}
        kinds = Counter(row.repair_pattern_id or str(row.repair_strategy) for row in recent)
        share = kinds.most_common(1)[0][1] / len(recent)
        return {"collapse": (share >= COLLAPSED, share < RECOVERED, recent[-1].lineage)}

    def _failing(self) -> dict[str, tuple[bool, bool, str]]:
        """Return, of each lineage, whether its handoffs keep being given up."""
        from repairlab.spool import State as JobState

        since, counts, lineages = datetime.now(UTC) - WINDOW, Counter[str](), set[str]()
        for job in self._jobs(JobState.HARD_FAIL):
            lineages.add(job.lineage)
            counts[job.lineage] += job.since >= since
        return {f"failing {name}": (counts[name] >= GIVEN_UP, counts[name] == 0, name) for name in lineages}

    def _jobs(self, *states: str) -> "Iterator[Job]":
        from repairlab.errors import Unavailable
        from repairlab.spool import State as JobState

        with suppress(Unavailable, FileNotFoundError):  # there has been no handoff yet
            yield from self._repair.jobs(*(JobState(state) for state in states))

    # Specs

    def _specs(self) -> "Iterator[tuple[str, Spec]]":
        """Yield (lineage, spec) of what rows and handoffs name."""
        from repairlab.documents import MAX_BYTES, Handoff, Spec, decode
        from repairlab.spool import State as JobState
        from repairlab.spool import read_file

        paths = {row.lineage: row.spec_path for row in self._rows if row.spec_path}
        for job in self._jobs(JobState.HARD_FAIL, JobState.OK):
            with suppress(BadInput, OSError):
                handoff = decode(job.document(), Handoff, max_bytes=MAX_BYTES)
                if handoff.spec_path:
                    paths[job.lineage] = handoff.spec_path
        for lineage, path in sorted(paths.items()):
            with suppress(BadInput, OSError):
                yield lineage, decode(read_file(path, MAX_SPEC), Spec)

    def _variations(self, lineage: str, sign: str) -> "Iterator[Spec]":
        """Yield the variations of a lineage's spec; none where it has no spec."""
        spec = self._known.get(lineage)
        if spec is None:
            return
        if len(spec.examples) > 1:
            kept = sorted(spec.examples, key=lambda each: len(repr(each.input)))[: (len(spec.examples) + 1) // 2]
            yield _derived(spec, "narrowed", sign, [spec], examples=kept)
        for other in self._known.values():
            if other.id == spec.id:
                continue
            if _shape(other) == _shape(spec):
                yield _derived(
                    spec, "widened", sign, [spec, other], examples=[*spec.examples, *other.examples][:MAX_EXAMPLES]
                )
            if composed := _composition(spec, other):
                task = f"{other.task} Then, of what comes out: {spec.task}"
                yield _derived(
                    spec, "composed", sign, [spec, other], examples=composed, task=task, signature=other.signature,
                    io=other.io, properties=[],
                )  # fmt: skip


def _shape(spec: "Spec") -> str:
    """Return the signature without its name."""
    told = (spec.signature or "").partition("(")[2]
    return told or repr(spec.io)


def _composition(outer: "Spec", inner: "Spec") -> "list[Example]":
    """Return the examples of `outer` after `inner`: those whose middle value both know."""
    from repairlab.documents.specs import Example

    known = {repr(each.input): each.output for each in outer.examples}
    known |= {repr([value]): result for value, result in ((each.input, each.output) for each in outer.examples)}
    return [
        Example(input=each.input, output=known[repr(each.output)])
        for each in inner.examples
        if repr(each.output) in known
    ]


def _derived(spec: "Spec", how: str, sign: str, parents: "Sequence[Spec]", **changes: object) -> "Spec":
    """Return a variation; its id is made of its content, so that the same one is the same wherever it is made."""
    made = msgspec.structs.replace(
        spec, id="x", source=PROGRAM, reason=None, parents=[parent.id for parent in parents], epoch=None, **changes
    )
    digest = hashlib.sha256(msgspec.json.encode(made, order="deterministic")).hexdigest()[:12]
    name = f"{spec.id[:80]}-{how}-{digest}"
    reason = f"{sign}: {how} from {', '.join(made.parents)}"
    return msgspec.structs.replace(made, id=name, reason=reason)
