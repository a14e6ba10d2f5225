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
    except (SyntaxError, ValueError, RecursionError, MemoryError):
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
        answers = [{"verdict": "again"} for _ in request["batch"]]
        plain, order, failing = self.hot.plain, request["order"], request["failing"]
        self.failing, self.partial, self.allow = failing, max(1, request["partial"]), request["allow"]
        self.order = order if all(plain[index] is not None for index in order) else order[: min(failing, self.partial)]
        self.canary = [index for index in order[failing:] if plain[index] is not None][:1]
        if not self.clean or not failing or any(plain[index] is None for index in self.order):
            return answers
        waiting = []
        for position, edits in enumerate(request["batch"]):
            swaps, answer = self.hot.swaps(edits)
            if answer is None:
                waiting.append((position, swaps))
            elif answer["verdict"] == "syntax":
                answers[position] = answer
        while waiting:
            waiting = self._fork(waiting, answers)
        return answers

    def _fork(self, waiting, answers):
        """Judge as many of `waiting` as one fork survives; return those that follow the one that ended it."""
        fork = Fork(self._body(waiting))
        seen, running, sound = {}, None, None
        longest = 4 * max(self.allow[index] for index in self.order) + 0.5
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
            if self._hopeless(letters):
                outcomes = [[index, letter] for index, letter in zip(self.order, letters)]
                answers[position] = {"verdict": "failed", "outcomes": outcomes}
        positions = [position for position, _ in waiting]
        if running is None or running not in positions:
            return []
        answers[running] = {"verdict": "hang" if fork.timed_out or fork.out_of_cpu else "died"}
        return waiting[positions.index(running) + 1 :]

    def _hopeless(self, letters):
        """True for a candidate that repairs nothing, or breaks something; '' is one that could not be swapped in."""
        repairs = any(letter in "psx" for letter in letters[: self.failing])
        breaks = any(letter not in "psx" for letter in letters[self.failing :])
        return bool(letters) and (breaks or not repairs)

    def _body(self, waiting):
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
                        letters = self._run(self.order, Progress(self.failing, self.partial))
                except ValueError:  # other free variables: this one needs a fresh import
                    letters = ""
                for function, back in undo:
                    function.__code__ = back
                _write(write_end, ("\nv %d %s\n" % (position, letters)).encode())
            same = not set(self._run(self.order[: self.failing][: self.partial])) & set("psx")
            same = same and self._run(self.canary) in ("", "p")
            _write(write_end, b"\nk sound\n" if same else b"\nk spoiled\n")

        hot.recorder.keep_excinfo = False
        return body

    def _run(self, tests, go_on=lambda good: True):
        """Return the letters of `tests`, as far as `go_on` wants them."""
        letters, recorder = "", self.hot.recorder
        for index in tests:
            recorder.begin()
            _setitimer(signal.ITIMER_PROF, self.allow[index])
            call_plainly(self.hot.plain[index], recorder)
            letters += recorder.outcome
            if not go_on(recorder.outcome in "psx"):
                break
        _setitimer(signal.ITIMER_PROF, 0)
        return letters
