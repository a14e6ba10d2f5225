"""bench/scenes_tournament: the evaluator, the tool maker, and what lives on what they leave, under faults.

What runs in sandboxes is run once, for real, and remembered (`memory`): faults strike what is done with its result.
"""

import json
from functools import cached_property

from memory import Memory
from stage import LATER_S, ROUNDS, Scene, ahead, cleans, finishes_all, in_a_fork

from repairlab.config import Settings
from repairlab.documents import Challenger, Strategy, encode
from repairlab.documents.specs import Example, Spec
from repairlab.evaluate import contest, extract
from repairlab.evaluate.main import main as evaluator
from repairlab.operate.main import main as operator
from repairlab.repair.diff import unified
from repairlab.sandbox import open_sandbox
from repairlab.sandbox.bundle import BundleLimits, tree_hash
from repairlab.toolgen import maker, specder
from repairlab.toolgen.main import main as toolgen
from repairlab.toolgen.synthesis import Body
from repairlab.trial.bundle import Bundle
from repairlab.trial.runs import Run, Trial

BROKEN = "def total(xs):\n    n = 1\n    for x in xs:\n        n += x\n    return n\n"
RIGHT = BROKEN.replace("n = 1", "n = 0")
OTHER = "def total(xs):\n    return sum(map(int, xs))\n"
WRONG = BROKEN.replace("n = 1", "n = 2")
TESTS = "from m import total\n\n\ndef test_none():\n    assert total([]) == 0\n"
MORE = TESTS + '\n\ndef test_text():\n    assert total(["1", "2"]) == 3\n'
SPECS = {
    "gap": ("gap(one: int, two: int) -> int", [([5, 1], 4), ([0, 1], 1), ([2, 2], 0), ([9, 3], 6)]),
    "words": ("words(n: int) -> str", [(3, "three"), (7, "seven"), (40, "forty"), (2, "two")]),
}


class Asleep:
    """A sandbox that is opened once something is to run in it."""

    memory: Memory

    def __init__(self, settings):
        self._settings = settings

    @cached_property
    def _real(self):
        return open_sandbox(self._settings)

    @property
    def tier(self):
        return self.memory.known("tier", str, lambda: self._real.tier)

    def start(self, *args, **kwargs):
        return self._real.start(*args, **kwargs)


def remembering(memory):
    """Let this process know from memory what is the same each time."""
    run, robust, search = Trial.run, contest.robustness, maker.synthesised

    def ran(trial, *, seed=None, sources=()):
        key = (trial.entries, trial.tests, sorted(trial.env.items()), trial.import_paths, seed, list(sources))
        return memory.known(key, Run, lambda: run(trial, seed=seed, sources=sources))

    def robustly(setup, edits):
        key = (sorted(setup.bundle.files.items()), edits)
        return memory.known(key, tuple[float, int], lambda: robust(setup, edits))

    Asleep.memory = memory
    Trial.run, contest.robustness = ran, robustly
    contest.open_sandbox = maker.open_sandbox = Asleep
    maker.synthesised = lambda wish, seconds: memory.known(wish.spec, Body, lambda: search(wish, seconds))


# What lies there before


def challenges(stage, after=RIGHT, tests=TESTS, name="1", **fields):
    """Hand in a challenger whose patch makes `after` of what is broken."""
    bundle = stage.root / "bundles" / name
    bundle.mkdir(parents=True)
    (bundle / "m.py").write_text(BROKEN)
    (bundle / "test_m.py").write_text(tests)
    read = Bundle.read(bundle, tests=[], editable=[], limits=BundleLimits())
    made = Challenger(
        ts=1.0, source="test", bundle_dir=str(bundle), spec_path=None, lineage="line", original_epoch=None,
        original_fitness=None, repair_strategy=Strategy.HEURISTIC_MICROFIX, repair_pattern_id=None, repair_attempts=3,
        repair_details="initial value at m.py:2", bundle_sha256=read.sha256({"m.py": after.encode()}),
        parent_sha256=tree_hash(bundle), meta_repair=True, idempotency_key=f"k{name}", failing=["test_m.py::test_none"],
        patch=unified({"m.py": (BROKEN.encode(), after.encode())}).decode(), **fields,
    )  # fmt: skip
    stage.spool("challengers").create()
    return stage.publish([(encode(made), f"challenger_{name}.json")], "challengers")


def refused(stage):
    challenges(stage)
    (stage.root / "bundles" / "1" / "m.py").write_text(WRONG)  # it is not the one that was repaired


def champion(stage):
    challenges(stage)
    in_a_fork(lambda: evaluates(stage))
    _note(stage)


def _note(stage):
    """Keep who stands, as the page of the patch tells it: who demotes says whom."""
    (stage.base / "stands").write_text((stage.root / "champions/line/current").readlink().name)


def equal(stage):
    champion(stage)
    challenges(stage, name="2")


def better(stage):
    champion(stage)
    challenges(stage, OTHER, MORE, name="2")


def two_champions(stage):
    better(stage)
    in_a_fork(lambda: evaluates(stage))
    _note(stage)


def learnt(stage):
    champion(stage)
    in_a_fork(lambda: stage.run(extract.main))
    (next((stage.root / "patterns").glob("*.json"))).rename(stage.root / "patterns" / f"{'0' * 32}.json")


def specified(stage, name, **fields):
    signature, examples = SPECS[name]
    told = [Example(input=given, output=result) for given, result in examples]
    spec = Spec(id=name, task="Return what it says.", signature=signature, examples=told, **fields)
    stage.spool("specs").create()
    stage.publish([(encode(spec), f"spec-{name}.json")], "specs")


def stuck(stage):
    """Rows of a lineage that brought no promotion, and its spec where a tool's lies."""
    specified(stage, "gap")
    in_a_fork(lambda: makes(stage))
    in_a_fork(lambda: evaluates(stage))
    in_a_fork(lambda: _eight_more(stage))


def _eight_more(stage):
    ended = next(stage.spool("challengers").jobs())
    raw = json.loads(ended.document())
    for number in range(8):
        document = json.dumps(raw | {"ts": 2.0 + number, "idempotency_key": f"again-{number}"}).encode()
        stage.publish([(document, f"challenger_again-{number}.json")], "challengers")
    evaluates(stage)


# What is done


def evaluates(stage):
    remembering(stage.memory)
    return stage.run(evaluator, "--once")


def makes(stage):
    remembering(stage.memory)
    return stage.run(toolgen, "--once", TOOLGEN_SEARCH_S="1")


def demotes(stage):
    return stage.run(operator, "demote", "line", (stage.base / "stands").read_text())


def extracts(stage):
    return stage.run(extract.main)


def specifies(stage):
    return stage.run(specder.main)


# Who carries on


def to_the_end(stage):
    """Let healthy tool makers and evaluators come, each later than the one before, until nothing waits; clean up."""
    for turn in range(ROUNDS):
        _served_once(stage, LATER_S + turn * 300.0)  # who has nothing to do sweeps
        if not stage.waits("specs") and not stage.waits("challengers"):
            break
    ahead(LATER_S)
    finishes_all(stage, "repair")
    stage.spool().sweep()
    cleans(stage)


def _served_once(stage, seconds):
    for act in (makes, evaluates):
        in_a_fork(lambda act=act: (ahead(seconds), act(stage)))


def again(act, *wanted):
    """Who died is started once more; then all goes on, and what is wanted must hold."""

    def served(stage):
        in_a_fork(lambda: act(stage))
        to_the_end(stage)
        for holds in wanted:
            holds(stage)

    return served


def demoted(stage):
    """Who stood has been demoted, whoever finished it."""
    champion = stage.root / "champions" / "line" / (stage.base / "stands").read_text()
    if not (champion / "demoted.json").exists():
        raise AssertionError(f"{champion} is not demoted")


def mined(stage):
    """The library holds what the champions teach, and no more."""
    library = extract.Extraction(stage.root, Settings())
    library.mine()
    found = {path.stem for path in (stage.root / "patterns").glob("*.json")}
    if found != set(library.patterns) or not found:
        raise AssertionError(f"patterns {sorted(found)} instead of {sorted(library.patterns)}")


def _tournament_scenes():
    def scene(ready, act, served=to_the_end, meanwhile=evaluates):
        return Scene(ready, act, served, meanwhile=meanwhile)

    return {
        "evaluate-first": scene(challenges, evaluates),
        "evaluate-better": scene(better, evaluates),
        "evaluate-equal": scene(equal, evaluates),
        "evaluate-incorrect": scene(lambda stage: challenges(stage, WRONG), evaluates),
        "evaluate-refused": scene(refused, evaluates),
        "demote": scene(two_champions, demotes, again(demotes, demoted)),
        "demote-only": scene(champion, demotes, again(demotes, demoted)),
        "extract": scene(champion, extracts, again(extracts, mined), extracts),
        "extract-again": scene(learnt, extracts, again(extracts, mined), extracts),
        "toolgen-tool": scene(lambda stage: specified(stage, "gap"), makes, meanwhile=makes),
        "toolgen-handoff": scene(lambda stage: specified(stage, "words"), makes, meanwhile=makes),
        "specder": scene(stuck, specifies, again(specifies), specifies),
    }


TOURNAMENT = _tournament_scenes()
