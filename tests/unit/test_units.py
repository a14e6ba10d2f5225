"""The units as files: what the design asks of them, and what would break the sandbox or the queue in silence."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SYSTEMD = ROOT / "systemd"
UNITS = sorted([*SYSTEMD.rglob("*.service"), *SYSTEMD.rglob("*.timer"), *SYSTEMD.rglob("*.socket")])
WATCHERS = ["repairlab-queue-watcher.service", "user/repairlab-queue-watcher.service"]
SANDBOXES = ["repairlab-sandbox@.service", "user/repairlab-sandbox@.service"]
CLEANUPS = ["repairlab-cleanup.service", "user/repairlab-cleanup.service"]


def settings(path: Path) -> dict[str, list[str]]:
    """A unit file's settings, "Section.Key" → its values in order."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in path.read_text().splitlines():
        if match := re.fullmatch(r"\[(\w+)\]", line):
            section = match[1]
        elif line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            found.setdefault(f"{section}.{key}", []).append(value)
    return found


def unit(name: str) -> dict[str, list[str]]:
    return settings(SYSTEMD / name)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: str(path.relative_to(SYSTEMD)))
def test_a_unit_names_its_manual_page_and_describes_itself(path):
    found = settings(path)
    assert found["Unit.Description"][0].startswith("RepairLab ")
    (page,) = re.findall(r"^man:(repairlab[a-z-]*)\(1\)", found["Unit.Documentation"][0])
    assert (ROOT / f"docs/man/{page}.1").exists()
    program = path.stem.removesuffix("@")
    assert page == program or not (ROOT / "bin" / program).exists()


@pytest.mark.parametrize("name", WATCHERS)
def test_the_watcher_is_judged_by_its_main_loop_and_stopped_gently(name):
    found = unit(name)
    assert found["Service.Type"] == ["notify"]
    assert found["Service.NotifyAccess"] == ["main"]
    assert found["Service.WatchdogSec"]
    assert found["Service.ExecReload"] == ['/bin/sh -c "kill -HUP $$MAINPID"']
    assert found["Service.KillMode"] == ["mixed"]
    assert found["Service.OOMPolicy"] == ["continue"]


@pytest.mark.parametrize("name", WATCHERS)
def test_what_trying_again_cannot_mend_is_not_tried_again(name):
    found = unit(name)
    assert found["Service.Restart"] == ["on-failure"]
    assert found["Service.RestartPreventExitStatus"] == ["64 65 78"]


SERVING = [f"repairlab-{name}.service" for name in ("queue-watcher", "evaluator", "toolgen")]  # a queue each, all night


@pytest.mark.parametrize("name", SERVING)
@pytest.mark.parametrize("directory", [SYSTEMD, SYSTEMD / "user"], ids=["system", "user"])
def test_a_storm_of_restarts_is_given_up_however_they_are_spaced(directory, name):
    policy = directory / f"{name}.d/override.conf"
    found = settings(policy if policy.exists() else directory / name)
    burst, interval_s = int(found["Unit.StartLimitBurst"][0]), seconds(found["Unit.StartLimitIntervalSec"][0])
    assert found["Service.Restart"] == ["on-failure"]
    assert burst * seconds(found["Service.RestartSec"][0]) < interval_s
    # systemd.service(5): RestartSec grows to RestartMaxDelaySec in RestartSteps steps, by the same factor each.
    assert (directory / f"{name}.d/backoff.conf").read_text().startswith("# Needs systemd 254\n")
    stepped = settings(directory / f"{name}.d/backoff.conf")
    first, last = seconds(stepped["Service.RestartSec"][0]), seconds(stepped["Service.RestartMaxDelaySec"][0])
    steps = int(stepped["Service.RestartSteps"][0])
    delays = [first * (last / first) ** (min(number, steps) / steps) for number in range(burst)]
    assert sum(delays) < interval_s


@pytest.mark.parametrize("directory", [SYSTEMD, SYSTEMD / "user"], ids=["system", "user"])
def test_a_cleanup_that_never_succeeds_is_given_up_and_a_person_may_start_it_some_times_before(directory):
    found = settings(directory / "repairlab-cleanup.service")
    burst, interval_s = int(found["Unit.StartLimitBurst"][0]), seconds(found["Unit.StartLimitIntervalSec"][0])
    assert burst * seconds(found["Service.RestartSec"][0]) < interval_s - 10 * 60, "each try may take a while"
    assert burst >= 6, "systemd counts the starts by hand too"


@pytest.mark.parametrize("directory", [SYSTEMD, SYSTEMD / "user"], ids=["system", "user"])
def test_the_one_more_chance_of_a_watcher_comes_when_its_start_limit_is_over(directory):
    timer = settings(directory / "repairlab-revive@.timer")
    limit = settings(directory / "repairlab-queue-watcher.service.d/override.conf")["Unit.StartLimitIntervalSec"][0]
    assert seconds(timer["Timer.OnActiveSec"][0]) > seconds(limit)
    assert timer["Timer.Unit"] == timer["Unit.PartOf"] == ["%i.service"]
    assert timer["Timer.RemainAfterElapse"] == ["no"]


# What is started by jobs ends with them: the watcher judges it, and tells the journal.
OF_JOBS = ("repairlab-sandbox@.service",)


TOURNAMENT = [f"repairlab-{name}.service" for name in ("evaluator", "toolgen", "library-extract", "auto-specder")]


@pytest.mark.parametrize("name", TOURNAMENT)
def test_a_program_of_the_tournament_has_a_bound_of_memory_and_tasks_and_room_for_its_sandbox(name):
    system, own = unit(name), unit(f"user/{name}")
    assert all(int(found["Service.TasksMax"][0]) <= 512 for found in (system, own))
    memory_mb = [int(found["Service.MemoryMax"][0].removesuffix("M")) for found in (system, own)]
    assert memory_mb[0] <= 2048
    sandbox_mb = int(unit(SANDBOXES[0])["Service.MemoryMax"][0].removesuffix("M"))
    starts = name in SERVING  # a person's sandboxes may be bubblewrap's, and then run inside the unit
    assert memory_mb[1] - memory_mb[0] == (sandbox_mb if starts else 0)
    assert own.get("Service.OOMPolicy", []) == (["continue"] if starts else []), "what is killed in there is judged"


@pytest.mark.parametrize("path", [path for path in UNITS if path.name not in OF_JOBS], ids=str)
def test_every_unit_tells_of_its_failure_and_the_one_that_tells_does_not(path):
    told = settings(path).get("Unit.OnFailure", [""])[0].split()
    if path.name.startswith(("repairlab-failure@", "repairlab-revive@")):
        assert told == [], "it would start itself"
    else:
        assert told[0] == "repairlab-failure@%n.service"
    assert ("repairlab-revive@%N.timer" in told) == (path.name in SERVING)


@pytest.mark.parametrize("path", [path for path in UNITS if path.suffix == ".service"], ids=str)
def test_what_is_restarted_is_not_restarted_for_what_lasts(path):
    found = settings(path)
    if found.get("Service.Restart", ["no"]) != ["no"]:
        assert found["Service.RestartPreventExitStatus"] == ["64 65 78"]


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(s|min|h)", text).groups()
    return float(number) * {"s": 1, "min": 60, "h": 3600}[unit]


def test_stopping_takes_longer_than_the_grace_of_the_jobs():
    from repairlab.config import Settings

    assert seconds(unit(WATCHERS[0])["Service.TimeoutStopSec"][0]) > Settings().watcher.grace_s + 10


@pytest.mark.parametrize(
    "setting",
    [
        *["RestrictNamespaces", "PrivateUsers", "ProcSubset", "ProtectKernelTunables", "ProtectKernelLogs"],
        *["ProtectHostname", "AmbientCapabilities", "MemoryDenyWriteExecute"],
    ],
)
def test_a_persons_watcher_is_not_confined_in_a_way_that_breaks_bubblewrap(setting):
    assert f"Service.{setting}" not in unit(WATCHERS[1])


@pytest.mark.parametrize("name", [WATCHERS[0], "repairlab-toolgen.service"])
def test_who_serves_submitters_sees_who_owns_a_file_and_reaches_nobody(name):
    found = unit(name)
    assert "Service.PrivateUsers" not in found  # every owner would be nobody, and everybody one submitter
    assert found["Service.RestrictAddressFamilies"] == ["AF_UNIX"]
    assert found["Service.PrivateNetwork"] == ["yes"]
    assert found["Unit.Wants"] == ["repairlab-sandbox.socket"]
    assert "repairlab-sandbox.socket" in found["Unit.After"][0].split()
    assert found["Install.Also"] == ["repairlab-sandbox.socket"]


@pytest.mark.parametrize("name", SANDBOXES)
def test_a_sandbox_has_room_for_what_the_configuration_promises(name):
    from repairlab.config import Settings
    from repairlab.sandbox import SandboxLimits

    limits = SandboxLimits.from_settings(Settings().sandbox, wall_s=1)
    found = unit(name)
    places = dict(value.split(":", 1) for value in found["Service.TemporaryFileSystem"])
    sizes = {path: int(re.search(r"size=(\d+)M", options)[1]) for path, options in places.items() if "M," in options}
    assert sizes["/work"] == limits.tmpfs_mb
    assert f"nr_inodes={limits.inodes}," in places["/work"]
    keeper = 48
    memory = int(found["Service.MemoryMax"][0].removesuffix("M"))
    assert limits.memory_mb + sizes["/work"] + sizes["/tmpfs"] + sizes["/dev/shm"] + keeper == memory
    assert int(found["Service.TasksMax"][0]) > limits.processes


def test_two_sandboxes_never_share_a_user():
    found = unit(SANDBOXES[0])
    assert found["Service.DynamicUser"] == ["yes"]
    assert found["Service.User"] == ["rlj-%i"]


def test_the_two_templates_differ_in_what_a_persons_manager_cannot_do():
    system, own = (unit(name) for name in SANDBOXES)
    assert {key for key in system if system[key] != own.get(key)} == {"Service.DynamicUser", "Service.User"}
    assert own.keys() <= system.keys()


@pytest.mark.parametrize("name", [WATCHERS[0], CLEANUPS[0]])
def test_a_system_service_runs_as_its_own_user_on_a_read_only_system(name):
    found = unit(name)
    assert found["Service.User"] == ["repairlab"]
    assert found["Service.StateDirectory"] == ["repairlab"]
    assert found["Service.ProtectSystem"] == ["strict"]
    assert found["Service.NoNewPrivileges"] == ["yes"]


@pytest.mark.parametrize("name", [WATCHERS[1], CLEANUPS[1]])
def test_a_user_service_asks_for_nothing_that_a_user_manager_cannot_give(name):
    keys = {key.partition(".")[2] for key in unit(name)}
    assert keys.isdisjoint({"User", "Group", "StateDirectory", "PrivateNetwork", "ProtectSystem", "PrivateDevices"})


@pytest.mark.parametrize("name", ["repairlab-cleanup.timer", "user/repairlab-cleanup.timer"])
def test_cleanup_runs_on_monday_at_midnight_even_if_the_machine_slept(name):
    found = unit(name)
    assert found["Timer.OnCalendar"] == ["Mon *-*-* 00:00:00"]
    assert found["Timer.Persistent"] == ["true"]
    assert found["Install.WantedBy"] == ["timers.target"]


@pytest.mark.parametrize("path", [path for path in UNITS if "Timer.OnCalendar" in settings(path)], ids=str)
def test_what_a_timer_missed_while_the_machine_was_off_is_made_up_for(path):
    found = settings(path)
    assert found["Timer.Persistent"] == ["true"]
    assert found["Install.WantedBy"] == ["timers.target"]
    assert (path.with_suffix(".service")).exists()
    subprocess.run(["systemd-analyze", "calendar", *found["Timer.OnCalendar"]], capture_output=True, check=True)


def test_a_cleanup_that_did_not_clean_up_is_a_failure_and_tried_again():
    for name in CLEANUPS:
        assert "Service.SuccessExitStatus" not in unit(name)
        assert unit(name)["Service.Restart"] == ["on-failure"]
        assert "75" not in unit(name)["Service.RestartPreventExitStatus"][0].split()


def test_the_copies_for_the_user_manager_do_not_drift():
    for path in [*SYSTEMD.glob("*.service.d/*.conf"), *SYSTEMD.glob("*.timer")]:
        assert (SYSTEMD / "user" / path.relative_to(SYSTEMD)).read_bytes() == path.read_bytes()


def test_the_preset_names_units_that_can_be_enabled():
    lines = (SYSTEMD / "50-repairlab.preset").read_text().splitlines()
    names = [line.split()[1] for line in lines if line.startswith("enable ")]
    assert names
    assert all("Install.WantedBy" in unit(name) for name in names)
    told = {line.split()[1] for line in lines if line and not line.startswith("#")}
    assert told == {path.name for path in UNITS if "Install.WantedBy" in settings(path)}, "each is decided upon"


def table(name: str) -> list[list[str]]:
    lines = (ROOT / f"deploy/{name}.d/repairlab.conf").read_text().splitlines()
    return [line.split() for line in lines if line and not line.startswith("#")]


SHARED = ("spool/repair", "spool/specs")  # queues that submitters hand in to


def test_every_directory_of_the_queues_gets_its_mode(tmp_path):
    from repairlab.spool import Spool

    for name in SHARED:
        Spool(tmp_path / name).create()
    made = {str(path.relative_to(tmp_path)) for path in (tmp_path / "spool").rglob("*")} | {"spool"}
    given = {row[1].removeprefix("/var/lib/repairlab").strip("/") for row in table("tmpfiles")}
    assert made <= given


def test_producers_write_where_they_hand_in_and_nowhere_else():
    rows = [row for row in table("tmpfiles") if row[0] == "d"]
    modes = {row[1].removeprefix("/var/lib/repairlab/"): row[2:5] for row in rows}
    shared = {name for name, (mode, _, _) in modes.items() if int(mode, 8) & 0o020}
    assert shared == {"bundles", *SHARED, *(f"{name}/tmp" for name in SHARED)}
    for name in shared:  # sticky: a producer may not rename another's file; owned by the service: the watcher may
        assert modes[name] == ["3770" if name in SHARED else "3730", "repairlab", "repairlab-submit"]
    assert all(int(mode, 8) & 0o002 == 0 for mode, _, _ in modes.values())


def test_the_queues_of_submitters_keep_them_apart_in_the_same_way():
    rows = [row for row in table("tmpfiles") if row[0] in "da"]
    mine, other = (
        [[*row[:1], row[1].replace(name, "Q"), *row[2:]] for row in rows if name in row[1]] for name in SHARED
    )
    assert mine == other
    assert len(mine) == 20


def test_calendar_expression_is_understood_by_systemd():
    argv = ["systemd-analyze", "calendar", "--iterations=2", "Mon *-*-* 00:00:00"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert re.search(r"Normalized form: Mon \*-\*-\* 00:00:00", done.stdout)
