"""model: ask a model for the function, where that is configured and nothing else has found it.

The question goes out by `repairlab.asking`; toolgen has no network and never waits for the answer: the spec is put off,
which counts as nothing, and looked at again. Its job keeps `asked.json`: since when it has been asked, and since when
the question has been taken. While nobody takes questions (the gate is closed), specs wait, and no more than MAX_WAITING
are asked. A question that was taken, or removed as too old, is waited for `llm.wait_s`; after that the spec goes on
without an answer.

The answer is text from outside: parsed, bounded, never run here. Some examples are kept back from the question, so that
what only knows those it was told fails its tests.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import orjson

from repairlab.asking import Question
from repairlab.config import Llm
from repairlab.documents import ToolExample, ToolRequest, ToolResponse
from repairlab.documents.llm import MAX_TOLD
from repairlab.errors import BadInput
from repairlab.spool import Claim, read_file, trouble
from repairlab.toolgen.answers import NoFunction, body_of
from repairlab.toolgen.synthesis import Body
from repairlab.toolgen.wishes import Wish

ASKED = "asked.json"
TOLD, MAX_CHARS = 20, 30_000  # examples, properties and constraints each; characters of all examples
TRIED = 5
MAX_WAITING = 100
LOOK_S = 2.0, 300.0  # the shortest and longest pause between two looks


class NotYet(Exception):
    """The answer may still come; look again after `pause_s`."""

    def __init__(self, why: str, pause_s: float) -> None:
        super().__init__(why)
        self.pause_s = pause_s


class Asked(msgspec.Struct):
    """What a job keeps: since when it has been asked, and since when the question has been taken; Unix seconds."""

    asked: float | None = None
    taken: float | None = None


@dataclass(frozen=True)
class Answers:
    """What a model proposed that may be tried, and what is to be said of the asking."""

    bodies: Sequence[Body]
    told: str


class Model:
    """The model of one state directory."""

    def __init__(self, root: Path, settings: Llm) -> None:
        self._root, self._settings = root, settings

    def concerns(self, claim: Claim) -> bool:
        """Whether everything else has been tried on this spec, and a model is to be asked, or has been."""
        return self._settings.enabled and (claim.path / ASKED).exists()

    def answers(self, claim: Claim, wish: Wish) -> Answers | None:
        """Return what the model proposes, None where none is configured; NotYet while the answer may still come."""
        if not self._settings.enabled:
            return None
        try:
            question = Question(self._root, request(wish))
            answer = question.answer(ToolResponse)
            return judged(answer, wish) if answer is not None else self._waited(claim, question)
        except BadInput as error:
            return Answers((), f"the model's answer is refused: {error}")
        except OSError as error:
            return Answers((), f"the model cannot be asked: {error.strerror}")

    def _waited(self, claim: Claim, question: Question) -> Answers:
        known, now = _kept(claim), time.time()
        if known.asked is None:
            if question.crowd() < MAX_WAITING:
                question.ask()
                known.asked = now
            claim.put(ASKED, msgspec.json.encode(known))
            raise NotYet("a model is to be asked", LOOK_S[0] if known.asked else LOOK_S[1])
        pause_s = min(max((now - known.asked) / 2, LOOK_S[0]), LOOK_S[1])
        if question.waits:
            raise NotYet("nobody has taken the question to the model: is its gate open?", pause_s)
        if known.taken is None or known.taken > now:  # the latter: the clock was set back
            known.taken = now
            claim.put(ASKED, msgspec.json.encode(known))
        left_s = self._settings.wait_s - (now - known.taken)
        if left_s > 0:
            raise NotYet("the model has been asked", min(pause_s, max(left_s, LOOK_S[0])))
        return Answers((), f"the model has not answered within {self._settings.wait_s:g} s")


def request(wish: Wish) -> ToolRequest:
    """Return the question; the same spec asks the same."""
    spec = wish.spec
    made = ToolRequest(
        id="0" * 32, spec_id=spec.id, task=spec.task[:MAX_TOLD], header=wish.header[:MAX_TOLD],
        examples=_examples(wish), properties=[text[:MAX_TOLD] for text in spec.properties[:TOLD]],
        constraints=[text[:MAX_TOLD] for text in spec.constraints[:TOLD]],
    )  # fmt: skip
    raw = orjson.dumps(msgspec.to_builtins(made))
    return msgspec.structs.replace(made, id=hashlib.sha256(b"repairlab-llm-tool/1\0" + raw).hexdigest()[:32])


def _examples(wish: Wish) -> list[ToolExample]:
    """Return the examples that are told: of four or more all but each fourth, the short ones, so many as have room."""
    told: list[ToolExample] = []
    room = MAX_CHARS
    for number, (arguments, result) in enumerate(wish.examples):
        call, back = f"{wish.name}({', '.join(map(repr, arguments))})", repr(result)
        room -= len(call) + len(back)
        if room < 0 or len(told) >= TOLD:
            break
        if number % 4 != 3 and max(len(call), len(back)) <= MAX_TOLD:
            told.append(ToolExample(call=call, result=back))
    return told


def judged(answer: ToolResponse, wish: Wish) -> Answers:
    """Return the functions of an answer that may be tried, and why the others may not."""
    name = " ".join(answer.model.split())[:60] or "a model"
    bodies, refused = [], []
    for number, text in enumerate(answer.functions[:TRIED], 1):
        try:
            bodies.append(replace(body_of(text, wish), how=f"answered by {name}"))
        except NoFunction as error:
            refused.append(f"function {number} {error}")
    told = f"{len(answer.functions)} functions of {name}, {answer.cost_usd:g} USD"
    return Answers(bodies, "; ".join([told, *refused])[:1000])


def _kept(claim: Claim) -> Asked:
    """Return what the job keeps of its asking."""
    with trouble("read what has been asked"):
        try:
            return msgspec.json.decode(read_file(claim.path / ASKED, 4096), type=Asked)
        except (FileNotFoundError, msgspec.DecodeError):
            return Asked()
