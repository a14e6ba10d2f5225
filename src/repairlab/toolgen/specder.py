"""repairlab-auto-specder: where the tournament stands still, write new specs from those that are stuck.

    repairlab-auto-specder [--root DIR] [--dry-run]

Reads the last 64 MiB of the metrics log, the ended jobs of the repair queue, and the specs that they name, as far as
these lie in the roots of bundles; writes <root>/spool/specs/spec-ID.json and <root>/specder/state.json. A sign is
looked for in a window, and told once: it fires above one bound and is armed again only below a lower one, so that what
stays bad does not write a spec a day.

| sign | fires | armed again |
|---|---|---|
| plateau | a lineage's last 8 evaluations brought no promotion, unless its champion reached its targets | a promotion |
| collapse | 90 % of the last 20 repairs, over all lineages, are one strategy or pattern | below 60 % |
| failing | 3 handoffs of a lineage were given up within 7 days | none within 7 days |

New specs are variations of the lineage's own: narrowed (the half of its examples with the smaller inputs), widened
(with the examples of another spec of the same signature), composed (with a spec whose result it can take). Their ids
are made of what they are, so that none is written twice, as far back as the last 20,000 are known (a thousand runs);
`reason` says which sign and which variation. What was told of a lineage is forgotten with its last row and handoff.

Exit: 0 done · 64 usage · 75 the disk is full · 78 the configuration is wrong.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from repairlab.commandline import Parser
from repairlab.errors import BadInput

if TYPE_CHECKING:
    from repairlab.config import Settings
    from repairlab.documents import Spec
    from repairlab.spool import Job
    from repairlab.toolgen.signs import Sign

PROGRAM = "repairlab-auto-specder"
TAIL_BYTES = 64 << 20  # of the metrics log: some hundred thousand rows
MAX_SPEC, MAX_SPECS = 1 << 20, 32 << 20  # bytes of one spec, of all that variations are made of
MAX_NEW, MAX_EACH = 20, 5  # specs of one run, of one sign
MAX_WRITTEN = 20_000  # ids that are remembered


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
    """Which signs have been told and are not armed again, and the ids of the specs that were written, the last last."""

    told: set[str] = set()
    written: list[str] = []


class Specder:
    """One look at the state directory."""

    def __init__(self, root: Path, settings: "Settings") -> None:
        from repairlab import config
        from repairlab.metrics import MetricsLog
        from repairlab.spool import Policy, Spool
        from repairlab.toolgen.maker import queue
        from repairlab.toolgen.signs import Recent

        self._path = root / "specder" / "state.json"
        self._roots = [config.bundles_dir(root), *config.bundle_roots(settings, root)]
        self._repair = Spool(config.queue_dir(root), policy=Policy.from_settings(settings.queue))
        self._queue = queue(root, settings)
        self._state = State()
        with suppress(FileNotFoundError, msgspec.DecodeError):
            self._state = msgspec.json.decode(self._path.read_bytes(), type=State)
        self._recent = Recent()
        for row in MetricsLog(config.metrics_dir(root)).tail(TAIL_BYTES):
            self._recent.take(row)

    def specs(self) -> "Iterator[Spec]":
        """Yield the new specs, at most `MAX_NEW`; what there is no room for is told of by the next run."""
        from repairlab.toolgen.variations import variations

        fired = sorted(self._fired(), key=lambda sign: sign.name)
        known = self._known(first=[sign.lineage for sign in fired])
        written, count = set(self._state.written), 0
        for sign in fired:
            spec = known.get(sign.lineage)
            every = variations(spec, known.values(), sign.kind) if spec else ()
            for made in islice((made for made in every if made.id not in written), MAX_EACH):
                if count == MAX_NEW:
                    return
                written.add(made.id)
                self._state.written.append(made.id)
                count += 1
                yield made
            self._state.told.add(sign.name)  # once what follows from it has been written

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
            del self._state.written[:-MAX_WRITTEN]
            Disk().replace("specder", str(self._path), msgspec.json.encode(self._state), sync=True)

    def _fired(self) -> "Iterator[Sign]":
        """Yield the signs that fire now and have not been told; arm those again that have passed."""
        from repairlab.spool import State as JobState
        from repairlab.toolgen.signs import COLLAPSE, given_up

        signs = [*self._recent.signs(), *given_up(self._jobs(JobState.HARD_FAIL))]
        self._state.told &= {sign.name for sign in signs} | {COLLAPSE}  # of it nothing is said before 20 repairs
        for sign in signs:
            if sign.passed:
                self._state.told.discard(sign.name)
            elif sign.fires and sign.name not in self._state.told:
                yield sign

    def _jobs(self, *states: str) -> "Iterator[Job]":
        from repairlab.errors import Unavailable
        from repairlab.spool import State as JobState

        with suppress(Unavailable, FileNotFoundError):  # there has been no handoff yet
            yield from self._repair.jobs(*(JobState(state) for state in states))

    def _known(self, first: "Sequence[str]") -> "dict[str, Spec]":
        """Return the specs of lineages: of `first`, then of those that were evaluated last, as far as there is room."""
        from repairlab.documents import Spec, decode

        paths, known, room = self._paths(), dict[str, Spec](), MAX_SPECS
        if not first:
            return known
        for lineage in dict.fromkeys([*first, *reversed(paths)]):
            with suppress(BadInput, OSError, KeyError):
                raw = _beneath(self._roots, paths[lineage])
                room -= len(raw)
                if room < 0:
                    break
                known[lineage] = decode(raw, Spec)
        return known

    def _paths(self) -> dict[str, str]:
        """Return lineage → path of its spec, as rows and handoffs name it; the last evaluated lineage last."""
        from repairlab.documents import MAX_BYTES, Handoff, decode
        from repairlab.spool import State as JobState

        found: dict[str, str] = {}
        for job in self._jobs(JobState.HARD_FAIL, JobState.OK):
            with suppress(BadInput, OSError):
                handoff = decode(job.document(), Handoff, max_bytes=MAX_BYTES)
                if handoff.spec_path:
                    found[job.own(job.lineage)] = handoff.spec_path
        return {**self._recent.paths, **found}


def _beneath(roots: Sequence[Path], path: str) -> bytes:
    """Return the bytes of a file that lies in one of the roots, whatever links lead there; else PermissionError.

    Where it lies is asked of the open descriptor, so that nothing can be exchanged before it is read.
    """
    from repairlab.spool.disk import READ, read_all

    fd = os.open(path, READ)
    try:
        real = Path(os.readlink(f"/proc/self/fd/{fd}"))
        if not stat.S_ISREG(os.fstat(fd).st_mode) or not any(real.is_relative_to(root.resolve()) for root in roots):
            raise PermissionError(f"{path} is no file in a root of bundles")
        return read_all(fd, MAX_SPEC)
    finally:
        os.close(fd)
