"""bench/scenes: what a fault can strike: one program or operation each, on a state directory made for it.

A `Scene` prepares a `Stage`, acts on it in a process whose system calls may fail, and says who makes good afterwards.
`role` names which process of the program is meant: "" is the first, the others are the workers of the watcher. The
programs are run in a fork of this process, which has imported them already; they do not know the difference.
"""

import os
from contextlib import closing
from dataclasses import replace

from layout import identify
from scenes_tournament import TOURNAMENT, WRONG, challenges, champion, evaluates
from scenes_watch import WATCHED
from stage import DOCUMENTS, LATER_S, Scene, ahead, cleans, in_a_fork, serve_to_the_end, served_and_cleaned

from repairlab.operate import submit
from repairlab.operate.main import main as operator
from repairlab.spool import spool

FINGERPRINT = "f" * 64


# What lies there before


def empty(stage):
    stage.spool().create()


def one(stage):
    empty(stage)
    stage.hand_in()


def foreign(stage):
    one(stage)
    next(stage.spool().path.glob("handoff*.json")).chmod(0o666)


def two_same(stage):
    empty(stage)
    stage.hand_in(0, "handoff-1.json")
    stage.hand_in(0, "handoff-2.json")


def ended_and_again(stage):
    one(stage)
    stage.take().finish()
    stage.hand_in(0, "handoff-again.json")


def relaxed(stage):
    one(stage)
    stage.ledger.offer(DOCUMENTS[1])
    stage.spool().publish(DOCUMENTS[1], durable=False)
    stage.ledger.accepted(DOCUMENTS[1])


def parked(stage):
    one(stage)
    stage.take().hand_back("test")


def held(stage):
    one(stage)
    stage.spool().hold(stage.only())


def failed_once(stage):
    one(stage)
    first = stage.take()
    first.fail("first", FINGERPRINT)
    stage.spool().retry(first.id)
    stage.take().fail("second", FINGERPRINT)
    ahead(1000.0)


def hard_failed(stage):
    one(stage)
    stage.take().quarantine("test", fingerprint=FINGERPRINT)


def orphan(stage):
    one(stage)
    with closing(stage.take()) as claim:
        claim.started()


def gate(stage):
    one(stage)
    (stage.spool().path / "active" / ("a" * 24)).mkdir()


def intent(stage):
    one(stage)
    with closing(stage.take()) as claim:
        claim.history.append(
            "failed", durable=True, to="hard_fail", day="2026-01-01", reason="x", fingerprint=FINGERPRINT
        )


def litter(stage):
    parked(stage)
    queue = stage.spool().path
    (queue / "tmp" / "publish-1-a").write_text("{")
    (queue / "tmp" / "trash-b" / "work").mkdir(parents=True)
    (queue / "fingerprints" / FINGERPRINT).write_text('{"event":"failed","id":"x","at":"2001-01-01T00:00:00Z"}\n')
    ahead(LATER_S)


def stale(stage):
    (stage.root / "bundles" / ".tmp-1-a").mkdir(parents=True)
    litter(stage)


AGED = {f"CLEANUP_{what}_DAYS": "1" for what in ("PROCESSED", "CHALLENGERS", "BUNDLES", "SBOM", "PATCHES")}


def aged(stage):
    """A job and a challenger that have ended long ago, beside a job that is parked and a champion."""
    champion(stage)
    (lost,) = challenges(stage, WRONG, name="2")
    in_a_fork(lambda: evaluates(stage))
    one(stage)
    ended = stage.take()
    ended.finish()
    stage.hand_in(1)
    stage.take().hand_back("test")
    for job_id in (lost.id, ended.id):
        stage.ledger.dropping(job_id)
    ahead(LATER_S)


def cleans_aged(stage):
    return cleans(stage, **AGED)


def cleans_aged_later(stage):
    ahead(LATER_S)
    return cleans_aged(stage)


def aged_is_gone(stage):
    """What was too old is removed however often the cleanup died; the judge says what had to stay."""
    serve_to_the_end(stage)
    cleans_aged(stage)
    in_a_fork(lambda: evaluates(stage))  # who serves a queue sweeps it
    left = [stage.root / "bundles" / "2"] * (stage.root / "bundles" / "2").exists()
    left += (stage.root / "spool").glob("*/processed/*/*/*")
    known = {stage.spool().find(identify(DOCUMENTS[1])).path, *_of_champions(stage)}
    if extra := [path for path in left if str(path) not in known]:
        raise AssertionError(f"not cleaned up: {extra}")


def _of_champions(stage):
    return {str(path) for record in stage.root.glob("champions/line/*/champion.json")
            for path in stage.root.glob(f"spool/challengers/processed/ok/*/{record.parent.name}")}  # fmt: skip


# What is done


def with_claim(act):
    def taken(stage):
        claim = stage.take()
        if claim is not None:
            act(claim)
            claim.close()

    return taken


def finishes(claim):
    claim.workdir()
    claim.started()
    claim.put("telemetry.log", b"{}")
    claim.finish()


def fails(claim):
    claim.started()
    claim.fail("no patch", FINGERPRINT)


def both(stage):
    with closing(stage.spool().backlog()) as backlog:
        backlog.scan(1.0)
        first = backlog.take()
        backlog.take()
        if first:
            first.finish()


def copies(stage):
    """Write in place, in two steps, as a plain cp of a large file does."""
    document = DOCUMENTS[1]
    stage.ledger.offer(document, cut=True)
    fd = os.open(f"{stage.spool().path}/handoff-copied.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    left = document
    while left:
        left = left[os.write(fd, left[: max(1, len(document) // 2)]) :]
    os.close(fd)
    stage.ledger.accepted(document)


def submits(stage):
    """`repairlab submit DIR`: what it is about to publish is noted just before."""
    project = stage.base / "project"
    project.mkdir()
    (project / "test_x.py").write_text("def test_x():\n    assert False\n")
    publish, offered = submit._publish, []

    def noted(app, raw):
        stage.ledger.offer(raw)
        offered.append(raw)
        return publish(app, raw)

    submit._publish = noted
    code = stage.run(operator, "submit", str(project))
    for raw in offered:
        stage.ledger.accepted(raw)
    return code


def commands(*words):
    def act(stage):
        names = [stage.only() if word == "ID" else word for word in words]
        return stage.run(operator, *names)

    return act


def drops(stage):
    stage.ledger.dropping(stage.only())
    return commands("drop", "ID")(stage)


def in_order(scene):
    """The same where the file system keeps the order: what is ordered is written by sync_file_range, not flushed."""

    def act(stage):
        spool.keeps_order = lambda _: True
        return scene.act(stage)

    return replace(scene, act=act)


def _spool_scenes():
    def scene(ready, act):
        return Scene(ready, act, serve_to_the_end)

    return {
        "publish": scene(one, lambda stage: stage.publish([(DOCUMENTS[1], None)])),
        "publish-again": scene(relaxed, lambda stage: stage.publish([(DOCUMENTS[1], None)])),
        "publish-group": scene(one, lambda stage: stage.publish([(text, None) for text in DOCUMENTS[1:6]])),
        "cp": scene(one, copies),
        "claim-duplicate": scene(two_same, both),
        "claim-ended": scene(ended_and_again, with_claim(finishes)),
        "claim-parked": scene(parked, with_claim(finishes)),
        "claim-foreign": scene(foreign, with_claim(finishes)),
        "finish": scene(one, with_claim(finishes)),
        "fail": scene(one, with_claim(fails)),
        "fail-last": scene(failed_once, with_claim(fails)),
        "crashed": scene(one, with_claim(lambda claim: claim.crashed("signal 9"))),
        "defer": scene(one, with_claim(lambda claim: claim.defer(5, "gate closed"))),
        "reject": scene(one, with_claim(lambda claim: claim.reject("not JSON"))),
        "reap-orphan": scene(orphan, lambda stage: stage.spool().reap()),
        "reap-gate": scene(gate, lambda stage: stage.spool().reap()),
        "reap-intent": scene(intent, lambda stage: stage.spool().reap()),
        "sweep": scene(litter, lambda stage: stage.spool().sweep()),
        "fsck": scene(orphan, lambda stage: stage.spool().fsck(mend=True)),
        "submit": Scene(empty, submits, served_and_cleaned),
        "hold": scene(parked, commands("hold", "ID")),
        "hold-waiting": scene(one, commands("hold", "ID")),
        "release": scene(held, commands("release", "ID")),
        "retry": scene(hard_failed, commands("retry", "ID")),
        "drop": scene(parked, drops),
        "drop-waiting": scene(one, drops),
        "retry-parked": scene(parked, commands("retry", "ID")),
        "cleanup": Scene(stale, cleans, served_and_cleaned),
        "cleanup-aged": Scene(aged, cleans_aged, aged_is_gone, meanwhile=cleans_aged_later),
    }


ORDERED = ("publish", "claim-foreign", "finish", "fail-last", "retry", "reap-intent")
SPOOLED = _spool_scenes()
SPOOLED |= {f"{name}-in-order": in_order(SPOOLED[name]) for name in ORDERED}
SCENES = SPOOLED | WATCHED | TOURNAMENT
