"""bench/faults: strike the programs at every system call of the protocol, and let the independent judge look.

    python bench/faults.py [--faults 10000] [--minutes N] [--seed N] [--only SCENE …] [--jobs N] [--keep DIR]
    python bench/faults.py --replay watch-repair.judge:renameat2:1:after:KILL …

Each scene is run once with nothing wrong, which tells its calls; then every call meets every kind of fault once, then
random ones follow until there are as many as asked for. A fault costs a fork of this process, which has imported all
programs. After it healthy programs work until nothing is left, and `invariants` says what does not hold.

Prints how many faults of each kind struck and what was violated, then each violation with the name to replay it by.
On stderr each violation is told at once, and every 500 faults how far it is. With --minutes it begins no fault after
that time, and says how many there were; a run that SIGINT or SIGTERM ends says the same.
Exit 0 when there is none, 1 otherwise.
"""

import argparse
import gc
import json
import math
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import invariants
from injection import Fault, Layer, faults_of, without_flushes
from memory import Memory
from scenes import SCENES
from stage import Stage, warm

from repairlab.errors import RepairLabError
from repairlab.process.helpers import PR_SET_CHILD_SUBREAPER, prctl

LIMIT_S = 30.0
FIRST_S = 300.0  # of a scene that meets no fault: what is remembered afterwards is worked out in it
GONE_S = 8.0
TELLS_EVERY = 500  # faults
MACHINE_EVERY = 25  # of how many faults one is followed by a look at all processes of the machine


@dataclass
class Seen:
    """What became of one fault: whether it struck, how the process ended, what the judge found."""

    name: str
    struck: bool = False
    code: int | None = None
    calls: list = field(default_factory=list)
    findings: list = field(default_factory=list)
    said: str = ""
    took_s: float = 0.0


class Trial:
    """One scene, struck once (or watched, with no fault), carried on by healthy programs, and judged."""

    def __init__(self, base, scene, fault=None, *, machine=False, alone=False):
        self._base, self._scene, self._fault, self._machine, self._alone = base, SCENES[scene], fault, machine, alone
        self.seen = Seen(str(fault) if fault else scene)
        self._stage, self._limit_s = Stage(base), LIMIT_S if fault else FIRST_S
        self._hears, self._tells = os.pipe()

    def run(self):
        began = time.monotonic()
        pid = self._fork(self._act)
        os.close(self._tells)
        self.seen.code = self._followed(pid)
        os.close(self._hears)
        self._clear("the struck program")
        if not self._alone:
            self._serve()
        self.seen.findings += invariants.check(self._stage.root, self._stage.ledger, machine=self._machine)
        self.seen.said = (self._base / "said").read_text(errors="replace")[-3000:]
        self.seen.took_s = time.monotonic() - began
        return self.seen

    def _serve(self):
        served = self._fork(lambda: self._scene.served(self._stage))
        if (code := self._waited(served, self._limit_s)) != 0:
            self.seen.findings.append(("unended", f"the healthy programs ended with {code}"))
        self._clear("the healthy programs")

    def _fork(self, act):
        pid = os.fork()
        if pid == 0:
            os._exit(self._child(act))
        return pid

    def _child(self, act):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        said = os.open(self._base / "said", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.close(self._hears)
        code = 70
        try:
            result = act()
            code = result if isinstance(result, int) else 0
        except RepairLabError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            code = error.exit_code
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        except BaseException:
            traceback.print_exc()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        return code

    def _act(self):
        self._scene.ready(self._stage)
        layer = Layer(self._stage.root, self._fault, self._scene.role, self._tells)
        self._stage.layer = layer
        layer.install()
        return self._scene.act(self._stage)

    def _followed(self, pid):
        """Wait for the struck program; while it is stopped or slow, let another work."""
        handle, text, end = os.pidfd_open(pid), b"", time.monotonic() + self._limit_s
        sources = [handle, self._hears]
        while time.monotonic() < end:
            ready, _, _ = select.select(sources, [], [], end - time.monotonic())
            if self._hears in ready:
                piece = os.read(self._hears, 1 << 16)
                text = self._heard(text + piece)
                sources = sources if piece else [handle]
            elif handle in ready:
                os.close(handle)
                return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self.seen.findings.append(("hang", f"it still ran after {self._limit_s:g} s"))
        os.kill(pid, signal.SIGKILL)
        os.close(handle)
        os.waitpid(pid, 0)
        return None

    def _heard(self, text):
        *lines, rest = text.split(b"\n")
        for kind, name, pid in map(json.loads, lines):
            if kind == "call":
                self.seen.calls.append(name)
            else:
                self.seen.struck = True
                if name in ("STOP", "DELAY"):
                    self._meanwhile(pid, stopped=name == "STOP")
        return rest

    def _meanwhile(self, pid, *, stopped):
        """Let another worker act, then let the stopped one go on."""
        while stopped and _state(pid) not in ("T", "Z", ""):
            time.sleep(0.0005)  # it has said that it is about to
        self._waited(self._fork(lambda: self._scene.meanwhile(self._stage)), LIMIT_S)
        if stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _waited(self, pid, within_s):
        handle = os.pidfd_open(pid)
        if not select.select([handle], [], [], within_s)[0]:
            os.kill(pid, signal.SIGKILL)
        os.close(handle)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _clear(self, whose):
        """Reap what the program left to us, its grandparent; what does not end by itself is a finding."""
        end = time.monotonic() + GONE_S
        while _children():
            with suppress(ChildProcessError):
                if os.waitpid(-1, os.WNOHANG)[0]:
                    continue
            if time.monotonic() > end:
                for pid in _children():
                    self.seen.findings.append(("process", f"{pid} of {whose} still ran after {GONE_S:g} s"))
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                return
            time.sleep(0.001)


def _state(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _children():
    pid = os.getpid()
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Course:
    """Many trials, each in a directory of its own that is removed after it."""

    def __init__(self, where, keep=None, *, alone=False):
        self._where, self._keep, self._alone = where, keep, alone
        self._number = 0

    def trial(self, scene, fault=None):
        self._number += 1
        base = self._where / str(self._number)
        base.mkdir()
        seen = Trial(base, scene, fault, machine=self._number % MACHINE_EVERY == 1, alone=self._alone).run()
        if seen.findings and self._keep:
            self._keep.mkdir(exist_ok=True)
            shutil.copytree(base, self._keep / seen.name.replace(":", "-"), symlinks=True, dirs_exist_ok=True)
        _removed(base)
        return seen


def _removed(base):
    for directory, names, _ in os.walk(base):
        for name in names:
            with suppress(OSError):  # a frozen bundle is read-only
                os.chmod(f"{directory}/{name}", 0o700, follow_symlinks=True)
    shutil.rmtree(base)


def plan(recorded, count, dice):
    """Return at most `count` faults: every call with every kind once, in random order, then random ones again."""
    known = [fault for scene, calls in recorded.items() for fault in faults_of(scene, calls)]
    dice.shuffle(known)
    again = [dice.choice(known) for _ in range(count - len(known))]
    return (known + again)[:count], len(known)


def carried_out(faults, jobs, where, until=math.inf, **how):
    """Yield what was seen of each fault that was begun until then, from `jobs` processes side by side."""
    pipes = []
    for number in range(jobs):
        hears, tells = os.pipe()
        if os.fork() == 0:
            os.close(hears)
            begun = takewhile(lambda _: time.monotonic() < until, faults[number::jobs])
            _worker(begun, where / f"w{number}", tells, how)
        os.close(tells)
        pipes.append(os.fdopen(hears, "rb", buffering=0))
    rests = dict.fromkeys(pipes, b"")
    try:
        while rests:
            for pipe in select.select(list(rests), [], [])[0]:
                piece = os.read(pipe.fileno(), 1 << 16)
                *lines, rests[pipe] = (rests[pipe] + piece).split(b"\n")
                yield from (Seen(**json.loads(line)) for line in lines)
                if not piece:
                    del rests[pipe]
                    os.wait()
    finally:
        _end_all()


def _end_all():
    """End who still works when a run is interrupted; whoever a worker leaves behind becomes our child."""
    while children := _children():
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _worker(faults, where, tells, how):
    code = 1
    try:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        where.mkdir()
        course = Course(where, **how)
        for fault in faults:
            seen = course.trial(fault.scene, fault)
            line = json.dumps({**seen.__dict__, "calls": []}).encode() + b"\n"
            while line:
                line = line[os.write(tells, line) :]
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def recorded(scenes, where):
    """Return the calls of each scene when nothing is wrong, which must be so."""
    course, calls = Course(where), {}
    for scene in scenes:
        known, seen = Stage.memory.size(), course.trial(scene)
        if Stage.memory.size() > known:
            seen = course.trial(scene)  # as it is once all is remembered
        if seen.findings or seen.code != 0 or not seen.calls:
            raise SystemExit(f"{scene} fails with no fault (exit code {seen.code}): {seen.findings}\n{seen.said}")
        calls[scene] = seen.calls
    return calls


class Table:
    """Counts of faults and violations."""

    def __init__(self, wanted):
        self.wanted, self.done, self.began = wanted, 0, time.monotonic()
        self.struck, self.violated, self.kinds = Counter(), Counter(), Counter()
        self.missed, self.bugs, self.bad, self.long = 0, [], [], []

    def add(self, seen):
        self.done += 1
        if seen.findings:
            print(f"{seen.name}\t{seen.findings[:3]}", file=sys.stderr, flush=True)
        if self.done % TELLS_EVERY == 0:
            print(f"{datetime.now(UTC):%H:%M:%S} {self.so_far()}", file=sys.stderr, flush=True)
        what = seen.name.rpartition(":")[2]
        self.long = sorted([*self.long, seen], key=lambda one: one.took_s)[-8:]
        self.missed += not seen.struck
        self.struck[what] += seen.struck
        self.violated[what] += bool(seen.findings)
        self.kinds.update({kind for kind, _ in seen.findings})
        self.bad += [seen] if seen.findings else []
        self.bugs += [seen.name] if seen.code == os.EX_SOFTWARE else []

    def so_far(self):
        took_s = time.monotonic() - self.began
        told = f"{self.done:,} of {self.wanted:,} faults, {len(self.bad)} violated something"
        return f"{told}, {took_s:.0f} s, {self.done / took_s:.1f} a second"

    def print(self):
        print(f"{'fault':<10}{'struck':>8}{'violations':>12}")
        for what in sorted(self.struck):
            print(f"{what:<10}{self.struck[what]:>8}{self.violated[what]:>12}")
        print(f"{'all':<10}{self.struck.total():>8}{len(self.bad):>12}")
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.kinds.items())) or "none"
        print(f"violations by kind: {kinds}")
        print(f"{self.missed} faults met no call; {len(self.bugs)} ended with a traceback: {' '.join(self.bugs[:40])}")
        print("longest: " + ", ".join(f"{seen.name} {seen.took_s:.1f} s" for seen in self.long))
        for seen in self.bad[:200]:
            print(f"{seen.name}\t{seen.findings[:3]}")


def _interrupted(*_):
    """End once, however often it is said: timeout(1) tells the process, and then its group."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no fault after that time")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--only", nargs="+", metavar="SCENE", help=f"of {', '.join(SCENES)}")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--where", default="/dev/shm", help="the directory to work in; in memory it goes quickest")
    parser.add_argument("--keep", type=Path, help="copy there what was found wrong")
    parser.add_argument("--alone", action="store_true", help="let nobody carry on: most faults are violations then")
    parser.add_argument("--replay", nargs="+", metavar="FAULT", default=[])
    options = parser.parse_args()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    without_flushes()
    warm()
    gc.freeze()  # else the first collection in each fork would touch, and so copy, every page
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    with tempfile.TemporaryDirectory(prefix="repairlab-faults-", dir=options.where) as scratch:
        where = Path(scratch)
        Stage.memory = Memory(where / "memory")
        faults, known = [Fault.named(name) for name in options.replay], 0
        calls = recorded(dict.fromkeys(fault.scene for fault in faults) or options.only or SCENES, where)
        if not faults:
            faults, known = plan(calls, options.faults, random.Random(options.seed))
        table = Table(len(faults))
        until = time.monotonic() + 60 * options.minutes
        found = carried_out(faults, options.jobs, where, until, keep=options.keep, alone=options.alone)
        with suppress(KeyboardInterrupt), closing(found):
            for seen in found:
                table.add(seen)
                if options.replay:
                    print(f"{seen.name}: struck {seen.struck}, exit code {seen.code}\n{seen.said}")
    table.print()
    print(f"seed {options.seed}: {table.so_far()}; {known:,} different ones known")
    return int(bool(table.bad))


if __name__ == "__main__":
    sys.exit(main())
