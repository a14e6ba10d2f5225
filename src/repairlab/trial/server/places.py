"""places: what can change in place, one kind of object after the other: how it looks, and how it is put back.

One part of the program that `repairlab.trial.server` assembles (Python 3.8 or newer). No method that a bundle could
have written is called: `same` compares by identity, `restore` raises where that cannot be done, `inner` says what is
held, where that is to be looked at as well.
"""

import _random
import decimal
import functools
import gc
import operator

NOTHING = object()


class Opaque(Exception):
    """Something whose inside cannot be seen."""


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
            if self._get(member) is item:
                continue  # it may not be writable
            if item is NOTHING:
                member.__delete__(self.value)
            else:
                member.__set__(self.value, item)

    def inner(self):
        return [item for item in self.saved if item is not NOTHING]


class ErrorPlace(SlotsPlace):
    """An exception: what it was made with, and what raising it leaves there."""

    def __init__(self, value, members):
        named = [vars(BaseException)[name] for name in ("args", "__cause__", "__context__", "__traceback__")]
        super().__init__(value, [*named, *members])  # a new cause changes __suppress_context__, which is a member


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


class CountPlace:
    """An itertools.count of plain numbers: it shows where it stands, and cannot be set back."""

    def __init__(self, value):
        self.value = value
        if not all(type(held) in (int, float) for held in gc.get_referents(value)):
            raise Opaque
        self.saved = repr(value)

    def same(self):
        return repr(self.value) == self.saved

    def restore(self):
        raise TypeError("a counter goes only on")

    def inner(self):
        return []


class RandomPlace:
    """The state of a generator of random numbers, such as the `random` module's: each candidate begins alike."""

    def __init__(self, value):
        self.value = value
        self.saved = _random.Random.getstate(value)

    def same(self):
        return _random.Random.getstate(self.value) == self.saved

    def restore(self):
        _random.Random.setstate(self.value, self.saved)

    def inner(self):
        return []


class DecimalPlace:
    """The context that decimal numbers are reckoned in, and what stands in it."""

    NAMES = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp", "flags", "traps")

    def __init__(self):
        self.value = decimal.getcontext()
        self.saved, self.text = self.value.copy(), repr(self.value)

    def same(self):
        return decimal.getcontext() is self.value and repr(self.value) == self.text

    def restore(self):
        for name in self.NAMES:
            setattr(self.value, name, getattr(self.saved, name))
        decimal.setcontext(self.value)

    def inner(self):
        return []
