"""The chain of documents: written by the official library, verified link by link, broken wherever it is touched."""

import itertools
import json
import threading
from datetime import UTC, datetime, timedelta

import pytest

from repairlab.chain import Broken, Link, attest, record, verify
from repairlab.repair.diff import unified
from repairlab.sandbox.bundle import hash_files, tree_hash

AT = datetime(2026, 1, 1, tzinfo=UTC)
TEXTS = [b"x = 1\n", b"x = 2\n", b"x = 3\n"]


def sha(text):
    return hash_files({"m.py": text}, executable=frozenset(), links={})


def repaired(old, new, at=AT, lineage="line"):
    """The link of a bundle that a repair made of another."""
    patch = unified({"m.py": (old, new)})
    return Link(sha256=sha(new), lineage=lineage, at=at, parent_sha256=sha(old), patch=patch, failing=["t::a"])


def keep(bundles, text):
    place = bundles / sha(text)
    place.mkdir(parents=True)
    (place / "m.py").write_bytes(text)
    assert tree_hash(place) == sha(text)


@pytest.fixture
def places(tmp_path):
    """A chain of three, of which the first two bundles are kept."""
    sbom, bundles = tmp_path / "sbom", tmp_path / "bundles"
    for text in TEXTS[:2]:
        keep(bundles, text)
    for old, new in itertools.pairwise(TEXTS):
        record(sbom, repaired(old, new))
    return sbom, bundles


def walk(places, text=TEXTS[2], made=None):
    return [(step.sha256, step.bundle) for step in verify(*places, sha(text), made)]


def test_a_chain_leads_to_its_origin_and_recomputes_what_is_kept(places):
    assert walk(places) == [(sha(text), "present") for text in reversed(TEXTS)]


def test_what_the_cleanup_removed_is_absent_and_breaks_nothing(places):
    _, bundles = places
    for text in TEXTS[:2]:
        (bundles / sha(text) / "m.py").unlink()
        (bundles / sha(text)).rmdir()
    assert walk(places) == [(sha(text), "absent") for text in reversed(TEXTS)]


def broken(places, made=None):
    with pytest.raises(Broken) as error:
        walk(places, made=made)
    return error.value.sha256, str(error.value)


def only(places, text):
    (path,) = (places[0] / sha(text)).glob("*.cdx.json")
    return path


def forged(path, change):
    """Replace a document by one that has been changed and bears the name that its bytes have then."""
    import hashlib

    document = json.loads(path.read_text())
    change(document)
    raw = json.dumps(document).encode()
    path.unlink()
    (path.parent / f"{hashlib.sha256(raw).hexdigest()}.cdx.json").write_bytes(raw)


def test_no_byte_of_a_document_or_of_a_bundle_changes_unseen(places):
    attest(places[0], repaired(*TEXTS[1:]), passed=["t::a"], runs=5, sandbox="bubblewrap")
    whole = walk(places)
    files = sorted(path for place in places for path in place.rglob("*") if path.is_file())
    assert {path.suffix for path in files} == {".json", ".py"}
    assert len(files) == 3 + 1 + 2
    for path in files:
        raw = path.read_bytes()
        for at in range(len(raw)):
            path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
            subject, _ = broken(places)
            assert subject == path.parent.name, (path, at)
        path.write_bytes(raw)
    assert walk(places) == whole


def test_each_kind_of_break_is_found_and_named(places):
    _, bundles = places
    middle = only(places, TEXTS[1])
    raw = middle.read_bytes()
    forged(middle, lambda document: document["metadata"].update(timestamp="2020-01-01T00:00:00Z"))
    assert broken(places) == (sha(TEXTS[1]), "the document that its child names is not there")
    only(places, TEXTS[1]).unlink()
    assert broken(places) == (sha(TEXTS[1]), "it has no document")
    middle.write_bytes(raw)
    (bundles / sha(TEXTS[0]) / "m.py").write_bytes(b"x = 0\n")
    assert broken(places) == (sha(TEXTS[0]), "its frozen directory has been changed")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda component: component["hashes"][0].update(content="0" * 64), "its document is about another bundle"),
        (lambda component: component.clear(), "its document is about another bundle"),
        (lambda component: component["pedigree"].pop("ancestors"), "its pedigree names no ancestor and patch"),
        (lambda component: component.update(pedigree=[]), "its pedigree names no ancestor and patch"),
        (
            lambda component: component["pedigree"]["ancestors"][0]["hashes"][0].update(content="../../etc"),
            "its parent is no SHA-256",
        ),
        (
            lambda component: component["pedigree"]["patches"][0]["diff"]["text"].update(
                content="--- a/m.py\n+++ b/m.py\n@@ -1 +1 @@\n-x = 2\n+x = 4\n"
            ),
            "its patch makes another bundle of its parent",
        ),
        (
            lambda component: component["pedigree"]["patches"][0]["diff"]["text"].update(content="rm -rf"),
            "its patch does not apply",
        ),
        (
            lambda component: component["pedigree"]["patches"][0]["diff"]["text"].update(encoding="base64"),
            "its pedigree names no ancestor and patch",
        ),
    ],
)
def test_a_forged_document_with_the_right_name_is_found_where_bundles_can_be_recomputed(places, change, why):
    forged(only(places, TEXTS[2]), lambda document: change(document["metadata"]["component"]))
    subject, said = broken(places)
    assert subject == sha(TEXTS[2])
    assert said.startswith(why)


def test_a_bundle_that_was_an_origin_first_gets_its_pedigree_when_a_repair_makes_it(tmp_path):
    places = tmp_path / "sbom", tmp_path / "bundles"
    origin = record(places[0], Link(sha256=sha(TEXTS[1]), lineage="line", at=AT))
    record(places[0], repaired(TEXTS[1], TEXTS[2]))
    assert [step[0] for step in walk(places)] == [sha(TEXTS[2]), sha(TEXTS[1])]
    raw = origin.read_bytes()
    record(places[0], repaired(TEXTS[0], TEXTS[1], AT + timedelta(days=1)))
    assert [step[0] for step in walk(places, TEXTS[1])] == [sha(TEXTS[1]), sha(TEXTS[0])]
    assert [step[0] for step in walk(places)] == [sha(text) for text in reversed(TEXTS)], "its children's too"
    assert origin.read_bytes() == raw
    origin.unlink()
    assert broken(places) == (sha(TEXTS[1]), "the document that its child names is not there")


def test_a_bundle_that_was_made_by_a_repair_is_no_origin_when_it_is_handed_in_again(places):
    assert record(places[0], Link(sha256=sha(TEXTS[2]), lineage="line", at=AT)) == only(places, TEXTS[2])


def test_a_repair_and_its_undoing_are_a_chain_with_an_end(places):
    record(places[0], repaired(TEXTS[2], TEXTS[0], AT + timedelta(days=1)))
    round_trip = [sha(text) for text in (TEXTS[0], TEXTS[2], TEXTS[1], TEXTS[0])]
    assert [step[0] for step in walk(places, TEXTS[0])] == round_trip


def test_a_champion_is_walked_from_the_document_of_its_own_repair(places):
    other = b"x = 9\n"
    path = record(places[0], repaired(other, TEXTS[2]))
    made = sha(other), unified({"m.py": (other, TEXTS[2])})
    assert [step[0] for step in walk(places, made=made)] == [sha(TEXTS[2]), sha(other)]
    path.unlink()
    assert broken(places, made) == (sha(TEXTS[2]), "no document tells how it was made")


def test_a_patch_that_is_not_utf8_is_kept_to_the_byte_and_verified(tmp_path):
    places = tmp_path / "sbom", tmp_path / "bundles"
    old, new = b"# -*- coding: latin-1 -*-\nx = '\xe9'\n", b"# -*- coding: latin-1 -*-\nx = '\xe8'\r\ny = 1"
    keep(places[1], old)
    path = record(places[0], repaired(old, new))
    assert walk(places, new) == [(sha(new), "present"), (sha(old), "present")]
    forged(path, lambda document: document["metadata"]["component"]["pedigree"]["patches"][0].pop("diff"))
    with pytest.raises(Broken):
        walk(places, new)


def test_evaluators_that_write_at_once_write_every_document_once_and_lose_none(tmp_path):
    sbom, gate, made = tmp_path / "sbom", threading.Barrier(8), []

    def work(number):
        gate.wait()
        made.append(record(sbom, repaired(TEXTS[number % 2], TEXTS[2], AT + timedelta(seconds=number // 4))))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert all(path.is_file() for path in made)
    assert not [path for path in sbom.rglob(".*") if path.is_file()], "nothing staged is left"
    assert len(walk((sbom, tmp_path / "bundles"))) == 2


def test_documents_are_the_same_bytes_for_the_same_link_and_are_never_rewritten(places, tmp_path):
    path = record(tmp_path / "again", repaired(*TEXTS[:2]))
    kept = places[0] / sha(TEXTS[1]) / path.name
    assert path.read_bytes() == kept.read_bytes()
    before = kept.stat()
    assert record(places[0], repaired(*TEXTS[:2], AT + timedelta(days=1))) == kept
    assert kept.stat() == before


def test_documents_are_what_the_standards_say(places):
    sbom, _ = places
    document = json.loads(only(places, TEXTS[2]).read_text())
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    component = document["metadata"]["component"]
    assert component["hashes"] == [{"alg": "SHA-256", "content": sha(TEXTS[2])}]
    (patch,) = component["pedigree"]["patches"]
    assert patch["resolves"][0]["type"] == "defect"
    link = Link(sha256=sha(TEXTS[2]), lineage="line", at=AT)
    statement = json.loads(attest(sbom, link, passed=["t::a"], runs=5, sandbox="bubblewrap").read_text())
    assert statement["subject"] == [{"name": "line", "digest": {"sha256": sha(TEXTS[2])}}]
    assert statement["predicate"]["passedTests"] == ["t::a"]


def test_a_weaker_attestation_is_not_written_and_a_stronger_one_replaces_nothing(places):
    link = repaired(*TEXTS[1:])
    first = attest(places[0], link, passed=["t::a", "t::b"], runs=5, sandbox="bubblewrap")
    raw = first.read_bytes()
    for passed, runs in ((["t::a"], 5), (["t::a", "t::b"], 3), (["t::b", "t::a"], 5)):
        assert attest(places[0], link, passed=passed, runs=runs, sandbox="bubblewrap") == first
    others = {
        attest(places[0], link, passed=["t::a", "t::b"], runs=9, sandbox="bubblewrap"),
        attest(places[0], link, passed=["t::c"], runs=5, sandbox="bubblewrap"),
        attest(places[0], link, passed=["t::a"], runs=5, sandbox="landlock"),
    }
    assert len(others | {first}) == 4
    assert first.read_bytes() == raw
