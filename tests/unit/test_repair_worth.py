"""What plausible patches are worth: overfitting, clusters by behaviour, the question, derived inputs, held-out runs."""

import types
from dataclasses import replace
from pathlib import Path

import pytest

from repairlab.errors import BadInput
from repairlab.repair.candidates import Change
from repairlab.repair.clusters import Cluster, clustered, question, singly, weigh
from repairlab.repair.confirmation import accepted
from repairlab.repair.offering import offered, special
from repairlab.repair.ranking import Plausible
from repairlab.sandbox.tree import BundleLimits
from repairlab.trial import server
from repairlab.trial.bundle import Bundle
from repairlab.trial.overfitting import Guard
from repairlab.trial.probes import Behaviour, Input, Outcome
from repairlab.trial.source import Edit
from repairlab.trial.validation import PlainRun

MODULE = """\
RATES = {"km": 1000}


def price(weight, unit="kg"):
    if weight < 0:
        return 0
    total = weight * 3
    return total + 1


def even(n):
    return n % 2 == 1


def fixed():
    return 4


def ordered(xs):
    xs.sort()
    return xs


def small(n):
    return n in (-1,)


def named(modules):
    return [name for name in []]
"""
TESTS = (
    "from mod import price, even\n\ndef test_a():\n    assert price(17) == 52\n    assert price(3, 'g') == 'cheap'\n"
)
FILES = {"mod.py": MODULE, "test_mod.py": TESTS, "secret/test_more.py": "SECRET = 987654\n", "secret/data.txt": "x"}


def made(path, files=FILES, **fields):
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return Bundle.read(path, **({"tests": [], "editable": [], "limits": BundleLimits()} | fields))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return made(tmp_path_factory.mktemp("bundle"))


def edit(old, new, path="mod.py"):
    at = MODULE.index(old)
    return Edit(path, at, at + len(old), new)


def patch(old="weight * 3", new="weight * 2", score=0.5, path="mod.py"):
    change = Change((edit(old, new, path),), (path, 1), "operators", "test", score)
    return Plausible((change,), score, 1)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("    total =", "    if weight == 17:\n        return 52\n    total =", "answers 17"),
        ("    total =", "    if 17 == weight and unit:\n        return 52\n    total =", "answers 17"),
        ("    total =", "    if weight in (17, 18):\n        return 52\n    total =", "answers 17"),
        ("    total =", "    if unit == 'g':\n        return 'cheap'\n    total =", "answers 'g'"),
        ("total + 1", "52 if weight == 17 else total + 1", "answers 17"),
        ("total + 1", "{17: 52}.get(weight, total + 1)", "answers 17"),
        ("    total =", "    match weight:\n        case 17:\n            return 52\n    total =", "answers 17"),
        ("n % 2 == 1", "True", "return True whatever it is given"),
        ("    total =", "    return 52\n    total =", None),  # what came before still decides
        ("    if weight < 0:\n", "    return 52\n    if weight < 0:\n", "return 52 whatever it is given"),
        ("    total =", "    import sys\n    weight = 'pytest' in sys.modules\n    total =", "looks for"),
        ("    total =", "    import inspect\n    inspect.currentframe()\n    total =", "looks for currentframe"),
        ("    total =", "    import inspect\n    inspect.stack()\n    total =", "looks for inspect"),
        ("    total =", "    import traceback\n    traceback.extract_stack()\n    total =", "looks for extract_stack"),
        ("    total =", "    traceback.walk_stack(None)\n    total =", "looks for walk_stack"),
        ("    total =", "    unit = sys._current_frames()\n    total =", "looks for _current_frames"),
        ("    total =", "    unit = unit.tb_frame.f_back\n    total =", "looks for f_back"),
        ("    total =", "    import sys as s\n    unit = s.argv[0]\n    total =", "looks for sys.argv"),
        ("    total =", "    from sys import modules as m\n    total =", "looks for sys.modules"),
        ("    total =", "    unit = __import__('sys').modules\n    total =", "looks for sys.modules"),
        ("    total =", "    unit = getattr(sys, 'modules')\n    total =", "looks for sys.modules"),
        ("    total = weight * 3\n", "    if weight != 17:\n        return weight * 3\n    return 52\n", "answers 17"),
        ("    total =", "    if weight not in (17,):\n        return weight\n    return 52\n    total =", "answers 17"),
        ("    total = weight * 3\n    return total + 1", "    else:\n        return 0", "price return 0 whatever"),
    ],
)  # fmt: skip
def test_a_patch_that_answers_the_tests_and_not_the_question_is_objected_to(bundle, old, new, why):
    objection = Guard(bundle).objection([edit(old, new)])
    assert (objection is None) if why is None else (objection is not None and why in objection)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("weight * 3", "weight * 2"),
        ("== 1", "== 0"),
        ("    total =", "    if weight == 0:\n        return 0\n    total ="),  # a base case
        ("    total =", "    if unit == 'lb':\n        return 5\n    total ="),  # stands in no test
        ("    total =", "    if unit == 'g':\n        weight = weight / 1000\n    total ="),  # computes its answer
        ("    if weight < 0:\n        return 0\n", ""),
        ("return 4", "return 5"),  # gave a constant before
        ('"km": 1000', '"km": 1000, "m": 1'),
        ("    xs.sort()\n    return xs", "    xs.sort()\n    return None"),  # works in place, as its callers expect
        ("    return n in (-1,)", "    if n < 0:\n        return True"),  # falls through otherwise
        ("    return n in (-1,)", "    if n < 0:\n        return True\n    return"),
        ("for name in []", "for name in modules"),  # a parameter, and not what sys has
        ("for name in []", "for stack in modules"),
    ],
)
def test_an_ordinary_repair_is_not_objected_to(bundle, old, new):
    assert Guard(bundle).objection([edit(old, new)]) is None


def test_a_patch_of_a_test_or_of_a_file_that_may_not_be_edited_is_never_offered(bundle):
    good, weakening = patch(), patch(path="test_mod.py")
    assert offered(bundle, [weakening, good, patch(path="elsewhere.py")]) == [good]


def test_a_patch_of_a_file_that_did_not_parse_is_offered_and_those_beside_it_are_looked_at(tmp_path):
    torn = made(tmp_path, FILES | {"torn.py": "def f(:\n    return 1\n"})
    mend = Plausible((Change((Edit("torn.py", 6, 6, "x"),), ("torn.py", 1), "load", "test", 0.5),), 0.5, 1)
    assert offered(torn, [mend, patch("weight * 3", "'pytest'")]) == [mend]


def outcomes(*texts):
    return [Outcome(text, text) for text in texts]


def behaviour(seen, derived, *patches):
    inputs = [Input(f"f({name})", True) for name in seen] + [Input(f"f({name})", False) for name in derived]
    return Behaviour(inputs, {str(i): outcomes(*texts) for i, texts in enumerate(patches) if texts is not None})


def test_a_patch_that_differs_on_tests_inputs_alone_is_a_special_case(bundle):
    narrow = patch("    total =", "    if unit == 'g':\n        weight = weight / 9\n    total =")
    derived = [str(n) for n in range(12)]
    seen = behaviour("x", derived, ["a"] + ["b"] * 12, ["a"] + ["c"] * 12, ["z"] + ["b"] * 12)
    assert special(bundle, [narrow, narrow], seen) == {0}
    assert special(bundle, [patch(), narrow], seen) == set()  # compares with no input of a test: a narrow bug
    other = patch("weight < 0", "weight == 17")  # another literal in a comparison that was there: a repair
    assert special(bundle, [other], behaviour("x", derived, ["a"] + ["b"] * 12, ["z"] + ["b"] * 12)) == set()
    few = behaviour("x", "y", ["a", "b"], ["z", "b"])
    assert special(bundle, [narrow], few) == set()


def test_patches_that_agree_on_every_input_are_one_cluster():
    first, second, third = (patch(score=score) for score in (0.9, 0.8, 0.7))
    seen = behaviour("x", "yz", ["1", "2", "3"], ["1", "2", "4"], ["1", "2", "3"], ["1", "9", "9"])
    found = clustered([first, second, third], seen)
    assert [(cluster.patches, cluster.size) for cluster in found] == [([first, third], 2), ([second], 1)]


def test_a_larger_cluster_of_less_likely_patches_may_lead_and_a_composition_weighs_less():
    alone, *many = (patch(score=score) for score in (0.4, 0.3, 0.3))
    seen = behaviour("x", "y", ["1", "2"], ["1", "3"], ["1", "3"], ["1", "9"])
    assert [cluster.patches for cluster in clustered([alone, *many], seen)] == [many, [alone]]
    both = Plausible(alone.changes * 2, 0.5, 1)
    apart = behaviour("x", "y", ["1", "2"], ["1", "3"], ["1", "9"])
    assert [cluster.patches for cluster in clustered([both, alone], apart)] == [[alone], [both]]


def test_an_edit_of_a_kind_that_passes_by_chance_leads_only_with_a_clearly_better_score():
    (change,) = patch(score=0.5).changes
    lucky, usual = Plausible((replace(change, note="arithmetic operator"),), 0.5, 1), patch(score=0.4)
    seen = behaviour("x", "y", ["1", "2"], ["1", "3"], ["1", "9"])
    assert [cluster.patches for cluster in clustered([lucky, usual], seen)] == [[usual], [lucky]]
    assert [cluster.patches for cluster in clustered([replace(lucky, score=0.8), usual], seen)][1] == [usual]
    composed = Plausible(lucky.changes * 2, 0.5, 1)
    assert composed.worth == composed.score


def test_inputs_that_no_time_was_left_for_do_not_part_patches():
    seen = behaviour("x", "yz", ["1", "2", "ended"], ["1", "ended", "3"], ["1", "3", "3"], ["0", "0", "0"])
    assert [cluster.size for cluster in clustered([patch(), patch(), patch()], seen)] == [2, 1]


def test_confidence_grows_with_agreement_and_with_the_calls_of_tests_and_never_sums_above_one():
    def confidences(sizes, calls, correct=None):
        clusters = [Cluster([patch()] * size) for size in sizes]
        clusters[0].correct = correct
        weigh(clusters, behaviour(map(str, range(calls)), ""))
        assert sum(cluster.confidence for cluster in clusters) <= 1.001
        return [cluster.confidence for cluster in clusters]

    assert confidences([3], 2)[0] > confidences([3, 1], 2)[0] > confidences([3, 3, 3], 2)[0]
    assert confidences([3], 8)[0] > confidences([3], 1)[0]
    assert confidences([3, 1], 2, correct=False)[0] == 0.0
    assert confidences([3], 1000)[0] <= 0.91
    assert confidences([3, 3], 1000) == confidences([3, 3], 20)
    several = Cluster([Plausible(patch().changes * 2, 0.5, 1)])
    weigh([several], behaviour("ab", ""))
    assert several.confidence < confidences([1], 2)[0]


def test_inputs_that_the_code_was_never_meant_for_do_not_part_patches():
    broken, original = "raises ValueError", "raises KeyError"
    seen = behaviour("x", "y", ["1", broken], ["1", "5"], ["1", broken], ["0", original])
    assert len(clustered([patch(), patch(), patch()], seen)) == 1
    repaired = behaviour("x", "y", ["1", "2"], ["1", "5"], ["1", "2"], ["0", original])
    assert len(clustered([patch(), patch(), patch()], repaired)) == 2


def test_patches_of_which_nothing_is_known_stay_apart():
    assert len(clustered([patch(), patch()], Behaviour())) == 2
    short = behaviour("x", "yz", ["1", "2"], ["1", "2"], ["1", "2", "3"])  # a patch that tells less than all
    assert len(clustered([patch(), patch()], short)) == 2


def test_the_question_is_the_shortest_call_that_both_answer():
    calls = ["long_one_here", "10", "7"]
    ours, theirs, original = ["a", "b", "c"], ["a2", "b2", "never ends"], ["", "", ""]
    seen = behaviour("x", calls, ["same", *ours], ["same", *theirs], ["0", *original])
    asked = question(clustered([patch(), patch()], seen), seen)
    assert (asked.call, asked.likeliest, asked.other) == ("f(10)", "b", "b2")
    assert question(singly([patch(), patch()]), Behaviour()) is None


@pytest.mark.parametrize(
    ("good", "run"),
    [
        (True, PlainRun(exit=0, cases=[("a", "t", "p"), ("a", "u", "s")])),
        (False, PlainRun(exit=0, cases=[("a", "t", "s")])),  # everything skipped proves nothing
        (False, PlainRun(exit=0, cases=None)),
        (False, PlainRun(exit=1, cases=[("a", "t", "p")])),
        (False, PlainRun(exit=0, cases=[("a", "t", "p"), ("a", "u", "f")])),
        (False, PlainRun(exit=0, cases=[("a", "t", "p")], timed_out=True)),
    ],
)
def test_held_out_tests_accept_only_what_status_and_report_say_together(good, run):
    assert accepted(run) is good


@pytest.mark.parametrize("path", ["nothing.py", "../m.py", "/etc/passwd", "secret", "secret/data.txt", ""])
def test_a_benchmark_that_cannot_be_meant_is_refused(tmp_path, path):
    with pytest.raises(BadInput) as caught:
        made(tmp_path, benchmark=path)
    assert caught.value.field == "benchmark"


def test_a_benchmark_is_no_source(tmp_path):
    (name, *_) = made(tmp_path).sources
    declared = made(tmp_path, benchmark=f"./{name}")
    assert (declared.benchmark, name in declared.sources) == (name, False)


def test_held_out_files_count_in_the_hash_and_nowhere_else(tmp_path):
    whole, apart = made(tmp_path), made(tmp_path, held_out=["secret"])
    assert apart.sha256() == whole.sha256()
    assert not {name for name, _, _ in apart.entries()} & set(apart.held_out)
    assert set(apart.held_out) == {"secret/test_more.py", "secret/data.txt"}
    assert apart.held_out_tests == ["secret/test_more.py"]
    assert "987654" in Guard(whole).literals
    assert "987654" not in Guard(apart).literals


@pytest.mark.parametrize("pattern", ["nothing*.py", "../x.py", "/etc/passwd", "secret/*.txt"])
def test_a_held_out_pattern_that_cannot_be_meant_is_refused(tmp_path, pattern):
    with pytest.raises(BadInput) as caught:
        made(tmp_path, held_out=[pattern])
    assert caught.value.field == "held_out"


@pytest.fixture(scope="module")
def derived():
    """The part of the server that describes and derives values."""
    space = types.ModuleType("derived")
    path = Path(server.__file__).parent / "derived.py"
    exec(compile(path.read_text(), str(path), "exec"), space.__dict__)
    return space


VALUES = [3, -2.5, "abc def", b"xy", True, [1, 2, 3], (1, "a"), {"k": [1]}, {1, 2}, frozenset("a"), [], "", {}]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_derived_values_keep_their_type_and_leave_the_original_alone(derived, value):
    before = repr(value)
    found = derived.Mutator(1).near(value)
    assert {type(each) for each in found} <= {type(value)}
    assert repr(value) == before
    assert any(each != value for each in found) or not value
    assert list(map(repr, found)) == list(map(repr, derived.Mutator(1).near(value)))


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_described_value_is_source_of_that_value(derived, value):
    assert eval(derived.Describer()(value)) == value


def test_descriptions_are_bounded_and_know_no_addresses(derived):
    loop = []
    loop.append(loop)
    assert len(derived.Describer()(loop)) < 1000
    assert len(derived.Describer()("x" * 10**6)) < 1000
    assert len(derived.Describer()([[0] * 10**4] * 10**3)) < 50_000
    assert len(derived.Describer()(10**10000)) < 100
    assert derived.Describer()(types.SimpleNamespace(a=1)) == "namespace(a=1)"
    assert derived.Describer()(object()) == "object()"


def test_numbers_that_are_equal_are_described_alike_only_where_clusters_are_made(derived):
    loose, exact = derived.Describer(True), derived.Describer()
    assert loose([2.0, 0.1 + 0.2]) == loose([2, 0.3])
    assert exact(2.0) != exact(2)
    assert loose(True) != loose(1)


def test_what_an_iterator_or_a_coroutine_gives_is_drawn_from_it_within_bounds(derived):
    def forever():
        while True:
            yield 1

    async def answer():
        return 5

    assert derived.settled(forever()) == [1] * derived.MAX_DRAWN
    assert derived.settled(map(str, [1, 2])) == ["1", "2"]
    assert derived.settled(answer()) == 5
