"""cases: every attack that is run, what it is given, and how it is judged; one table for all tiers and the controls.

A control runs unconfined (tier "none", limits that are no limits), as root where it takes root. Where even that would
harm the machine the attack is bounded, just beyond what the sandbox allows. `may_lack` names parts that some kernels or
machines do not have at all, with what these say: a control that fails for another reason is a failure.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from judge import Broken, Judge, Parts, Run, answered, bare, collected, ended_in_time, signalled, silent
from victims import Victims

from repairlab import sandbox as box

LIMITS = box.SandboxLimits(wall_s=20, cpu_s=20, memory_mb=256, processes=24, open_files=64, tmpfs_mb=4, file_mb=8)
ROOMY = replace(LIMITS, memory_mb=8192, open_files=4096, tmpfs_mb=64, file_mb=64)
SHORT = replace(LIMITS, wall_s=0.4)
FEW_FILES = replace(LIMITS, tmpfs_mb=1)
LOUD_BYTES = 8 << 20
LOCKED = {"EPERM", "EACCES"}  # a kernel locked down against its own root
ABSENT = {"ENOENT"}
NO_FAMILY = {"EAFNOSUPPORT", "EPROTONOSUPPORT", "ESOCKTNOSUPPORT", "ENODEV"}
Parameters = Callable[[Victims], Mapping[str, object]]


@dataclass(frozen=True)
class Case:
    """One attack; `bounds` are figures that it must stay within where it is confined."""

    name: str
    attack: str
    parameters: Parameters = lambda _: {}
    root: bool = False
    limits: box.SandboxLimits = LIMITS
    judge: Judge = answered
    bounds: Mapping[str, int] = field(default_factory=dict)
    may_lack: Mapping[str, set[str]] = field(default_factory=dict)
    bare: bool = False

    def run(self, victims: Victims) -> dict[str, object]:
        """Run it; return what the document says of it."""
        parameters = self.parameters(victims)
        try:
            if self.bare and victims.control:
                parts, figures = bare(self.attack, parameters)
            else:
                parts, figures = self._judged(victims, parameters)
        except Broken as error:
            return {"succeeded": False, "stopped_by": {}, "broken": str(error)}
        return self._told(victims.control, parts, figures)

    def _judged(self, victims: Victims, parameters: Mapping[str, object]) -> tuple[Parts, dict[str, int]]:
        limits = ROOMY if victims.control else self.limits
        run = Run(victims, self.attack, limits, parameters)
        with run.confined:
            return self.judge(run)

    def _told(self, control: bool, parts: Parts, figures: Mapping[str, int]) -> dict[str, object]:
        told: dict[str, object] = {}
        if control:
            lacking = {part: said for part, said in parts.items() if said in self.may_lack.get(part, self.may_lack.get("*", ()))}
            parts = {part: said for part, said in parts.items() if part not in lacking}
            told["lacking"] = lacking
        else:
            parts = {**parts, **{name: None for name, bound in self.bounds.items() if figures.get(name, 0) > bound}}
        return {"succeeded": None in parts.values(), "stopped_by": parts, **told, "figures": figures}


def _too_many(victims: Victims) -> int:
    """Just beyond the bound; where that is looked at, so many that somebody looks before they are all there."""
    return LIMITS.processes * 100 if victims.tier.tier == "landlock" else LIMITS.processes + 10


def _both(victims: Victims) -> dict[str, object]:
    return {"parent": victims.parent, "sibling": victims.sibling}


def _pids(victims: Victims) -> dict[str, object]:
    return {name: victim["pid"] for name, victim in _both(victims).items()}


def _outside(victims: Victims) -> Mapping[str, object]:
    """Unconfined only into the victim's own file, and the settings that keep their value."""
    there = str(victims.files["job"])
    settings = [f"/proc/sys/{name}" for name in ("kernel/core_pattern", "kernel/printk_ratelimit", "vm/overcommit_memory")]
    if victims.control:
        return {"paths": [there], "rewrite": settings}
    paths = ["/x", "/dev/x", "/usr/x", "/etc/x", "/etc/passwd", "/root/x", "/opt/x", "/home/x", "/run/x", "/sys/fs/cgroup/x"]
    paths += [*map(str, victims.files.values()), f"{sys.prefix}/lib/x", f"{sys.prefix}/bin/x", "/proc/sys/kernel/x", "/dev/mqueue/x", "/var/lib/x"]
    return {"paths": paths, "rewrite": settings}


def _files(victims: Victims) -> Mapping[str, object]:
    files = {name: str(path) for name, path in victims.files.items()}
    spool = {"spool": "/var/lib/repairlab/spool", "credentials": "/run/credentials", "log": "/var/log/journal"}
    return {"paths": {"shadow": "/etc/shadow", "root's home": "/root/.bashrc", **files, **spool}}


def _disk(victims: Victims) -> Mapping[str, object]:
    room = victims.room
    places = [] if victims.control else ["/tmp", "/dev/shm"]  # noqa: S108
    size = {"files": 2 * room.disk_mb // LIMITS.file_mb, "file_mb": LIMITS.file_mb, "bytes": room.disk_mb << 20}
    return {**size, "places": places, "settle_s": room.look_s}


def _some(*names: str) -> Parameters:
    return lambda victims: {"targets": {name: victims.targets[name] for name in names}}


def _system(kind: str) -> Parameters:
    return lambda victims: {"targets": victims.system_sockets(kind)}


SOCKETS = {
    "packet": (17, 3, 0x0300),
    "raw": (2, 3, 255),
    "raw6": (10, 3, 255),
    "netlink audit": (16, 3, 9),
    "netlink uevent": (16, 3, 15),
    "netlink generic": (16, 3, 16),
    "netlink netfilter": (16, 3, 12),
    "netlink diag": (16, 3, 4),
    "vsock": (40, 1, 0),
    "alg": (38, 5, 0),
    "xdp": (44, 3, 0),
    "sctp": (2, 1, 132),
    "bluetooth": (31, 3, 1),
    "can": (29, 3, 1),
    "tipc": (30, 2, 0),
}
MAY_LACK = dict.fromkeys([*SOCKETS][3:], NO_FAMILY)

READING = (
    Case("read `/etc/shadow`, homes, spool, jobs, keys, credentials, champions, letters, answers", "host_files", _files, root=True,
         may_lack={name: {"ENOENT", "empty"} for name in ("root's home", "spool", "credentials", "log")}),
    Case("environment of the starter", "environment",
         lambda v: {"secret": v.secret.encode().hex(), "pid": v.parent["pid"]}),
    Case("parent and sibling through `/proc/PID`", "through_proc", lambda v: {"victims": _both(v)}, root=True),
    Case("`process_vm_readv`, `process_vm_writev` on parent and sibling", "process_memory",
         lambda v: {"victims": _both(v)}, root=True),
    Case("`ptrace` parent and sibling", "trace", lambda v: {"pids": _pids(v)}, root=True),
    Case("`pidfd_getfd` from parent and sibling", "steal_descriptor", lambda v: {"victims": _both(v)}, root=True),
    Case("signal parent and sibling", "signals", lambda v: {"pids": _pids(v), "everybody": not v.control},
         judge=signalled, bounds={"signals": 0}),
    Case("inherited descriptors", "inherited_descriptors", lambda v: {"secret": v.secret, "control": v.control}, bare=True),
)  # fmt: skip
REACHING = (
    Case("connect to the host's TCP over loopback", "connect", _some("inet", "inet6"),
         may_lack={"inet6": {"EADDRNOTAVAIL", "EAFNOSUPPORT"}}),
    Case("connect to the host's unix sockets, abstract and by path", "connect", _some("abstract", "path")),
    Case("connect to the metadata address 169.254.169.254", "connect", _some("metadata"), root=True),
    Case("connect to a sibling", "connect", lambda v: {"targets": v.siblings_targets}),
    Case("connect to D-Bus and the service manager", "connect", _system("D-Bus"), root=True, may_lack={"*": ABSENT}),
    Case("connect to the journal and the notify socket", "connect", _system("journal, notify"), root=True,
         may_lack={"*": ABSENT}),
    Case("connect to the sandbox socket itself", "connect", _system("sandbox socket"), root=True, may_lack={"*": ABSENT}),
    Case("sockets: packet, raw, netlink, vsock, alg, xdp, sctp, bluetooth, can, tipc", "sockets",
         lambda _: {"sockets": SOCKETS}, root=True, may_lack=MAY_LACK),
)  # fmt: skip
KERNEL = (
    Case("user namespaces, `setns`", "namespaces", lambda v: {"pid": v.parent["pid"]}, root=True,
         bounds={"capabilities": 0, "without_no_new_privileges": 0}),
    Case("mounts", "mounts", root=True),
    Case("`chroot`", "chroot", root=True),
    Case("`bpf`", "bpf", root=True, may_lack={"bpf": LOCKED}),
    Case("`perf_event_open`", "perf", root=True, may_lack={"*": {*LOCKED, "ENOSYS", "ENOENT"}}),
    Case("`io_uring`", "io_uring", root=True, may_lack={"*": {"ENOSYS", "EPERM"}}, bare=True),
    Case("keyrings", "keyctl", root=True, may_lack={"*": {"ENOSYS", "EDQUOT"}}),
    Case("`userfaultfd`", "userfaultfd", root=True, may_lack={"*": {"ENOSYS", "ENOENT"}}),
    Case("memory that is written, then run", "writable_code", may_lack={"/proc/self/mem": {*LOCKED, "EIO"}}),
    Case("set-user-ID programs", "setuid", root=True),
    Case("make and open devices", "devices", lambda v: {"paths": v.devices(), "block": not v.control}, root=True),
    Case("raise hard limits", "raise_limits",
         lambda v: {"limits": ["AS", "CPU", "NOFILE", "FSIZE", "CORE", "MEMLOCK", "MSGQUEUE"], "soft": v.control},
         bare=True),
    Case("limits, priority, processors of parent and sibling", "interfere", lambda v: {"pids": _pids(v)}),
    Case("raise its priority", "priority", root=True, may_lack={"oom_score_adj": {"EACCES"}}),
    Case("write outside the work directory, settings of the kernel included", "write_outside", _outside, root=True),
)  # fmt: skip
BOMBS = (
    Case("memory of one process", "memory", lambda _: {"mb": 512}, bounds={"mb": LIMITS.memory_mb}),
    Case("memory of many processes", "memory_of_many", lambda _: {"processes": 6, "mb": 100}),
    Case("memory that nobody shows (memfd, System V)", "hidden_memory"),
    Case("disk", "fill_disk", _disk),
    Case("one large file", "fill_disk", lambda _: {"files": 1, "file_mb": 9, "places": [], "bytes": 0, "settle_s": 0},
         limits=replace(LIMITS, tmpfs_mb=64), bounds={"bytes": LIMITS.file_mb << 20}),
    Case("empty files", "many_files", lambda v: {"files": v.room.files + 1, "settle_s": v.room.look_s}, limits=FEW_FILES),
    Case("forks", "fork_bomb", lambda v: {"processes": _too_many(v)}, bounds={"made": LIMITS.processes}),
    Case("threads", "thread_bomb", lambda v: {"threads": _too_many(v)}, bounds={"made": LIMITS.processes}),
    Case("descriptors, open and in flight", "descriptor_bomb", lambda _: {"files": 200},
         bounds={"held": LIMITS.open_files, "flying": 2 * LIMITS.open_files}),
    Case("flood of output", "flood", lambda _: {"seconds": 0.6, "bytes": LOUD_BYTES}, bare=True),
    Case("daemon in a session of its own", "daemon", judge=silent),
    Case("sleep past the deadline, deaf to signals", "deadline", limits=SHORT, judge=ended_in_time),
)  # fmt: skip
LYING = (
    Case("forge a verdict from a fork", "forged_frames", lambda v: {"sealed": not v.control}),
    Case("write into the supervising process", "supervisor",
         lambda v: {"victims": [v.parent["pid"]] if v.control else []}, root=True),
    *(Case(f"collected file: {what}", "escaping_files", lambda _, case=case: {"case": case}, judge=collected)
      for case, what in {"absolute": "absolute path", "dotdot": "`..`", "symlink": "symlink"}.items()),
)  # fmt: skip
CASES = (*READING, *REACHING, *KERNEL, *BOMBS, *LYING)

