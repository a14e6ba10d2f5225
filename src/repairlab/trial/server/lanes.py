"""lanes: candidates in forks, a few forks at a time, each watched through memory that it shares with its parent.

One part of the program that `repairlab.trial.server` assembles (Python 3.8 or newer).

A fork makes no system call for a candidate: it writes one letter a test into shared memory, a line a candidate. Its
parent looks there every few milliseconds, and asks the kernel for the processor time of the fork; where a test has used
up its allowance, or four times that of wall time, the fork's session is killed. The allowance grows once the candidate
has turned a failing test green: that one is worth waiting for.

Forks see each other through files, ports and processes. An audit hook notes at once which candidate first touches the
world outside its process: what has not passed and stood behind that one in its fork, or in a fork beside it, is judged
again with nothing beside it. From then on this worker runs one fork at a time, and where it was one of many in a fork,
each fork for one candidate. One fork at a time runs too once a candidate leaves processes behind.
"""

HEAD_BYTES = 16
POSITION, END = 0, 1  # words of the head: the candidate at work, counted from 1; how many bytes of letters follow
TOUCHED = 2  # the first candidate that touched the world outside, 0 where none did
LOOK_S = 0.003  # between two looks at forks that are at work
PROMISING = 8  # times the allowance, for a candidate that has repaired a failing test
MAX_WIDTH = 2  # forks at a time: the agent and the sandbox have two cores on the machines that this is for
OUTSIDE = ("os.", "shutil.", "socket.", "subprocess.", "tempfile.", "sqlite3.", "pty.", "signal.", "syslog.", "fcntl.")
INNER = {"os.chdir", "os.putenv", "os.unsetenv"}
HARMLESS = {"os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.getxattr", "os.listxattr"} | INNER
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def cpu_clock(pid):
    """The clock of a process's CPU time (clock_getcpuclockid(3): the kernel's encoding, stable since Linux 2.6.12)."""
    return (~pid << 3) | 2


def runnable(pid):
    """True for a process that runs or could; its name, before the last parenthesis, is its own to choose."""
    try:
        with io.open("/proc/%d/stat" % pid, "rb") as stream:
            return stream.read().rpartition(b")")[2].split()[0] == b"R"
    except OSError:
        return False


class Work:
    """Candidates for one fork: [(position, swaps)], many of them or one that is judged `alone`."""

    def __init__(self, jobs, alone):
        self.jobs, self.alone = jobs, alone


class Lane:
    """One fork at work; `body` runs in it and is given the page on which it notes letters."""

    def __init__(self, work, body, room, allowance):
        self.work, self.allowance = work, allowance
        self.memory = mmap.mmap(-1, HEAD_BYTES + room)
        self.head = memoryview(self.memory)[:HEAD_BYTES].cast("I")
        self.fork = Fork(lambda _end: body(Page(self.memory)), b"")
        self.mark, self.timed_out, self.clock = None, False, cpu_clock(self.fork.pid)
        self.beside = False  # whether another fork was at work at the same time
        self.disturbed = False  # whether such a one touched the world outside

    def late(self):
        """True where the test at work has used up its time; then the fork is dead."""
        mark, wall = (self.head[POSITION], self.head[END]), _monotonic()
        try:
            cpu = time.clock_gettime(self.clock)
        except OSError:
            return False  # it has ended
        if mark != self.mark:
            self.mark, self.since = mark, (cpu, wall)
            return False
        lines = self.lines()
        allowed = self.allowance(len(lines) - 1, lines[-1])
        waited = wall - self.since[1] > 4 * allowed + 0.5
        if waited and runnable(self.fork.pid):  # it waits for a processor of a busy machine, for nothing else
            self.since, waited = (self.since[0], wall), False
        self.timed_out = cpu - self.since[0] > allowed or waited
        return self.timed_out

    def lines(self):
        """The letters of each candidate so far, the last one's perhaps not complete; a fork may write nonsense."""
        end = min(self.head[END], len(self.memory) - HEAD_BYTES)
        return self.memory[HEAD_BYTES : HEAD_BYTES + end].decode("latin-1").split("\n")

    def has_touched(self):
        return self.head[TOUCHED] > 0

    def end(self):
        """Wait for the fork and note how it ended."""
        self.fork.timed_out = self.timed_out
        Fork.touched = Fork.touched or self.has_touched()
        self.fork.end(strays=False)
        Fork.touched = Fork.touched and Fork.at_work > 0
        self.found, self.at = self.lines(), self.head[POSITION] - 1
        self.touched = self.head[TOUCHED]
        self.head.release()
        self.memory.close()

    @property
    def verdict(self):
        """Either hang or died, None for a fork that came to its end."""
        if self.timed_out:
            return "hang"
        return None if self.fork.complete else "died"


class Page:
    """The fork's side of the shared memory."""

    def __init__(self, memory):
        self.memory = memory
        self.head = memoryview(memory)[:HEAD_BYTES].cast("I")
        self.end = HEAD_BYTES
        self.inner = False
        sys.addaudithook(self._audit)

    def begin(self):
        self.inner = False
        self.head[POSITION] += 1

    def note(self, letter):
        if self.end < len(self.memory):
            self.memory[self.end] = ord(letter)
            self.end += 1
            self.head[END] = self.end - HEAD_BYTES

    def _audit(self, event, arguments):
        if event == "open":
            if isinstance(arguments[2], int) and arguments[2] & WRITING and arguments[0] != os.devnull:
                self._touch()
        elif event.startswith(OUTSIDE):
            self.inner = self.inner or event in INNER
            if event not in HARMLESS:
                self._touch()

    def _touch(self):
        self.head[TOUCHED] = self.head[TOUCHED] or self.head[POSITION]


class Lanes:
    """Does work in at most `width` forks at a time."""

    def __init__(self):
        self.width = min(MAX_WIDTH, len(os.sched_getaffinity(0)))
        self.running = []
        self.touched = False  # whether one of many in a fork touched the world outside

    def run(self, works, start, done):
        """Start a lane for each of `works`; `done(lane)` returns what its end leaves to do."""
        works, left, made = iter(works), [], []
        while True:
            queue = left or made
            while queue and len(self.running) < self.width and self._started(start, queue[0]):
                queue.pop(0)
                queue = left or made
            if not made and (work := next(works, None)) is not None:
                made.append(work)  # compiled while forks are at work
                continue
            if not self.running:
                return
            for lane in self._ended():
                self.running.remove(lane)
                lane.end()
                self._note(lane)
                if not self.running and reap_strays():
                    self.width = 1
                left += done(lane)

    def _note(self, ended):
        """Note who may have been disturbed: by the lane that has ended, and that one by those still at work."""
        if ended.touched:
            self.touched, self.width = self.touched or not ended.work.alone, 1
        for other in self.running:
            other.disturbed = other.disturbed or ended.touched > 0
            ended.disturbed = ended.disturbed or other.has_touched()

    def _started(self, start, work):
        """Start a lane; False where the others must end before there is room for one more process."""
        try:
            lane = start(work)
        except OSError:
            if not self.running:
                raise
            return False
        lane.beside = bool(self.running)
        for other in self.running:
            other.beside = True
        self.running.append(lane)
        return True

    def _ended(self):
        """Wait until at least one lane is over; return those that are."""
        poll = select.poll()
        for lane in self.running:
            poll.register(lane.fork.read_end, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll(1000 * LOOK_S)}
            over = [lane for lane in self.running if lane.fork.read_end in ready or lane.late() or lane.fork.ended()]
            if over:
                return over
