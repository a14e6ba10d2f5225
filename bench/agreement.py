"""bench/agreement: does a patch say what the reference says, on inputs that no test has?

The judge's tests run once on the reference with its public functions wrapped, which tells the arguments that they are
called with. Those are mutated so that types, and the span of the tests' values, stay the same; a mutant that lacks a
property which all the recorded arguments have (balanced brackets, sorted, distinct, as long as its neighbour, …) lies
outside of what the function is for and is left out. On each input where the reference returns within a second, the
patch must return an equal value, for as many inputs as WALL_S seconds take. All of it runs as a pytest test in the
sandbox; its exit status is the answer.
"""

import re
import shutil
import tempfile
from pathlib import Path

from trials import pytest_run

INPUTS = 400  # distinct inputs compared
WALL_S = 20  # after which no other input is
HARNESS = r'''
import copy, inspect, math, random, signal, time
import reference_ as reference
import tool.tool as patched

CALLS, WRAPPED = [], {}


class Late(BaseException):
    pass


def late(*_):
    raise Late


def spied(function):
    def call(*args, **kwargs):
        try:
            CALLS.append((function.__name__, copy.deepcopy(args), copy.deepcopy(kwargs)))
        except Exception:
            pass
        return function(*args, **kwargs)

    return call


def recorded():
    """The calls that the judge's tests make of the functions that both modules have."""
    for name, function in list(vars(reference).items()):
        if inspect.isfunction(function) and function.__module__ == reference.__name__ and hasattr(patched, name):
            WRAPPED[name] = function
    text = open("judge_full.txt").read()
    space = {}
    for name, function in WRAPPED.items():
        setattr(patched, name, spied(function))
    try:
        exec(compile(text, "judge_full", "exec"), space)
        for name, test in list(space.items()):
            if name.startswith("test_"):
                bounded(test, ())
    finally:
        for name in WRAPPED:
            setattr(patched, name, ORIGINAL[name])
    return CALLS[:2000]


def bounded(function, args, kwargs={}):
    """('value', what it returns) within a second, else ('raises', None)."""
    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    try:
        return "value", function(*args, **kwargs)
    except BaseException as error:
        return ("late" if isinstance(error, Late) else "raises"), None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


class Pool:
    """What the tests pass at one place: the span of its numbers, the letters of its strings, its elements."""

    def __init__(self, values):
        self.values = list(values)
        flat = list(leaves(self.values))
        self.ints = [v for v in flat if type(v) is int]
        self.floats = [v for v in flat if type(v) is float]
        self.letters = sorted({c for v in flat if isinstance(v, str) for c in v}) or ["a"]
        self.strings = sorted({v for v in flat if isinstance(v, str)}) or [""]
        self.full = list(filter(None, containers(self.values)))

    def mutated(self, value, random):
        kind = type(value)
        if kind is bool:
            return random.random() < 0.5
        if kind is int:
            low, high = min(self.ints + [value]), max(self.ints + [value])
            new = random.choice([value + 1, value - 1, value + 2, value * 2, value // 2, random.randint(low, high)])
            return min(max(new, low), max(high + 3, 10))
        if kind is float:
            low = min(self.floats + [value])
            return max(low, random.choice([value + 1, value - 1, value / 2, value * 1.5, random.choice(self.floats)]))
        if kind is str:
            return self.string(value, random)
        if kind in (list, tuple):
            return kind(self.sequence(list(value), random))
        if kind in (set, frozenset):
            return kind(filter(hashable, self.sequence(sorted(value, key=repr), random)))
        if kind is dict and value:
            key = random.choice(sorted(value, key=repr))
            new = dict(value)
            gone = new.pop(key)
            if random.random() < 0.7:
                new[key] = self.mutated(gone, random)
            return new
        return value

    def string(self, value, random):
        at = random.randint(0, len(value))
        return random.choice([
            lambda: value[:at] + value[at + 1:],
            lambda: value[:at] + random.choice(self.letters) + value[at:],
            lambda: value[:at] + random.choice(self.letters) + value[at + 1:],
            lambda: value[::-1],
            lambda: value[at:] + value[:at],
            lambda: value + random.choice(self.strings),
            lambda: random.choice(self.strings),
            lambda: " ".join(random.sample(value.split(), len(value.split()))),
        ])()

    def sequence(self, value, random):
        at = random.randint(0, max(0, len(value) - 1))
        if not value:
            return copy.deepcopy(random.choice(self.full)) if self.full else []
        return random.choice([
            lambda: value[:at] + value[at + 1:],
            lambda: value[:at] + [copy.deepcopy(random.choice(value))] + value[at:],
            lambda: value[:at] + [self.mutated(value[at], random)] + value[at + 1:],
            lambda: random.sample(value, len(value)),
            lambda: value[::-1],
            lambda: value + value[:at],
        ])()


def balanced(value):
    depth = {"(": 0, "[": 0, "{": 0, "<": 0}
    for letter in value:
        if letter in depth:
            depth[letter] += 1
        opening = {")": "(", "]": "[", "}": "{", ">": "<"}.get(letter)
        if opening:
            depth[opening] -= 1
            if depth[opening] < 0:
                return False
    return not any(depth.values())


def pairwise(value):
    return zip(value, value[1:])


PROPERTIES = [
    lambda v: len(v) > 0,
    lambda v: len(v) % 2 == 0,
    lambda v: isinstance(v, str) and balanced(v),
    lambda v: isinstance(v, str) and v.isdigit(),
    lambda v: isinstance(v, str) and v.isalpha(),
    lambda v: isinstance(v, str) and v == v.lower(),
    lambda v: isinstance(v, str) and v == v.strip(),
    lambda v: isinstance(v, str) and "  " not in v,
    lambda v: all(a <= b for a, b in pairwise(v)),
    lambda v: len(set(map(repr, v))) == len(v),
    lambda v: len({len(row) for row in v}) == 1,
    lambda v: all(len(row) > 0 for row in v),
    lambda v: len({type(item) for item in v}) <= 1,
    lambda v: v > 0,
    lambda v: v % 2 == 0,
    lambda v: v % 2 == 1,
]
RELATIONS = [
    lambda a, b: len(a) == len(b),
    lambda a, b: len(a) <= len(b),
    lambda a, b: a <= b,
    lambda a, b: a >= b,
    lambda a, b: b <= len(a),
    lambda a, b: a in b,
]


def holds(check, *values):
    try:
        return bool(check(*values))
    except Exception:
        return False


FEW = 5  # in fewer calls, two arguments are related by accident


class Domain:
    """The properties that all recorded calls of one function have."""

    def __init__(self, calls):
        width = min(map(len, calls))
        self.single = [(c, i) for c in PROPERTIES for i in range(width) if all(holds(c, a[i]) for a in calls)]
        pairs = [(i, j) for i in range(width) for j in range(width) if i != j and len(calls) >= FEW]
        self.double = [(c, i, j) for c in RELATIONS for i, j in pairs if all(holds(c, a[i], a[j]) for a in calls)]

    def has(self, args):
        single = all(holds(check, args[i]) for check, i in self.single)
        return single and all(holds(check, args[i], args[j]) for check, i, j in self.double)


def containers(value):
    """The elements of the lists, tuples and sets of all levels below `value`, in an order that no hash seed changes."""
    for item in elements(value):
        if isinstance(item, (list, tuple, set, frozenset)):
            yield elements(item)
        yield from containers(item)


def elements(value):
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    if isinstance(value, dict):
        return [item for pair in value.items() for item in pair]
    return list(value) if isinstance(value, (list, tuple)) else []


def hashable(value):
    try:
        hash(value)
    except TypeError:
        return False
    return True


def leaves(value):
    if isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, dict):
        yield from leaves(list(value.items()))
    else:
        yield value


def inputs(calls, seed, count):
    """Distinct inputs: the recorded ones, then mutations of what is there already."""
    random_ = random.Random(seed)
    known, found = set(), []
    pools = {}
    for name, args, kwargs in calls:
        for place, value in enumerate(args):
            pools.setdefault((name, place), []).append(value)
    pools = {key: Pool(values) for key, values in pools.items()}
    domains = {name: Domain([c[1] for c in calls if c[0] == name]) for name in {c[0] for c in calls}}

    def add(call):
        key = repr(call)
        if key not in known and len(key) < 4000:
            known.add(key)
            found.append(call)

    for call in calls:
        add(call)
    for _ in range(20 * count):
        if not found or len(found) >= count:
            break
        name, args, kwargs = copy.deepcopy(random_.choice(found))
        for _ in range(random_.choice((1, 1, 2, 3)) if args else 0):
            place = random_.randrange(len(args))
            new = pools[name, place].mutated(args[place], random_)
            args = args[:place] + (new,) + args[place + 1:]
        if domains[name].has(args):
            add((name, args, kwargs))
    return found


def equal(one, two):
    if isinstance(one, float) and isinstance(two, (int, float)) and not isinstance(two, bool):
        return one == two or (one != one and two != two) or math.isclose(one, two, rel_tol=1e-9, abs_tol=1e-12)
    if type(one) in (list, tuple) and type(one) is type(two):
        return len(one) == len(two) and all(map(equal, one, two))
    return bool(one == two)


ORIGINAL = {name: value for name, value in vars(patched).items() if inspect.isfunction(value)}


def test_agrees():
    compared, until = 0, time.monotonic() + WALL_S
    calls = recorded()
    for name, args, kwargs in inputs(calls, SEED, COUNT):
        if time.monotonic() > until:
            break
        how, wanted = bounded(WRAPPED[name], copy.deepcopy(args), copy.deepcopy(kwargs))
        if how != "value":
            continue  # outside of what the function is for
        compared += 1
        how, got = bounded(getattr(patched, name), copy.deepcopy(args), copy.deepcopy(kwargs))
        assert how == "value", "DIFFERS %s%r: reference %r, patch %s" % (name, args, wanted, how)
        assert equal(wanted, got), "DIFFERS %s%r: reference %r, patch %r" % (name, args, wanted, got)
    assert compared, "DIFFERS nothing could be compared"
'''


def disagreement(task: Path, patched: Path, seed: int) -> str:
    """Return '' where the patched bundle agrees with the reference, else the first input on which it does not."""
    with tempfile.TemporaryDirectory() as place:
        room = Path(place)
        shutil.copytree(patched / "tool", room / "tool")
        shutil.copy(task / "judge/reference.py", room / "reference_.py")
        shutil.copy(task / "judge/test_full.py", room / "judge_full.txt")
        values = {"SEED": seed, "COUNT": INPUTS, "WALL_S": WALL_S}
        harness = re.sub("|".join(values), lambda found: str(values[found[0]]), HARNESS)
        (room / "test_agree.py").write_text(harness)
        run = pytest_run(room, ["test_agree.py"])
    if run.exit == 0:
        return ""
    told = [line for line in run.output.splitlines() if "DIFFERS" in line and line.startswith("E ")]
    return (told[0].partition("DIFFERS ")[2] if told else f"no answer: {run.output[-200:]}")[:300]
