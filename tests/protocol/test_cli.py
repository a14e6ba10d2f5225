"""The operator's command line, the real program on a temporary root: columns, envelopes, exit codes, hostile names."""

import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repairlab import documents
from repairlab.errors import BadInput
from repairlab.spool import Policy, Spool, State

BIN = Path(__file__).resolve().parents[2] / "bin"
PROGRAM = [sys.executable, str(BIN / "repairlab")]
EVIL = "\x1b]0;owned\x07\u202e"
HOSTILE_DIFF = "--- a/m.py\n+++ b/m.py\n@@ -1 +1 @@\n-a\r\n+\x1b[2Jb\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def queue(root: Path) -> Spool:
    """A queue without back-off, so that a deferred job is due at once."""
    spool = Spool(root / "spool" / "repair", policy=Policy(settle_s=0), random=lambda: 0.0)
    spool.create()
    return spool


@pytest.fixture
def project_dir(tmp_path: Path) -> Path:
    where = tmp_path / "project"
    where.mkdir()
    (where / "m.py").write_text("def f():\n    return 1\n")
    (where / "test_m.py").write_text("from m import f\n\n\ndef test_f():\n    assert f() == 2\n")
    return where


def run(root: Path, *argv: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "REPAIRLAB_ROOT": str(root), **environ}
    return subprocess.run([*PROGRAM, *argv], input=stdin, capture_output=True, text=True, env=env, timeout=30)


def told(done: subprocess.CompletedProcess[str]) -> dict:
    """The one envelope on stdout."""
    assert done.stdout.count("\n") == 1, done
    envelope = json.loads(done.stdout)
    assert set(envelope) == {"schema", "ok", "data", "error"}
    assert envelope["ok"] is (done.returncode == 0)
    assert (envelope["error"] is None) is envelope["ok"]
    if not envelope["ok"]:
        assert envelope["error"]["code"] == done.returncode
        assert done.stderr.strip()
    return envelope


def handoff(**fields) -> bytes:
    return documents.encode(documents.Handoff(bundle_dir="/srv/bundle", **fields))


def ended(queue: Spool, how: str, **fields) -> str:
    """Publish a job and end it; return its id."""
    queue.publish(handoff(**fields))
    for claim in queue.claims(limit=1):
        with claim:
            if how == "ok":
                claim.put("patch.diff", HOSTILE_DIFF.encode())
                claim.put("telemetry.json", b'{"ok": true, "strategy": "noop%s", "timings": 3}' % EVIL.encode())
                claim.finish()
            elif how == "rejected":
                claim.reject(BadInput(f"no{EVIL}", field="bundle_dir", fix="name one"))
            else:
                claim.quarantine(f"exhausted{EVIL}\nsecond line")
        return claim.id
    raise AssertionError("nothing was ready")


def test_a_directory_is_frozen_handed_in_listed_and_shown(root, project_dir):
    done = run(root, "submit", str(project_dir), "--lineage", "web", "--priority", "5", "--test", "test_*.py")
    job_id = done.stdout.strip()
    assert (done.returncode, len(job_id)) == (0, 24)
    assert f"no watcher serves {root} now" in done.stderr
    (line,) = run(root, "list").stdout.splitlines()
    columns = line.split("\t")
    assert columns[:2] == [job_id, "waiting"]
    assert columns[3:6] == ["0", "5", "web"]
    shown = told(run(root, "show", job_id[:8], "--json"))["data"][0]
    frozen = Path(shown["document"]["bundle_dir"])
    assert frozen.parent == root / "bundles"
    assert (frozen / "m.py").read_bytes() == (project_dir / "m.py").read_bytes()
    assert shown["document"]["source_dir"] == str(project_dir)
    assert shown["document"]["tests"] == ["test_*.py"]
    assert told(run(root, "status", "--json"))["data"]["queues"]["repair"]["waiting"] == 1


def test_what_times_the_code_and_what_holds_no_more_are_told_by_options(root, project_dir):
    argv = ("--benchmark", "bench.py", "--retire", "test_old.py", "--retire", "old/")
    job_id = run(root, "submit", str(project_dir), *argv).stdout.strip()
    document = told(run(root, "show", job_id, "--json"))["data"][0]["document"]
    assert (document["benchmark"], document["retired_tests"]) == ("bench.py", ["test_old.py", "old/"])


def test_a_handoff_file_inside_the_roots_is_published_byte_for_byte(root, queue, project_dir, tmp_path):
    inside = root / "bundles" / "mine"
    inside.mkdir(parents=True)
    raw = b'{ "x_unknown": 1,\n "bundle_dir": "%s" }' % str(inside).encode()
    (tmp_path / "h.json").write_bytes(raw)
    job_id = run(root, "submit", str(tmp_path / "h.json")).stdout.strip()
    assert queue.find(job_id).document() == raw


def test_a_relative_bundle_dir_in_a_file_on_stdin_or_as_template_is_filled_in(root, queue, project_dir):
    (project_dir / "handoff.json").write_text('{"lineage": "from-template", "x_kept": [1]}')
    job_id = run(root, "submit", str(project_dir)).stdout.strip()
    value = json.loads(queue.find(job_id).document())
    assert (value["lineage"], value["x_kept"]) == ("from-template", [1])
    done = run(root, "submit", "-", stdin=json.dumps({"bundle_dir": str(project_dir), "lineage": "stdin"}))
    assert json.loads(queue.find(done.stdout.strip()).document())["lineage"] == "stdin"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("{", ""),
        ('{"bundle_dir": 3}', "bundle_dir"),
        ('{"bundle_dir": "/nonexistent/x"}', "bundle_dir"),
        ('{"bundle_dir": "/", "priority": "high"}', "priority"),
        ('{"bundle_dir": "/", "limits": {"wall_s": -1}}', "limits.wall_s"),
    ],
)
def test_a_bad_handoff_is_refused_with_its_field_and_leaves_nothing(root, text, field):
    done = run(root, "submit", "-", "--json", stdin=text)
    envelope = told(done)
    assert done.returncode == os.EX_DATAERR
    assert (envelope["error"]["field"] or "") == field
    assert envelope["error"]["fix"]
    assert not (root / "spool" / "repair").exists()


def test_a_handoff_can_be_read_by_the_watchers_user_whatever_the_umask_hides(root, queue, project_dir):
    program = " ".join([*PROGRAM, "--root", str(root), "submit", str(project_dir)])
    job_id = subprocess.run(["sh", "-c", f"umask 077; {program}"], capture_output=True, text=True, timeout=30).stdout
    job = queue.find(job_id.strip())
    assert os.stat(job.path).st_mode & 0o044 == 0o044
    assert os.stat(json.loads(job.document())["bundle_dir"]).st_mode & 0o055 == 0o055


SPEC = {"id": "twice", "task": "Double it.", "signature": "twice(n: int) -> int",
        "examples": [{"input": 1, "output": 2}, {"input": 4, "output": 8}]}  # fmt: skip


@pytest.mark.parametrize("how", ["its schema", "its task", "stdin"])
def test_a_spec_is_handed_in_to_its_own_queue_byte_for_byte(root, tmp_path, how):
    text = json.dumps(SPEC | ({"schema": "spec/1"} if how == "its schema" else {}))
    (tmp_path / "any-name.json").write_text(text)
    done = run(root, "submit", "-" if how == "stdin" else str(tmp_path / "any-name.json"), stdin=text)
    assert done.returncode == 0
    assert f"no repairlab-toolgen serves {root}" in done.stderr
    (path,) = (root / "spool/specs").glob("spec*.json")
    assert path.read_text() == text
    shown = told(run(root, "show", "--queue", "specs", done.stdout.strip(), "--json"))
    assert [job["state"] for job in shown["data"]] == ["waiting"]
    assert not list((root / "spool/repair").glob("handoff*.json"))
    argv = ("submit", "--wait", "--timeout", "0.1", "-")
    assert told(run(root, *argv, "--json", stdin=text))["data"]["id"] == done.stdout.strip(), "the same one again"


@pytest.mark.parametrize(
    ("change", "argv", "said"),
    [
        ({"examples": [{"input": 1}]}, (), "examples[0]"),
        ({"id": "no/name"}, (), "id"),
        ({}, ("--priority", "3"), "a spec has no priority"),
    ],
)
def test_a_bad_spec_is_refused_and_leaves_nothing(root, change, argv, said):
    done = run(root, "submit", *argv, "-", stdin=json.dumps(SPEC | change))
    assert done.returncode in (64, 65)
    assert said in done.stderr
    assert not (root / "spool/specs").exists() or not list((root / "spool/specs").glob("*.json"))


def test_the_same_key_twice_is_one_job(root, project_dir):
    first = run(root, "submit", str(project_dir), "--key", "nightly-7").stdout
    second = run(root, "submit", str(project_dir), "--key", "nightly-7").stdout
    assert first == second


def test_what_strangers_wrote_never_reaches_the_terminal_unescaped(root, queue):
    ended(queue, "ok", reason="a")
    ended(queue, "rejected", reason="b")
    failed = ended(queue, "hard_fail", reason="c", lineage="x")
    (queue.path / f"handoff{EVIL}\udcff.json").write_bytes(b"[]")
    ids = [job.id for job in queue.jobs()]
    for argv in (["list"], ["list", "--json"], ["show", *ids], ["show", *ids, "--json"], ["shape"], ["status"]):
        done = run(root, *argv)
        assert done.returncode == 0, done
        for text in (done.stdout, done.stderr):
            assert not [char for char in text if ord(char) < 0x20 and char not in "\n\t"], argv
            assert "\u202e" not in text
    assert len(run(root, "list").stdout.splitlines()) == 4
    assert r"exhausted\x1b]0;owned\x07" in run(root, "show", failed).stdout


def test_the_diff_is_byte_exact_in_a_pipe_and_escaped_on_a_terminal(root, queue):
    job_id = ended(queue, "ok")
    done = subprocess.run(
        [*PROGRAM, "--root", str(root), "show", job_id, "--diff"], capture_output=True, timeout=30, check=True
    )
    assert done.stdout == HOSTILE_DIFF.encode()
    seen = on_a_terminal([*PROGRAM, "--root", str(root), "show", job_id, "--diff"], TERM="xterm")
    assert rb"\x1b[2Jb" in seen
    assert b"\x1b[2J" not in seen
    assert b"\x1b[32m+" in seen
    assert run(root, "show", ended(queue, "rejected", reason="other"), "--diff").returncode == 1


def on_a_terminal(argv: list[str], **environ: str) -> bytes:
    """Run a program with its stdout on a terminal; return what it wrote there."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "COLUMNS": "100", **environ}
    with subprocess.Popen(argv, stdout=theirs, stdin=subprocess.DEVNULL, env=env) as process:
        os.close(theirs)
        seen = b""
        try:
            while select.select([ours], [], [], 20)[0]:
                piece = os.read(ours, 65536)
                if not piece:
                    break
                seen += piece
        except OSError:  # EIO: the other end was closed
            pass
        process.wait(timeout=30)
    os.close(ours)
    return seen


def test_on_a_terminal_a_list_has_a_header_short_ids_and_colours_only_if_wanted(root, queue):
    job_id = ended(queue, "hard_fail")
    argv = [*PROGRAM, "--root", str(root), "list"]
    colourful = on_a_terminal(argv, TERM="xterm").decode()
    assert colourful.startswith("\x1b[1mID ")
    assert f"\x1b[31m{job_id[:12]}  hard_fail" in colourful
    plain = on_a_terminal(argv, TERM="xterm", NO_COLOR="1").decode()
    assert "\x1b" not in plain
    assert plain.splitlines()[0].split() == ["ID", "STATE", "SINCE", "TRIES", "PRIO", "LINEAGE", "NAME", "REASON"]


def test_ids_are_piped_from_a_list_into_an_operation(root, queue):
    jobs = {ended(queue, "hard_fail", reason=str(i)) for i in range(3)}
    done = run(root, "retry", "-", stdin=run(root, "list", "hard_fail").stdout)
    assert done.returncode == 0
    assert {line.split("\t")[0] for line in done.stdout.splitlines()} == jobs
    assert queue.counts()[State.DEFERRED] == 3


def test_jobs_are_held_released_and_dropped(root, queue):
    job_id = queue.publish(handoff()).id
    assert run(root, "hold", job_id).stdout == f"{job_id}\thold\n"
    assert run(root, "release", job_id).stdout == f"{job_id}\tdeferred\n"
    assert run(root, "drop", job_id, "--dry-run").stdout == f"{job_id}\tgone\n"
    assert queue.find(job_id).state is State.DEFERRED
    assert run(root, "drop", job_id).stdout == f"{job_id}\tgone\n"
    assert sum(queue.counts().values()) == 0


def test_one_bad_id_keeps_no_other_from_being_done(root, queue):
    job_id = queue.publish(handoff()).id
    done = run(root, "hold", "feedfeed", job_id, "--json")
    envelope = told(done)
    assert done.returncode == os.EX_DATAERR
    assert [item["state"] for item in envelope["data"]] == [None, "hold"]
    assert queue.find(job_id).state is State.HOLD


def test_a_job_that_is_being_worked_on_is_refused_with_try_again_later(root, queue):
    queue.publish(handoff())
    for claim in queue.claims(limit=1):
        done = run(root, "drop", claim.id, "--json")
        assert done.returncode == os.EX_TEMPFAIL
        told(done)
        claim.finish()


@pytest.mark.parametrize(("how", "code"), [("ok", 0), ("hard_fail", 1), ("rejected", 1)])
def test_wait_returns_at_once_for_what_has_ended_and_says_how(root, queue, how, code):
    job_id = ended(queue, how)
    done = run(root, "wait", job_id)
    assert done.returncode == code
    assert done.stdout.split("\t")[:2] == [job_id, how]


def test_wait_and_follow_see_a_job_through_to_its_end(root, queue):
    job_id = queue.publish(handoff()).id
    env = {**os.environ, "REPAIRLAB_ROOT": str(root)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": env}
    with (
        subprocess.Popen([*PROGRAM, "wait", job_id, "--json"], **pipes) as waiting,
        subprocess.Popen([*PROGRAM, "follow", job_id], **pipes) as following,
        subprocess.Popen([*PROGRAM, "follow", "--json"], **pipes) as all_jobs,
    ):
        for follower in (following, all_jobs):
            assert "following" in follower.stderr.readline()
        for step in ("fail", "finish"):
            for claim in queue.claims(limit=1):
                with claim:
                    claim.fail("exhausted") if step == "fail" else claim.finish()
        out, _ = waiting.communicate(timeout=30)
        assert (waiting.returncode, json.loads(out)["data"][0]["state"]) == (0, "ok")
        lines, _ = following.communicate(timeout=30)
        assert following.returncode == 0
        events = [line.split("\t")[2] for line in lines.splitlines()]
        assert events == ["started", "failed", "started", "finished"]
        assert "exhausted" in lines
        time.sleep(0.5)
        all_jobs.terminate()
        told_of = [json.loads(line)["data"] for line in all_jobs.communicate(timeout=30)[0].splitlines()]
        assert [event["event"] for event in told_of] == events
        assert {event["id"] for event in told_of} == {job_id}


def test_wait_gives_up_when_its_time_is_over(root, queue):
    over = ended(queue, "rejected", reason="other")
    job_id = queue.publish(handoff(reason="another")).id
    done = run(root, "wait", job_id, "--timeout", "0.1", "--json")
    assert done.returncode == os.EX_TEMPFAIL
    assert "still unfinished" in told(done)["error"]["message"]
    late = told(run(root, "wait", over, job_id, "--timeout", "0.1", "--json"))
    assert (late["error"]["code"], [row["id"] for row in late["data"]]) == (os.EX_TEMPFAIL, [over])


def test_a_submit_that_stops_waiting_still_names_its_job(root, project_dir):
    done = told(run(root, "submit", str(project_dir), "--wait", "--timeout", "0", "--json"))
    assert done["error"]["code"] == os.EX_TEMPFAIL
    assert done["data"]["state"] == "waiting"
    assert told(run(root, "show", done["data"]["id"], "--json"))["data"][0]["id"] == done["data"]["id"]


def test_follow_says_of_each_event_the_state_that_it_led_to(root, queue):
    job_id = ended(queue, "hard_fail")
    queue.retry(job_id)
    for claim in queue.claims(limit=1):
        with claim:
            claim.finish(reason="+ for - at m.py:1")
    done = run(root, "follow", job_id, "--json")
    *events, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["data"]["state"] for event in events][-4:] == ["hard_fail", "deferred", "active", "ok"]
    assert (last["ok"], last["data"]) == (True, None)
    (row,) = told(run(root, "list", "ok", "--json"))["data"]
    assert row["reason"] == "+ for - at m.py:1"
    assert row["wall_s"] >= 0
    assert "\ntook  " in run(root, "show", job_id).stdout


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["lst"], 64, "did you mean `list`?"),
        (["list", "--nonsense"], 64, "see `repairlab list --help`"),
        (["list", "nowhere"], 64, "see `repairlab list --help`"),
        (["submit"], 64, "Missing argument"),
        (["show", "xyz"], 65, "names no job"),
        (["list", "--queue", "challengers"], 69, "there is no queue"),
        (["config", "show", "nope"], 64, "config show"),
        (["submit", "/nonexistent"], 65, "does not exist"),
    ],
)
def test_every_error_has_its_exit_code_one_line_of_talk_and_an_envelope(root, queue, argv, code, said):
    done = run(root, *argv, "--json")
    assert done.returncode == code
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    told(done)


def test_a_closed_pipe_ends_a_list_quietly(root, queue):
    for i in range(3):
        queue.publish(handoff(reason=str(i)))
    command = f"{sys.executable} {BIN / 'repairlab'} --root {root} list; echo $? >&2"
    shell = ["bash", "-c", f"({command}) | true"]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=30)
    assert done.stderr == "0\n"
