"""access: who may read what: POSIX ACLs, set and judged without a library.

An ACL is the extended attribute system.posix_acl_access of a file, and system.posix_acl_default of a directory, which
is handed down to what is made there (acl(5); the layout is that of <linux/posix_acl_xattr.h>: a version, then tag,
permissions and id of each entry, in ascending order). Where a directory has a default ACL the umask counts for nothing;
the group's bits of the mode that a file is created with become its mask, beyond which no named entry grants anything.

Only an owner may set an ACL, and needs no capability for it. A file system without ACLs is met with EOPNOTSUPP: nothing
is set, and the mode alone says who may read.
"""

import errno
import grp
import os
import pwd
import stat
import struct
from dataclasses import dataclass
from typing import NamedTuple

from repairlab.errors import Unavailable

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
READ, WRITE, ENTER = 4, 2, 1
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
NOBODY = 0xFFFFFFFF  # no user's uid, and the id of entries that name nobody
_VERSION = 2
_HEAD, _ENTRY = struct.Struct("<I"), struct.Struct("<HHI")
_NONE = (errno.ENODATA, errno.EOPNOTSUPP, errno.ENOSYS)


class Entry(NamedTuple):
    """One line of an ACL."""

    tag: int
    allowed: int
    who: int = NOBODY


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody on this machine: a uid and all groups."""

    uid: int
    groups: frozenset[int]


def person(uid: int) -> Person:
    """Return the user with the groups that the machine's databases know; a uid without a name has none."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Person(uid, frozenset())
    return Person(uid, frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid)))


def group_name(gid: int) -> str:
    """Return the name of a group, or its number where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def parse(raw: bytes) -> list[Entry]:
    """Return the entries of an ACL; Unavailable for a layout that no kernel has had yet."""
    if len(raw) % _ENTRY.size != _HEAD.size or _HEAD.unpack_from(raw)[0] != _VERSION:
        raise Unavailable("an access control list of an unknown layout", fix="report the kernel's version")
    return [Entry(*fields) for fields in _ENTRY.iter_unpack(raw[_HEAD.size :])]


def pack(entries: list[Entry]) -> bytes:
    """Return the attribute of these entries."""
    return _HEAD.pack(_VERSION) + b"".join(_ENTRY.pack(*entry) for entry in sorted(entries, key=_rank))


def _rank(entry: Entry) -> tuple[int, int]:
    return entry.tag, entry.who


def entries(target: int | str | os.PathLike[str], kind: str = ACCESS) -> list[Entry]:
    """Return the ACL of a file, by descriptor or path; empty where it has none beyond its mode."""
    try:
        return parse(os.getxattr(target, kind))
    except OSError as error:
        if error.errno in _NONE:
            return []
        raise


def supported(path: str | os.PathLike[str]) -> bool:
    """Tell whether the file system of `path` has ACLs."""
    try:
        os.getxattr(path, ACCESS)
    except OSError as error:
        if error.errno == errno.ENODATA:
            return True
        if error.errno in _NONE:
            return False
        raise
    return True


def let_read(directory: int, uid: int) -> bool:
    """Let `uid` read a directory of ours, and what is made in it from now on; tell whether that was done.

    Only where the parent has handed down a default ACL, which is how an administrator says that others have a part in
    this tree. A tree of one person costs one getxattr(2), another one two setxattr(2) more.
    """
    handed_down = entries(directory, DEFAULT)
    if not handed_down:
        return False
    kept = [entry for entry in handed_down if (entry.tag, entry.who) != (USER, uid)]
    if not any(entry.tag == MASK for entry in kept):
        kept.append(Entry(MASK, READ | ENTER))
    raw = pack([*kept, Entry(USER, READ | ENTER, uid)])
    os.setxattr(directory, DEFAULT, raw)
    os.setxattr(directory, ACCESS, raw)
    return True


def catch_up(directory: int, above: str, uid: int) -> bool:
    """Give a directory of ours what it would have got below the default ACL of `above`; tell whether it lacked that.

    It was made before there was a list, so that its mode says who reads what is put into it. Its group may be that of
    all submitters and stays (the unit's filter has no chown(2)): it gets nothing, the group of `above` by name instead.
    """
    handed_down = [] if entries(directory, DEFAULT) else entries(above, DEFAULT)
    if not handed_down:
        return False
    group = os.stat(above).st_gid
    if os.fstat(directory).st_gid != group:
        handed_down = _by_name(handed_down, group)
    raw = pack(handed_down)
    os.setxattr(directory, DEFAULT, raw)
    os.setxattr(directory, ACCESS, raw)
    if uid not in (os.geteuid(), NOBODY):  # whose job it is may have been lost with its claim
        let_read(directory, uid)
    return True


def _by_name(listed: list[Entry], group: int) -> list[Entry]:
    """Return the list with what the file's own group may given to `group`, and nothing to the file's own."""
    own = next(entry.allowed for entry in listed if entry.tag == GROUP_OBJ)
    kept = [entry for entry in listed if entry.tag != GROUP_OBJ and (entry.tag, entry.who) != (GROUP, group)]
    if not any(entry.tag == MASK for entry in kept):
        kept.append(Entry(MASK, READ | ENTER))
    return [*kept, Entry(GROUP_OBJ, 0), Entry(GROUP, own, group)]


def as_closed(target: int | str | os.PathLike[str], handed_down: list[Entry]) -> bool:
    """Tell whether a file lets nobody but its owner do more than a default ACL would have let him.

    What was made before its directory had the list, or came back from a backup that left the lists out, is told so:
    there the group's bits, which were a mask, are rights of the group.
    """
    bounds = {(entry.tag, entry.who): entry.allowed for entry in handed_down}
    listed = entries(target) or _of_mode(os.stat(target))
    others = [entry for entry in listed if entry.tag not in (USER_OBJ, MASK)]
    return all(entry.allowed & ~bounds.get((entry.tag, entry.who), 0) == 0 for entry in others)


def may(who: Person, target: int | str | os.PathLike[str], wanted: int) -> bool:
    """Tell whether a person may do what is wanted with the file, as the kernel decides it; an owner always may.

    By its open descriptor, since by a path it may be another one a moment later.

    acl(5), "Access check algorithm". An owner could give himself what his own bits lack.
    """
    status = os.stat(target)
    if who.uid in (0, status.st_uid):
        return True
    # Linux does not look at an ACL whose mask is empty: then the mode decides, also for those whom the ACL names.
    listed = (status.st_mode & stat.S_IRWXG and entries(target)) or _of_mode(status)
    named = [entry.allowed for entry in listed if (entry.tag, entry.who) == (USER, who.uid)]
    if named:
        return wanted & ~(named[0] & _mask(listed)) == 0
    groups = [entry.allowed for entry in listed if _belongs(entry, who, status)]
    if groups:
        return any(wanted & ~(allowed & _mask(listed)) == 0 for allowed in groups)
    return any(wanted & ~entry.allowed == 0 for entry in listed if entry.tag == OTHER)


def _of_mode(status: os.stat_result) -> list[Entry]:
    mode = stat.S_IMODE(status.st_mode)
    return [Entry(USER_OBJ, mode >> 6 & 7), Entry(GROUP_OBJ, mode >> 3 & 7), Entry(OTHER, mode & 7)]


def _mask(listed: list[Entry]) -> int:
    return next((entry.allowed for entry in listed if entry.tag == MASK), READ | WRITE | ENTER)


def _belongs(entry: Entry, who: Person, status: os.stat_result) -> bool:
    own = entry.tag == GROUP_OBJ and status.st_gid in who.groups
    return own or (entry.tag == GROUP and entry.who in who.groups)
