"""Whole functions in the place of others: what stays, what comes along, what is mapped, what does not fit."""

import ast
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from repairlab.config import Settings
from repairlab.documents import EditPattern, HoleKind, Pattern, PatternKind, Strategy, pattern_id
from repairlab.patterns import fingerprint, function_pattern, similarity
from repairlab.patterns.functions import parameters
from repairlab.repair.literals import project_of
from repairlab.repair.patterns import Library, Transplants, mapping
from repairlab.repair.patterns.mapping import Unmapped, fits
from repairlab.repair.patterns.renaming import renamed
from repairlab.repair.stages import Ledger
from repairlab.repair.strategies import BEFORE_SHARE, OUT_OF_SHARE, Strategies
from repairlab.trial.bundle import Bundle
from repairlab.trial.source import Source

VERIFIED = '''"""Verified."""
import math

FACTOR = 10


def scaled(x):
    return x * FACTOR


def total_price(items, rate=0.5):
    """Total of the prices."""
    total = 0
    # every item
    for item in items:
        total += math.floor(scaled(item) * (1 + rate))
    return total
'''


def whole(text, name):
    found = function_pattern(text, name)
    assert found is not None
    return Pattern(id=pattern_id(found), origin="spec-1", kind=PatternKind.FUNCTION, function=found)


def transplanted(text, *patterns):
    """(strategy, new text) of every candidate, the likeliest first, and what did not fit."""
    library = Library()
    for pattern in patterns:
        library._admit(pattern)
    source = Source("m.py", text, "utf-8")
    suspicion = {("m.py", line): 1.0 for line in range(1, len(source.starts) + 1)}
    project = project_of({}, {"m.py": source}, {}, 1)
    transplants = Transplants(library, {"m.py": source}, suspicion, project)
    found = [
        (change, source.edited(change.edits))
        for strategy in (Strategy.PATTERN_TRANSPLANT, Strategy.SIGNATURE_ADAPTER)
        for change in transplants.of(strategy)
    ]
    for _, made in found:
        compile(made, "m.py", "exec")
    return found, transplants.told


def called(text, name, *args, **kwargs):
    space = {}
    exec(compile(text, "m.py", "exec"), space)
    return space[name](*args, **kwargs)


TARGET = '''"""Ours."""
import os

LIMIT = os.sep


@staticmethod
def price_total( rows , rate = 1 ):   # as it was
    """Total of prices."""
    return sum(rows)  # wrong


AFTER = 1  # stays
'''


def test_a_function_keeps_its_signature_and_docstring_and_gets_a_verified_body():
    ((change, made), *_), _ = transplanted(TARGET, whole(VERIFIED, "total_price"))
    assert change.strategy is Strategy.PATTERN_TRANSPLANT
    assert called(made, "price_total", [1, 2], rate=1) == 60
    head, tail = made.split("@staticmethod\n")
    assert head.startswith('"""Ours."""\nimport os\nimport math\n\nLIMIT = os.sep\n\n\nFACTOR = 10\n')
    assert tail.startswith(
        'def price_total( rows , rate = 1 ):   # as it was\n    """Total of prices."""\n    total = 0\n'
    )
    assert "    # every item\n    for item in rows:\n" in tail
    assert tail.endswith("    return total\n\n\nAFTER = 1  # stays\n")


def test_names_that_are_taken_are_brought_along_under_others():
    clash = TARGET.replace("LIMIT = os.sep", "math, FACTOR = 1, 2\n\n\ndef scaled(x):\n    return 'ours'").replace(
        "math, FACTOR = 1, 2", "math = 1\nFACTOR = 2"
    )
    ((_, made), *_), _ = transplanted(clash, whole(VERIFIED, "total_price"))
    assert called(made, "price_total", [1, 2], rate=1) == 60
    assert called(made, "scaled", 3) == "ours"
    assert "import math as math_2\n" in made


def test_what_is_there_already_is_not_brought_again():
    there = VERIFIED.replace("    return total\n", "    return 0\n")
    ((_, made), *_), _ = transplanted(there, whole(VERIFIED, "total_price"))
    assert made == VERIFIED


def test_a_method_keeps_its_object_and_its_line_ends():
    verified = "class A:\n    def most(self, xs):\n        best = max(xs)\n        return best + self.n\n"
    text = "class B:\r\n\tn = 1\r\n\tdef most(self, rows):\r\n\t\treturn max(rows)\r\n\tx = 2"
    ((change, made), *_), _ = transplanted(text, whole(verified, "A.most"))
    assert change.strategy is Strategy.PATTERN_TRANSPLANT
    assert made == text.replace("return max(rows)", "best = max(rows)\r\n\t\treturn best + self.n")


def test_another_order_of_parameters_is_mapped_by_name_and_said():
    verified = "def clamp(value, low, high):\n    return min(max(value, low), high)\n"
    text = "def clamp(low, high, number):\n    return max(low, number)\n"
    found, _ = transplanted(text, whole(verified, "clamp"))
    adapters = [(c, made) for c, made in found if c.strategy is Strategy.SIGNATURE_ADAPTER]
    assert adapters[0][0].note.endswith("(value is number)")
    assert called(adapters[0][1], "clamp", 1, 5, 9) == 5
    assert called(adapters[0][1], "clamp", low=1, high=5, number=-3) == 1


def test_a_parameter_that_nothing_maps_to_takes_its_default():
    verified = """def clip(text, width, *, mark='~', strip=True):
    text = text.strip() if strip else text
    return text[:width] + mark
"""
    text = "def clip(s, width, unit):\n    return s[:width]\n"
    found, _ = transplanted(text, whole(verified, "clip"))
    told = ["text is s", "mark takes its default '~'", "strip takes its default True", "unit is unused"]
    (made,) = (made for change, made in found if all(part in change.note for part in told))
    assert called(made, "clip", " abc", 2, None) == "ab~"


def test_what_no_argument_can_be_found_for_is_named():
    found, told = transplanted(
        "def clip(s):\n    return s\n", whole("def clip(s, width):\n    return s[:width]\n", "clip")
    )
    assert found == []
    assert told.endswith("for clip: nothing to give as width")


def test_a_variable_with_the_name_of_a_parameter_gets_another():
    verified = "def count(xs):\n    rows = 0\n    for x in xs:\n        rows += 1\n    return rows\n"
    ((_, made), *_), _ = transplanted("def count(rows):\n    return rows\n", whole(verified, "count"))
    assert called(made, "count", [4, 4]) == 2


@pytest.mark.parametrize(
    "text",
    [
        "def f(xs): return xs\n",
        "def f(xs):\n    return xs; \n\nx = 1\n",
        "def f(xs):\n    'Doc.'",
        "async def f(xs):\n    return xs\n",
    ],
)
def test_what_cannot_be_replaced_to_the_byte_is_left_alone_or_replaced_whole(text):
    found, _ = transplanted(text, whole("def f(xs):\n    return list(xs)\n", "f"))
    for _, made in found:
        assert called(made, "f", "ab") == ["a", "b"]
    assert bool(found) == text.endswith("'Doc.'")


def test_names_inside_strings_are_renamed_where_they_are_code():
    text = "def f(a):\n    '''a'''\n    return f'{a!r} a' + g(a=a).a\n"
    assert ast.dump(ast.parse(renamed(text, {"a": "b"}))) == ast.dump(
        ast.parse("def f(b):\n    '''a'''\n    return f'{b!r} a' + g(a=b).a\n")
    )


def test_strings_over_lines_survive_another_indentation():
    verified = 'def f(xs):\n    return """a\n    b\n""" + xs\n'
    text = "class K:\n    class L:\n        @staticmethod\n        def f(xs):\n            return xs\n"
    ((_, made), *_), _ = transplanted(text, whole(verified, "f"))
    space = {}
    exec(made, space)
    assert space["K"].L.f("c") == "a\n    b\nc"


def test_likeness_counts_code_names_and_words_and_not_how_variables_are_called():
    one, two, other = (
        fingerprint(ast.parse(text).body[0])
        for text in (
            "def mean(xs):\n    '''Mean of numbers.'''\n    return sum(xs) / len(xs)\n",
            "def mean_of(vs):\n    '''Mean of numbers.'''\n    return sum(vs) / len(vs)\n",
            "def parse(line):\n    return [part.strip() for part in line.split(',') if part]\n",
        )
    )
    assert similarity(one, two) > 0.8
    assert similarity(one, other) < 0.2
    assert one.ast_sha256 == two.ast_sha256


def test_types_decide_where_names_say_nothing():
    def of(text):
        return parameters(ast.parse(f"def f({text}): ...").body[0])

    (fit, *_) = fits(of("a: str, b: int"), of("x: int, y: str"), {}, 3, method=False)
    assert fit.given == {"a": "y", "b": "x"}
    (fit, *_) = fits(of("a: str, b: int"), of("x, y"), {"x": "int", "y": "str"}, 3, method=False)
    assert fit.given == {"a": "y", "b": "x"}
    with pytest.raises(Unmapped):
        fits(of("a, b"), of("*args"), {}, 3, method=False)


def strategies(wall_s):
    """The strategies for `TARGET`, with a function that is like it and an edit that fits everywhere in it."""
    library = Library()
    edit = EditPattern(before="sum($a)", after="len($a)", holes={"a": HoleKind.EXPRESSION})
    library._admit(Pattern(id=pattern_id(edit), origin="x", kind=PatternKind.EDIT, edit=edit))
    library._admit(whole(VERIFIED, "total_price"))
    text = TARGET + "".join(f"\n\ndef f{n}(rows):\n    return sum(rows) + {n}\n" for n in range(300))
    source = Source("m.py", text, "utf-8")
    suspicion = {("m.py", line): 1.0 for line in range(1, 12)} | {
        ("m.py", TARGET.count("\n") + 4 * n): 0.4 for n in range(1, 301)
    }
    bundle = Bundle({"m.py": text.encode()}, frozenset(), {}, sources={"m.py": source})
    project, deadline = project_of({}, bundle.sources, {}, 1), time.monotonic() + wall_s
    made = Strategies(Path(), Settings(), bundle, [], suspicion, project, Ledger(), deadline)
    made.__dict__["library"] = library
    return made


def test_functions_are_not_kept_waiting_by_edits_that_are_less_likely():
    found = list(strategies(999.0).before[0].propose())
    scores = [change.score for change in found]
    assert scores == sorted(scores, reverse=True)
    assert len(found) > 300
    assert any(change.note.startswith("function") for change in found[:9])


def test_a_strategy_before_single_edits_ends_with_its_share_of_the_time(monkeypatch):
    proposer = strategies(999.0).before[0]
    found = iter(proposer.propose())
    assert next(found)
    later = time.monotonic() + 999.0 * BEFORE_SHARE
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert list(found) == []
    assert proposer.details == OUT_OF_SHARE


def test_each_default_value_is_parsed_once_however_many_mappings_there_are(monkeypatch):
    asked = []
    monkeypatch.setattr(mapping, "_type", lambda parameter: asked.append(parameter.name) or "")
    ours, theirs = (
        parameters(ast.parse(f"def f({', '.join(f'{letter}{n}={n}' for n in range(5))}): ...").body[0])
        for letter in "ab"
    )
    assert len(fits(ours, theirs, {}, 9, method=False)) == 9
    assert len(asked) == 10


def test_a_suspicious_function_that_is_nested_too_deep_costs_only_itself():
    branches = "".join(f"    elif x == {n}:\n        return {n}\n" for n in range(170))
    deep = f"def price(x):\n    if x:\n        return x\n{branches}\n\n"
    found, told = transplanted(deep + TARGET, whole(VERIFIED, "total_price"))
    assert found
    assert "price cannot be compared" in told


def test_a_pattern_that_is_no_function_is_named_and_tried_nowhere():
    good = whole(VERIFIED, "total_price")
    bad = replace(good.function, source="x = 1\n" + good.function.source)
    odd = replace(good.function, source="def total_price(")
    patterns = [replace(good, id=pattern_id(function), function=function) for function in (bad, odd)]
    found, told = transplanted(TARGET, *patterns)
    assert found == []
    assert "is not one function" in told
    assert "was never closed" in told
