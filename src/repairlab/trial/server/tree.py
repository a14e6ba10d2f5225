"""tree: the bundle's directory as a run of tests is to find it, and how it is put back after each.

One part of the program that `repairlab.trial.server` assembles (Python 3.8 or newer).

Tests write files, and the next candidate must not find them. What stands in the directory once the tests are collected
is remembered, contents included; after a fork, when no other is at work, what is new is removed and what is changed or
gone is written anew. A small directory is compared entry by entry; in a large one only the times of its directories are
looked at, until something has been written there. Nothing is followed: a link is an entry like any other.
"""

import stat

MOST_ENTRIES = 5000
MOST_BYTES = 1 << 26
SMALL = 300  # entries that are compared after each fork: some 0.3 ms
WATCHED = 64  # directories of a larger tree whose times are looked at
TREE = []  # the tree of this process, once it is known


class Tree:
    """The directory `root`; `usable` is False for one that is too large to be kept.

    Files that are `ignored` are somebody else's to put back: the editable ones, which the pristine server replaces for
    a fresh import while the hot worker is at work on other candidates.
    """

    def __init__(self, root, ignored=()):
        self.root = root
        self.ignored = {os.path.relpath(path, root) for path in ignored}
        self.known, self.contents, self.times = {}, {}, {}
        self.usable, self.written = True, False
        self.remember()

    def remember(self):
        """Take the directory as it is for the one to come back to; only what differs is read."""
        entries = self._look()
        if entries is None:
            self.usable = False
            return
        size = 0
        for seen in entries.values():
            size += seen[1] if stat.S_ISREG(seen[0]) else 0
        if size > MOST_BYTES:
            self.usable = False
            return
        for path, seen in entries.items():
            if self.known.get(path) != seen:
                self.contents[path] = self._content(path, seen)
        self.known = entries
        self._note_times()

    def undo(self, thorough=False):
        """Put back what was changed; return whether anything was."""
        if not self.usable or not (thorough or self.written or self._suspicious()):
            return False
        entries = self._look()
        if entries is None:
            self.usable = False
            return True
        if entries == self.known:
            self._note_times()
            return False
        for path in sorted(set(entries) - set(self.known), reverse=True):  # what is inside before what holds it
            self._remove(path, entries[path])
        for path in sorted(self.known):
            if entries.get(path) != self.known[path]:
                self._restore(path, entries.get(path))
        self.written = True
        self._note_times()
        return True

    def _suspicious(self):
        if len(self.known) <= SMALL:
            return True
        try:
            return any(os.stat(path).st_mtime_ns != at for path, at in self.times.items())
        except OSError:
            return True

    def _note_times(self):
        below = [path for path in sorted(self.known) if stat.S_ISDIR(self.known[path][0])][: WATCHED - 1]
        self.times = {}
        for path in [self.root] + [os.path.join(self.root, path) for path in below]:
            try:
                self.times[path] = os.stat(path).st_mtime_ns
            except OSError:
                pass

    def _look(self):
        """Return {path: (mode, size, time, inode)}, of directories the mode alone; None where there are too many."""
        found, waiting = {}, [""]
        while waiting:
            directory = waiting.pop()
            try:
                with os.scandir(os.path.join(self.root, directory)) as inside:
                    for entry in inside:
                        path = os.path.join(directory, entry.name)
                        if path in self.ignored:
                            continue
                        seen = entry.stat(follow_symlinks=False)
                        if stat.S_ISDIR(seen.st_mode):
                            found[path] = (seen.st_mode, 0, 0, 0)
                            waiting.append(path)
                        else:
                            found[path] = (seen.st_mode, seen.st_size, seen.st_mtime_ns, seen.st_ino)
            except OSError:
                pass  # it went while we looked, or may not be read: the verification has the last word
            if len(found) > MOST_ENTRIES:
                return None
        return found

    def _content(self, path, seen):
        whole = os.path.join(self.root, path)
        try:
            if stat.S_ISLNK(seen[0]):
                return os.readlink(whole)
            if stat.S_ISREG(seen[0]):
                fd = os.open(whole, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                with io.open(fd, "rb") as file:
                    return file.read(MOST_BYTES)
        except OSError:
            pass
        return None

    def _remove(self, path, seen):
        whole = os.path.join(self.root, path)
        try:
            os.rmdir(whole) if stat.S_ISDIR(seen[0]) else os.unlink(whole)
        except OSError:
            pass

    def _restore(self, path, now):
        """Write one entry anew; the new inode gives an importer no reason to trust an old time."""
        whole, seen, content = os.path.join(self.root, path), self.known[path], self.contents[path]
        if now is not None and not (stat.S_ISDIR(seen[0]) and stat.S_ISDIR(now[0])):
            self._remove(path, now)
        try:
            if stat.S_ISDIR(seen[0]):
                if now is None or not stat.S_ISDIR(now[0]):
                    os.mkdir(whole)
                os.chmod(whole, stat.S_IMODE(seen[0]))
            elif stat.S_ISLNK(seen[0]):
                os.symlink(content, whole)
            elif content is not None:
                fd = os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, stat.S_IMODE(seen[0]))
                with io.open(fd, "wb") as file:
                    file.write(content)
                os.utime(whole, ns=(seen[2], seen[2]))
            after = os.lstat(whole)
        except OSError:
            return
        if not stat.S_ISDIR(seen[0]):
            self.known[path] = (after.st_mode, after.st_size, after.st_mtime_ns, after.st_ino)


def put_back(thorough=False):
    """Put back what was written in the bundle's directory; return whether anything was."""
    done = [tree.undo(thorough) for tree in TREE]  # all of them
    return any(done)
