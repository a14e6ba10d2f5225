"""bench/parsers: everything of ours that reads bytes which somebody else wrote, each with what it owes to any bytes.

A target takes bytes and raises `AssertionError`, or whatever escapes from the code, where that owes something else: a
refusal is one of the exceptions that the code promises. `bench/fuzz.py` drives them by coverage; the tests
(tests/unit/test_parsers.py) run them over the seeds, over what was found before, and over mutations of both.
"""

import hashlib
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import msgspec

from repairlab import config, documents
from repairlab.chain import reading
from repairlab.documents import KINDS, EditPattern, Example, LlmResponse, Pattern, Spec
from repairlab.errors import BadInput
from repairlab.evaluate import safety
from repairlab.metrics.sums import Sums, row_of
from repairlab.patterns.mining import mined
from repairlab.patterns.templates import UNPARSABLE, BadTemplate, compiled
from repairlab.repair.llm import BadAnswer, edits_of_diff
from repairlab.sandbox import Stream, StreamError, inside, patch
from repairlab.spool import arrival, history
from repairlab.toolgen.answers import NoFunction, body_of
from repairlab.toolgen.wishes import Wish, wish
from repairlab.trial import validation
from repairlab.trial.runs import Run
from repairlab.trial.server import plain
from repairlab.trial.source import Source, Undecodable

HERE = Path(__file__).resolve()
CORPUS = HERE.parents[1] / "tests" / "documents"
FILE = b"one\ntwo\nthree\r\nfour\n\x0cfive\nsix"
ANSWERS = (Run, validation.Loaded, validation.Collected, validation.Baseline, validation.Verdicts, validation.Cost)


def document(data: bytes) -> None:
    """A document of the kind that the first byte names: refused naming the fix, or kept whole by writing it again."""
    kind = KINDS[data[0] % len(KINDS)] if data else KINDS[0]
    try:
        value = documents.decode(data[1:], kind)
    except BadInput as refusal:
        _says_what_to_do(refusal)
        return
    assert documents.decode(documents.encode(value), kind) == value


def _says_what_to_do(refusal: BadInput) -> None:
    assert refusal.fix, f"{refusal} names no fix"


def spec(data: bytes) -> None:
    """What a spec asks for, or a refusal that names the field."""
    with suppress(BadInput):
        wish(documents.decode(data, Spec))


def pattern(data: bytes) -> None:
    """A pattern of the library: compiled, or refused."""
    with suppress(BadInput, BadTemplate):
        found = documents.decode(data, Pattern)
        if found.edit is not None:
            compiled(found.edit)


def template(data: bytes) -> None:
    """The two texts of an edit's pattern, parted by a line of dashes."""
    before, _, after = data.decode("utf-8", "replace").partition("\n---\n")
    with suppress(BadTemplate):
        compiled(EditPattern(before=before, after=after, holes={"x": "expression", "y": "name"}))


def envelope(data: bytes) -> None:
    """What the queue reads of a document by itself never fails, and gives the same bytes the same id."""
    found = arrival.envelope(data, 1000)
    assert -100 <= found.priority <= 100
    assert arrival.id_of(data, 1000) == arrival.id_of(data, 1000) != arrival.id_of(data, 1001)


def events(data: bytes) -> None:
    """A job's history: torn and foreign lines are left out, the others can be written and read again."""
    for event in history.parse(data):
        (again,) = history.parse(history.dumps(event))
        assert again["event"] == event["event"]


def rows(data: bytes) -> None:
    """The metrics log: damaged lines are skipped."""
    lines = data.split(b"\n")
    sums = Sums.of(lines)
    sums.add(Sums.of(lines))
    assert all(isinstance(row_of(line), dict | None) for line in lines)


@cache
def _scratch() -> Path:
    """A directory of this process with the file that patches change, taken away by whoever made the directory above."""
    made = Path(tempfile.mkdtemp(prefix="repairlab-parsers-", dir=os.environ.get("FUZZ_SCRATCH")))
    (made / "file.py").write_bytes(FILE)
    return made


def settings(data: bytes) -> None:
    """A configuration file: every problem is told, none is raised."""
    place = _scratch() / "config.toml"
    place.write_bytes(data)
    found = config.resolve({"REPAIRLAB_CONFIG": str(place)})
    assert all(problem.field and problem.fix for problem in found.problems)


def diff(data: bytes) -> None:
    """The patch of an agent: strictly one that changes the files there are, or refused."""
    with suppress(patch.BadPatch):
        assert set(patch.applied(data, _scratch())) == {"file.py"}


def answer(data: bytes) -> None:
    """A model's diff: edits that do not overlap and lie within the file, or refused."""
    source = Source.decode("file.py", FILE)
    try:
        edits = edits_of_diff(data.decode("utf-8", "replace"), {"file.py": source})
    except BadAnswer:
        return
    assert all(0 <= edit.start <= edit.end <= len(source.text) for edit in edits)
    source.edited(edits)


def function(data: bytes) -> None:
    """A model's Python: the body of the wanted function, which can be written as a module, or refused."""
    with suppress(NoFunction):
        body = body_of(data.decode("utf-8", "replace"), _wanted())
        assert all("\n" not in line for line in body.lines)


@cache
def _wanted() -> Wish:
    examples = [Example(input=[1, 2], output=3)]
    return wish(Spec(id="add", task="add", signature="def add(a: int, b: int) -> int", examples=examples))


def chain(data: bytes) -> None:
    """A document of a bundle's ancestry: whole by its hash, or damaged."""
    place = _scratch() / f"{hashlib.sha256(data).hexdigest()}.cdx.json"
    place.write_bytes(data)
    try:
        with suppress(reading.Damaged):
            reading.known(place, "0" * 64)
    finally:
        place.unlink()


def response(data: bytes) -> None:
    """A model's whole answer."""
    with suppress(BadInput):
        for text in documents.decode(data, LlmResponse).patches:
            answer(text.encode("utf-8", "surrogatepass"))


def report(data: bytes) -> None:
    """A JUnit report that untrusted code wrote: cases, or None."""
    place = _scratch() / "report.xml"
    place.write_bytes(data)
    for case in plain.junit_cases(str(place)) or []:
        assert [type(word) for word in case] == [str, str, str]
        assert case[2] in set("pfes")


def frames(data: bytes) -> None:
    """The stream from the sandbox: frames, or files, and never more than is allowed."""
    ours, theirs = socket.socketpair()
    stream = Stream(ours)
    with theirs:
        theirs.setblocking(False)
        theirs.send(data[1 : 1 << 16] or b"\0")
        theirs.shutdown(socket.SHUT_WR)
        with suppress(StreamError):
            if data[:1] < b"\x80":
                files = stream.recv_files(0, max_files=3, max_bytes=1000)
                assert all(not name.startswith("/") and ".." not in name.split("/") for name in files)
            while True:
                assert len(stream.recv(0, max_bytes=1000)) <= 1000
    stream.close()


def entries(data: bytes) -> None:
    """One frame of files."""
    with suppress(inside.FrameError):
        for path, kind, _ in inside.unpack(data):
            assert not path.startswith("/")
            assert kind in set("fxl")


def reply(data: bytes) -> None:
    """A server's answer, as its kind or refused; what is asked of it afterwards never fails."""
    kind = ANSWERS[data[0] % len(ANSWERS)] if data else Run
    with suppress(msgspec.DecodeError, UnicodeDecodeError):
        found = msgspec.json.decode(data[1:], type=kind)
        if isinstance(found, Run):
            assert found.passed in (True, False)
            assert found.counts[0] <= found.counts[1] <= found.names.total()


def source(data: bytes) -> None:
    """A file of a bundle: its text gives back its bytes, its tree spans lie within it, its safety can be told."""
    with suppress(Undecodable):
        found = Source.decode("file.py", data)
        assert found.patched([]) == data
        safety.findings(data)
        with suppress(*UNPARSABLE):
            for node in found.definitions():
                first, last = found.span(node)
                assert 0 <= first < last <= len(found.text)


def mining(data: bytes) -> None:
    """Two versions of a file, parted by a line of dashes: patterns that are documents, or none."""
    before, _, after = data.decode("utf-8", "replace").partition("\n---\n")
    for found in mined({"file.py": before}, {"file.py": after}, origin="fuzz"):
        documents.decode(documents.encode(found), Pattern)


TARGETS: dict[str, Callable[[bytes], None]] = {
    call.__name__: call
    for call in (
        document, spec, pattern, template, envelope, events, rows, settings,
        diff, answer, function, chain, response, report, frames, entries, reply, source, mining,
    )
}  # fmt: skip


def found(target: str) -> list[Path]:
    """What was found before, and is mended."""
    return sorted((CORPUS / "finds" / target).glob("*"))


def main() -> int:
    """Run one target on files: `python bench/parsers.py TARGET FILE…` says which one fails, by its traceback."""
    target, *paths = sys.argv[1:]
    for path in paths:
        TARGETS[target](Path(path).read_bytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
