"""Signatures that are not what they are called with: what the words of a TypeError make of them."""

import pytest

from repairlab.repair.patterns import adapted, blamed
from repairlab.trial.source import Source
from repairlab.trial.testrun import TestRun

CASES = {
    "a parameter is called otherwise": (
        "def f(number, low=0):\n    return max(number, low)\n",
        "f() got an unexpected keyword argument 'num'",
        "def f(num, low=0):\n    return max(num, low)\n",
    ),
    "a keyword that the body uses already": (
        "def f(a):\n    return a + by\n",
        "f() got an unexpected keyword argument 'by'",
        "def f(a, by=None):\n    return a + by\n",
    ),
    "a keyword for a function without parameters": (
        "def f():\n    return 1\n",
        "f() got an unexpected keyword argument 'by'",
        "def f(by=None):\n    return 1\n",
    ),
    "a default value, also for those that follow": (
        "def f(a, b: int, c):\n    return a\n",
        "f() missing 1 required positional argument: 'b'",
        "def f(a, b: int = 0, c=0):\n    return a\n",
    ),
    "a default value of a keyword": (
        "def f(a, *, b):\n    return a\n",
        "f() missing 1 required keyword-only argument: 'b'",
        "def f(a, *, b=None):\n    return a\n",
    ),
    "a parameter that nobody needs": (
        "def f(self, a):\n    return a\n",
        "f() missing 1 required positional argument: 'a'",
        "def f(self):\n    return a\n",
    ),
    "an object that a method forgot": (
        "class K:\n    def f():\n        return 1\n",
        "K.f() takes 0 positional arguments but 1 was given",
        "class K:\n    def f(self):\n        return 1\n",
    ),
    "a name that the body uses and nobody binds": (
        "import os\ndef f(w):\n    return os.sep * w * h\n",
        "f() takes 1 positional argument but 2 were given",
        "import os\ndef f(w, h):\n    return os.sep * w * h\n",
    ),
    "a keyword that comes by position": (
        "def f(a, *, b=1) -> int:\n    return a * b\n",
        "f() takes 1 positional argument but 2 were given",
        "def f(a, b=1) -> int:\n    return a * b\n",
    ),
    "a position that comes by keyword": (
        "def f(a, b, /):\n    return a - b\n",
        "f() got some positional-only arguments passed as keyword arguments: 'a, b'",
        "def f(a, b):\n    return a - b\n",
    ),
}


def proposed(text, message):
    source = Source("m.py", text, "utf-8")
    failing = [TestRun("t", "f", message=f"TypeError: {message}")]
    suspicion = dict.fromkeys(blamed({"m.py": source}, failing[0].message), 1.0)
    return [(change, source.edited(change.edits)) for change in adapted({"m.py": source}, failing, suspicion)]


@pytest.mark.parametrize("name", CASES)
def test_a_signature_becomes_what_it_is_called_with(name):
    text, message, wanted = CASES[name]
    found = {made: change for change, made in proposed(text, message)}
    assert found[wanted].strategy == "signature_adapter"
    assert found[wanted].needed


def test_parameters_of_suspicious_functions_are_exchanged():
    found = proposed("def f(a, b):\n    return a - b\n", "f() missing 1 required positional argument: 'b'")
    assert "def f(b, a):\n    return a - b\n" in [made for _, made in found]


def test_a_function_that_was_not_entered_is_blamed_whole():
    source = Source("m.py", "x = 1\ndef f(a):\n    a += 1\n    return a\n", "utf-8")
    message = "TypeError: f() missing 1 required positional argument: 'a'"
    assert sorted(blamed({"m.py": source}, message)) == [("m.py", 2), ("m.py", 3), ("m.py", 4)]
    assert blamed({"m.py": source}, message.replace("Type", "Value")) == {}


@pytest.mark.parametrize(
    "words",
    [
        "f() missing 1 required positional argument: '" + "a, " * 100_000,
        "f() takes 1 positional argument but 99999 were given",
    ],
)
def test_long_and_absurd_messages_cost_nothing(words):
    assert len(proposed("def f(a):\n    return a\n", words)) < 10
