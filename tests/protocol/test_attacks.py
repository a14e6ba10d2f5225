"""Every hostile program of tests/attacks/ fails in the sandbox, and as a control succeeds without.

The programs are run by tests/attacks/suite, once a tier; what it says is compared with what docs/security.md says. What
cannot be told in its one table has a test of its own here.
"""

import json
import os
import select
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import judge
import pytest
import table
from cases import CASES, LIMITS, ROOMY

from repairlab import sandbox as box
from repairlab.sandbox import bubblewrap

ATTACKS = Path(__file__).parents[1] / "attacks"
SUITE = ATTACKS / "suite"
pytestmark = pytest.mark.timeout(180)  # the first of them runs all attacks of a tier
SETTINGS = SimpleNamespace(tier="bubblewrap", memory_mb=256, processes=24, tmpfs_mb=4, open_files=64, file_mb=8)


def suite(tier, *argv):
    done = subprocess.run([sys.executable, SUITE, tier, *argv], capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module", params=["bubblewrap"])
def confined(request):
    """What the attacks have come to in a tier; the files they are after lie where everybody may read them."""
    return suite(request.param, "--root", "/var/tmp")


@pytest.fixture(scope="module")
def unconfined():
    return suite("none")


def test_no_attack_succeeds(confined):
    assert set(confined["attacks"]) == {case.name for case in CASES}
    assert {name: told for name, told in confined["attacks"].items() if told["succeeded"] or "broken" in told} == {}
    assert all(None not in told["stopped_by"].values() for told in confined["attacks"].values())
    assert all(told["stopped_by"] for told in confined["attacks"].values())


def test_every_control_succeeds(unconfined):
    wanted = {case.name for case in CASES if unconfined["root"] or not case.root}
    assert set(unconfined["attacks"]) == wanted
    failed = {name: told for name, told in unconfined["attacks"].items() if any(told["stopped_by"].values())}
    assert failed == {}
    assert not any("broken" in told for told in unconfined["attacks"].values())
    assert all(told["stopped_by"] or told["lacking"] for told in unconfined["attacks"].values())


def test_the_documentation_says_what_has_stopped_each(confined):
    assert table.differences(confined) == []


def test_a_wrong_table_is_noticed(confined):
    name = CASES[0].name
    lie = {**confined, "attacks": {name: {**confined["attacks"][name], "stopped_by": {"": "SIGKILL"}}}}
    assert name in table.differences(lie)[0]


def test_every_program_is_run():
    tried = {case.attack for case in CASES} | {"broken_frames"}
    assert {path.stem for path in ATTACKS.glob("*.py")} == tried


@pytest.fixture(scope="module", params=["bubblewrap"])
def tier(request):
    return box.open_sandbox(SimpleNamespace(**{**vars(SETTINGS), "tier": request.param}))


def begin(tier, attack, limits=LIMITS, **parameters):
    confined = tier.start(judge.program(attack), limits=limits, name=attack)
    confined.stream.send(json.dumps(parameters).encode())
    return confined


def test_what_stays_within_the_bounds_is_left_alone(tier):
    roomy = replace(ROOMY, memory_mb=1024, file_mb=8)
    for attack, parameters in (
        ("fill_disk", {"files": 1, "file_mb": 8, "places": [], "bytes": 0, "settle_s": 0}),
        ("memory", {"mb": 512}),
        ("memory_of_many", {"processes": 6, "mb": 100}),
        ("many_files", {"files": replace(LIMITS, tmpfs_mb=1).inodes + 1, "settle_s": 0.3}),
        ("fork_bomb", {"processes": LIMITS.processes - 4}),
    ):
        with begin(tier, attack, roomy, **parameters) as confined:
            parts = json.loads(confined.stream.recv(15))["parts"]
        assert set(parts.values()) == {None}, attack


def test_forks_that_share_their_memory_are_not_counted_twice(tier):
    program = b"""
import os, time
held = bytearray(b"\\1") * (100 << 20)
for _ in range(10):
    if os.fork() == 0:
        time.sleep(60)
time.sleep(0.3)
stream.send(b"fine")
"""
    with tier.start(program, limits=LIMITS) as confined:
        assert confined.stream.recv(10) == b"fine"


def test_of_a_flood_the_end_is_kept(tier):
    with begin(tier, "flood", seconds=0.3, bytes=1) as confined:
        confined.stream.recv(10)
        assert confined.kill()
        assert 0 < len(confined.stderr_tail()) <= 1 << 16


def test_a_server_that_is_not_sealed_can_be_spoken_for(tier):
    with begin(tier, "forged_frames", sealed=False) as confined:
        assert json.loads(confined.stream.recv(10))["parts"] == {"verdict": None}


def test_a_file_in_the_work_directory_can_be_run(tier):
    """The price of it stands in docs/security.md: code that a program wrote into a file it can also map."""
    program = b"""
import os, subprocess
with open("run", "w") as file:
    file.write("#!/bin/sh\\necho ran")
os.chmod("run", 0o700)
stream.send(subprocess.run(["./run"], stdout=subprocess.PIPE).stdout)
"""
    with tier.start(program, limits=LIMITS) as confined:
        assert confined.stream.recv(10) == b"ran\n"


@pytest.mark.root
def test_root_without_a_capability_could_write_sysctls_if_bwrap_ran_as_root():
    script = "p=/proc/sys/kernel/printk_ratelimit; v=$(cat $p); echo $v > $p && echo written"
    options = "--unshare-all --uid 1000 --cap-drop ALL --ro-bind /usr /usr --symlink usr/bin /bin --proc /proc"
    options += " --symlink usr/lib /lib --symlink usr/lib64 /lib64"
    bwrap = [bubblewrap.find(), *options.split(), "/bin/sh", "-c", script]
    done = subprocess.run(bwrap, capture_output=True, text=True, env={})
    assert "written" in done.stdout, done.stderr  # the day this fails, running as nobody is no longer needed
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]
    done = subprocess.run([*nobody, *bwrap], capture_output=True, text=True, env={})
    assert "written" not in done.stdout


REFUSED = ["absolute", "dotdot", "dot", "empty", "nul", "twice", "symlink", "device", "cut", "longer"]
REFUSED += ["garbage", "latin"]


@pytest.mark.parametrize("case", [*REFUSED, "many"])
def test_files_that_would_lie_elsewhere_are_refused(tier, case):
    with begin(tier, "escaping_files", case=case) as confined, pytest.raises(box.StreamError):
        confined.stream.recv_files(10)


def test_honest_files_are_taken(tier):
    with begin(tier, "escaping_files", case="honest") as confined:
        assert confined.stream.recv_files(10) == {"a/b.py": b"x"}


@pytest.mark.parametrize(
    ("case", "error"),
    [("oversize", box.FrameTooLarge), ("stalled", box.StreamTimeout), ("closed", box.StreamClosed)],
)
def test_a_broken_stream_is_named(tier, case, error):
    with begin(tier, "broken_frames", case=case) as confined:
        with pytest.raises(error):
            confined.stream.recv(0.5)
        if case == "closed":
            assert confined.wait(5) == box.Ended(box.Why.EXITED, 3, None)


def test_the_sandbox_dies_with_the_process_that_started_it(tier):
    starter = f"""
import sys
sys.path.insert(0, {str(Path(box.__file__).parents[2])!r})
from types import SimpleNamespace
from repairlab import sandbox
tier = sandbox.open_sandbox(SimpleNamespace(**{vars(SETTINGS)!r}))
confined = tier.start("import time; time.sleep(60)")
print(confined._keeper._members._first, confined._keeper._process.pid, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", starter], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        handles = [os.pidfd_open(int(pid)) for pid in process.stdout.readline().split()]
        process.kill()
        for handle in handles:
            assert ended(handle, time.monotonic() + 5)
            os.close(handle)


def ended(handle, deadline):
    return bool(select.select([handle], [], [], max(0.0, deadline - time.monotonic()))[0])
