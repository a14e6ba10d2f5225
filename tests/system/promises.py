"""promises: what every tier of the sandbox promises, asked of one tier by a program in the container.

    python promises.py TIER  → JSON, promise → what was found

Runs with the interpreter and packages of the installed release, as the user who may use the tier.
"""

import json
import os
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

from repairlab import sandbox as box

SETTINGS = SimpleNamespace(tier="auto", memory_mb=256, processes=16, tmpfs_mb=256, open_files=64, file_mb=300)
LIMITS = box.SandboxLimits(wall_s=20, memory_mb=256, processes=16, tmpfs_mb=256, file_mb=300)
HOLD = "import time\nstream.send(b'held')\ntime.sleep(60)"
SEEN = """
import json, os
def listed(path):
    try: return sorted(os.listdir(path))
    except OSError as error: return error.strerror
def writable(path):
    try:
        with open(os.path.join(path, "x"), "w"): return True
    except OSError: return False
ours = (".", "/tmp", "/var/tmp", "/dev/shm")
places = ("/", "/usr", "/etc", "/run", "/sys", "/home", "/root", "/var/lib", "/dev", *ours)
processes = [name for name in listed("/proc") if name.isdigit()]
stream.send(json.dumps({
    "uid": os.getuid(), "environ": sorted(os.environ), "work": listed("."), "processes": processes,
    "writable": [path for path in places if writable(path)],
    "sizes": [os.statvfs(path).f_blocks * os.statvfs(path).f_frsize >> 20 for path in ours],
}).encode())
"""
BOMB = """
import os, time
for _ in range(6):
    if os.fork() == 0:
        os.setsid()
        held = bytearray(80 << 20)
        held[::4096] = b"1" * len(held[::4096])
        time.sleep(60)
time.sleep(60)
"""
DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(60)
    os._exit(0)
os._exit(3)
"""


def ask(tier, program, limits=LIMITS):
    with tier.start(program, limits=limits) as confined:
        try:
            return confined.stream.recv(10).decode()
        except box.StreamError:
            confined.wait(10)  # what it said last comes after the end of its stream
            return confined.stderr_tail().decode()


def ends(tier, program, limits=LIMITS):
    with tier.start(program, limits=limits) as confined:
        ended = confined.wait(15)
    return ended and [ended.why, ended.code, ended.signal]


def descriptors(tier):
    """How many descriptors ten sandboxes leave open."""
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        ask(tier, "stream.send(b'x')")
    return len(os.listdir("/proc/self/fd")) - before


def together(tier):
    """Two at a time: whether they are told apart by their uids, and what a signal to everybody in one does."""
    kill = "import os; stream.send(b'%d' % os.getuid()); stream.recv(); os.kill(-1, 9); stream.send(b'alive')"
    with tier.start(HOLD, limits=LIMITS) as victim, tier.start(kill, limits=LIMITS) as killer:
        victim.stream.recv(10)
        uid = int(killer.stream.recv(10))
        killer.stream.send(b"now")
        try:
            killer.stream.recv(5)
        except box.StreamError:
            pass
        return {"uid": uid, "victim": victim.wait(0.3)}


def main(name):
    tier = box.open_sandbox(SimpleNamespace(**{**vars(SETTINGS), "tier": name}))
    began = time.monotonic()
    with tier.start(HOLD, limits=LIMITS) as confined:
        confined.stream.recv(10)
        started_s = time.monotonic() - began
        killed = confined.kill()
    print(
        json.dumps(
            {
                "tier": tier.tier,
                "start_s": started_s,
                "killed": [killed.why, killed.code, killed.signal],
                "probe": {report.tier: report.ok for report in box.probe(SETTINGS)},
                "seen": json.loads(ask(tier, SEEN)),
                "exit": ends(tier, "raise SystemExit(5)"),
                "signal": ends(tier, "import os; os.kill(os.getpid(), 11)"),
                "traceback": ask(tier, "\n1 / 0"),
                "daemon": ends(tier, DAEMON),
                "wall": ends(tier, "import time; time.sleep(60)", replace(LIMITS, wall_s=0.4)),
                "memory": ends(tier, BOMB),
                "file": ask(tier, "open('x', 'wb').write(b'1' * (200 << 20)); stream.send(b'fits')"),
                "descriptors": descriptors(tier),
                "together": together(tier),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
