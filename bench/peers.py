"""bench/peers: our queue and its peers behind one interface, each at its most durable honest setting and a relaxed one.

A queue is opened anew in every process that uses it. `put` returns when the setting's promise holds for the job. `take`
returns one job or None, `done` is the promise that it will not come again. `BATCH` says whether it can do many in one
commit by an interface of its own. What a peer cannot do is left out of the tables, never imitated.

    guarantee           what survives a power cut after `put` has returned
    at a crash          what happens to a job whose consumer dies between `take` and `done`
"""

import mailbox
import os
import sqlite3
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from repairlab.spool import Policy, Spool
from repairlab.spool.hints import Hints

R = TypeVar("R")
KEPT, PERHAPS, TORN = "every job", "perhaps, never torn", "perhaps, may be torn"
AGAIN, LOST = "comes again", "is lost"


def document(number: int) -> bytes:
    return b'{"bundle_dir": "/var/lib/repairlab/bundles/example", "number": %d, "pad": "%s"}' % (number, b"x" * 200)


class Queue:
    """What is measured; `durable` chooses the setting."""

    NAME: ClassVar[str]
    BATCH: ClassVar[bool] = False
    GUARANTEE: ClassVar[tuple[str, str]]  # durable, relaxed
    CRASH: ClassVar[str] = AGAIN
    MODES: ClassVar[tuple[bool, ...]] = (True, False)
    PRODUCERS: ClassVar[bool] = True  # many processes may put at once
    CONSUMERS: ClassVar[bool] = True

    MODULE: ClassVar[str] = "repairlab.spool"

    @classmethod
    def load(cls) -> None:
        """Import what it needs, ahead of the processes that use it; ImportError where that is not installed."""
        import_module(cls.MODULE)

    def __init__(self, path: Path, durable: bool) -> None:
        self.path, self.durable = path, durable

    def put(self, number: int) -> None:
        raise NotImplementedError

    def put_many(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self.put(number)

    def fill(self, numbers: Sequence[int]) -> None:
        """Have them wait, by the quickest way that there is."""
        self.put_many(numbers)

    def take(self) -> Any:
        raise NotImplementedError

    def done(self, job: Any) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass


class Ours(Queue):
    NAME, BATCH, GUARANTEE = "repairlab", True, (KEPT, TORN)
    POLICY = Policy(quota_waiting=1 << 24)

    def __init__(self, path: Path, durable: bool) -> None:
        super().__init__(path, durable)
        self.spool = Spool(path, policy=self.POLICY)
        self.spool.create()
        self.backlog = self.spool.backlog()
        self.hints: Hints | None = None

    def put(self, number: int) -> None:
        self.spool.publish(document(number), durable=self.durable)

    def put_many(self, numbers: Sequence[int]) -> None:
        self.spool.publish_many([document(number) for number in numbers], durable=self.durable)

    def fill(self, numbers: Sequence[int]) -> None:
        for number in numbers:  # dropped, as by anybody who may write there
            (self.path / f"handoff-{number}.json").write_bytes(document(number))

    def take(self) -> Any:
        if self.hints is None:  # as the watcher hears of arrivals; a producer hears of none
            self.hints = Hints([self.path, self.spool.deferred])
        for name in self.hints.take():
            self.backlog.hint(name)
        if claim := self.backlog.take():
            return claim
        more = self.backlog.scan(0.02)
        claim = self.backlog.take()
        while claim is None and (more or self.backlog.busy):
            more = self.backlog.scan(0.02)
            claim = self.backlog.take()
        return claim

    def done(self, job: Any) -> None:
        job.finish()  # flushed in both settings: there is no other end

    def close(self) -> None:
        self.backlog.close()
        if self.hints is not None:
            self.hints.close()


class Persist(Queue):
    """What the queues of persist-queue have in common."""

    MODULE = "persistqueue"
    queue: Any

    def put(self, number: int) -> None:
        self.queue.put(document(number))

    def take(self) -> Any:
        from persistqueue import Empty

        try:
            return self.queue.get(block=False)
        except Empty:
            return None

    def done(self, _job: Any) -> None:
        self.queue.task_done()


class PersistSqlite(Persist):
    """Commits each put and each get by itself, whatever auto_commit says: it has no commit for many."""

    NAME, GUARANTEE, CRASH = "persist-queue SQLite", (KEPT, PERHAPS), LOST

    def __init__(self, path: Path, durable: bool) -> None:
        super().__init__(path, durable)
        self.queue = self.opened(str(path))
        level = "FULL" if durable else "OFF"
        for connection in {self.queue._getter, self.queue._putter}:
            connection.execute(f"PRAGMA synchronous={level}")

    def opened(self, path: str) -> Any:
        from persistqueue import SQLiteQueue

        return SQLiteQueue(path, auto_commit=True, timeout=60)

    def close(self) -> None:
        self.queue.close()


class PersistSqliteAck(PersistSqlite):
    NAME, CRASH = "persist-queue SQLite, acknowledged", AGAIN

    def opened(self, path: str) -> Any:
        from persistqueue import SQLiteAckQueue

        return SQLiteAckQueue(path, timeout=60)

    def done(self, job: Any) -> None:
        self.queue.ack(job)


class PersistFile(Persist):
    """Flushes nothing but a chunk of a hundred jobs that is full; one process at a time may use it."""

    NAME, GUARANTEE, CRASH, MODES = "persist-queue file", ("", TORN), AGAIN, (False,)
    PRODUCERS = CONSUMERS = False

    def __init__(self, path: Path, durable: bool) -> None:
        super().__init__(path, durable)
        from persistqueue import Queue as FileQueue

        (path / "tmp").mkdir(parents=True, exist_ok=True)
        self.queue = FileQueue(str(path / "queue"), tempdir=str(path / "tmp"))


class HueySqlite(Queue):
    NAME, GUARANTEE, CRASH, MODULE = "huey SQLite", (KEPT, PERHAPS), LOST, "huey.storage"

    def __init__(self, path: Path, durable: bool) -> None:
        super().__init__(path, durable)
        from huey.storage import SqliteStorage

        path.mkdir(parents=True, exist_ok=True)
        self.storage: Any = SqliteStorage("bench", filename=str(path / "huey.db"), fsync=durable, timeout=60)

    def put(self, number: int) -> None:
        self.storage.enqueue(document(number))

    def take(self) -> Any:
        return self.storage.dequeue()

    def done(self, _job: Any) -> None:
        pass  # taking it was the end of it

    def close(self) -> None:
        self.storage.close()


class HueyFile(HueySqlite):
    NAME, GUARANTEE, MODES = "huey file", ("", TORN), (False,)

    def __init__(self, path: Path, durable: bool) -> None:
        Queue.__init__(self, path, durable)
        from huey.storage import FileStorage

        path.mkdir(parents=True, exist_ok=True)
        self.storage = FileStorage("bench", str(path))


class LiteQueue(Queue):
    NAME, GUARANTEE, MODULE = "litequeue", (KEPT, PERHAPS), "litequeue"

    def __init__(self, path: Path, durable: bool) -> None:
        super().__init__(path, durable)
        from litequeue import LiteQueue as Theirs

        path.mkdir(parents=True, exist_ok=True)
        self.queue = Theirs(str(path / "lite.db"), timeout=60)
        self.queue.conn.execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")

    def put(self, number: int) -> None:
        self.queue.put(document(number).decode())

    def take(self) -> Any:
        return self.queue.pop()

    def done(self, job: Any) -> None:
        self.queue.done(job.message_id)

    def close(self) -> None:
        self.queue.close()


class Maildir(Queue):
    """`mailbox` fsyncs the file; its name, which it does not flush, we flush here, or it would be no promise."""

    NAME, GUARANTEE, MODES = "mailbox.Maildir", (KEPT, ""), (True,)
    CONSUMERS = False  # the keys of a reader go stale when another takes what they name

    def __init__(self, path: Path, durable: bool) -> None:
        super().__init__(path, durable)
        self.box = mailbox.Maildir(str(path), create=True)
        self._dirs = [os.open(path / name, os.O_RDONLY) for name in ("new", "cur")]
        self._keys: Any = iter(())

    def put(self, number: int) -> None:
        self.box.add(document(number))
        os.fsync(self._dirs[0])

    def take(self) -> Any:
        for _ in range(2):
            for key in self._keys:
                with_body = self.box.get_bytes(key)
                if with_body:
                    return key
            self._keys = iter(list(self.box.keys()))
        return None

    def done(self, job: Any) -> None:
        self.box.remove(job)
        os.fsync(self._dirs[0])

    def close(self) -> None:
        for fd in self._dirs:
            os.close(fd)


QUEUES: tuple[type[Queue], ...] = (
    Ours,
    PersistSqlite,
    PersistSqliteAck,
    PersistFile,
    HueySqlite,
    HueyFile,
    LiteQueue,
    Maildir,
)


def retried(act: Callable[[], R]) -> R:
    """Do what SQLite may refuse because another process is at it just now, as the users of these queues must."""
    while True:
        try:
            return act()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
