"""The chain of documents: written by the official library, verified link by link, broken wherever it is touched."""

import itertools
import json
from datetime import UTC, datetime

import pytest

from repairlab.chain import Broken, Link, attest, record, verify
from repairlab.repair.diff import unified
from repairlab.sandbox.bundle import hash_files, tree_hash

AT = datetime(2026, 1, 1, tzinfo=UTC)
TEXTS = [b"x = 1\n", b"x = 2\n", b"x = 3\n"]


def sha(text):
    return hash_files({"m.py": text}, executable=frozenset(), links={})


@pytest.fixture
def places(tmp_path):
    """A chain of three, of which the first two bundles are kept."""
    sbom, bundles = tmp_path / "sbom", tmp_path / "bundles"
    for text in TEXTS[:2]:
        (bundles / sha(text)).mkdir(parents=True)
        (bundles / sha(text) / "m.py").write_bytes(text)
        assert tree_hash(bundles / sha(text)) == sha(text)
    for old, new in itertools.pairwise(TEXTS):
        patch = unified({"m.py": (old, new)}).decode()
        link = {"sha256": sha(new), "parent_sha256": sha(old), "patch": patch, "failing": ["t::a"]}
        record(sbom, Link(lineage="line", at=AT, **link))
    return sbom, bundles


def walk(places, text=TEXTS[2]):
    return [(step.sha256, step.bundle) for step in verify(*places, sha(text))]


def test_a_chain_leads_to_its_origin_and_recomputes_what_is_kept(places):
    assert walk(places) == [(sha(text), "present") for text in reversed(TEXTS)]


def test_what_the_cleanup_removed_is_absent_and_breaks_nothing(places):
    _, bundles = places
    for text in TEXTS[:2]:
        (bundles / sha(text) / "m.py").unlink()
        (bundles / sha(text)).rmdir()
    assert walk(places) == [(sha(text), "absent") for text in reversed(TEXTS)]


def broken(places):
    with pytest.raises(Broken) as error:
        walk(places)
    return error.value.sha256, str(error.value)


def edited(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_each_kind_of_break_is_found_and_named(places):
    sbom, bundles = places
    last, middle = sbom / f"{sha(TEXTS[2])}.cdx.json", sbom / f"{sha(TEXTS[1])}.cdx.json"
    kept = {path: path.read_bytes() for path in (last, middle)}
    middle.write_bytes(kept[middle] + b"\n")
    assert broken(places) == (sha(TEXTS[1]), "its document is not the one that its child names")
    middle.unlink()
    assert broken(places)[0] == sha(TEXTS[1])
    middle.write_bytes(kept[middle])

    def patched(document):
        text = document["metadata"]["component"]["pedigree"]["patches"][0]["diff"]["text"]
        text["content"] = text["content"].replace("+x = 3", "+x = 4")

    edited(last, patched)
    assert broken(places) == (sha(TEXTS[2]), "its patch makes another bundle of its parent")
    last.write_bytes(kept[last])
    edited(last, lambda document: document["metadata"]["component"]["hashes"][0].update(content="0" * 64))
    assert broken(places) == (sha(TEXTS[2]), "its document is about another bundle")
    edited(last, lambda document: document["metadata"].pop("component"))
    assert "has no metadata.component" in broken(places)[1]
    last.write_text("{")
    assert broken(places)[1] == "its document is not JSON"
    last.write_bytes(kept[last])
    (bundles / sha(TEXTS[0]) / "m.py").write_bytes(b"x = 0\n")
    assert broken(places) == (sha(TEXTS[0]), "its frozen directory has been changed")


def test_documents_are_the_same_bytes_for_the_same_link_and_are_never_rewritten(places, tmp_path):
    sbom, _ = places
    again = tmp_path / "again"
    patch = unified({"m.py": (TEXTS[0], TEXTS[1])}).decode()
    link = Link(sha256=sha(TEXTS[1]), lineage="line", at=AT, parent_sha256=sha(TEXTS[0]), patch=patch, failing=["t::a"])
    path = record(again, link)
    assert path.read_bytes() == (sbom / path.name).read_bytes()
    record(sbom, Link(sha256=sha(TEXTS[0]), lineage="other", at=AT, parent_sha256=sha(TEXTS[2])))
    assert walk(places)[-1] == (sha(TEXTS[0]), "present")


def test_documents_are_what_the_standards_say(places):
    sbom, _ = places
    document = json.loads((sbom / f"{sha(TEXTS[2])}.cdx.json").read_text())
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    component = document["metadata"]["component"]
    assert component["hashes"] == [{"alg": "SHA-256", "content": sha(TEXTS[2])}]
    (patch,) = component["pedigree"]["patches"]
    assert patch["resolves"][0]["type"] == "defect"
    link = Link(sha256=sha(TEXTS[2]), lineage="line", at=AT)
    statement = json.loads(attest(sbom, link, passed=["t::a"], runs=5, sandbox="bubblewrap").read_text())
    assert statement["subject"] == [{"name": "line", "digest": {"sha256": sha(TEXTS[2])}}]
    assert statement["predicate"]["passedTests"] == ["t::a"]
