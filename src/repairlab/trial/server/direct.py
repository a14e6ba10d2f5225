"""direct: tests called directly, where that is all there is to them: functions, and methods of unittest's classes.

One part of the program that `repairlab.trial.server` assembles (Python 3.8 or newer). Calling a function takes
microseconds, the whole protocol milliseconds, and of what is called directly many candidates can be judged in a fork.
"""

import sys

RUNTEST_HOOKS = (
    "pytest_runtest_protocol", "pytest_runtest_setup", "pytest_runtest_call", "pytest_runtest_teardown",
    "pytest_runtest_makereport", "pytest_runtest_logreport", "pytest_pyfunc_call", "pytest_fixture_setup",
)  # fmt: skip
KNOWN_PLUGINS = ("_pytest.", "pytest_timeout", "pytest_randomly", "xdist.", "pytest_cov.", "_hypothesis", "anyio.")


def plain_items(session):
    """Return, for each item, the call that is all there is to it, or None where fixtures, marks or hooks have a say."""
    from _pytest.python import Function

    hooks = session.config.hook
    if session.config.getini("filterwarnings") or session.config.getoption("pythonwarnings", None):
        return [None] * len(session.items)
    for name in RUNTEST_HOOKS:
        for implementation in getattr(hooks, name).get_hookimpls():
            plugin = implementation.plugin
            module = plugin.__name__ if hasattr(plugin, "__name__") else type(plugin).__module__
            if not isinstance(plugin, Recorder) and not module.startswith(KNOWN_PLUGINS):
                return [None] * len(session.items)
    return [plain_case(item) or (plain_call(item) if type(item) is Function else None) for item in session.items]


def plain_call(item):
    import inspect

    spec = getattr(item, "callspec", None)
    given = dict(spec.params) if spec is not None else {}
    if set(item._fixtureinfo.names_closure) - set(given) or (getattr(spec, "indices", None) is None and given):
        return None
    if any(mark.name != "parametrize" or mark.kwargs.get("indirect") for mark in item.iter_markers()):
        return None
    function = getattr(item.obj, "__func__", item.obj)
    if (
        inspect.iscoroutinefunction(function)
        or inspect.isasyncgenfunction(function)
        or inspect.isgeneratorfunction(function)
    ):
        return None
    names = item._fixtureinfo.argnames
    return lambda: item.obj(**{name: given[name] for name in names})


def plain_case(item):
    """Return the call of a method of a `unittest.TestCase`, on an instance of its own each time; None as above.

    What is set up once for a class or a module is not done again for each test, so such classes keep the protocol.
    """
    from unittest import TestCase

    from _pytest.unittest import TestCaseFunction

    if type(item) is not TestCaseFunction or "twisted.trial.unittest" in sys.modules:
        return None
    case, name = item.parent.obj, item.name
    ours = all(getattr(getattr(case, each), "__func__", None) is vars(TestCase)[each].__func__ for each in ONCE)
    fixtures = {named for named in item._fixtureinfo.names_closure if not named.startswith(SET_UP_CLASS)}
    if not ours or fixtures - {"request"} or any(True for _ in item.iter_markers()) or is_asynchronous(case, name):
        return None

    def call():
        result = CaseResult()
        case(name)(result)
        result.end()

    return call


ONCE = ("setUpClass", "tearDownClass")
SET_UP_CLASS = "_unittest_setUpClass_fixture_"  # what calls those


def is_asynchronous(case, name):
    import inspect
    import unittest

    isolated = getattr(unittest, "IsolatedAsyncioTestCase", ())
    return issubclass(case, isolated) or inspect.iscoroutinefunction(getattr(case, name))


class CaseResult:
    """What `TestCase.run` tells its outcome to, by methods of many names; the exceptions count as with pytest."""

    failfast = False

    def __init__(self):
        self.errors = []

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)

        def told(case, *said):
            error = EXCEPTIONS[name](*said) if name in EXCEPTIONS else None
            if error is not None and not (name == "addSkip" and hasattr(case, "test_case")):  # a part of the test
                self.errors.append(error)

        return told

    def end(self):
        """Raise the first exception; where others follow a skip, as in a clean-up, the last."""
        from _pytest.outcomes import Skipped

        if self.errors:
            raise self.errors[-1] if isinstance(self.errors[0], Skipped) else self.errors[0]


def skipped(reason):
    from _pytest.outcomes import Skipped

    return Skipped(str(reason))


def expected(raised):
    from _pytest.outcomes import XFailed

    return XFailed("expected")


EXCEPTIONS = {
    "addError": lambda raised: raised[1],
    "addFailure": lambda raised: raised[1],
    "addSubTest": lambda inner, raised: raised and raised[1],
    "addSkip": skipped,
    "addExpectedFailure": expected,
    "addUnexpectedSuccess": lambda: AssertionError("unexpected success"),
}


def call_plainly(call, recorder):
    """Run one plain call and note its outcome as the recorder would."""
    from _pytest.outcomes import Exit, Skipped, XFailed

    try:
        call()
        recorder.outcome = "p"
    except (Exit, KeyboardInterrupt):
        raise
    except Skipped:
        recorder.outcome = "s"
    except XFailed:
        recorder.outcome = "x"
    except BaseException as error:  # SystemExit too: pytest counts it as a failure
        recorder.outcome = "f"
        recorder.excinfo = error if recorder.keep_excinfo else None
