"""stories: what tests do with one object, from its making on, as calls that can be made again and varied.

One part of the program that `repairlab.trial.server` assembles (Python 3.8 or newer). A story begins with the arguments
that an object was made of, with the fields of a dataclass, or else with the object as a test first used it; then come
the methods that tests called. It is one `Call` whose arguments are those of all its steps, so that each is varied
within its type; besides, steps are left out, repeated and exchanged. Only the evaluator asks for them: how sure a
repair is was fitted without.
"""

import dataclasses
import inspect

MAX_STORIES, MAX_STEPS = 20, 6  # objects, and what is done with each, its making included
MADE, FOUND = "__init__", ""  # how a story begins: with its class called, or with an object


class Story:
    """What is done with an object of a class, without the arguments: steps are (name, how many, names of the last)."""

    __slots__ = ("kind", "steps")

    def __init__(self, kind, steps):
        self.kind = kind
        self.steps = steps

    def parts(self, arguments):
        """Yield each step with its own arguments."""
        at = 0
        for name, count, names in self.steps:
            yield name, arguments[at : at + count], names
            at += count

    def __call__(self, *arguments):
        """Do all of it; return what the methods gave."""
        thing, found = None, []
        for name, part, names in self.parts(arguments):
            if name == FOUND:
                thing = part[0]
            elif name == MADE:
                thing = passed(self.kind, part, names)
            elif names is None:  # a property
                found.append(settled(getattr(thing, name)))
            else:
                found.append(settled(passed(getattr(thing, name), part, names)))
        return found


class StoryCall(Call):
    """A story with its arguments."""

    def described(self, arguments, say):
        words = []
        for name, part, names in self.function.parts(arguments):
            begin = self.function.kind.__name__ if name in (MADE, FOUND) else "." + name
            words.append(begin if names is None else "%s(%s)" % (begin, spelled(part, names, say)))
        return "; ".join(words)

    def told(self, inner):
        return inner

    def like(self, arguments):
        return StoryCall(self.function, arguments, self.names, False)

    def rearranged(self):
        """Yield the story with a step left out, done twice, or exchanged with the next."""
        count, parts = len(self.function.steps), [part for _, part, _ in self.function.parts(self.arguments)]
        orders = []
        for at in range(1, count):
            order = list(range(count))
            orders.append(order[: at + 1] + order[at:])
            if count > 2:
                orders.append(order[:at] + order[at + 1 :])
            if at + 1 < count:
                orders.append([*order[:at], at + 1, at, *order[at + 2 :]])
        for order in orders:
            story = Story(self.function.kind, tuple(self.function.steps[at] for at in order))
            yield StoryCall(story, sum((tuple(parts[at]) for at in order), ()), [], False)


class Told:
    """The story of one object so far; it holds the object, so that its number is not another's."""

    def __init__(self, thing):
        self.thing = thing
        self.steps = []
        self.arguments = ()
        self.over = False

    def add(self, name, arguments, names):
        """Add a step with a copy of its arguments; the story ends where they cannot be copied."""
        self.over = True
        say = Describer()
        text = spelled(arguments, names or [], say)
        if len(self.steps) < MAX_STEPS and say.left >= 0 and len(text) <= LONGEST_INPUT:
            self.arguments += tuple(copy.deepcopy(arguments))
            self.steps.append((name, len(arguments), names if names is None else tuple(names)))
            self.over = False


class Stories:
    """Listens to calls of methods, as `Capture` hears of them."""

    def __init__(self):
        self.told = {}

    def note(self, function, code, arguments, names):
        """Take the next call from outside of the editable files."""
        kind = type(arguments[0]) if arguments and code.co_argcount else None
        raw = inspect.getattr_static(kind, code.co_name, None) if kind else None
        if raw is None or (raw is not function and getattr(raw, "fget", None) is not function):
            return  # no method of an object: a function, a class method, what stands behind a decorator
        thing, rest, made = arguments[0], arguments[1:], code.co_name == MADE
        told = self.told.get(id(thing))
        if told is None:
            if len(self.told) >= MAX_STORIES:
                return
            told = self.told[id(thing)] = Told(thing)
            told.add(*((MADE, rest, names) if made else beginning(thing)))
        elif made:
            told.over = True
        if not (made or told.over):
            told.add(code.co_name, rest, names if raw is function else None)

    def calls(self):
        """Return the stories in which something is done."""
        known, found = {}, []
        for told in self.told.values():
            if len(told.steps) > 1:
                kind, steps = type(told.thing), tuple(told.steps)
                story = known.setdefault((kind, steps), Story(kind, steps))
                found.append(StoryCall(story, told.arguments, [], True))
        return [call for call in found if call.whole]


def beginning(thing):
    """Return the first step of the story of an object whose making was not seen."""
    made = getattr(type(thing).__init__, "__code__", None)
    if dataclasses.is_dataclass(thing) and made is not None and made.co_filename == "<string>":
        names = [field.name for field in dataclasses.fields(thing) if field.init]
        return MADE, tuple(getattr(thing, name) for name in names), names
    return FOUND, (thing,), []
