"""The server in the real sandbox: a candidate gets the same verdict in a fork of its own and among others."""

import contextlib
import json
import shutil

import pytest
from judged import opened, verdicts

from repairlab.config import Settings
from repairlab.sandbox import open_sandbox
from repairlab.trial import server as server_text
from repairlab.trial.source import Edit

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed"),
]

SOURCE = """
import os, random, time

MEMO = {}


def inc(x, seen=[]):
    return x - 1


def ordered(xs):
    return xs


class Box:
    made = 0

    def __size(self):
        return len("ab")

    def size(self):
        return self.__size()
"""
TESTS = """
import os
import pytest
from mod import Box, MEMO, inc, ordered

GIVEN = [3, 1, 2]


def test_inc():
    assert inc(1) == 2
    assert not MEMO and Box.made == 0 and inc.__defaults__ == ([],)


@pytest.mark.parametrize("xs", [[2, 1]])
def test_given(xs):
    assert xs == [2, 1] and GIVEN == [3, 1, 2] and os.linesep == "\\n"
    ordered(xs)
    ordered(GIVEN)


def test_place():
    assert os.path.basename(os.getcwd()) == "bundle" and "LEFT" not in os.environ and not os.path.exists("here")


class TestBox:
    def test_size(self):
        assert not hasattr(self, "mark")
        self.mark = Box().size()
        assert self.mark == 2
"""

GOOD = "return x + 1"
# Each leaves something behind that makes `GOOD` fail where it is not put back, or would make it.
SPOILERS = {
    "a_global_dict": "MEMO[x] = 1; return x - 1",
    "a_default": "seen.append(x); return x - 1",
    "a_class_attribute": "Box.made += 1; return x - 1",
    "the_directory": "os.chdir('/'); return x - 1",
    "the_environment": "os.environ['LEFT'] = '1'; return x - 1",
}
ENDING = {"return os._exit(0)": "died", "os.kill(os.getpid(), 9)": "died", "return inc(x)": "failed"}


def edit(old, new):
    at = SOURCE.index(old)
    return [Edit("mod.py", at, at + len(old), new)]


def change(new):
    return edit("return x - 1", new)


@contextlib.contextmanager
def running(path):
    with opened(path / "bundle", {"mod.py": SOURCE, "test_mod.py": TESTS, "late.py": "VALUE = 0\n"}) as started:
        ids = started.collect(30).ids
        assert len(ids) == 4, ids
        started.ids = ids
        yield started


def plan(server):
    """Return the server with no memory of what it judged: the failing test first, little time for each."""
    server.plan([0, 1, 2, 3], 1, [0.02] * 4, server.ids, [])
    return server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture
def planned(server):
    return plan(server)


@pytest.fixture
def new(tmp_path):
    """Return a server of its own, in whose directory no candidate has written yet."""
    with running(tmp_path) as started:
        yield plan(started)


def test_what_one_candidate_leaves_behind_spoils_no_other_of_its_batch(planned):
    candidates = [change(GOOD + "  # first")]
    for spoiler in SPOILERS.values():
        candidates += [change(spoiler), change(f"{GOOD} + {len(candidates)} - {len(candidates)}")]
    candidates += [edit("return xs", "xs.sort(); return xs"), change(GOOD)]
    found = [verdict.verdict for verdict in verdicts(planned, candidates)]
    assert found == ["passed", *["failed", "passed"] * len(SPOILERS), "failed", "passed"]


def test_candidates_that_end_or_never_end_take_no_other_with_them(planned):
    candidates = [change(GOOD)]
    for number, ending in enumerate([*ENDING, "while True: pass", "time.sleep(99)"], 1):
        candidates += [change(ending), change(f"{GOOD} + {number} - {number}")]
    found = [verdict.verdict for verdict in verdicts(planned, candidates)]
    assert found == ["passed", *[v for ending in [*ENDING.values(), "hang", "hang"] for v in (ending, "passed")]]


def test_forks_at_the_same_time_do_not_see_each_others_files(planned):
    """Each writes the same file and removes it in the end; side by side they would find the other's."""
    line = "open('here', 'x').close(); time.sleep(0.01); os.unlink('here'); return x + 1 + {n} - {n}"
    found = verdicts(planned, [change(line.format(n=n)) for n in range(6)], alone=True)
    assert [verdict.verdict for verdict in found] == ["passed"] * 6


def processes(server, turn):
    """Return the numbers of processes that a candidate sees; it passes where it sees as many as it says."""
    line = "return x + (sum(map(str.isdigit, os.listdir('/proc'))) == {n}) + {turn} - {turn}"
    return [n for n in range(3, 9) if verdicts(server, [change(line.format(n=n, turn=turn))])[0].verdict == "passed"]


def test_what_escapes_from_a_fork_is_gone_before_the_next_request(planned):
    before = processes(planned, 0)
    escape = "os.fork() or (os.setsid(), os.fork() or time.sleep(999), os._exit(0)); return x + 1"
    assert verdicts(planned, [change(escape)])[0].verdict == "passed"
    assert processes(planned, 1) == before
    assert len(before) == 1


def test_code_that_is_there_already_and_code_that_was_judged_are_not_judged_again(planned):
    before = planned.cost().forks
    found = verdicts(planned, [change("return (x - 1)")] * 3, alone=True)
    assert [verdict.verdict for verdict in found] == ["same"] * 3
    assert planned.cost().forks == before
    assert verdicts(planned, [change("return x * 7")])[0].verdict == "failed"
    after = planned.cost().forks
    twin = verdicts(planned, [change("return ( x*7 )"), change("return x*7  # again")])
    assert [(v.verdict, v.outcomes) for v in twin] == [("failed", [(0, "f")])] * 2
    assert planned.cost().forks == after


def test_a_method_is_changed_alive_below_the_headers_of_its_class(planned):
    (found,) = verdicts(planned, [edit('len("ab")', "3")])
    assert not found.fresh
    assert found.verdict == "failed"


def test_a_slow_candidate_that_has_repaired_a_test_gets_more_time_than_one_that_has_not(planned):
    burn = "end = time.process_time() + 0.06\n    while time.process_time() < end: pass\n    return {}"
    slow = edit(
        "return self.__size()",
        "end = time.process_time() + 0.06\n        while time.process_time() < end: pass\n        return 2",
    )
    (stuck,) = verdicts(planned, [change(burn.format("x + 1"))])
    assert stuck.verdict == "hang"
    (promising,) = verdicts(planned, [[*change(GOOD), *slow]], alone=True)
    assert promising.verdict == "passed"


def test_a_candidate_that_only_a_fresh_import_shows_is_collected_anew(planned):
    (found,) = verdicts(planned, [[*edit("seen=[]", "seen=None"), *change(GOOD)]])
    assert (found.verdict, found.fresh) == ("failed", True)
    (found,) = verdicts(planned, [[*edit("MEMO = {}", "MEMO = dict()"), *change(GOOD)]])
    assert (found.verdict, found.fresh) == ("passed", True)


def test_no_candidate_imports_a_file_that_another_has_replaced(planned):
    late = (
        "import sys; sys.modules.pop('late', 0); time.sleep(0.01); import late; return x + 1 + late.VALUE + {n} - {n}"
    )
    fresh = [Edit("late.py", 0, len("VALUE = 0"), "VALUE = 7; import time; time.sleep(0.3)")]
    candidates = [[*change("return x"), *fresh], *[change(late.format(n=n)) for n in range(20)]]
    found = [verdict.verdict for verdict in verdicts(planned, candidates, alone=True)]
    assert found == ["failed", *["passed"] * 20]


def test_what_a_candidate_that_is_imported_anew_writes_is_put_back(planned):
    written = [*edit("MEMO = {}", "MEMO = dict()"), *change("open('here', 'w').close(); return x")]
    found = verdicts(planned, [written, [*edit("MEMO = {}", "MEMO =dict()"), *change(GOOD)]])
    assert [(verdict.verdict, verdict.fresh) for verdict in found] == [("failed", True), ("passed", True)]


def test_what_a_candidate_writes_that_ends_the_worker_is_put_back(planned):
    (found,) = verdicts(planned, [change("open('here', 'w').close(); os.kill(os.getppid(), 9); time.sleep(9)")])
    assert found.verdict == "lost"
    assert verdicts(planned, [change(GOOD)])[0].verdict == "passed"


def test_the_process_that_talks_to_the_agent_takes_no_codec_from_the_bundle(tmp_path):
    files = {"_codecs_jp.py": "import os\nos._exit(3)\n", "mod.py": "# coding: shift_jis\n\n\ndef f():\n    return 1\n"}
    with opened(
        tmp_path / "bundle", {**files, "test_mod.py": "from mod import f\n\n\ndef test_f():\n    assert f()\n"}
    ) as it:
        assert len(it.collect(30).ids) == 1


@pytest.mark.parametrize("ending", ["while True: pass", "os._exit(0)"])
def test_where_a_batch_ends_early_those_before_are_judged_with_canaries(new, ending):
    spoiled = [change("os.linesep = 'x'; return x - 1"), change("return x + 1 + (os.linesep == 'x')"), change(ending)]
    assert [verdict.verdict for verdict in verdicts(new, spoiled)][:2] == ["failed", "passed"]


@pytest.mark.parametrize("ending", ["return x", "os._exit(0)"])
def test_what_one_of_a_batch_writes_spoils_none_behind_it(new, ending):
    reads = "return x + 1 + os.path.exists('here') + {n} - {n}"
    writes = [change(f"open('here', 'w').close(); {ending}"), change(reads.format(n=1))]
    found = [verdict.verdict for verdict in verdicts(new, [change(reads.format(n=0)), *writes])]
    assert found == ["passed", "failed" if ending == "return x" else "died", "passed"]
    before = new.cost().forks
    assert [verdict.verdict for verdict in verdicts(new, [change(f"return x + {n}") for n in range(3, 6)])]
    assert new.cost().forks > before


def test_what_one_writes_beside_others_spoils_none_of_them(new):
    line = "end = time.process_time() + 0.01; [0 for _ in iter(lambda: time.process_time() < end, False)]; "
    reads = [change(line + f"return x + 1 + os.path.exists('here') + {n} - {n}") for n in range(6)]
    writes = change("open('here', 'w').close(); time.sleep(0.03); return x")
    found = [verdict.verdict for verdict in verdicts(new, [*reads[:2], writes, *reads[2:]], alone=True)]
    assert found == ["passed", "passed", "failed", *["passed"] * 4]


def test_a_batch_needs_no_canary_that_never_ends(tmp_path):
    mod = "def wait(x):\n    while x:\n        pass\n"
    tests = "from mod import wait\n\n\ndef test_wait():\n    assert wait(1) == 0\n\n\n"
    tests += "def test_none():\n    assert wait(0) is None\n"
    with opened(tmp_path / "bundle", {"mod.py": mod, "test_mod.py": tests}) as server:
        server.plan([0, 1], 1, [0.5, 0.5], server.collect(30).ids, [], [0])
        before, at = server.cost().forks, mod.index("pass")
        found = verdicts(server, [[Edit("mod.py", at, at + 4, f"return {n}")] for n in range(2, 9)])
        assert [verdict.verdict for verdict in found] == ["failed"] * 7
        assert server.cost().forks - before < 0.4


@pytest.mark.parametrize("fixture", ["", "tmp_path"])
def test_a_fork_may_be_slow_to_end_where_there_is_no_canary(tmp_path, fixture):
    mod = "import mmap\n\nheld = []\n\n\ndef wait(x):\n    while x:\n        pass\n"
    tests = f"from mod import wait\n\n\ndef test_wait({fixture}):\n    assert wait(1) == 0\n"
    large = "held.append(mmap.mmap(-1, 1 << 28, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)); held[0].write(bytes(1 << 28))"
    with opened(tmp_path / "bundle", {"mod.py": mod, "test_mod.py": tests}) as server:
        server.plan([0], 1, [5.0], server.collect(60).ids, [], [0])
        at = mod.index("pass")
        found = verdicts(server, [[Edit("mod.py", at, at + 4, f"{large}; return {n}")] for n in range(2)])
        assert [verdict.verdict for verdict in found] == ["passed", "failed"]


def test_what_one_writes_into_a_file_of_a_large_directory_is_put_back(tmp_path):
    mod = "def f(x):\n    return x\n"
    tests = "from mod import f\n\n\ndef test_f():\n    assert f(1) == 2\n"
    with opened(
        tmp_path / "bundle", {"mod.py": mod, "test_mod.py": tests, **{f"n{n}": "old" for n in range(310)}}
    ) as it:
        it.plan([0], 1, [0.2], it.collect(30).ids, [])
        at = mod.index("return x")
        writes = "with open('n7', 'r+') as file: file.write('NEW'); return 3"
        reads = "return x + (open('n7').read() == 'old')"
        for new, verdict in [(writes, "failed"), (reads, "passed")]:
            assert verdicts(it, [[Edit("mod.py", at, at + 8, new)]], alone=True)[0].verdict == verdict


def test_what_judges_candidates_comes_once_and_is_counted_as_the_sandboxes(tmp_path, monkeypatch):
    with opened(tmp_path / "bundle", {"mod.py": SOURCE, "test_mod.py": TESTS, "late.py": "VALUE = 0\n"}) as server:
        before = sum(server.setup.started_s)
        assert len(server.collect(30).ids) == 4
        assert sum(server.setup.started_s) > before
        monkeypatch.setattr(server_text, "search", lambda: "raise SystemExit('once more')")
        assert len(server.collect(30).ids) == 4  # as where an option of the bundle's has to be left out


@pytest.mark.parametrize("plain", [True, False])
def test_a_sandbox_that_is_to_verify_has_what_that_needs_and_no_other_has_what_judges(plain):
    looked = ["subprocess", "tempfile", "threading", "xml.etree.ElementTree"]
    look = f"stream.send(JSON.dumps([[n in sys.modules for n in {looked}], 'hot_main' in globals()]).encode())\n"
    program = server_text.program(plain=plain).removesuffix("serve()\n") + look
    with open_sandbox(Settings().sandbox).start(program) as confined:
        assert json.loads(confined.stream.recv(20)) == [[plain] * 4, False]
