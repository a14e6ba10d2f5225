"""coverage: which lines of the editable files each test runs, the types of their locals, where a failure is raised.

One part of the program that `repairlab.trial.server` assembles (Python 3.8 or newer). Line hits are counted in memory
that the forks share with their parent, so the hits of a test that was killed in a loop are not lost. So is which lines
belong to the last call that the test itself made, and how many of its earlier calls ran each: those came back, and what
the test asserted of them held.
"""

import os
import sys
import threading

SUSPENDS = 0x20 | 0x80 | 0x200  # generators, coroutines, asynchronous generators
MAX_TYPES = 4000  # remembered (function, name) pairs of one run
BRIEF_CALLS = 20  # of one function without a line that is new, in a test that is traced briefly


class Coverage:
    """Trace the files `sizes` (real path → number of lines) into shared counters, one after the other."""

    def __init__(self, sizes):
        self.offsets, total = {}, 0
        for path, lines in sorted(sizes.items()):
            self.offsets[path] = total
            total += lines + 2
        self.sizes = sizes
        self.counters, self.calls, self.latest = (shared_counters(total) for _ in range(3))
        self.made = shared_counters(1)  # calls from code that is not traced
        self.depth = 0  # of traced frames on the stack
        self.known = {}
        self.types = {}
        self.left = {}  # of a function's code, while a test is traced briefly: the code, calls that are left

    def start(self, brief=False):
        """Trace; `brief`: of each function only until some calls in a row have run no new line, and count no hits."""
        call = self._brief if brief else self._call
        threading.settrace(call)
        sys.settrace(call)

    @staticmethod
    def stop():
        sys.settrace(None)
        threading.settrace(None)

    def _place(self, name):
        if name not in self.known:
            path = os.path.realpath(name)
            self.known[name] = (self.offsets[path], self.sizes[path], path) if path in self.offsets else None
        return self.known[name]

    def _call(self, frame, event, argument):
        place = self._place(frame.f_code.co_filename)
        if place is None:
            return None
        offset, lines, path = place
        counters, types, code = self.counters, self.types, frame.f_code
        calls, latest, made = self.calls, self.latest, self.made
        if self.depth <= 0:
            self.depth = 0
            resumed = code.co_flags & SUSPENDS and frame.f_lineno != code.co_firstlineno
            made[0] += not resumed  # what a loop of the test takes from a generator is one call
        self.depth += 1

        def local(frame, event, argument):
            line = frame.f_lineno
            if event == "line":
                at = offset + line
                if 0 <= line <= lines and counters[at] < 0xFFFFFFF0:
                    counters[at] += 1
                    if latest[at] != made[0]:
                        latest[at] = made[0]
                        calls[at] += 1
                return local
            if event == "return":
                self.depth -= 1
            if event == "return" and len(types) < MAX_TYPES:
                note_types(types, (path, code.co_firstlineno), frame, argument)
            return local

        if 0 <= frame.f_lineno <= lines:
            counters[offset + frame.f_lineno] += 1
        return local

    def _brief(self, frame, event, argument):
        code = frame.f_code
        place = self._place(code.co_filename)
        if place is None:
            return None
        left = self.left.setdefault(id(code), [code, BRIEF_CALLS])  # keeps the code, and so its number
        if not left[1]:
            return None
        left[1] -= 1
        offset, lines, path = place
        counters, types = self.counters, self.types
        if 0 <= frame.f_lineno <= lines:
            counters[offset + frame.f_lineno] = 1

        def local(frame, event, argument):
            line = frame.f_lineno
            if event == "line" and 0 <= line <= lines and not counters[offset + line]:
                counters[offset + line] = 1
                left[1] = BRIEF_CALLS
            if event == "return" and len(types) < MAX_TYPES:
                note_types(types, (path, code.co_firstlineno), frame, argument)
            return local

        return local

    def clear(self):
        self.left.clear()
        for counters in (self.counters, self.calls, self.latest, self.made):
            counters[:] = memoryview(bytes(4 * len(counters))).cast("I")
        self.depth = 0

    def earlier(self):
        """Return {path: [[line, in the last call or not, earlier calls that ran it], …]}, nothing for a single call."""
        found, made = {}, self.made[0]
        for path, offset in self.offsets.items() if made > 1 else ():
            hit = [n for n in range(self.sizes[path] + 1) if self.calls[offset + n]]
            last = {n: int(self.latest[offset + n] == made) for n in hit}
            if hit:
                found[path] = [[n, last[n], self.calls[offset + n] - last[n]] for n in hit]
        return found

    def lines(self):
        """Return {path: [[line, hits], …]} of what ran since `clear`."""
        found = {}
        for path, offset in self.offsets.items():
            hit = [[n, self.counters[offset + n]] for n in range(self.sizes[path] + 1) if self.counters[offset + n]]
            if hit:
                found[path] = hit
        return found


def note_types(types, place, frame, returned):
    """Remember the types of a frame's locals and of what it returns."""
    for name, value in [*list(frame.f_locals.items())[:40], ("return", returned)]:
        note_type(types, place, name, value)


def note_type(types, place, name, value):
    """Remember the type of a value, of its first element or its attributes: by what runs no code of the bundle."""
    kind = type(value)
    if value is not None or name != "return":
        _remember(types, (*place, name), kind)
    if kind in (list, tuple, set, dict) and value:
        for first in value:
            _remember(types, (*place, name + "[]"), type(first))
            break
        if kind is dict:
            _remember(types, (*place, name + "{}"), type(next(iter(value.values()))))
    elif kind.__module__ != "builtins" and type(kind) is type:
        try:
            attributes = object.__getattribute__(value, "__dict__")
        except Exception:  # none, or a property of the bundle's
            return
        if type(attributes) is dict:
            for attribute, held in list(attributes.items())[:20]:
                _remember(types, (*place, "%s.%s" % (name, attribute)), type(held))


def _remember(types, key, kind):
    if types.get(key, "NoneType") == "NoneType":  # what was None once tells less than what it is now
        types[key] = kind.__name__


def crash(error, coverage):
    """Return ([[path, line], …] of the editable frames, innermost last, and one line of message)."""
    frames = []
    trace = error.__traceback__
    while trace is not None and len(frames) < 200:
        place = coverage._place(trace.tb_frame.f_code.co_filename)
        if place is not None:
            frames.append([place[2], trace.tb_lineno])
        trace = trace.tb_next
    try:
        message = "%s: %s" % (type(error).__name__, error)
    except Exception:  # a bundle's exception need not know how to print itself
        message = type(error).__name__
    return frames[-50:], message[:500]


def executed_functions(files, run):
    """Return run(), noting in each LiveFile the functions that it executes (their effects are import effects)."""
    known = {}

    def note(frame, event, argument):
        if event != "call":
            return
        code = frame.f_code
        name = code.co_filename
        if name not in known:
            known[name] = files.get(os.path.realpath(name))
        live = known[name]
        if live is not None and code.co_flags & OPTIMIZED:
            live.ran.add((code.co_name, code.co_firstlineno))

    sys.setprofile(note)
    try:
        return run()
    finally:
        sys.setprofile(None)
