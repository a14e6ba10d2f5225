"""state: what a bundle's modules keep between calls, looked at after each candidate of a batch and put back.

One part of the program that `repairlab.trial.server` assembles (Python 3.8 or newer).

`State` walks from its roots (the bundle's modules, tests included, the objects that tests are methods of, their
parameters) to everything that a call could change in place: containers, attributes, defaults, closures, class
attributes, caches. Elements are compared by identity: an `==` would run the bundle's code. Where it meets an object
whose inside it cannot see (an iterator, a type of an extension), or more than can be looked at in passing, it is not
`sound`, and there are no batches. It runs beside the bundle's code: what it says is a hint.
"""

import _thread
import builtins
import collections
import decimal
import functools
import itertools
import operator
import os
import re
import sys
import types
import weakref

MOST_ITEMS = 20_000  # looked at after every candidate, some 90 ns each: half of what a fork costs
HEAP_TYPE, IMMUTABLE_TYPE = 1 << 9, 1 << 8  # of type.__flags__, the second from Python 3.10 on
LEAVES = (
    int, float, complex, str, bytes, type(None), range, slice, type(Ellipsis), type(NotImplemented), types.CodeType,
    types.MappingProxyType, types.MethodDescriptorType, types.WrapperDescriptorType, types.MethodWrapperType,
    types.GetSetDescriptorType, types.MemberDescriptorType, types.ClassMethodDescriptorType, weakref.ref,
    _thread.LockType, _thread.RLock, getattr(types, "GenericAlias", range), getattr(types, "UnionType", range),
    types.TracebackType,
)  # fmt: skip
# What a value of such a type, or of a class made from it, is known to hold: by descriptors of the type's own.
SEEN_THROUGH = {
    property: ("fget", "fset", "fdel"),
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
    functools.partial: ("func", "args", "keywords"),
}
BOUND = (types.MethodType, types.BuiltinFunctionType, type(re.compile("").search))
GETTERS = (operator.itemgetter, operator.attrgetter, operator.methodcaller, type(collections.namedtuple("N", "a").a))
WORD = tuple.__itemsize__
LEAF_MODULES = ("typing", "re", "_sre", "decimal", "datetime", "logging", "fractions", "pathlib", "_abc", "enum")
CHANGEABLE = (collections.OrderedDict, list, dict, set, collections.deque, bytearray)


class State:
    """What can be changed in place from `roots`; `modules` are the bundle's, whose classes and globals count."""

    def __init__(self, modules, roots):
        self.names = {module.__name__ for module in modules}
        self.places, self.items, self.random, self.decimal = [], 0, False, False
        self.bare = BarePlace()
        # Loaders lead to all of pytest; the built-in names are compared once a fork, not after each candidate.
        self.seen = {id(vars(module).get(name)) for module in modules for name in ("__spec__", "__loader__")}
        self.seen |= {id(vars(builtins)), id(None)}
        try:
            self._walk([vars(module) for module in modules] + list(roots))
            self.sound = True
        except (Opaque, AttributeError, TypeError, ValueError, RecursionError):
            self.sound = False
        self.places.append(self.bare)
        if self.random:
            self.places.append(RandomPlace(_inst()))
        if self.decimal:
            self.places.append(DecimalPlace())

    def _walk(self, waiting):
        while waiting:
            value = waiting.pop()
            if id(value) not in self.seen:
                self.seen.add(id(value))
                waiting += self._visit(value, type(value))
            if self.items > MOST_ITEMS:
                raise Opaque

    def restored(self):
        """Put back what has changed; False where that cannot be done.

        To put a key back is to ask for its hash: that is the bundle's code, and may raise anything.
        """
        try:
            changed = [place for place in self.places if not place.same()]
            for place in changed:
                place.restore()
            return not changed or all(place.same() for place in changed)
        except BaseException:
            return False

    def _place(self, place):
        self.places.append(place)
        inner = place.inner()
        self.items += 1 + len(inner)
        return inner

    def _visit(self, value, kind):
        """Note `value` where it can change; return what it holds."""
        if kind is types.FunctionType:
            return self._function(value)
        if kind in BOUND:
            self.random = self.random or (value.__self__ is _inst() is not None)
            return [value.__self__] + ([value.__func__] if kind is types.MethodType else [])
        if issubclass(kind, type):
            self.decimal = self.decimal or value is decimal.Decimal
            return self._place(ClassPlace(value)) if value.__module__ in self.names else []
        if kind is types.ModuleType:
            self.random = self.random or (value is sys.modules.get("random") and _inst() is not None)
            self.decimal = self.decimal or value in (decimal, sys.modules.get("_decimal"))
            return []
        if issubclass(kind, LEAVES) or kind.__module__ in LEAF_MODULES:
            return [_attributes(value)] if kind.__module__ in self.names else []
        if issubclass(kind, (tuple, frozenset)):
            self.items += len(value)
            return [*(tuple if issubclass(kind, tuple) else frozenset).__iter__(value), _attributes(value)]
        if kind in GETTERS:
            return _held(value)
        if kind is itertools.count:
            return self._place(CountPlace(value))
        if kind is functools._lru_cache_wrapper:
            return [*self._place(CachePlace(value)), vars(value)]
        return self._instance(value, kind)

    def _function(self, function):
        """Default values and closure; a function from elsewhere that closes over nothing holds nothing of ours."""
        if not function.__closure__ and function.__module__ not in self.names:
            return []
        cells = self._place(CellsPlace(function)) if function.__closure__ else []
        if not vars(function) and function.__module__ in self.names:
            self.bare.attributes.append(vars(function))
        return [*cells, function.__defaults__, function.__kwdefaults__, vars(function) or None]

    def _instance(self, value, kind):
        """An object of a class written in Python, or a container, or of a class that is both."""
        if value is _inst():
            self.random = True
            return []
        found = []
        for cls in kind.__mro__:
            if cls in CHANGEABLE:
                found += self._place(ContainerPlace(value, cls))
                break
            if cls in SEEN_THROUGH:
                found += [vars(cls)[name].__get__(value) for name in SEEN_THROUGH[cls]]
                break
            if cls is _thread._local:
                return [*found, cls.__getattribute__(value, "__dict__")]  # this thread's
            if cls.__module__ == "_random":
                found += self._place(RandomPlace(value))
                break
            if not (cls is object or written(cls) or cls.__module__ in LEAF_MODULES or issubclass(cls, PLAIN)):
                raise Opaque
        slots = [
            member
            for cls in kind.__mro__
            if cls not in SEEN_THROUGH
            for member in vars(cls).values()
            if type(member) is types.MemberDescriptorType
        ]
        if slots:
            found += self._place((ErrorPlace if issubclass(kind, BaseException) else SlotsPlace)(value, slots))
        return [*found, _attributes(value)]


PLAIN = (BaseException, collections.defaultdict)  # made in C, and all that they hold can be seen


def written(cls):
    """True for a class written in Python; one made in C has room in its objects that no slot accounts for."""
    if not cls.__flags__ & HEAP_TYPE or cls.__flags__ & IMMUTABLE_TYPE:
        return False
    base = cls.__base__
    more = sum(type(member) is types.MemberDescriptorType for member in vars(cls).values())
    more += cls.__dictoffset__ != base.__dictoffset__
    more += cls.__weakrefoffset__ != base.__weakrefoffset__
    return cls.__basicsize__ <= base.__basicsize__ + WORD * more


def _held(getter):
    """What operator.itemgetter and its like were made with; a field of a named tuple holds nothing."""
    kind, held = getter.__reduce__()
    if kind is not type(getter):  # a methodcaller with keywords
        raise Opaque
    return [item for item in held if type(item) is not str]


def _attributes(value):
    try:
        return object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None


def _inst():
    return getattr(sys.modules.get("random"), "_inst", None)


def bundle_modules(root):
    """Return the modules whose files lie below `root`."""
    inside = os.path.realpath(root) + os.sep
    return [
        module
        for name, module in sorted(sys.modules.items(), key=lambda item: item[0])
        if type(module) is types.ModuleType
        and os.path.realpath(getattr(module, "__file__", None) or os.sep).startswith(inside)
    ]
