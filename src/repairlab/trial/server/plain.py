"""plain: pytest as a person would run it, in a process of its own, for both programs that do so inside a sandbox.

One part of the program that `repairlab.trial.server` assembles (Python 3.8 or newer). Time, CPU and memory are taken
here, from before the start until the kernel gave the status back and nothing of the run is left: this process never
runs a line of the bundle's and is a subreaper, so that nothing in the bundle can tell other figures or work elsewhere.
What only a plain run needs is imported by one: a search never has any.
"""

import io
import os
import resource
import select
import signal
import time

MAX_OUTPUT = 1 << 16
_waitpid, _kill = os.waitpid, os.kill  # what the bundle's code may patch in forks of this process
LEFT_PIECES = 16  # of output that are read after the end: what a pipe holds, and no more, whoever still writes to it


def plain_run(command, directory, environment, limit, place):
    """Run a command; return its exit status, seconds of wall and CPU, peak KiB, the end of its words.

    At `limit` seconds its session is killed. `place` is a directory of ours, in which it gets an empty input.
    """
    import subprocess
    import threading

    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with io.open(os.path.join(place, "input"), "w+b") as nothing:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdin=nothing,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    over, closing = os.pipe()
    ended = []

    def wait():
        _, status = os.waitpid(process.pid, 0)
        ended.append((status, time.monotonic() - begun))
        os.close(closing)

    waiter = threading.Thread(target=wait)
    waiter.start()
    tail = output_tail(process.stdout.fileno(), over, begun + limit)
    timed_out = not ended
    if timed_out:
        _killed(process.pid)
    waiter.join()
    os.close(over)
    status, wall_s = ended[0]
    process.returncode = -(status & 127) if status & 127 else status >> 8  # or Popen waits for it again
    process.stdout.close()
    reap_strays()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "exit": process.returncode,
        "timed_out": timed_out,
        "wall_s": wall_s,
        "cpu_s": used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime,
        "peak_kb": used.ru_maxrss,
        "output": tail.decode("utf-8", "replace"),
    }


def output_tail(output, over, deadline):
    """Return the last of what is written to `output` until `over` is closed at its other end, or until the deadline."""
    tail, poll = b"", select.poll()
    poll.register(output, select.POLLIN)
    poll.register(over, select.POLLIN)
    left = LEFT_PIECES
    while left > 0:
        ready = dict(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
        if over in ready:
            left -= 1
        if output in ready:
            data = os.read(output, 1 << 16)
            tail = (tail + data)[-MAX_OUTPUT:]
            if not data:
                poll.unregister(output)
        elif over in ready:
            break
        if time.monotonic() >= deadline:
            break
    return tail


def _killed(pid):
    """Kill the session of a fork that has not been reaped yet, so that its number cannot belong to another."""
    for target in (lambda: os.killpg(pid, signal.SIGKILL), lambda: _kill(pid, signal.SIGKILL)):
        try:
            target()
        except OSError:
            pass


def reap_strays():
    """Kill and reap what escaped from a fork's session, now a child of this process, a subreaper; True if any did."""
    for turn in range(1000):
        try:
            pid, _status = _waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return turn > 0
        if pid == 0:
            strays = [child for child in children() if child not in KEEP]
            if not strays:
                return turn > 0
            for child in strays:
                _killed(child)
            time.sleep(0.001)
    return True


KEEP = set()  # children that live on: the hot worker of the pristine server


def children():
    found = []
    for task in os.listdir("/proc/self/task"):
        try:
            with io.open("/proc/self/task/%s/children" % task) as stream:
                found += [int(word) for word in stream.read().split()]
        except OSError:
            pass
    return found


def junit_cases(path):
    """Return [[class name, name, outcome], …] of a JUnit report, or None where there is no complete one."""
    import xml.etree.ElementTree as ET

    try:
        tree = ET.parse(path)  # noqa: S314  expat bounds entities, and this process is confined
    except (OSError, ET.ParseError, LookupError, ValueError):  # the last two: of an encoding that expat cannot read
        return None
    cases = []
    for case in tree.iter("testcase"):
        kinds = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        outcome = "f" if "failure" in kinds else "e" if "error" in kinds else "s" if kinds else "p"
        cases.append([case.get("classname") or "", case.get("name") or "", outcome])
    return cases
