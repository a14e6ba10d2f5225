"""derived: describe values as bounded text, and derive new inputs from those that the tests gave, each of its own type.

One part of the program that `repairlab.trial.server` assembles (Python 3.8 or newer). Values are the bundle's, so any
method of theirs may lie, raise or never end: callers bound the CPU time, and what comes out is text.
"""

import re
import types
from itertools import islice as _islice
from random import Random as _Random
from zlib import crc32 as _crc32

MAX_NODES = 3000  # parts of one value that are described
MAX_DEPTH = 10
MAX_STRING = 600  # characters of one string that are written out; a checksum stands for the rest
MAX_DRAWN = 60  # items that are taken from a generator or another iterator


class Describer:
    """Text of a value: Python source for built-in types; `loose` writes numbers that are equal alike."""

    def __init__(self, loose=False):
        self.loose = loose
        self.left = MAX_NODES

    def __call__(self, value, depth=0):
        self.left -= 1
        if self.left < 0 or depth > MAX_DEPTH:
            return "..."
        kind = type(value)
        simple = SIMPLE.get(kind)
        if simple is not None:
            return simple(value, self.loose)
        for base, form in CONTAINERS:
            if isinstance(value, base):
                inner = form(self, value, depth + 1)
                return inner if kind is base else "%s(%s)" % (kind.__name__, inner)
        return self.thing(value, kind, depth)

    def items(self, values, depth):
        return [self(value, depth) for value in _islice(values, max(0, self.left) + 1)]

    def thing(self, value, kind, depth):
        """Describe an instance of a class by its own repr, or by its attributes where it has none."""
        if kind in (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType):
            return str(getattr(value, "__qualname__", kind.__name__))[:MAX_STRING]
        if kind.__repr__ is not object.__repr__:
            return re.sub(r" at 0x[0-9a-f]+", "", clipped(str(repr(value))))
        known = sorted(vars(value).items()) if hasattr(value, "__dict__") else []
        return "%s(%s)" % (kind.__name__, ", ".join("%s=%s" % (name, self(item, depth + 1)) for name, item in known))


def clipped(text):
    if len(text) <= MAX_STRING:
        return text
    return "%s...%d:%08x" % (text[:MAX_STRING], len(text), _crc32(text.encode("utf-8", "surrogatepass")))


def integer(value, loose):
    return str(value) if -(10**40) < value < 10**40 else "int(%d bits, %x)" % (value.bit_length(), value % (2**61 - 1))


def floating(value, loose):
    if not loose:
        return repr(value)
    whole = abs(value) < 1e15 and value == int(value)
    return str(int(value)) if whole else "%.10g" % value


SIMPLE = {
    type(None): lambda value, loose: "None",
    bool: lambda value, loose: repr(value),
    int: integer,
    float: floating,
    complex: lambda value, loose: repr(value),
    str: lambda value, loose: clipped(repr(value)),
    bytes: lambda value, loose: clipped(repr(value)),
}
CONTAINERS = (
    (list, lambda say, value, depth: "[%s]" % ", ".join(say.items(list.__iter__(value), depth))),
    (tuple, lambda say, value, depth: ("(%s,)" if len(value) == 1 else "(%s)") % ", ".join(
        say.items(tuple.__iter__(value), depth))),
    (set, lambda say, value, depth: "{%s}" % ", ".join(sorted(say.items(set.__iter__(value), depth)))
        if value else "set()"),
    (frozenset, lambda say, value, depth: "frozenset({%s})" % ", ".join(
        sorted(say.items(frozenset.__iter__(value), depth)))),
    (dict, lambda say, value, depth: "{%s}" % ", ".join(
        "%s: %s" % (say(key, depth), say(item, depth))
        for key, item in _islice(dict.items(value), max(0, say.left) + 1))),
)  # fmt: skip


def settled(value):
    """Return what an iterator yields as a list, the result of a coroutine that waits for nothing, else the value."""
    if isinstance(value, types.CoroutineType):
        try:
            value.send(None)
            return "a coroutine that waits"
        except StopIteration as end:
            return end.value
        finally:
            value.close()
    if isinstance(value, ITERATORS):
        return list(_islice(value, MAX_DRAWN))
    return value


ITERATORS = (types.GeneratorType, map, filter, zip, enumerate, reversed, type(iter([])), type(iter(())), type(iter("")))


OTHER_KINDS = "0 7azAZ-_.,;:(){}[]\n\té!"  # characters of all classes that code tells apart


class Mutator:
    """Values near a value, of its type, the same for the same seed."""

    def __init__(self, seed):
        self.random = _Random(seed)

    def near(self, value):
        """Return some values of the type of `value`, none of them the object itself."""
        for kind, form in NEAR:
            if type(value) is kind:
                return form(self, value)
        return []

    def one(self, value):
        found = self.near(value)
        return self.random.choice(found) if found else value

    def sequence(self, value):
        """Return shorter, longer and rearranged copies of a list, tuple, string or bytes."""
        found = [value[:0]]
        if len(value):
            at = self.random.randrange(len(value))
            other = self.random.randrange(len(value))
            found += [value[:-1], value[1:], value[::-1], value + value, value[:at] + value[at + 1 :]]
            found += [value[:at] + value[at : at + 1] + value[at:], value + value[other : other + 1], value[:1]]
            order = list(range(len(value)))
            self.random.shuffle(order)
            pieces = [value[i : i + 1] for i in order]
            found.append(sum(pieces, value[:0]) if not isinstance(value, (str, bytes)) else value[:0].join(pieces))
        return found

    def listed(self, value):
        found = self.sequence(value)
        for _ in range(min(6, 2 * len(value))):
            at = self.random.randrange(len(value))
            item = self.one(value[at])
            found.append(value[:at] + type(value)([item]) + value[at + 1 :])
        return found

    def text(self, value):
        found = self.sequence(value)
        if value:
            at, other = self.random.randrange(len(value)), self.random.randrange(len(value))
            found += [value.swapcase(), value[:at] + value[other] + value[at + 1 :], value.replace(value[at], "")]
            near = chr(min(0x10FFFF, ord(value[at]) + 1)) if value[at].isalnum() else value[at]
            found += [value[:at] + near + value[at + 1 :], value.replace(" ", "")]
            for place in (len(value) - 1, at, 0):
                found.append(value[:place] + self.random.choice(OTHER_KINDS) + value[place + 1 :])
        return found

    def mapping(self, value):
        items = list(value.items())
        found = [{}]
        if items:
            at = self.random.randrange(len(items))
            key, item = items[at]
            found += [dict(items[:at] + items[at + 1 :]), dict(items[::-1]), dict(items)]
            found[-1][key] = self.one(item)
            changed = self.one(key)
            found.append(dict([*items[:at], (changed, item), *items[at + 1 :]]))
        return found

    def bag(self, value):
        items = sorted(value, key=Describer())
        return [type(value)(items[:-1]), type(value)(items[1:]), type(value)(items + [self.one(i) for i in items[:2]])]


NEAR = (
    (bool, lambda self, value: [not value]),
    (int, lambda self, value: [value + 1, value - 1, 0, 1, -value, value * 2, value + 10, self.random.randrange(100)]),
    (float, lambda self, value: [value + 1, value - 0.5, 0.0, -value, value * 2, round(value) + 0.0]),
    (str, Mutator.text),
    (bytes, Mutator.sequence),
    (list, Mutator.listed),
    (tuple, Mutator.listed),
    (dict, Mutator.mapping),
    (set, Mutator.bag),
    (frozenset, Mutator.bag),
)
