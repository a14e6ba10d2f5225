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
import functools
import operator
import os
import sys
import types
import weakref

MOST_ITEMS = 4000  # looked at after every candidate, some 30 ns each
HEAP_TYPE, IMMUTABLE_TYPE = 1 << 9, 1 << 8  # of type.__flags__, the second from Python 3.10 on
NOTHING = object()
LEAVES = (
    int, float, complex, str, bytes, type(None), range, slice, type(Ellipsis), type(NotImplemented), types.CodeType,
    types.MappingProxyType, types.MethodDescriptorType, types.WrapperDescriptorType, types.MethodWrapperType,
    types.GetSetDescriptorType, types.MemberDescriptorType, types.ClassMethodDescriptorType, weakref.ref,
    _thread.LockType, _thread.RLock, getattr(types, "GenericAlias", range), getattr(types, "UnionType", range),
)  # fmt: skip
LEAF_MODULES = ("typing", "re", "_sre", "decimal", "datetime", "logging", "fractions", "pathlib", "_abc", "enum")
CHANGEABLE = (collections.OrderedDict, list, dict, set, collections.deque, bytearray)


class Opaque(Exception):
    """Something whose inside cannot be seen."""


class State:
    """What can be changed in place from `roots`; `modules` are the bundle's, whose classes and globals count."""

    def __init__(self, modules, roots):
        self.names = {module.__name__ for module in modules}
        self.places, self.items, self.random = [], 0, False
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

    def _walk(self, waiting):
        while waiting:
            value = waiting.pop()
            if id(value) not in self.seen:
                self.seen.add(id(value))
                waiting += self._visit(value, type(value))
            if self.items > MOST_ITEMS:
                raise Opaque

    def restored(self):
        """Put back what has changed; False where that cannot be done."""
        changed = [place for place in self.places if not place.same()]
        for place in changed:
            try:
                place.restore()
            except (AttributeError, TypeError, ValueError):
                return False
        return not changed or all(place.same() for place in changed)

    def _place(self, place):
        self.places.append(place)
        inner = place.inner()
        self.items += 1 + len(inner)
        return inner

    def _visit(self, value, kind):
        """Note `value` where it can change; return what it holds."""
        if kind is types.FunctionType:
            return self._function(value)
        if kind in (types.MethodType, types.BuiltinFunctionType):
            self.random = self.random or (value.__self__ is _inst() is not None)
            return [value.__self__] + ([value.__func__] if kind is types.MethodType else [])
        if issubclass(kind, type):
            return self._place(ClassPlace(value)) if value.__module__ in self.names else []
        if kind is types.ModuleType:
            self.random = self.random or (value is sys.modules.get("random") and _inst() is not None)
            return []
        if issubclass(kind, LEAVES) or kind.__module__ in LEAF_MODULES:
            return [_attributes(value)] if kind.__module__ in self.names else []
        if issubclass(kind, (tuple, frozenset)):
            self.items += len(value)
            return [*(tuple if issubclass(kind, tuple) else frozenset).__iter__(value), _attributes(value)]
        if kind in (staticmethod, classmethod):
            return [value.__func__]
        if kind is property:
            return [value.fget, value.fset, value.fdel]
        if kind is functools.partial:
            return [value.func, value.args, value.keywords]
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
            written = cls.__flags__ & HEAP_TYPE and not cls.__flags__ & IMMUTABLE_TYPE
            if cls is not object and not written and not issubclass(cls, (BaseException, collections.defaultdict)):
                raise Opaque
        slots = [
            member
            for cls in kind.__mro__
            for member in vars(cls).values()
            if type(member) is types.MemberDescriptorType
        ]
        if slots:
            found += self._place(SlotsPlace(value, slots))
        return [*found, _attributes(value)]


def _attributes(value):
    try:
        return object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None


def _inst():
    return getattr(sys.modules.get("random"), "_inst", None)


def _identical(new, old):
    return len(new) == len(old) and all(map(operator.is_, new, old))


class ContainerPlace:
    """A container of the type `cls`, or of a subclass, whose own methods are not called."""

    def __init__(self, value, cls):
        self.value, self.cls = value, cls
        self.saved = self._content()

    def _content(self):
        if self.cls is bytearray:
            return bytes(self.value)
        content = list(self.cls.__iter__(self.value))
        if issubclass(self.cls, dict):
            content += [dict.__getitem__(self.value, key) for key in content]
        return content

    def same(self):
        if self.cls is bytearray:
            return bytes(self.value) == self.saved
        if self.cls is dict:  # most of them: module globals, attributes
            half = len(self.saved) // 2
            return dict.__len__(self.value) == half and all(
                map(operator.is_, dict.values(self.value), self.saved[half:])
            ) and all(map(operator.is_, dict.__iter__(self.value), self.saved))  # fmt: skip
        return self.cls.__len__(self.value) * (1 + issubclass(self.cls, dict)) == len(self.saved) and _identical(
            self._content(), self.saved
        )

    def restore(self):
        self.cls.clear(self.value)
        if issubclass(self.cls, dict):
            half = len(self.saved) // 2
            for key, item in zip(self.saved[:half], self.saved[half:]):
                self.cls.__setitem__(self.value, key, item)
        elif self.cls is set:
            set.update(self.value, self.saved)
        else:
            self.cls.extend(self.value, self.saved)

    def inner(self):
        return [] if self.cls is bytearray else [item for item in self.saved if item is not self.value]


class BarePlace:
    """The attributes of all functions that have none, looked at in one go; each counts where its function is kept."""

    def __init__(self):
        self.attributes = []

    def same(self):
        return not any(self.attributes)

    def restore(self):
        for attributes in self.attributes:
            attributes.clear()


class CellsPlace:
    """The closure of a function; its code is the candidate's business."""

    def __init__(self, function):
        self.value = function.__closure__
        self.saved = [_cell(cell) for cell in self.value]

    def same(self):
        return all(map(operator.is_, map(_cell, self.value), self.saved))

    def restore(self):
        for cell, content in zip(self.value, self.saved):
            if content is not NOTHING:
                cell.cell_contents = content
            elif _cell(cell) is not NOTHING:
                del cell.cell_contents

    def inner(self):
        return [item for item in self.saved if item is not NOTHING]


def _cell(cell):
    try:
        return cell.cell_contents
    except ValueError:
        return NOTHING


class ClassPlace:
    """The attributes of a class of the bundle's."""

    def __init__(self, value):
        self.value = value
        self.saved = dict(type.__getattribute__(value, "__dict__"))

    def same(self):
        now = type.__getattribute__(self.value, "__dict__")
        return _identical(list(now.values()), list(self.saved.values())) and list(now) == list(self.saved)

    def restore(self):
        now = dict(type.__getattribute__(self.value, "__dict__"))
        for name in now:
            if name not in self.saved:
                type.__delattr__(self.value, name)
        for name, item in self.saved.items():
            if now.get(name, NOTHING) is not item:
                type.__setattr__(self.value, name, item)

    def inner(self):
        return list(self.saved.values())


class SlotsPlace:
    """What stands in the slots of an object."""

    def __init__(self, value, members):
        self.value, self.members = value, members
        self.saved = self._content()

    def _content(self):
        return [self._get(member) for member in self.members]

    def _get(self, member):
        try:
            return member.__get__(self.value)
        except AttributeError:
            return NOTHING

    def same(self):
        return _identical(self._content(), self.saved)

    def restore(self):
        for member, item in zip(self.members, self.saved):
            if item is not NOTHING:
                member.__set__(self.value, item)
            elif self._get(member) is not NOTHING:
                member.__delete__(self.value)

    def inner(self):
        return [item for item in self.saved if item is not NOTHING]


class CachePlace:
    """A functools.lru_cache: it can be emptied, and nothing else."""

    def __init__(self, value):
        self.value = value
        self.empty = value.cache_info().currsize == 0
        self.saved = self._content()

    def _content(self):
        found = functools._lru_cache_wrapper.cache_info(self.value)
        return (0, 0) if self.empty and not found.currsize else (found.misses, found.currsize)

    def same(self):
        return self._content() == self.saved

    def restore(self):
        if self.empty:
            functools._lru_cache_wrapper.cache_clear(self.value)

    def inner(self):
        return []


class RandomPlace:
    """The state of the `random` module: each fork begins with the same one, and so must each candidate."""

    def __init__(self, value):
        self.value = value
        self.saved = self.value.getstate()

    def same(self):
        return self.value.getstate() == self.saved

    def restore(self):
        self.value.setstate(self.saved)


def bundle_modules(root):
    """Return the modules whose files lie below `root`."""
    inside = os.path.realpath(root) + os.sep
    return [
        module
        for name, module in sorted(sys.modules.items(), key=lambda item: item[0])
        if type(module) is types.ModuleType
        and os.path.realpath(getattr(module, "__file__", None) or os.sep).startswith(inside)
    ]
