"""store: promote and demote champions, each by one atomic switch.

| died after | what is there | who mends it |
|---|---|---|
| files of the new champion staged | a directory `.new-*` | the next promotion of the lineage |
| renamed to ID | a directory that nobody names | promoting it again, or nobody: it harms nothing |
| link staged | a link `.current` | the next switch |
| link switched | the new champion, of which the history does not tell yet | promoting it again tells it |
| demotion marked, or told too | a champion that stands, with a mark | demoting again goes on with that one |
| mark of the one before removed | ” | ” |
| link of a demotion switched | the champion before, or none | nobody needs to |
"""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import orjson
from filelock import FileLock, Timeout

from repairlab.documents import Champion, decode, encode, patch_bytes
from repairlab.errors import BadInput, TemporaryFailure
from repairlab.spool.disk import Disk, read_file, remove_tree, trouble

CURRENT, LOCK, HISTORY, RECORD = "current", ".lock", "history.jsonl", "champion.json"
PATCH, MARK = "patch.diff", "demoted.json"
STAGED, NEXT = ".new-", ".current"
LOCK_S = 30.0
MAX_RECORD = 1 << 25
MAX_ANCESTRY = 100_000


class Lost(Exception):
    """The champion is no longer the one that was beaten: compare again."""


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """The mark of a demotion, begun or done: when and by whom, and where the log ended before it was told there."""

    at: datetime
    uid: int
    since: tuple[int, int] = (1, 0)


class Champions:
    """All lineages of one directory."""

    def __init__(self, directory: Path, *, disk: Disk | None = None) -> None:
        self._directory, self._disk = directory, disk or Disk()

    def current(self, lineage: str) -> Champion | None:
        """Return the champion of a lineage."""
        name = self._current_id(lineage)
        return None if name is None else self.get(lineage, name)

    def get(self, lineage: str, champion_id: str) -> Champion:
        """Return a present or former champion; BadInput where there is none of that id."""
        path = self._directory / lineage / champion_id / RECORD
        try:
            return decode(read_file(path, MAX_RECORD), Champion, max_bytes=MAX_RECORD)
        except FileNotFoundError:
            raise BadInput(f"{lineage} has no champion {champion_id}", field="id", fix="see its directory") from None

    def lineages(self) -> list[str]:
        """Return the names of the lineages that have, or had, a champion."""
        with suppress(FileNotFoundError):
            return sorted(entry.name for entry in os.scandir(self._directory) if entry.is_dir(follow_symlinks=False))
        return []

    def all(self, lineage: str) -> Iterator[Champion]:
        """Yield every champion of a lineage that was ever promoted, by id; demoted ones too."""
        for entry in sorted(os.scandir(self._directory / lineage), key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                with suppress(BadInput, OSError):  # a damaged record is no champion's
                    yield self.get(lineage, entry.name)

    def ancestry(self, lineage: str) -> Iterator[Champion]:
        """Yield the champion, the one before it, and so on."""
        name, seen = self._current_id(lineage), set[str]()
        while name is not None and name not in seen and len(seen) < MAX_ANCESTRY:
            seen.add(name)
            champion = self.get(lineage, name)
            yield champion
            name = champion.parent

    def promote(self, champion: Champion) -> bool:
        """Make `champion` the head of its lineage; False where it was that, and was demoted since it was evaluated.

        Where it is the head, or has been beaten since, there is nothing to do. Raises `Lost` where the present champion
        is another than `champion.parent`.
        """
        lineage = champion.lineage
        with trouble("promote a champion"), self._locked(lineage):
            if not self._stood(champion):
                if self._demoted(champion):
                    return False
                if self._current_id(lineage) != champion.parent:
                    raise Lost
                self._put(champion)
                self._switch(lineage, champion.id)
            self._tell(lineage, "promoted", champion.id, champion.at)
        return True

    @contextmanager
    def demotion(
        self, lineage: str, champion_id: str | None, log_end: Callable[[], tuple[int, int]]
    ) -> Iterator[tuple[Champion, Mark]]:
        """Put the champion before the present one back once the block, which tells of it in the log, has ended.

        The mark is durable before the block, so that whoever has promoted it and died does not do so again, and so that
        whoever demotes again after a death goes on with the same demotion; the block must tell of it but once then.
        BadInput where nobody stands, or another than `champion_id`.
        """
        with trouble("demote a champion"), self._locked(lineage):
            champion = self.current(lineage)
            if champion is None or champion_id not in (None, champion.id):
                stands = "has no champion" if champion is None else f"has another champion than {champion_id} now"
                raise BadInput(f"{lineage} {stands}", field="lineage", fix="see `repairlab leaderboard`")
            mark = self._mark(champion) or self._marked(champion, Mark(at=_now(), uid=os.getuid(), since=log_end()))
            yield champion, mark
            if champion.parent is not None:  # a demotion of it that another's promotion overtook is not this one
                (self._directory / lineage / champion.parent / MARK).unlink(missing_ok=True)
            self._switch(lineage, champion.parent)
            self._tell(lineage, "demoted", champion.id, mark.at)

    def _marked(self, champion: Champion, mark: Mark) -> Mark:
        """Make a mark durable."""
        place = self._directory / champion.lineage / champion.id
        written = msgspec.json.encode(mark) + b"\n"
        self._disk.replace("champion.mark", str(place / MARK), written, sync=True, by="demote")
        self._disk.sync_directory("champion.marked", str(place))
        return mark

    def _mark(self, champion: Champion) -> Mark | None:
        """Return the mark of a champion; a damaged one is none, and made anew."""
        with suppress(FileNotFoundError, msgspec.DecodeError):
            path = self._directory / champion.lineage / champion.id / MARK
            return msgspec.json.decode(read_file(path, MAX_RECORD), type=Mark)
        return None

    def _stood(self, champion: Champion) -> bool:
        """Whether it is the head or one of those before it, as far back as records can be read."""
        with suppress(BadInput):
            return any(known.id == champion.id for known in self.ancestry(champion.lineage))
        return False

    def _demoted(self, champion: Champion) -> bool:
        """Whether it was demoted since this evaluation; who is evaluated anew has a record of another instant."""
        with suppress(BadInput):
            known = self.get(champion.lineage, champion.id)
            return known.at == champion.at and (self._directory / champion.lineage / champion.id / MARK).exists()
        return False

    def _current_id(self, lineage: str) -> str | None:
        try:
            return os.readlink(self._directory / lineage / CURRENT)
        except FileNotFoundError:
            return None

    @contextmanager
    def _locked(self, lineage: str) -> Iterator[None]:
        """Hold the lineage's lock; the kernel drops it with this process."""
        place = self._directory / lineage
        place.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(place / LOCK, timeout=LOCK_S):
                yield
        except Timeout:
            raise TemporaryFailure(f"the champion of {lineage} is locked", fix="try again") from None

    def _put(self, champion: Champion) -> None:
        place = self._directory / champion.lineage
        for left in place.glob(f"{STAGED}*"):
            remove_tree(str(left))
        target, staged = place / champion.id, place / f"{STAGED}{secrets.token_hex(4)}"
        if target.exists():  # of an earlier try; whatever it holds, nobody has named it
            remove_tree(str(target))
        staged.mkdir()
        self._disk.write("champion.record", str(staged / RECORD), encode(champion), sync=True)
        patch = patch_bytes(champion.patch, champion.patch_encoding)
        self._disk.write("champion.patch", str(staged / PATCH), patch, sync=True)
        self._disk.sync_directory("champion.staged", str(staged))
        self._disk.do("champion.rename", os.rename, staged, target)
        self._disk.sync_directory("champion.directory", str(place))

    def _switch(self, lineage: str, champion_id: str | None) -> None:
        """Point `current` to a champion, or at none."""
        place = self._directory / lineage
        if champion_id is None:
            self._disk.do("champion.none", os.unlink, place / CURRENT)
        else:
            staged = place / NEXT
            with suppress(FileNotFoundError):  # of somebody who died; the lineage's lock is ours
                os.unlink(staged)
            self._disk.do("champion.link", os.symlink, champion_id, staged)
            self._disk.do("champion.switch", os.rename, staged, place / CURRENT)
        self._disk.sync_directory("champion.switched", str(place))

    def _tell(self, lineage: str, event: str, champion_id: str, at: datetime) -> None:
        """Write down once what happened; a line that a death has torn is ended first."""
        line = orjson.dumps({"at": at, "event": event, "id": champion_id, "uid": os.getuid()}) + b"\n"
        with suppress(OSError), (self._directory / lineage / HISTORY).open("a+b") as stream:
            stream.seek(0)
            known = stream.read().splitlines(keepends=True)
            if line not in known:
                stream.write(b"\n" * bool(known and not known[-1].endswith(b"\n")) + line)


def _now() -> datetime:
    return datetime.now(UTC)
