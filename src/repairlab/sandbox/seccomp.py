"""seccomp: the system calls that confined code has no business with, as a filter program for bwrap's --seccomp.

Namespaces hide names and capabilities; they do not hide kernel code, and some of what it hands out is counted by no
limit: memfd and System V memory lie in no capped file system and in nobody's resident set, AF_VSOCK reaches the
hypervisor from any network namespace, keyrings are inherited from whoever started us, and pidfd_getfd takes a
descriptor out of a process of the same user. The list is what container engines deny by default, and those.

Memory that can be written never becomes code: no mapping is writable and executable at once, none becomes executable
later (mprotect, shmat, and the personality that makes all memory executable). A compiler that writes code into its own
process (JIT) fails by it. mmap of a file may still be executable, as every shared library is.

Calls for which programs have a fall-back fail as if the kernel were older (ENOSYS), the others with EPERM; a call of a
foreign architecture (32-bit on x86) kills. seccomp(2), linux/filter.h; the numbers are each architecture's own.
"""

import errno
import os
import platform
import struct
from collections.abc import Iterator, Sequence

LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_BITS, AND, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
NUMBER_AT, ARCHITECTURE_AT, ARGUMENTS_AT = 0, 4, 16  # of struct seccomp_data
X32 = 0x40000000
NEW_NAMESPACE = 0x7E020080  # CLONE_NEW*: user, PID, network, IPC, UTS, cgroup, mount, time
AF_UNIX, STREAM, SOCKET_TYPE = 1, 1, 0xF
INTERNET = (0, 6, 17)  # TCP and UDP; another protocol would have the kernel load its module (SCTP, DCCP, L2TP, …)
# Family: the protocols of it. Netlink: NETLINK_ROUTE alone, which tells the names of the interfaces.
FAMILIES = {2: INTERNET, 10: INTERNET, 16: (0,)}
PROT_WRITE, PROT_EXEC = 2, 4
# The personality of every process, and the question for it; others map memory executable (READ_IMPLIES_EXEC), at
# address 0 (MMAP_PAGE_ZERO) or at no random place.
PERSONALITIES = (0, 0xFFFFFFFF)

# name: (x86_64, aarch64)
AS_IF_OLDER = {
    "clone3": (435, 435),  # its flags lie behind a pointer that a filter cannot follow; libc falls back to clone
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_setup": (206, 0),  # takes from fs.aio-max-nr, which the whole machine shares
}
DENIED = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "shmdt": (67, 197),
    "semget": (64, 190),
    "semctl": (66, 191),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgctl": (71, 187),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "mbind": (237, 235),
    "set_mempolicy": (238, 237),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "vmsplice": (278, 75),
    "lookup_dcookie": (212, 18),
}
X86_ONLY = {"iopl": 172, "ioperm": 173, "modify_ldt": 154, "uselib": 134, "ustat": 136, "sysfs": 139}
# Where no namespace hides what else the user has: names in directories that may not be listed, queues, and what
# landlock does not guard, owners and attributes of files. -1: this architecture has no such call.
OF_THE_USER = {
    "inotify_add_watch": (254, 27),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "chown": (92, -1),
    "lchown": (94, -1),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
}
# Likewise; but copying a file sets its mode and times, so these say that they have done it.
PRETENDED = {
    "chmod": (90, -1),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "utime": (132, -1),
    "utimes": (235, -1),
    "futimesat": (261, -1),
    "utimensat": (280, 88),
}
PRCTL, SET_PARENT_DEATH_SIGNAL = (157, 167), 1
# Calls that name a process by their first argument, or by their first two; commands that let a file's events signal it.
SIGNALS = {
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "pidfd_open": (434, 434),
    "tgkill": (234, 131),
    "rt_tgsigqueueinfo": (297, 240),
}
FCNTL, SET_OWNER = (72, 25), (8, 15)  # F_SETOWN, F_SETOWN_EX
IOCTL, SET_GROUP = (16, 29), (0x8901, 0x8902)  # FIOSETOWN, SIOCSPGRP
# What a process may do to any other of its user, signals and traces apart: only to itself (0) here. Lowering another's
# hard limits kills it.
TO_ITSELF = {
    "prlimit64": (302, 261),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
}
SETPRIORITY, PRIO_PROCESS = (141, 140), 0
IOPRIO_SET, IOPRIO_PROCESS = (251, 30), 1
CLONE, SOCKET, SOCKETPAIR, PERSONALITY = (56, 220), (41, 198), (53, 199), (135, 92)
MMAP, MPROTECT, PKEY_MPROTECT = (9, 222), (10, 226), (329, 288)
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, AUDIT_ARCH_*


def _step(code: int, k: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, k)


def _refuse(number: int, error: int) -> bytes:
    return _when(number, _end(error))


def _when(number: int, then: bytes) -> bytes:
    """Run `then`, which ends the program, for one system call; any other goes on with its number still loaded."""
    return _step(JUMP_EQUAL, number, 0, len(then) // 8) + then


def _end(error: int = 0) -> bytes:
    return _step(RETURN, ERRNO | error if error else ALLOW)


def _argument(index: int) -> bytes:
    """Load an argument's low half: what is looked at here is an int for the kernel, or has no flag above bit 31."""
    return _step(LOAD, ARGUMENTS_AT + 8 * index)


def _one_of(values: Sequence[int], error: int) -> bytes:
    """Allow when one of `values` is loaded, else refuse."""
    tests = b"".join(_step(JUMP_EQUAL, value, len(values) - at, 0) for at, value in enumerate(values))
    return tests + _end(error) + _end()


def _clone() -> bytes:
    """Refuse a clone into new namespaces, allow every other."""
    return _argument(0) + _step(JUMP_BITS, NEW_NAMESPACE, 0, 1) + _end(errno.EPERM) + _end()


def _socket() -> bytes:
    """Allow sockets of the families and protocols that a network namespace confines."""
    families = b"".join(
        _when(family, _argument(2) + _one_of(protocols, errno.EPROTONOSUPPORT))
        for family, protocols in FAMILIES.items()
    )
    return _argument(0) + families + _one_of([AF_UNIX], errno.EAFNOSUPPORT)


def _streams() -> bytes:
    """Allow unix streams, which stay connected; a datagram socket could be connected anew, to somebody else."""
    other = _step(JUMP_EQUAL, AF_UNIX, 1, 0) + _end(errno.EAFNOSUPPORT)
    return other + _argument(1) + _step(AND, SOCKET_TYPE) + _one_of([STREAM], errno.EAFNOSUPPORT)


def _whom(process: int) -> bytes:
    """Refuse to act on anything but this process: a kind other than `process`, a number other than 0."""
    return (
        _argument(0) + _step(JUMP_EQUAL, process, 1, 0) + _end(errno.EPERM) + _argument(1) + _one_of([0], errno.EPERM)
    )


def _none_of(index: int, values: Sequence[int]) -> bytes:
    """Refuse where an argument is one of `values`, go on otherwise."""
    tests = b"".join(_step(JUMP_EQUAL, value, len(values) - 1 - at, 0) for at, value in enumerate(values[:-1]))
    return _argument(index) + tests + _step(JUMP_EQUAL, values[-1], 0, 1) + _end(errno.EPERM)


def _spared(process: int) -> Iterator[tuple[tuple[int, int], bytes]]:
    """Yield what keeps signals from a process of the same user: to it, to its group, to everybody."""
    whom = (process, -process & 0xFFFFFFFF, 0xFFFFFFFF)
    for name, numbers in SIGNALS.items():
        twice = name.startswith(("tg", "rt_tg"))
        yield numbers, _none_of(0, whom) + (_none_of(1, whom) if twice else b"") + _end()
    yield FCNTL, _none_of(1, SET_OWNER) + _end()
    yield IOCTL, _none_of(1, SET_GROUP) + _end()


def _map() -> bytes:
    """Refuse a mapping that is writable and executable at once."""
    writable = _step(JUMP_BITS, PROT_WRITE, 0, 1) + _end(errno.EPERM) + _end()
    return _argument(2) + _step(JUMP_BITS, PROT_EXEC, 0, 2) + writable


def _protect() -> bytes:
    """Refuse to make executable what is mapped already."""
    return _argument(2) + _step(JUMP_BITS, PROT_EXEC, 0, 1) + _end(errno.EPERM) + _end()


def supported() -> bool:
    """Whether the numbers of this machine's architecture are known."""
    return platform.machine() in ARCHITECTURES


def program(machine: str = "", *, namespaces: bool = True, spared: int = 0) -> bytes:
    """Return the filter for `machine` (default: this one), empty for an architecture that is not known.

    Without `namespaces`, for what nothing else separates from its user's files and processes: no sockets but connected
    pairs of streams, no attributes of files. `spared` is a process that gets no signals from what is filtered.
    """
    known = ARCHITECTURES.get(machine or os.uname().machine)
    if known is None:
        return b""
    column, audit = known
    steps = [
        _step(LOAD, ARCHITECTURE_AT),
        _step(JUMP_EQUAL, audit, 1, 0),
        _step(RETURN, KILL),
        _step(LOAD, NUMBER_AT),
    ]
    if column == 0:
        steps += [_step(JUMP_AT_LEAST, X32, 0, 1), _step(RETURN, ERRNO | errno.ENOSYS)]
        steps += [_refuse(number, errno.EPERM) for number in X86_ONLY.values()]
    steps += [_refuse(numbers[column], errno.ENOSYS) for numbers in AS_IF_OLDER.values()]
    steps += [_refuse(numbers[column], errno.EPERM) for numbers in DENIED.values()]
    decisions = [*_decisions(namespaces), *(_spared(spared) if spared else ())]
    steps += [_when(numbers[column], decision) for numbers, decision in decisions if numbers[column] >= 0]
    return b"".join([*steps, _end()])


def _decisions(namespaces: bool) -> Iterator[tuple[tuple[int, int], bytes]]:
    """Yield the calls whose arguments decide."""
    yield CLONE, _clone()
    yield SOCKET, _socket() if namespaces else _end(errno.EAFNOSUPPORT)
    yield SOCKETPAIR, _argument(0) + (_one_of([AF_UNIX], errno.EAFNOSUPPORT) if namespaces else _streams())
    if not namespaces:
        yield from ((numbers, _end(errno.EPERM)) for numbers in OF_THE_USER.values())
        yield from ((numbers, _step(RETURN, ERRNO)) for numbers in PRETENDED.values())
        yield PRCTL, _none_of(0, [SET_PARENT_DEATH_SIGNAL]) + _end()
    yield PERSONALITY, _argument(0) + _one_of(PERSONALITIES, errno.EPERM)
    yield from ((numbers, _argument(0) + _one_of([0], errno.EPERM)) for numbers in TO_ITSELF.values())
    yield SETPRIORITY, _whom(PRIO_PROCESS)
    yield IOPRIO_SET, _whom(IOPRIO_PROCESS)
    yield MMAP, _map()
    yield MPROTECT, _protect()
    yield PKEY_MPROTECT, _protect()
