"""bench/memory: what is costly and always the same is done once, for real, and known to all forks from then on.

What a run of tests in a sandbox found, and what a search for a tool's body did, are kept in files by what they depend
on. Who works makes some calls more than who remembers.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec


class Memory:
    """What is known, in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(exist_ok=True)

    def size(self) -> int:
        """Return how much is known."""
        return len(list(self._directory.iterdir()))

    def known(self, key: Any, kind: Any, make: Callable[[], Any]) -> Any:
        """Return what `make` returns, or returned for the same key to whoever came first."""
        path = self._directory / hashlib.sha256(repr(key).encode()).hexdigest()
        if path.exists():
            return msgspec.json.decode(path.read_bytes(), type=kind)
        made = make()
        staged = path.with_suffix(f".{os.getpid()}")
        staged.write_bytes(msgspec.json.encode(made))
        staged.replace(path)
        return made
