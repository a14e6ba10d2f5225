"""batch: many candidates in one fork, for the long tail of those that repair nothing.

One part of the program that `repairlab.repair.server` assembles (Python 3.8 or newer).

A batch only ever says no: a candidate that turns a failing test green is judged again in a fork of its own. So that one
candidate cannot spoil the next, batches are for code without state (`stateless`), and each fork ends with canaries: the
unchanged code must still fail what it failed and pass what it passed, else the whole fork is judged again one by one.
"""

import ast
import types

IMMUTABLE = (int, float, complex, str, bytes, bool, type(None), frozenset, range)
FUNCTIONS = (types.BuiltinFunctionType, types.ModuleType, types.MethodDescriptorType)


def stateless(files):
    """True where no editable module keeps anything that a call could change and a later call could see."""
    if any(rebinds(live.text) for live in files.values()):
        return False
    modules = [m for m in list(sys.modules.values()) if os.path.realpath(getattr(m, "__file__", "") or "") in files]
    return all(fixed(value) for module in modules for name, value in vars(module).items() if not name.startswith("__"))


def rebinds(text):
    """True where code assigns to globals, or to attributes of anything but `self`."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return True
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            return True
        own = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load) and not own:
            return True
    return False


def fixed(value, depth=0):
    """True where nothing that can be reached from `value` can be changed in place."""
    if isinstance(value, types.FunctionType):
        return fixed_function(value, depth)
    if isinstance(value, IMMUTABLE + FUNCTIONS) or type(value).__module__ in ("typing", "re", "decimal"):
        return True
    if isinstance(value, tuple):
        return all(fixed(item, depth + 1) for item in value)
    if isinstance(value, (staticmethod, classmethod)):
        return fixed(value.__func__, depth)
    if isinstance(value, property):
        return all(fixed(part, depth) for part in (value.fget, value.fset, value.fdel))
    if isinstance(value, type) and depth < 2:
        ours = value.__module__ not in sys.builtin_module_names
        return not ours or all(
            fixed(item, depth + 1) for name, item in vars(value).items() if not name.startswith("__")
        )
    return False


def fixed_function(function, depth):
    kept = list(function.__defaults__ or ()) + list((function.__kwdefaults__ or {}).values())
    kept += list(vars(function).values())
    for cell in function.__closure__ or ():
        try:
            content = cell.cell_contents
        except ValueError:  # not filled yet
            continue
        if not isinstance(content, type):  # `__class__` of methods; classes are looked at where they stand
            kept.append(content)
    return depth < 5 and all(fixed(value, depth + 1) for value in kept)


class Batch:
    """Judges lists of candidates; `usable` says whether this bundle's tests allow it."""

    def __init__(self, hot):
        self.hot = hot
        self.clean = stateless(hot.files)

    def judge(self, request):
        """Return a verdict for each of `request["batch"]`: failed, hang, died, syntax, or again (not decided here)."""
        order, failing = request["order"], request["failing"]
        tasters = order[: min(failing, request["partial"])]
        canaries = [index for index in order[failing:] if self.hot.plain[index] is not None][:1]
        answers = [{"verdict": "again"} for _ in request["batch"]]
        if not self.clean or not tasters or any(self.hot.plain[index] is None for index in tasters):
            return answers
        waiting = []
        for position, edits in enumerate(request["batch"]):
            swaps, answer = self.hot.swaps(edits)
            if answer is None:
                waiting.append((position, swaps))
            elif answer["verdict"] == "syntax":
                answers[position] = answer
        while waiting:
            waiting = self._fork(waiting, tasters, canaries, request["allow"], answers)
        return answers

    def _fork(self, waiting, tasters, canaries, allow, answers):
        """Judge as many of `waiting` as one fork survives; return those that follow the one that ended it."""
        fork = Fork(self._body(waiting, tasters, canaries, allow))
        seen, running, sound = {}, None, None
        longest = 4 * max(allow[index] for index in tasters) + 0.5
        for record in fork.records(lambda: longest):
            word, _, rest = record.partition(" ")
            if word == "c" and rest.isdigit():
                running = int(rest)
            elif word == "v":
                position, _, letters = rest.partition(" ")
                if position.isdigit():
                    seen[int(position)], running = letters, None
            elif word == "k":
                sound = rest == "sound"
        if fork.complete and not sound:
            return []  # each of them stays `again`
        for position, letters in seen.items():
            if letters and not set(letters) & set("psx"):
                outcomes = [[index, letter] for index, letter in zip(tasters, letters)]
                answers[position] = {"verdict": "failed", "outcomes": outcomes}
        positions = [position for position, _ in waiting]
        if running is None or running not in positions:
            return []
        answers[running] = {"verdict": "hang" if fork.timed_out or fork.out_of_cpu else "died"}
        return waiting[positions.index(running) + 1 :]

    def _body(self, waiting, tasters, canaries, allow):
        hot = self.hot

        def body(write_end):
            gc.disable()
            for position, swaps in waiting:
                _write(write_end, b"\nc %d\n" % position)
                undo, letters = [], ""
                try:
                    for live, old, new in swaps:
                        for function in live.functions.get(old, ()):
                            function.__code__, back = new, function.__code__
                            undo.append((function, back))
                    if undo:
                        letters = self._taste(tasters, allow)
                except ValueError:  # other free variables: this one needs a fresh import
                    letters = ""
                for function, back in undo:
                    function.__code__ = back
                _write(write_end, ("\nv %d %s\n" % (position, letters)).encode())
            same = not set(self._taste(tasters, allow)) & set("psx")
            same = same and all(letter == "p" for letter in self._taste(canaries, allow))
            _write(write_end, b"\nk sound\n" if same else b"\nk spoiled\n")

        hot.recorder.keep_excinfo = False
        return body

    def _taste(self, tests, allow):
        """Return the letters of `tests`, up to the first that passes while it is a failing one."""
        letters = ""
        for index in tests:
            self.hot.recorder.begin()
            _setitimer(signal.ITIMER_PROF, allow[index])
            call_plainly(self.hot.plain[index], self.hot.recorder)
            letters += self.hot.recorder.outcome
            if self.hot.recorder.outcome in "psx":
                break
        _setitimer(signal.ITIMER_PROF, 0)
        return letters
