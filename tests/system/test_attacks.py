"""The attacks in a booted machine: the tiers of systemd, as those who use them, and controls with everything in place.

What the runs have said lies in pytest's --basetemp as attacks-TIER.json, for `tests/attacks/suite --write`.
"""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import table
from cases import CASES
from lab import Lab
from people import SOURCE, STATE

from repairlab.sandbox import inside

SUITE = f"{SOURCE}/tests/attacks/suite"
SOCKET = "repairlab-sandbox.socket"
METADATA = "169.254.169.254/32"


@pytest.fixture(scope="module")
def attacked(new_machine):
    """A machine with the sandbox's sockets, the service's and alice's, and with what clouds have at that address."""
    with new_machine() as lab:
        lab.run("systemctl", "enable", "--now", SOCKET)
        lab.run("ip", "address", "add", METADATA, "dev", "lo")
        lab.run("loginctl", "enable-linger", "alice")
        lab.until(lambda: lab.run("test", "-S", f"{runtime(lab)}/bus", check=False).returncode == 0)
        as_alice(lab, "systemctl", "--user", "enable", "--now", SOCKET)
        # The tier landlock counts the processes of a user, and a uid is not the container's alone: this one is.
        lab.run("useradd", "-m", "-u", str((1 << 20) + os.getpid()), "erin")
        yield lab


def runtime(lab: Lab) -> str:
    return f"/run/user/{lab.run('id', '-u', 'alice').stdout.strip()}"


def as_alice(lab: Lab, *argv: str, **keywords) -> str:
    at = runtime(lab)
    env = {"XDG_RUNTIME_DIR": at, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={at}/bus", "XDG_STATE_HOME": "/home/alice"}
    return lab.run(*argv, user="alice", env=env, **keywords).stdout


def suite(tier: str, root: str) -> list[str]:
    return ["sh", "-c", f"exec /usr/local/lib/repairlab/*/bin/python {SUITE} {tier} --root {root}"]


RUNS: dict[str, Callable[[Lab], str]] = {
    "systemd": lambda lab: lab.run(*suite("systemd", STATE), user="repairlab", timeout_s=90).stdout,
    "systemd-user": lambda lab: as_alice(lab, *suite("systemd", "/home/alice"), timeout_s=90),
    "bubblewrap": lambda lab: lab.run(*suite("bubblewrap", STATE), user="repairlab", timeout_s=90).stdout,
    "landlock": lambda lab: lab.run(*suite("landlock", "/home/erin"), user="erin", timeout_s=90).stdout,
    "none": lambda lab: lab.run(*suite("none", "/var/tmp"), timeout_s=90).stdout,
    # alice's manager has sockets of its own.
    "none-alice": lambda lab: as_alice(lab, *suite("none", "/home/alice"), timeout_s=90),
}
CONTROLS = {"none", "none-alice"}
# Both run under the uid of whoever starts them, and refuse to where landlock does not keep signals in (Linux 6.12).
SAME_USER = {"systemd-user", "landlock"}
if inside.landlock_abi() < inside.SCOPE_ABI:
    for name in SAME_USER:
        del RUNS[name]


@pytest.fixture(scope="module")
def documents(attacked, run_directory):
    """What the runs said, by their names; they wait more than they work, so all at once."""
    with ThreadPoolExecutor(len(RUNS)) as pool:
        said = {name: pool.submit(run, attacked) for name, run in RUNS.items()}
    for name, text in said.items():
        (run_directory / f"attacks-{name}.json").write_text(text.result())
    return {name: json.loads(text.result()) for name, text in said.items()}


@pytest.mark.parametrize("tier", sorted(RUNS.keys() - CONTROLS))
def test_no_attack_succeeds(documents, tier):
    told = documents[tier]
    assert told["tier"] == tier
    assert set(told["attacks"]) == {case.name for case in CASES}
    assert {name: one for name, one in told["attacks"].items() if one["succeeded"] or "broken" in one} == {}
    assert all(one["stopped_by"] for one in told["attacks"].values())


@pytest.mark.parametrize("tier", sorted(RUNS.keys() - CONTROLS))
def test_the_documentation_says_what_has_stopped_each(documents, tier):
    assert table.differences(documents[tier]) == []


def test_every_control_succeeds(documents):
    """What the kernel or the machine lacks for root it may have for alice; all else succeeds in every run."""
    for case in CASES:
        told = [documents[name]["attacks"].get(case.name, {"stopped_by": {}}) for name in CONTROLS]
        assert not any("broken" in one for one in told), told
        said = {part: reason for one in told for part, reason in one["stopped_by"].items()}
        assert set(said.values()) == {None}, (case.name, told)


@pytest.mark.skipif(bool(SAME_USER - RUNS.keys()), reason="this kernel's landlock does not keep signals in")
def test_honest_tests_pass_but_for_what_a_tier_refuses_to_all(attacked):
    """No tier but bubblewrap has a loopback to talk over; landlock alone has neither listeners nor /dev/shm."""
    service = {tier: attacked.run(*honest(tier), user="repairlab").stdout for tier in ("systemd", "bubblewrap")}
    told = {**service, "systemd-user": as_alice(attacked, *honest("systemd"))}
    told["landlock"] = attacked.run(*honest("landlock"), user="erin").stdout
    failed = {tier: set(json.loads(said)["failed"]) for tier, said in told.items()}
    loopback = {"test_loopback_asyncio", "test_loopback_of_both_families"}
    shared = {"test_memory_that_is_shared", "test_processes_by_fork_and_spawn"}
    listening = {"test_asyncio_talks_over_unix_sockets_and_to_processes"}
    scripts = {"test_scripts_are_run"}  # a change of mode is only said to be made
    assert failed.pop("landlock") == loopback | listening | shared | scripts
    assert failed == {"systemd": loopback, "systemd-user": loopback, "bubblewrap": set()}


def honest(tier: str) -> list[str]:
    return ["sh", "-c", f"exec /usr/local/lib/repairlab/*/bin/python {SUITE} {tier} --honest"]
