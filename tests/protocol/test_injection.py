"""The fault injector knows every system call by which the spool changes anything: strace counts, no list of ours."""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from scenes import SPOOLED

# What the kernel is asked to do, by the names that bench/injection.py counts it under.
STRUCK = {
    "fsync": {"fsync"}, "fdatasync": {"fdatasync"}, "syncfs": {"syncfs"}, "sync_file_range": {"sync_file_range"},
    "write": {"write"}, "ftruncate": {"ftruncate"}, "mkdir": {"mkdir"}, "renameat2": {"renameat2"},
    "rename": {"rename", "replace"}, "renameat": {"rename", "replace"}, "link": {"link"}, "linkat": {"link"},
    "symlink": {"symlink"}, "symlinkat": {"symlink"}, "unlink": {"unlink", "remove"}, "unlinkat": {"unlink", "rmdir"},
    "rmdir": {"rmdir"}, "chmod": {"chmod"}, "fchmod": {"fchmod"}, "fchmodat": {"chmod"}, "utimensat": {"utime"},
    "setxattr": {"setxattr"}, "fsetxattr": {"setxattr"}, "mkdirat": {"mkdir"},
    "openat": {"open", "open:new", "listdir", "scandir", "io.open"}, "read": {"read", "io.open"}, "flock": {"flock"},
    "pread64": {"pread"}, "fcntl": {"fcntl", "listdir"}, "newfstatat": {"stat", "lstat", "fstat", "listdir", "scandir"},
    "fstat": {"fstat"}, "stat": {"stat"}, "lstat": {"lstat"}, "readlink": {"readlink"}, "getxattr": {"getxattr"},
    "fgetxattr": {"getxattr"}, "readlinkat": {"readlink"}, "chown": {"chown"}, "fchownat": {"chown"},
}  # fmt: skip
# Of these nothing comes that the programs do not meet at the calls beside them.
HARMLESS = {"close", "lseek", "getdents64", "access", "faccessat", "faccessat2", "ioctl", "dup", "statx", "chdir"}
HARMLESS |= {"fadvise64"}  # fails for a wrong argument only
# Counted alike by both, each group of the kernel's against a group of Python's.
CHANGES = [
    ({"fsync"}, {"fsync"}), ({"fdatasync"}, {"fdatasync"}), ({"syncfs"}, {"syncfs"}),
    ({"sync_file_range"}, {"sync_file_range"}), ({"mkdir", "mkdirat"}, {"mkdir"}), ({"renameat2"}, {"renameat2"}),
    ({"rename", "renameat"}, {"rename", "replace"}), ({"link", "linkat"}, {"link"}),
    ({"symlink", "symlinkat"}, {"symlink"}), ({"unlink", "unlinkat", "rmdir"}, {"unlink", "remove", "rmdir"}),
    ({"ftruncate"}, {"ftruncate"}), ({"chmod", "fchmod", "fchmodat"}, {"chmod", "fchmod"}),
    ({"chown", "fchownat"}, {"chown"}), ({"utimensat"}, {"utime"}), ({"setxattr", "fsetxattr"}, {"setxattr"}),
]  # fmt: skip
PROGRAM = """
import json, os, sys
from pathlib import Path
from injection import Layer
from scenes import SPOOLED
from stage import Stage, in_a_fork, warm
name, base = sys.argv[1], Path(sys.argv[2])
warm()
scene, stage = SPOOLED[name], Stage(base)
in_a_fork(lambda: scene.ready(stage))
tells = os.open(base / "tells", os.O_WRONLY | os.O_CREAT)
stage.layer = Layer(stage.root, None, scene.role, tells)
os.mkdir(base / "begun")
stage.layer.install()
scene.act(stage)
"""
LINE = re.compile(r"(?P<call>\w+)\((?P<rest>.*)")


def counted(name: str, base: Path) -> tuple[Counter[str], Counter[str]]:
    """Return the calls on what is below the root, as the kernel saw them and as the injector did."""
    trace = base / "trace"
    command = ["strace", "-qq", "-y", "-s", "512", "-o", trace, "-e", "trace=%file,%desc,syncfs"]
    ended = subprocess.run(
        [*command, sys.executable, "-c", PROGRAM, name, base], capture_output=True, text=True, check=False,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    _, _, begun = trace.read_text(errors="replace").partition(f'mkdir("{base}/begun"')
    kernel = Counter(
        found["call"] for line in begun.splitlines()[1:]
        if f"{base}/state" in line and (found := LINE.match(line))
        and not line.startswith('readlink("/proc/self/fd/')  # the injector's own, which asks what a descriptor is
    )  # fmt: skip
    told = [json.loads(line) for line in (base / "tells").read_text().splitlines()]
    return kernel, Counter(call for kind, call, _ in told if kind == "call")


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
@pytest.mark.parametrize("name", SPOOLED)
def test_every_call_of_a_scene_is_one_that_a_fault_can_strike(name: str, tmp_path: Path) -> None:
    kernel, layer = counted(name, tmp_path)
    assert set(kernel) - set(STRUCK) - HARMLESS == set(), "bench/injection.py does not know them"
    assert {call for call in kernel if call in STRUCK and not STRUCK[call] & set(layer)} == set()
    for kernels, layers in CHANGES:
        assert sum(kernel[call] for call in kernels) == sum(layer[call] for call in layers), (kernels, layers)
    assert kernel, "the scene does something"
