"""Who may do what: alice and bob hand in, rita reads results, mallory is nobody; each tries it as that user."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from people import (
    CHALLENGERS,
    EXAMPLES,
    HOSTILE,
    QUEUE,
    STATE,
    WATCHER,
    WRITTEN_LATER,
    challengers,
    drop,
    end,
    files_named,
    give,
    inside,
    lineage_of,
    may,
    outcome,
    repairlab,
    unfinished,
    years_later,
)

from repairlab.sandbox.bundle import tree_hash

pytestmark = pytest.mark.usefixtures("_prompt", "_counted_anew")

PEOPLE = ("alice", "bob", "rita", "mallory")


@pytest.fixture(scope="module")
def ended() -> dict[str, Path]:
    return {}


@pytest.fixture
def jobs(machine, ended):
    """A repaired job of alice's and one of bob's, by name; made anew after a test that let years go by."""
    for user in ("alice", "bob"):
        if user in ended and ended[user].exists():
            continue
        bundle = give(machine, user, f"{EXAMPLES}/invoices", f"{user}-invoices")
        ended[user] = end(machine, drop(machine, user, bundle, lineage=f"of-{user}"))
        assert outcome(ended[user]) == "ok"
    return ended


def test_a_submitter_reads_all_of_a_job_but_its_work_and_nobody_elses(machine, jobs):
    for mine, others in (("alice", "bob"), ("bob", "alice")):
        job = inside(machine, jobs[mine])
        for name in ("job.json", "claim", "attempts.jsonl", "telemetry.json", "patch.diff"):
            for somebody in (mine, "rita"):
                assert may(machine, somebody, "cat", f"{job}/{name}"), (somebody, name)
            for nobody in (others, "mallory"):
                assert not may(machine, nobody, "cat", f"{job}/{name}"), (nobody, name)
        assert may(machine, mine, "ls", job)
        assert not may(machine, others, "ls", job)
        for user in PEOPLE:
            assert not may(machine, user, "ls", f"{job}/work"), user


def test_readers_read_challengers_and_submitters_do_not(machine, jobs):
    (challenger,) = challengers(machine, jobs["alice"])
    [path] = machine.at(CHALLENGERS).glob(f"challenger_{jobs['alice'].name}*.json")
    assert challenger["lineage"] == lineage_of(machine, "alice", "of-alice")
    assert may(machine, "rita", "cat", inside(machine, path))
    for user in ("alice", "bob", "mallory"):
        assert not may(machine, user, "cat", inside(machine, path)), user
        assert not may(machine, user, "ls", CHALLENGERS), user


def test_what_a_service_writes_later_is_readable_for_readers_alone(machine):
    """Whatever the umask of the unit: the directory says it."""
    for name in WRITTEN_LATER:
        script = f"umask 077; mkdir -p {STATE}/{name}/today && echo done >{STATE}/{name}/today/file"
        machine.run("sh", "-c", script, user="repairlab")
        assert may(machine, "rita", "cat", f"{STATE}/{name}/today/file"), name
        for user in ("alice", "bob", "mallory"):
            assert not may(machine, user, "cat", f"{STATE}/{name}/today/file"), (user, name)


def test_only_the_service_writes_state(machine, jobs):
    """access(2) for each directory and file below the root, as each person."""
    machine.until(lambda: not list(machine.at(f"{QUEUE}/active").iterdir()))
    for name in WRITTEN_LATER:
        machine.run("mkdir", "-p", f"{STATE}/{name}/lately", user="repairlab")
    shared = {f"{STATE}/bundles", QUEUE, f"{QUEUE}/tmp", f"{STATE}/spool/specs", f"{STATE}/spool/specs/tmp"}
    for user, expected in (("alice", shared), ("bob", shared), ("rita", set()), ("mallory", set())):
        told = machine.run("find", STATE, "-writable", "!", "-user", user, "!", "-type", "l", user=user, check=False)
        assert set(told.stdout.split()) == expected, user
    told = machine.run("find", STATE, "-writable", user="repairlab", check=False).stdout.split()
    assert f"{QUEUE}/fingerprints" in told, "a control: find does say what is writable"
    for directory in machine.run("find", STATE, "-type", "d", "-not", "-path", "*/bundles/*").stdout.split():
        for user in ("alice", "rita", "mallory"):
            made = may(machine, user, "mkdir", f"{directory}/of-{user}")
            assert made == (user == "alice" and directory in shared), (user, directory)
            if made:
                machine.run("rmdir", f"{directory}/of-{user}", user=user)


@pytest.fixture
def _watcher_rests(machine):
    """Nothing is claimed meanwhile."""
    machine.run("systemctl", "stop", WATCHER, timeout_s=50)
    yield
    machine.run("systemctl", "start", WATCHER)


@pytest.mark.usefixtures("_watcher_rests")
def test_what_waits_is_its_owners_and_the_services(machine):
    name = drop(machine, "alice", give(machine, "alice", f"{EXAMPLES}/passing", "alice-waiting"))
    path, bundle = f"{QUEUE}/{name}", f"{STATE}/bundles/alice-waiting"
    spec = f"{STATE}/spool/specs/spec-alice.json"
    machine.run("cp", f"/home/alice/{name}", spec, user="alice")
    for argv in (
        ["cat", path],
        ["cp", "/etc/hostname", path],
        ["mv", path, f"{path}-of-bob.json"],
        ["ln", path, f"{QUEUE}/handoff-linked.json"],
        ["rm", "-f", path],
        ["chmod", "a+r", path],
        ["touch", path],
        ["cat", f"{bundle}/slug.py"],
        ["ls", bundle],
        ["cat", spec],
        ["cp", "/etc/hostname", spec],
        ["mv", spec, f"{spec}-of-bob.json"],
        ["rm", "-f", spec],
        ["ls", f"{STATE}/bundles"],
        ["ls", f"{QUEUE}/tmp"],
        ["cp", "/etc/hostname", f"{bundle}/slug.py"],
        ["mv", bundle, f"{bundle}-of-bob"],
    ):
        for user in ("bob", "mallory"):
            assert not may(machine, user, *argv), (user, argv)
    assert may(machine, "repairlab", "cat", path, spec, f"{bundle}/slug.py")
    assert may(machine, "alice", "cat", path, spec, f"{bundle}/slug.py")
    machine.run("rm", path, spec, user="alice")
    machine.run("rm", "-r", bundle, user="alice")


@pytest.mark.usefixtures("_watcher_rests")
@pytest.mark.parametrize("umask", ["000", "022", "027"])
def test_a_plain_copy_is_private_whatever_the_umask(machine, umask):
    path, bundle = f"{QUEUE}/handoff-umask-{umask}.json", f"{STATE}/bundles/umask-{umask}"
    source = f"/home/alice/umask-{umask}"
    script = f"umask {umask}; cp -r {EXAMPLES}/passing {source}; echo {{}} >{source}.json; "
    machine.run("sh", "-c", script + f"cp {source}.json {path}; cp -r {source} {bundle}", user="alice")
    assert may(machine, "repairlab", "cat", path, f"{bundle}/slug.py")
    for user in ("bob", "mallory"):
        assert not may(machine, user, "cat", path)
        assert not may(machine, user, "cat", f"{bundle}/slug.py")
    machine.run("rm", "-r", path, bundle, user="alice")


@pytest.mark.usefixtures("_watcher_rests")
def test_what_sets_its_modes_itself_is_readable_for_others_and_told_of(machine):
    """cp -p and install chmod what they have made: nobody can close that but who made it."""
    ways = {"plain": "cp", "kept": "cp -p", "all": "cp -a", "installed": "install", "shown": "install -m 644"}
    for way, command in ways.items():
        source, path = f"/home/alice/{way}.json", f"{QUEUE}/handoff-{way}.json"
        machine.run(
            "sh", "-c", f'umask 022; echo \'{{"a":"{way}"}}\' >{source}; {command} {source} {path}', user="alice"
        )
        assert may(machine, "bob", "cat", path) == (way != "plain"), way
    told = repairlab(machine, "alice", "--json", "submit", f"{EXAMPLES}/invoices")
    submitted = json.loads(told.stdout)["data"]["path"]
    assert may(machine, "alice", "cat", submitted)
    assert not may(machine, "bob", "cat", submitted)
    machine.run("systemctl", "start", WATCHER)
    ended = {way: end(machine, f"handoff-{way}.json").name for way in ways}
    warned = machine.journal("-u", WATCHER, "-p", "warning", "--grep", "while it waited")
    told_of = {entry["JOB_ID"] for entry in warned} & set(ended.values())
    assert told_of == {ended[way] for way in ways if way != "plain"}


def test_a_source_that_hides_from_the_group_is_refused_with_the_fix(machine):
    """The creation mode becomes the mask of the list: 0600 leaves the service nothing."""
    name = "handoff-hidden.json"
    machine.run("sh", "-c", f"umask 077; echo {{}} >/home/alice/{name}; cp /home/alice/{name} {QUEUE}", user="alice")
    job = end(machine, name)
    assert outcome(job) == "rejected"
    assert "chmod" in json.loads((job / "reason.json").read_bytes())["fix"]
    machine.run("sh", "-c", f"umask 077; cp -r {EXAMPLES}/passing /home/alice/private", user="alice")
    told = repairlab(machine, "alice", "submit", "--wait", "/home/alice/private")
    assert told.returncode == 0, f"submit sets its own modes: {told.stderr}"


def test_a_bundle_of_another_cannot_be_handed_in(machine, jobs):
    """The service can read it and bob cannot: it does not read it for him."""
    theirs = [f"{STATE}/bundles/alice-invoices", frozen(machine, jobs["alice"])]
    names = [drop(machine, "bob", bundle) for bundle in theirs]
    own = drop(machine, "alice", theirs[0])
    for name in names:
        job = end(machine, name)
        assert outcome(job) == "rejected", name
        reason = json.loads((job / "reason.json").read_bytes())
        assert reason["field"] == "bundle_dir"
        assert "not readable for uid" in reason["reason"]
        assert "repairlab submit" in reason["fix"]
        assert not list(job.glob("*.diff"))
    # The controls: its owner may, and what everybody may read bob may hand in too.
    assert outcome(end(machine, own)) == "ok"
    bundle = theirs[0]
    machine.run("chgrp", "-R", "alice", bundle, user="alice")  # what bob's group may not, he may not as one of others
    machine.run("chmod", "-R", "o+rX", bundle, user="alice")
    assert outcome(end(machine, drop(machine, "bob", bundle))) == "ok"


def frozen(machine, job) -> str:
    """Where the service's own copy of a job's bundle lies."""
    path = f"{STATE}/bundles/{challengers(machine, job)[0]['parent_sha256']}"
    assert machine.at(path).is_dir()
    return path


def test_who_is_let_in_needs_to_name_nothing(machine, jobs):
    """alice has no state directory of her own: her commands mean the machine's."""
    told = repairlab(machine, "alice", "submit", "--wait", f"{EXAMPLES}/passing")
    assert told.returncode == 0, told.stderr
    assert f"for the machine's service at {STATE}" in told.stderr
    listed = repairlab(machine, "alice", "--json", "list")
    alice = int(machine.run("id", "-u", "alice").stdout)
    mine = json.loads(listed.stdout)["data"]
    assert {row["submitter"] for row in mine} == {alice}
    assert jobs["alice"].name in {row["id"] for row in mine}
    assert "of others not shown" in listed.stderr
    everybodys = json.loads(repairlab(machine, "rita", "--json", "list").stdout)["data"]
    assert {row["submitter"] for row in everybodys} > {alice}
    assert repairlab(machine, "mallory", "list").returncode == os.EX_UNAVAILABLE, "nobody's commands mean their own"


def test_a_state_directory_of_ones_own_comes_first(machine):
    own = "/home/bob/.local/state/repairlab"
    repairlab(machine, "bob", "submit", f"{EXAMPLES}/passing", env={"REPAIRLAB_ROOT": own})
    try:
        assert json.loads(repairlab(machine, "bob", "--json", "status").stdout)["data"]["root"] == own
    finally:
        machine.run("rm", "-r", own)
    assert json.loads(repairlab(machine, "bob", "--json", "status").stdout)["data"]["root"] == STATE


def test_commands_say_of_anothers_job_whose_it_is_and_never_more(machine, jobs):
    theirs, mine = jobs["alice"].name, jobs["bob"].name
    for argv in (["show"], ["show", "--diff"], ["show", "--document"], ["wait"], ["follow"]):
        told = repairlab(machine, "bob", *argv, mine)
        assert told.returncode == 0, (argv, told.stderr)
        if argv != ["follow"]:
            told = repairlab(machine, "bob", *argv, theirs)
            assert told.returncode == os.EX_NOPERM, (argv, told.stdout, told.stderr)
            assert "another user's" in told.stderr
            assert told.stdout == ""
    for verb in ("hold", "release", "retry", "drop"):
        for job in (theirs, mine):
            assert repairlab(machine, "bob", verb, job).returncode in (os.EX_NOPERM, os.EX_DATAERR), (verb, job)
    for argv in ("status", "shape", "fsck", "doctor", "list --queue challengers", "list --queue specs"):
        assert repairlab(machine, "bob", *argv.split()).returncode in (0, 1, os.EX_NOPERM), argv
    assert repairlab(machine, "rita", "show", theirs).returncode == 0
    assert repairlab(machine, "rita", "submit", f"{EXAMPLES}/passing").returncode == os.EX_NOPERM


def test_doctor_finds_nothing_amiss_as_a_submitter(machine):
    told = repairlab(machine, "alice", "--json", "doctor")
    found_ = {check["name"]: check["status"] for check in json.loads(told.stdout)["data"]}
    assert found_["people"] == "ok"
    assert {found_[name] for name in ("state", "queue", "bundles", "watcher")} == {"ok"}


@pytest.mark.usefixtures("_watcher_rests")
def test_a_quota_counts_ones_own_files_only(machine):
    """The brake of `submit`: bob is at his bound, alice is not."""
    env = {"REPAIRLAB_QUEUE_QUOTA_WAITING": "5"}
    for number in range(5):
        drop(machine, "bob", f"{STATE}/bundles/none", reason=f"quota {number}")
    told = repairlab(machine, "bob", "submit", f"{EXAMPLES}/passing", env=env)
    assert told.returncode == os.EX_TEMPFAIL
    assert "5 jobs of uid" in told.stderr
    assert repairlab(machine, "alice", "submit", f"{EXAMPLES}/passing", "--key", "quota", env=env).returncode == 0
    machine.run("sh", "-c", f"rm {QUEUE}/handoff*.json")


def test_a_flood_of_one_does_not_delay_another(machine):
    """120 jobs of bob's wait when alice comes: hers is among the next, whatever lineages he claims."""
    bundle = give(machine, "bob", f"{EXAMPLES}/passing", "bob-flood")
    machine.run("systemctl", "stop", WATCHER, timeout_s=50)
    document = json.dumps({"schema": "handoff/1", "bundle_dir": bundle, "priority": 0})
    script = f"""
import json, os, time
document = json.loads({document!r})
for number in range(120):
    with open(f"{QUEUE}/handoff-flood-{{number}}.json", "w") as file:
        json.dump(document | {{"lineage": f"of-alice-{{number % 9}}", "idempotency_key": f"flood-{{number}}"}}, file)
"""
    machine.run("python3", "-c", script, user="bob")
    machine.run("systemctl", "start", WATCHER)
    machine.until(lambda: list(machine.at(f"{QUEUE}/active").iterdir()))
    name = drop(machine, "alice", give(machine, "alice", f"{EXAMPLES}/passing", "alice-amid"))
    job = end(machine, name, timeout_s=60)
    assert outcome(job) == "ok"
    left = sum(1 for path in machine.at(QUEUE).glob("handoff-flood-*.json"))
    assert left > 60, f"bob's flood was over before alice's job was done ({left} left): this proved nothing"
    machine.run("sh", "-c", f"rm -f {QUEUE}/handoff-flood-*.json", user="bob")


def test_failures_of_one_do_not_count_against_another(machine):
    """bob has had the very bundle fail three times that alice hands in."""
    bob = int(machine.run("id", "-u", "bob").stdout)
    sources = {user: f"/home/{user}/same" for user in ("alice", "bob")}
    for user, source in sources.items():
        machine.run("cp", "-r", f"{EXAMPLES}/passing", source, user=user)
        machine.run("sh", "-c", f"echo '# the same' >>{source}/slug.py", user=user)
    bundles = {user: give(machine, user, source, f"{user}-same") for user, source in sources.items()}
    digest = tree_hash(machine.at(bundles["bob"]))
    failed = {"event": "failed", "id": "0" * 24, "at": datetime.now(UTC).isoformat()}
    counted = f"{QUEUE}/fingerprints/{digest}.{bob}"
    machine.run("tee", counted, stdin=f"{json.dumps(failed)}\n" * 3, user="repairlab")
    names = {user: drop(machine, user, bundle) for user, bundle in bundles.items()}
    assert outcome(end(machine, names["alice"])) == "ok"
    assert outcome(end(machine, names["bob"])) == "hard_fail", "the control: it does count against himself"


def test_a_job_is_its_files_owners_however_it_came_there(machine):
    """Through a hard link that somebody else made, and through a directory that passes another's group on."""
    bundle = give(machine, "alice", f"{EXAMPLES}/passing", "alice-linked")
    document = json.dumps({"schema": "handoff/1", "bundle_dir": bundle, "idempotency_key": "handoff-linked"})
    alice, bob = (int(machine.run("id", "-u", user).stdout) for user in ("alice", "bob"))
    machine.run("install", "-d", "-o", "bob", "-g", "repairlab-submit", "-m", "2777", "/home/drop")
    machine.run("tee", "/home/drop/alice.json", stdin=document, user="alice")
    # root is not asked whose file it links: as anyone is not where fs.protected_hardlinks is 0.
    machine.run("ln", "/home/drop/alice.json", f"{QUEUE}/handoff-linked.json")
    job = end(machine, "handoff-linked")
    assert json.loads((job / "claim").read_bytes())["submitter"] == alice
    assert outcome(job) == "ok"
    assert (job / "job.json").stat().st_nlink == 1, "what is run is a copy that nobody else has a name of"
    machine.run("sh", "-c", "echo forged >/home/drop/alice.json", user="alice")
    assert (job / "job.json").read_text() == document
    name = drop(machine, "bob", bundle)
    assert json.loads((end(machine, name) / "claim").read_bytes())["submitter"] == bob


def test_what_another_user_owns_goes_in_two_steps_and_nothing_else_does(machine):
    """The service has no capability: it renames, and systemd-tmpfiles empties."""
    bundle = f"{STATE}/bundles/alice-hostile"
    machine.run("mkdir", bundle, user="alice")
    machine.run("python3", "-c", HOSTILE, bundle, user="alice")
    machine.run("ln", "-s", "/etc", f"{STATE}/bundles/.expired-link", user="alice")
    odd = f"{QUEUE}/handoff-directory.json"
    machine.run("cp", "-r", f"{EXAMPLES}/passing", odd, user="alice")
    submitted = json.loads(repairlab(machine, "alice", "--json", "submit", f"{EXAMPLES}/passing").stdout)["data"]["id"]
    machine.until(lambda: list(machine.at(QUEUE).glob(f"processed/*/*/{submitted}")), 60)
    machine.until(lambda: not unfinished(machine), 60)  # an earlier test's, too, would keep its bundle
    machine.run("find", bundle, "-exec", "touch", "-h", "-d", "2020-01-01", "{}", "+")
    before = machine.run("sh", "-c", "find /etc -printf '%p %m %U %s\n' | sort | sha256sum").stdout
    years_later(machine)
    machine.run("systemctl", "start", "repairlab-cleanup.service")
    told = machine.show("repairlab-cleanup.service", "Result", "CapabilityBoundingSet", "AmbientCapabilities")
    assert told == {"Result": "success", "CapabilityBoundingSet": "", "AmbientCapabilities": ""}
    left = [path.name for path in machine.at(f"{STATE}/bundles").iterdir()]
    assert [name for name in left if not name.startswith(".expired-")] == []
    assert any((path / "readonly").exists() for path in machine.at(f"{STATE}/bundles").iterdir())
    assert not machine.at(odd).exists()
    machine.run("systemctl", "start", "systemd-tmpfiles-clean.service")
    assert machine.show("systemd-tmpfiles-clean.service", "Result")["Result"] == "success"
    machine.run("systemctl", "start", "repairlab-cleanup.service")
    machine.run("systemctl", "stop", WATCHER, timeout_s=50)
    machine.run("systemctl", "start", WATCHER)  # sweeps its queue when it starts
    machine.until(lambda: not list(machine.at(QUEUE).glob(".expired-*")))
    assert list(machine.at(f"{STATE}/bundles").iterdir()) == []
    assert machine.run("sh", "-c", "find /etc -printf '%p %m %U %s\n' | sort | sha256sum").stdout == before


@pytest.mark.usefixtures("_watcher_rests")
def test_without_lists_a_job_is_closed_rather_than_open(machine):
    """ramfs has none: modes alone let alice hand in, and nobody but the service and root see what became of it."""
    machine.run("mount", "-t", "ramfs", "none", STATE)
    try:
        machine.run("systemd-tmpfiles", "--create", "/usr/local/lib/tmpfiles.d/repairlab.conf", check=False)
        machine.run("systemctl", "start", WATCHER)
        name = drop(machine, "alice", give(machine, "alice", f"{EXAMPLES}/passing", "alice-unlisted"))
        path = machine.until(lambda: files_named(machine, "job.json"), 40)
        assert name in machine.run("cat", path).stdout
        for user in PEOPLE:
            assert not may(machine, user, "cat", path), user
            assert not may(machine, user, "ls", f"{STATE}/bundles"), user
        assert may(machine, "bob", "sh", "-c", f"echo x >{QUEUE}/note")
        assert not may(machine, "alice", "rm", "-f", f"{QUEUE}/note")
        told = json.loads(repairlab(machine, "alice", "--json", "doctor", "--only", "people").stdout)["data"]
        assert [check["status"] for check in told] == ["warn"]
        assert "no ACLs" in told[0]["why"]
        assert repairlab(machine, "alice", "list").returncode == os.EX_NOPERM
    finally:
        machine.run("systemctl", "stop", WATCHER, timeout_s=50)
        machine.run("umount", STATE)
