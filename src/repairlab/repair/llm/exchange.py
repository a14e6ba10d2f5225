"""exchange: the agent's question to a model (`repairlab.asking` says how it travels), and its answer as candidates.

Only where `llm.enabled` says so. What is asked is bounded: messages of failing tests, the suspicious functions, what
was tried. The id is made of the bundle, of what fails in it and of the effort, so an answer that came too late for one
run serves the next of the same effort. Its patches are candidates like any other. While it is waited for, the agent
does nothing else: at most `llm.wait_s`, and half its time.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import orjson

from repairlab.asking import Question
from repairlab.documents import (
    FailingTest,
    LlmRequest,
    LlmResponse,
    Strategy,
    StrategyRun,
    SuspectFunction,
)
from repairlab.errors import RepairLabError
from repairlab.repair.candidates import Change
from repairlab.repair.llm.answers import BadAnswer, edits_of_diff
from repairlab.trial.source import UNPARSABLE, Source
from repairlab.trial.testrun import Line, TestRun

LOOK_S = 0.05  # between two looks for the answer
TESTS, FUNCTIONS = 10, 8
MAX_SOURCE, MAX_MESSAGE = 8000, 1000  # characters of a function, of a message


@dataclass
class Exchange:
    """One question and its answer; `told` says in words what came of it."""

    root: Path
    sources: Mapping[str, Source]
    failing: Sequence[TestRun]
    suspicion: Mapping[Line, float]
    parent_sha256: str
    effort: int
    wait_s: float
    told: str = ""
    none: str = ""
    refused: list[str] = field(default_factory=list)

    def candidates(self, tried: Sequence[StrategyRun], deadline: float) -> Iterator[Change]:
        """Ask, wait, and yield the patches of the answer that may be tried, in their order."""
        request, began = self.request(tried), time.monotonic()
        try:
            answer = self._answer(request, min(time.monotonic() + self.wait_s, deadline))
        except RepairLabError as error:
            self.none = str(error)[:500]
            return
        except OSError as error:  # no room, no leave, a file in the place of a directory
            self.none = f"the model cannot be asked: {error.strerror}"
            return
        if answer is None:
            self.none = f"no answer within {time.monotonic() - began:.1f} s"
            return
        for rank, diff in enumerate(answer.patches):
            try:
                edits = tuple(sorted(edits_of_diff(diff, self.sources)))
            except BadAnswer as error:
                self.refused.append(f"patch {rank + 1} {error}")
                continue
            line = edits[0].path, self.sources[edits[0].path].text.count("\n", 0, edits[0].start) + 1
            note = f"patch {rank + 1} of {answer.model or 'a model'}"
            yield Change(edits, line, "llm", note, 1 / (1 + rank), Strategy.LLM_PATCH)
        self._tell(answer)

    def _tell(self, answer: LlmResponse) -> None:
        parts = [f"{len(answer.patches)} patches of {answer.model or 'a model'}", f"{answer.cost_usd:g} USD"]
        self.told = "; ".join([", ".join(parts), *self.refused])
        self.none = "; ".join(self.refused) or "the answer holds no patch"

    def request(self, tried: Sequence[StrategyRun]) -> LlmRequest:
        """Return the question; its id says nothing of the clock, nor of what the clock left to be tried."""
        told = [msgspec.structs.replace(run, wall_s=0.0, tried=0, details="") for run in tried]
        made = LlmRequest(
            id="0" * 32,
            parent_sha256=self.parent_sha256,
            effort=self.effort,
            wait_s=self.wait_s,
            failing=[FailingTest(id=t.id[:500], message=t.message[:MAX_MESSAGE]) for t in self.failing[:TESTS]],
            functions=self._functions(),
            tried=told,
        )
        places = sorted((function.file, function.line) for function in made.functions)
        raw = orjson.dumps([self.parent_sha256, self.effort, [test.id for test in made.failing], places])
        return msgspec.structs.replace(made, id=hashlib.sha256(b"repairlab-llm/2\0" + raw).hexdigest()[:32])

    def _functions(self) -> list[SuspectFunction]:
        """Return the suspicious functions, the worst first; of a module's own lines nothing is told."""
        worst: dict[tuple[str, int], tuple[float, int]] = {}
        owners = {
            path: _owners(self.sources[path]) for path in {path for path, _ in self.suspicion} & set(self.sources)
        }
        for (path, line), share in self.suspicion.items():
            if (owner := owners.get(path, {}).get(line)) is not None:
                known, end = worst.get((path, owner[0]), (0.0, owner[1]))
                worst[path, owner[0]] = max(known, share), end
        ranked = sorted(worst.items(), key=lambda item: (-item[1][0], item[0]))[:FUNCTIONS]
        return [
            SuspectFunction(file=path, line=first, suspiciousness=round(share, 4), source=self._text(path, first, end))
            for (path, first), (share, end) in ranked
        ]

    def _text(self, path: str, first: int, last: int) -> str:
        start, end = self.sources[path].line_span(first, last)
        return self.sources[path].text[start:end][:MAX_SOURCE]

    def _answer(self, request: LlmRequest, until: float) -> LlmResponse | None:
        question = Question(self.root, request)
        question.ask()
        while (answer := question.answer(LlmResponse)) is None and time.monotonic() < until:
            time.sleep(LOOK_S)
        return answer


def _owners(source: Source) -> dict[int, tuple[int, int]]:
    """Return the first and last line of the innermost function around each line."""
    try:
        found = [(node.lineno, node.end_lineno or node.lineno) for node in source.definitions()]
    except UNPARSABLE:
        return {}
    return {line: span for span in sorted(found) for line in range(span[0], span[1] + 1)}
