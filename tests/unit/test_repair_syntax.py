"""Syntax errors: what is proposed where a file does not parse."""

import ast
import time

import pytest

from repairlab.repair.syntax import mends
from repairlab.repair.syntax_lines import one_slip

WHOLE = '''"""Doc."""
import os


def f(a, b):
    """Say."""
    x = {"k": [1, 2], "m": (3, 4)}
    if a == b:
        return x["k"]
    for i in range(len(a)):
        try:
            print("abc", i)
        except ValueError as e:
            raise KeyError("x")
    while a:
        a -= 1
    return "its"


class C:
    def g(self):
        return f(1, 2)
'''

BROKEN = {
    "colon": ("if a == b:", "if a == b"),
    "semicolon_for_colon": ("f(a, b):", "f(a, b);"),
    "assignment_for_comparison": ("if a == b:", "if a = b:"),
    "bracket_not_closed": ("[1, 2]", "[1, 2"),
    "bracket_in_bracket_not_closed": ("(3, 4)}", "(3, 4}"),
    "call_not_closed": ("len(a)):", "len(a):"),
    "head_not_closed": ("def g(self)", "def g(self"),
    "bracket_never_opened": ("f(1, 2)", "f(1, 2))"),
    "comma": ("f(1, 2)", "f(1 2)"),
    "comma_between_elements": ("[1, 2], ", "[1, 2] "),
    "string_not_closed": ('"abc", i', '"abc, i'),
    "string_closed_by_another_quote": ('"its"', "\"its'"),
    "docstring_not_closed": ('"""Say."""', '"""Say.""'),
    "print_statement": ('print("abc", i)', 'print "abc", i'),
    "old_except": ("except ValueError as e", "except ValueError, e"),
    "body_not_indented": ("        a -= 1", "    a -= 1"),
    "indented_too_little": ("    while a:", "   while a:"),
    "tab": ("    if a == b:", "\tif a == b:"),
    "keyword_misspelt": ("return x", "retrun x"),
    "import_misspelt": ("import os", "imprt os"),
    "merge_marker_left": ("    for i in", "<<<<<<< HEAD\n    for i in"),
    "other_language": ("a -= 1", "a--"),
    "two_errors": ("    while a:\n        a -= 1", "    while a\n        a -= (1"),
    "curly_quotes": ('"its"', "\N{LEFT DOUBLE QUOTATION MARK}its\N{RIGHT DOUBLE QUOTATION MARK}"),
    "no_break_space": ("a -= 1", "a\N{NO-BREAK SPACE}-= 1"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_with_one_token_amiss_is_mended_as_it_was(name):
    old, new = BROKEN[name]
    assert old in WHOLE
    found = mends(WHOLE.replace(old, new, 1))
    wanted = ast.dump(ast.parse(WHOLE))
    assert wanted in [ast.dump(ast.parse(mend.text)) for mend in found][:8], [mend.note for mend in found]


def test_what_is_not_mended_keeps_its_bytes():
    text = WHOLE.replace("if a == b:", "if a == b  # same").replace("\n", "\r\n")
    assert mends(text)[0].text == text.replace("b  # same", "b:  # same")


def test_a_merge_offers_each_side_and_both():
    text = (
        "def f(x):\n<<<<<<< HEAD\n    x += 1\n||||||| base\n    x += 7\n=======\n    x += 2\n>>>>>>> b\n    return x\n"
    )
    head, tail = "def f(x):\n", "    return x\n"
    sides = [mend.text for mend in mends(text)]
    assert [head + side + tail for side in ("    x += 1\n", "    x += 2\n", "    x += 1\n    x += 2\n")] == sides[:3]


@pytest.mark.parametrize("text", ["x = 1\n", "", "def f(x)) ( return [ x + :\n" * 3])
def test_what_parses_and_what_is_beyond_mending_gives_nothing(text):
    assert mends(text) == []


def test_a_large_file_is_mended_within_its_account():
    large = "".join(f"def f{n}(a):\n    return [a, {n}]\n\n\n" for n in range(3000))
    text = large.replace("return [a, 1500]", "return [a, 1500", 1)
    assert large in [mend.text for mend in mends(text)]


SLOW = {
    "blanks": "print a" + " " * 300_000 + "b\n",
    "blanks_elsewhere": "def f(x)\n    pass\n" + "\n" * 50 + "if x: print a" + " " * 300_000 + "b\n",
    "brackets": "x = " + "(" * 150_000 + "\n",
    "quotes": "x = " + "'\"" * 150_000 + "\n",
    "many_lines": "x = (\n" * 30_000,
    "blanks_on_all_lines": "def f(x)\n" + ("print a" + " " * 900 + "b\n") * 3000,
    "shorter_ones": "def f(x)\n" + ("print a" + " " * 190 + "b\n") * 7000,
    "blanks_first": "print" + " " * 900 + "b\n" * 200,
    "blanks_after_exec": "exec" + " " * 900 + "b\n" * 200,
    "names": "def f(x)\n" + "    a b\n" * 20_000,
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", SLOW)
def test_no_file_keeps_the_mender_for_long(name):
    began = time.process_time()
    mends(SLOW[name])
    assert time.process_time() - began < 8  # a pattern that takes the square of such a line needs hours


def test_slips_are_of_one_letter():
    assert all(one_slip(word, "return") for word in ("retrun", "retun", "returrn", "redurn"))
    assert not any(one_slip(word, "return") for word in ("return_", "turn", "result"[:5]) if word != "return_")
