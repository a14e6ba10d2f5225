"""One run of a bundle's tests in a fresh sandbox: what is reported, and what is not believed."""

import pytest

from repairlab.config import Settings
from repairlab.sandbox import SandboxLimits, open_sandbox
from repairlab.trial.runs import Trial, stable

CODE = "def half(x):\n    return x / 2\n"
TESTS = """from m import half
import time

def test_one():
    assert half(2) == 1

def test_two():
    time.sleep(0.05)
    assert half(4) == 2
"""


def trial(wall_s=20.0, **files):
    settings = Settings().sandbox
    entries = tuple((name.replace("_py", ".py"), "f", text.encode()) for name, text in files.items())
    return Trial(open_sandbox(settings), SandboxLimits.from_settings(settings, wall_s=wall_s), entries)


def test_a_run_tells_outcomes_time_and_memory():
    run = trial(m_py=CODE, test_m_py=TESTS).run()
    assert run.passed, run
    assert run.counts == (2, 2)
    assert set(run.names) == {("test_m", "test_one"), ("test_m", "test_two")}
    assert 0.05 <= run.wall_s < 20
    assert run.peak_kb > 5000
    assert 0 < run.cpu_s < 20


ORDERED = "SEEN = []\n" + "".join(
    f"def test_{n}():\n    SEEN.append({n})\n    assert len(SEEN) < 6 or SEEN != sorted(SEEN), 'in order'\n"
    for n in range(6)
)


def test_a_seed_shuffles_the_tests_and_the_hashes():
    assert not trial(test_o_py=ORDERED).run().passed
    assert trial(test_o_py=ORDERED).run(seed=1).passed
    hashed = "def test_h():\n    assert hash('x') == {}\n"
    plain = trial(test_h_py="def test_h():\n    print(hash('x'))\n    assert 0\n").run()
    known = next(line for line in plain.output.splitlines() if line.lstrip("-").isdigit())
    assert trial(test_h_py=hashed.format(known)).run().passed
    assert not trial(test_h_py=hashed.format(known)).run(seed=2).passed


@pytest.mark.parametrize(
    ("test", "wall_s"),
    [
        ("import os\ndef test_x():\n    os._exit(0)\n", 20),
        ("import sys\nsys.exit(0)\ndef test_x():\n    pass\n", 20),
        ("import time\ndef test_x():\n    time.sleep(60)\n", 2),
        ("import os, signal\ndef test_x():\n    os.kill(os.getppid(), signal.SIGKILL)\n    os._exit(0)\n", 20),
        ("def test_x():\n    assert False\n", 20),
        ("", 20),
        ("import nothing_of_that_name\ndef test_x():\n    pass\n", 20),
        ("def test_x():\n    x = 'x' * (1 << 34)\n", 20),
    ],
    ids=[
        "exits",
        "raises SystemExit",
        "hangs",
        "kills its parent",
        "fails",
        "no test",
        "does not import",
        "takes all memory",
    ],
)
def test_what_did_not_pass_is_not_believed(test, wall_s):
    run = trial(wall_s=wall_s, test_x_py=test).run()
    assert not run.passed
    assert run.wall_s < 15


BUSY = """import time
def work():
    begun = time.thread_time()
    while time.thread_time() < begun + 2: pass
"""
SAID = "\n\ndef test_x():\n    import m\n    assert m.ask() == 1\n"
FORGERIES = {
    "turns the clocks back": BUSY + """
real = time.monotonic
def ask():
    work()
    now = real() - 2
    for name in ("monotonic", "perf_counter", "time", "process_time"):
        setattr(time, name, lambda: now)
    return 1
""",
    "tells pytest another duration": BUSY + """
def ask():
    import _pytest.runner as runner
    made = runner.CallInfo.__init__
    def shorter(self, *args, **kwargs):
        made(self, *args, **kwargs)
        self.duration = 1e-9
    runner.CallInfo.__init__ = shorter
    work()
    return 1
""",
    "lets a process work that nobody waits for": BUSY + """
import os, tempfile
def ask():
    place = tempfile.mkdtemp()
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid()
            work()
            open(place + "/done", "w").close()
        os._exit(0)
    os.wait()
    while not os.path.exists(place + "/done"):
        time.sleep(0.001)
    return 1
""",
    "works while it is imported": BUSY + "work()\ndef ask():\n    return 1\n",
    "works at the end": BUSY + "import atexit\natexit.register(work)\ndef ask():\n    return 1\n",
}  # fmt: skip


@pytest.mark.parametrize("how", FORGERIES)
def test_no_code_can_make_its_time_shorter_than_it_is(how):
    run = trial(m_py=FORGERIES[how], test_m_py=SAID, wall_s=50).run()
    assert run.passed, run
    assert run.wall_s >= 2
    assert run.cpu_s >= 2


@pytest.mark.parametrize("how", FORGERIES)
def test_no_code_can_make_the_time_of_a_benchmark_shorter_than_it_is(how):
    run = trial(m_py=FORGERIES[how], bench_py="import m\nprint(m.ask())\n", wall_s=50).measure("bench.py")
    assert (run.exit, run.output, run.cases) == (0, "1\n", None)
    assert run.wall_s >= 2
    assert run.cpu_s >= 2


def test_stability_is_the_share_of_runs_that_pass_with_the_same_tests():
    good, bad = trial(test_m_py="def test_x(): pass\n").run(), trial(test_m_py="def test_x(): assert 0\n").run()
    assert stable([good, good, bad, good]) == 0.75
    assert stable([]) == 0


BUSY = """import ctypes, os, pickle, socket, subprocess
def tried(what):
    try:
        what()
    except Exception:
        pass
def act():
    {body}
"""
ACTS = [
    ("tried(lambda: subprocess.run(['true']))", "starts processes"),
    ("tried(lambda: os.system('true'))", "starts processes"),
    ("tried(lambda: socket.socket().connect(('192.0.2.1', 80)))", "uses the network"),
    ("tried(lambda: socket.getaddrinfo('example.org', 80))", "uses the network"),
    ("tried(lambda: open('made', 'w'))", "changes files"),
    ("tried(lambda: open('/etc/passwd', 'a'))", "changes files"),
    ("tried(lambda: os.remove('nothing'))", "changes files"),
    ("tried(lambda: os.kill(os.getpid(), 0))", "ends the process"),
    ("tried(lambda: ctypes.CDLL(None))", "reaches into memory or interpreter"),
    ("tried(lambda: pickle.loads(pickle.dumps(tried)))", "loads objects from bytes"),
    ("__import__('threading').Thread(target=lambda: tried(lambda: os.mkdir('x'))).run()", "changes files"),
]


@pytest.mark.parametrize(("body", "kind"), ACTS, ids=range(len(ACTS)))
def test_what_a_source_does_or_tries_is_seen_and_what_a_test_does_is_not(body, kind):
    files = {"m_py": BUSY.format(body=body), "test_m_py": "import m\ndef test_act():\n    m.act()\n"}
    assert trial(**files).run(sources=["m.py"]).seen == [kind]
    assert trial(**files).run().seen == [], "nobody asked"
    assert trial(**files).run(sources=["other.py"]).seen == []


def test_imports_and_reading_are_nothing_that_was_done():
    code = "import ctypes, uuid, json, helper\ndef act():\n    import decimal\n    return open(__file__).read()\n"
    files = {"m_py": code, "helper_py": "x = 1\n", "test_m_py": "import m\ndef test_act():\n    assert m.act()\n"}
    run = trial(**files).run(sources=["m.py", "helper.py"])
    assert run.passed
    assert run.seen == []


def test_what_is_seen_survives_a_process_that_ends_itself_and_is_bounded():
    code = "import os\ndef act():\n    os.system('true')\n    os._exit(0)\n"
    files = {"m_py": code, "test_m_py": "import m\ndef test_act():\n    m.act()\n"}
    assert trial(**files).run(sources=["m.py"]).seen == ["starts processes"]
    forger = "import glob\ndef act():\n    for path in glob.glob('../*/seen'):\n"
    forger += "        open(path, 'w').write('x\\n' * 9999)\n"
    run = trial(m_py=forger, test_m_py="import m\ndef test_act():\n    m.act()\n").run(sources=["m.py"])
    assert run.passed
    assert len(run.seen) <= 50
