"""batch: the verdicts on lists of candidates, many in one fork where that is sound, else each in a fork of its own.

One part of the program that `repairlab.trial.server` assembles (Python 3.8 or newer).

A batch only ever says no: a candidate that fails no test there is judged again in a fork of its own. So that one
candidate cannot spoil the next, what the bundle's modules and tests keep is put back after each (`State`; where that
cannot be done the fork ends there), and each fork ends with canaries: the unchanged code must still fail what it failed
(and did not end the process) and pass what it passed, else all of that fork are judged again one by one.

Verdicts: passed, failed, hang, died, syntax, same (compiles to the code that is there), fresh (needs a fresh import).
"""

import builtins
import dis
import unittest

PIECE = 32  # candidates a fork
GOOD = "psx"
NOT_RUN = "-"
FAR = 2
SOUND, LEFT = "k", "~"  # what a fork notes at its end: canaries as ever; something is left that cannot be put back
MOST_JUDGED = 100_000  # candidates whose digests are remembered, 40 bytes each


class Judge:
    """Judges lists of candidates for the hot worker."""

    def __init__(self, hot):
        self.hot = hot
        self.lanes = Lanes()
        self.orders = {}  # places of what changes → the order of the tests
        self.judged = {}  # what a candidate compiles to, and its factor of time → (verdict, letters)
        items = [item for item, plain in zip(hot.session.items, hot.plain) if plain is not None]
        self.state = State(bundle_modules(os.getcwd()), [held for item in items for held in kept_by(item)])

    def judge(self, request, plan, emit):
        """Hand the [verdict, letters] of `request["batch"]` to `emit`, in order, as they become known.

        Each is judged in a fork of its own where the request says `alone`, or where batches would not be sound.
        """
        self.plan, self.scale, self.partial = plan, request["scale"], max(1, request["partial"])
        self.order, self.failing = plan["order"], plan["failing"]
        count = len(request["batch"])
        self.answers, self.keys, self.twins, self.emitted = [None] * count, {}, {}, 0
        many = self._batchable() and not request.get("alone")

        def done(lane):
            left = self._alone_done(lane) if lane.work.alone else self._done(lane)
            self._emit(emit)
            return left

        self.lanes.run(self._works(request["batch"], many), self._start, done)
        self.answers = [answer or ["died", ""] for answer in self.answers]
        self._emit(emit)

    def _emit(self, emit):
        """Hand over what is known beyond what was handed over before."""
        known = []
        for position in range(self.emitted, len(self.answers)):
            answer = self.answers[self.twins.get(position, position)]
            if answer is None:
                break
            self.answers[position] = answer
            known.append(answer)
        if known:
            self.emitted += len(known)
            emit({"verdicts": known})

    def _batchable(self):
        """True where all that a batch runs is called plainly, and what it leaves behind can be put back."""
        plain, order = self.hot.plain, self.order
        whole = all(plain[index] is not None for index in order)
        self.tests = order if whole else order[: min(self.failing, self.partial)]
        endless = self.plan["endless"]
        self.tasters = [index for index in self.tests[: self.failing][: self.partial] if index not in endless]
        self.canary = [index for index in order[self.failing :] if plain[index] is not None][:1]
        if self.lanes.touched or any(tree.written for tree in TREE):  # what one writes, another would find
            self.lanes.width = 1
            return False
        return self.state.sound and bool(self.tests) and all(plain[index] is not None for index in self.tests)

    def _works(self, batch, many):
        """Yield the work, compiled as late as possible; what compiling decides is left out."""
        jobs = []
        for position, edits in enumerate(batch):
            swaps, self.answers[position] = self.hot.swaps(edits)
            if swaps is not None and not self._known(position, swaps):
                jobs.append((position, swaps))
            if len(jobs) >= (PIECE if many else 1):
                yield Work(jobs, not many)
                jobs, many = [], many and not self.lanes.touched
        if jobs:
            yield Work(jobs, not many)

    @staticmethod
    def _each(jobs):
        return [Work([job], True) for job in jobs]

    def _together(self, jobs):
        """Work for jobs that still stand to be judged, where that is sound in one fork."""
        return self._each(jobs) if self.lanes.touched else [Work(jobs, False)] if jobs else []

    def _known(self, position, swaps):
        """True where these swaps were judged before, or stand in this very request already."""
        key = tuple((live.path, place[0], fresh) for live, place, _new, fresh in swaps)
        for scale in (None, self.scale):
            if (key, scale) in self.judged:
                self.answers[position] = self.judged[key, scale]
                return True
        first = self.keys.setdefault(key, position)
        if first != position:
            self.twins[position] = first
        return first != position

    def _ordered(self, swaps):
        """Return (the order of the tests, how many of them a batch has to run).

        Of the tests that pass, those go first that run what is changed, and those last that do not: a batch leaves them
        to the fork of one's own that follows. The traced run knows which do; it is believed in this and nothing else.
        """
        places = tuple(sorted({(live.path, place) for live, place, _new, _fresh in swaps}))
        if places not in self.orders:
            changed = {}
            for live, place, _new, _fresh in swaps:
                for function in live.functions.get(place, ())[:1]:
                    lines = {line for _, line in dis.findlinestarts(function.__code__)}
                    changed.setdefault(live.path, set()).update(lines)
            distance = {index: self._distance(index, changed) for index in self.order[self.failing :]}
            order = [*self.order[: self.failing], *sorted(distance, key=distance.get)]
            self.orders[places] = order, len(order) - list(distance.values()).count(FAR)
        return self.orders[places]

    def _distance(self, index, changed):
        """0 for a test that runs what is changed, FAR for one that does not, 1 where nobody knows."""
        ran = self.hot.ran.get(index)
        return 1 if ran is None else 0 if any(lines & ran.get(path, set()) for path, lines in changed.items()) else FAR

    def _told(self, swaps, letters):
        """The letters of a candidate in the plan's order, `-` for what has not run."""
        ordered = self._ordered(swaps)[0]
        if len(letters) <= self.failing or ordered == self.order:
            return letters
        known = dict(zip(ordered, letters))
        return "".join(known.get(index, NOT_RUN) for index in self.order).rstrip(NOT_RUN)

    def _decide(self, job, verdict, letters=""):
        position, swaps = job
        letters = self._told(swaps, letters)
        self.answers[position] = [verdict, letters]
        if verdict in ("passed", "failed", "hang", "fresh") and len(self.judged) < MOST_JUDGED:
            key = tuple((live.path, place[0], fresh) for live, place, _new, fresh in swaps)
            self.judged[key, self.scale if verdict == "hang" else None] = [verdict, letters]

    def _allowance(self, letters, tests):
        """CPU seconds for the test that follows those of `letters`, of `tests` in their order."""
        index = tests[min(len(letters), len(tests) - 1)]
        promising = any(letter in GOOD for letter in letters[: self.failing])
        return self.plan["allow"][index] * self.scale * (PROMISING if promising else 1)

    def _start(self, work):
        found = [self._ordered(swaps) for _position, swaps in work.jobs]
        orders = [order if work.alone else order[: min(near, len(self.tests))] for order, near in found]
        if work.alone:
            swaps = work.jobs[0][1]
            body = alone(self._ready, lambda: put(swaps, []) > 0, self.plan, orders[0], self.partial)
        else:
            body = self._body(work.jobs, orders)
        room = (len(work.jobs) + 1) * (len(self.order) + 4)
        ends = [*orders, [*self.tasters, *self.canary] or self.order]  # there may be no canary; to end takes time too
        return Lane(work, body, room, lambda at, letters: self._allowance(letters, ends[min(at, len(orders))]))

    def _ready(self):
        return self.hot.session, self.hot.recorder, self.hot.plain

    def _alone_done(self, lane):
        """Decide on a candidate that had a fork of its own."""
        (job,) = lane.work.jobs
        verdict, letters = alone_verdict(lane, len(self.order))
        if verdict != "passed" and (lane.disturbed or (lane.beside and lane.touched)):
            return [Work([job], True)]
        self._decide(job, verdict, letters)
        return []

    def _done(self, lane):
        """Decide on those that one fork got through; return the work that is left."""
        jobs = lane.work.jobs
        at = self._ended_at(lane)
        if at is None or lane.disturbed:
            return self._each(jobs)  # something was spoiled, and nobody knows since when
        if at == len(jobs):
            sure = lane.touched - 1 if lane.touched else at
            return self._settle(jobs[:sure], lane.found) + self._each(jobs[sure:])
        if at or lane.touched:  # only canaries show that those before it spoiled nothing
            again = self._each(jobs[at : at + 1])
            if lane.verdict is not None and not lane.touched:
                again = self._decide(jobs[at], lane.verdict) or []
            return self._together(jobs[:at]) + again + self._together(jobs[at + 1 :])
        if lane.verdict is not None:
            self._decide(jobs[0], lane.verdict)
            return self._together(jobs[1:])
        return self._settle(jobs[:1], lane.found) + self._together(jobs[1:])

    def _ended_at(self, lane):
        """Return which candidate ended the fork, their count for none of them; None where the canaries say no.

        One ends its fork where it hangs or dies, or where what it left behind cannot be put back.
        """
        count = len(lane.work.jobs)
        whole, last = len(lane.found) - 1, lane.found[-1]
        if lane.verdict is not None and lane.at < count:
            return max(0, min(lane.at, whole))
        if 0 < whole <= count and last == LEFT:
            return whole - 1
        return count if whole >= count and last == SOUND else None

    def _settle(self, jobs, lines):
        """Decide on `jobs` by their lines of letters; return the work that is left."""
        again = []
        for job, letters in zip(jobs, lines):
            if self._settled(letters):
                self._decide(job, "failed", letters)
            else:
                again += self._each([job])
        return again

    def _settled(self, letters):
        """True for a candidate on which a batch has the last word: it fails a test; '' could not be swapped in.

        One that repairs something is judged again with all tests, unless it breaks something or has had them all.
        """
        repairs = any(letter in GOOD for letter in letters[: self.failing])
        fails = any(letter not in GOOD for letter in letters)
        breaks = any(letter not in GOOD for letter in letters[self.failing :])
        return fails and (not repairs or breaks or len(letters) == len(self.order))

    def _body(self, jobs, orders):
        """Return what a fork does that judges many, each by the tests of its order."""
        state, place, environ = self.state, os.getcwd(), dict(os.environ)
        known = dict(vars(builtins))

        def body(page):
            gc.disable()
            self.hot.recorder.keep_excinfo = False
            for (_position, swaps), tests in zip(jobs, orders):
                page.begin()
                undo = []
                try:
                    if put(swaps, undo):
                        self._run(tests, page.note, Progress(self.failing, self.partial))
                except ValueError:  # other free variables: this one needs a fresh import
                    pass
                for function, back in undo:
                    function.__code__ = back
                page.note("\n")
                if page.inner:
                    os.chdir(place)
                    os.environ.clear()
                    os.environ.update(environ)
                if not state.restored():
                    page.note(LEFT)
                    return
            page.begin()
            letters = []
            self._run(self.tasters, letters.append)
            same = not set(letters) & set(GOOD) and vars(builtins) == known
            self._run(self.canary, letters.append)
            same = same and letters[len(letters) - len(self.canary) :] == ["p"] * len(self.canary)
            page.note(SOUND if same else "-")

        return body

    def _run(self, tests, note, go_on=lambda good: True):
        """Run `tests` plainly as long as `go_on` says so, and note the letter of each."""
        plain, recorder = self.hot.plain, self.hot.recorder
        for index in tests:
            recorder.begin()
            call_plainly(plain[index], recorder)
            note(recorder.outcome)
            if not go_on(recorder.outcome in GOOD):
                break


def kept_by(item):
    """What a plain call of `item` hands to each of its runs: the object that it is a method of, and its parameters.

    A `unittest.TestCase` is another one each time.
    """
    if isinstance(getattr(item.parent, "obj", None), type) and issubclass(item.parent.obj, unittest.TestCase):
        return []
    spec = getattr(item, "callspec", None)
    return [getattr(item.obj, "__self__", None)] + (list(spec.params.values()) if spec is not None else [])


def put(swaps, undo):
    """Give the live functions their new code, noting the old in `undo`; return how many there were."""
    for live, place, new, _fresh in swaps:
        for function in live.functions.get(place, ()):
            old = function.__code__
            function.__code__ = new
            undo.append((function, old))
    return len(undo)


def alone(prepare, apply, plan, order, partial):
    """Return what a fork does that judges one candidate; `prepare` gives (session, recorder, plain calls) inside it."""
    names = plan.get("ids")

    def body(page):
        gc.disable()
        page.begin()
        session, recorder, plain = prepare()
        recorder.keep_excinfo = False
        try:
            applied = apply()
        except ValueError:  # other free variables
            applied = False
        if not applied:
            page.note("?")
        elif names is not None and [item.nodeid for item in session.items] != names:
            page.note("#")
        else:
            go_on = Progress(plan["failing"], partial)

            def report(index, outcome, cpu, wall):
                page.note(outcome)
                return go_on(outcome in GOOD)

            run_tests(session, recorder, order, None, report, None, plain)
            page.note("\n")

    return body


def alone_verdict(lane, count):
    """Return (verdict, letters) of a candidate that had a fork of its own; `passed` needs every test and the status."""
    letters = lane.found[0]
    if lane.verdict is not None:
        return lane.verdict, letters
    if letters in ("?", "#"):
        return {"?": "fresh", "#": "ids"}[letters], ""
    good = len(lane.found) == 2 and len(letters) == count and all(letter in GOOD for letter in letters)
    return "passed" if good else "failed", letters


class Progress:
    """Whether the next test of a candidate is worth running.

    The first `failing` tests are those that fail at baseline. Up to `partial` of them run even where one fails, to see
    whether the candidate repairs some; the passing ones run only for a candidate that repairs at least one.
    """

    def __init__(self, failing, partial):
        self.failing = failing
        self.partial = partial
        self.seen = self.good = 0
        self.broken = False

    def __call__(self, good):
        self.seen += 1
        self.good += good
        if self.seen > self.failing:
            return good
        self.broken = self.broken or not good
        if self.broken and self.seen >= self.partial and not self.good:
            return False
        return not (self.seen == self.failing and self.broken and not self.good)
