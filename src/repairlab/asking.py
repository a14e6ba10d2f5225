"""asking: one question to a model, and its answer, as files; a program that has a network carries both.

    <root>/llm/requests/request-ID.json     a spool: the question, published once
    <root>/llm/responses/ID.json            the answer, put there by one rename

The id is made of what is asked, so that a late answer serves whoever asks the same again, and asking twice costs once.
The answer is read as what anybody could have written: a regular file, bounded, of this id; what it proposes is believed
no more than any other candidate. Nothing here waits or removes anything: `repairlab-cleanup` removes questions and
answers that have been kept for `cleanup.llm_days`.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from repairlab.config import llm_requests_dir, llm_responses_dir
from repairlab.documents import LlmRequest, LlmResponse, ToolRequest, ToolResponse, decode, encode
from repairlab.errors import BadInput
from repairlab.sandbox.tree import REGULAR
from repairlab.spool import Spool, State

MAX_ANSWER = 4 << 20
R = TypeVar("R", LlmResponse, ToolResponse)


@dataclass(frozen=True)
class Question:
    """A question of one state directory."""

    root: Path
    request: LlmRequest | ToolRequest

    @property
    def _spool(self) -> Spool:
        return Spool(llm_requests_dir(self.root), pattern="request*.json")

    @property
    def _name(self) -> str:
        return f"request-{self.request.id}.json"

    @property
    def _answer(self) -> Path:
        return llm_responses_dir(self.root) / f"{self.request.id}.json"

    def ask(self) -> None:
        """Publish the question where it is neither answered nor waiting; OSError, RepairLabError where it cannot."""
        self._answer.parent.mkdir(parents=True, exist_ok=True)
        if self._answer.exists():  # for a run that did not live to read it
            return
        self._spool.create()
        if not self.waits:  # what was tried before may read otherwise now
            self._spool.publish(encode(self.request), self._name)

    @property
    def waits(self) -> bool:
        """Whether nobody has taken the question yet."""
        return (self._spool.path / self._name).exists()

    def crowd(self) -> int:
        """Return how many questions nobody has taken yet."""
        return self._spool.counts()[State.WAITING] if self._spool.path.is_dir() else 0

    def answer(self, kind: type[R]) -> R | None:
        """Return the answer, None while there is none; BadInput where it is no answer to this question."""
        raw = content(self._answer)
        if raw is None:
            return None
        answer = decode(raw, kind, max_bytes=MAX_ANSWER)
        if answer.id != self.request.id:
            raise BadInput("the answer is to another question", field="id")
        return answer


def content(path: Path) -> bytes | None:
    """Return the bytes of a regular file within the bound, None where there is no such file yet."""
    try:
        fd = os.open(path, REGULAR)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadInput(f"the answer cannot be read: {error.strerror}") from None
    known = os.fstat(fd)
    if not stat.S_ISREG(known.st_mode) or known.st_size > MAX_ANSWER:
        os.close(fd)
        raise BadInput(f"the answer is no file of at most {MAX_ANSWER} bytes")
    with open(fd, "rb") as stream:
        return stream.read(MAX_ANSWER + 1)
