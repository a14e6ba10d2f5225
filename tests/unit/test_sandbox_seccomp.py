"""sandbox.seccomp: the filter decides as its table says, run by an interpreter of our own."""

import errno
import struct

import pytest

from repairlab.sandbox import seccomp


def interpret(program, number, *arguments, audit=0xC000003E):
    """Run a filter as the kernel does."""
    steps = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    data = struct.pack("=IIQ6Q", number, audit, 0, *arguments, *[0] * (6 - len(arguments)))
    at = value = 0
    while True:
        code, then, otherwise, k = steps[at]
        if code == seccomp.RETURN:
            return k
        if code == seccomp.LOAD:
            (value,) = struct.unpack_from("=I", data, k)
            at += 1
            continue
        if code == seccomp.AND:
            value &= k
            at += 1
            continue
        tests = {
            seccomp.JUMP_EQUAL: value == k,
            seccomp.JUMP_AT_LEAST: value >= k,
            seccomp.JUMP_BITS: bool(value & k),
        }
        at += 1 + (then if tests[code] else otherwise)


ARCHITECTURES = [("x86_64", 0, 0xC000003E), ("aarch64", 1, 0xC00000B7)]
ANY = [1 << 40, 0xFFFFFFFF << 32]  # what the kernel does not look at, or what is no flag


@pytest.fixture(params=ARCHITECTURES, ids=["x86_64", "aarch64"])
def decide(request):
    return deciding(request.param)


@pytest.fixture(params=ARCHITECTURES, ids=["x86_64", "aarch64"])
def decide_alone(request):
    """Of the filter for what no namespace confines."""
    return deciding(request.param, namespaces=False)


@pytest.fixture(params=ARCHITECTURES, ids=["x86_64", "aarch64"])
def decide_spared(request):
    """Of the filter that keeps signals from process 77."""
    return deciding(request.param, spared=77)


def deciding(architecture, **options):
    """The decision of the filter of an architecture: `decide(seccomp.MMAP, …)` is allow or the number of an error."""
    machine, column, audit = architecture
    program = seccomp.program(machine, **options)
    assert len(program) // 8 < 4096  # BPF_MAXINSNS

    def decide(call, *arguments):
        verdict = interpret(program, call if isinstance(call, int) else call[column], *arguments, audit=audit)
        if verdict == seccomp.ALLOW:
            return "allow"
        assert verdict & ~0xFFFF == seccomp.ERRNO
        return verdict & 0xFFFF

    decide.column, decide.program = column, program
    return decide


def test_the_filter_decides_as_its_table_says(decide):
    column = decide.column
    denied = {numbers[column] for numbers in (*seccomp.DENIED.values(), *seccomp.AS_IF_OLDER.values())}
    denied |= set(seccomp.X86_ONLY.values()) if column == 0 else set()
    assert len(denied) == len(seccomp.DENIED) + len(seccomp.AS_IF_OLDER) + (len(seccomp.X86_ONLY) if column == 0 else 0)
    depends = {call[column] for call in (seccomp.SOCKET, seccomp.SOCKETPAIR, seccomp.IOPRIO_SET)}
    assert not depends & denied
    for number in set(range(500)) - depends:
        assert (decide(number) == "allow") == (number not in denied), number
    assert interpret(decide.program, 0, audit=0x40000003) == seccomp.KILL  # a 32-bit call


def test_a_machine_that_is_not_known_has_no_filter():
    assert seccomp.program("vax") == b""


def test_threads_and_forks_are_made_but_no_namespaces(decide):
    assert decide(seccomp.CLONE, 0x3D0F00) == "allow"
    assert decide(seccomp.CLONE, 17) == "allow"
    assert decide(seccomp.CLONE, 0x10000000 | 17) == errno.EPERM


@pytest.mark.parametrize("above", [0, *ANY])
def test_sockets_are_of_few_families_and_protocols(decide, above):
    allowed = {1: range(300), 2: {0, 6, 17}, 10: {0, 6, 17}, 16: {0}}
    for family in range(50):
        for protocol in range(300):
            told = decide(seccomp.SOCKET, family | above, 1, protocol | above)
            assert (told == "allow") == (protocol in allowed.get(family, ())), (family, protocol)
        assert (decide(seccomp.SOCKETPAIR, family | above) == "allow") == (family == 1)


def test_limits_and_priorities_are_set_for_oneself_alone(decide):
    for call in seccomp.TO_ITSELF.values():
        assert decide(call, 0) == "allow"
        assert decide(call, 1) == decide(call, 4711) == errno.EPERM
    for call, process in ((seccomp.SETPRIORITY, 0), (seccomp.IOPRIO_SET, 1)):
        assert decide(call, process, 0) == "allow"
        assert decide(call, process, 1) == errno.EPERM
        assert decide(call, 2, 0) == errno.EPERM  # a group, a user


@pytest.mark.parametrize("above", [0, *ANY])
def test_memory_is_never_writable_and_executable(decide, above):
    read, write, execute = 1, 2, 4
    for flags in (0, read, write, read | write):
        assert decide(seccomp.MMAP, 0, 4096, flags | above, 0x22) == "allow"
        for call in (seccomp.MPROTECT, seccomp.PKEY_MPROTECT):
            assert decide(call, 0, 4096, flags | above) == "allow"
            assert decide(call, 0, 4096, flags | execute | above) == errno.EPERM
    for flags in (execute, read | execute):
        assert decide(seccomp.MMAP, 0, 4096, flags | above, 2) == "allow", "shared libraries"
        assert decide(seccomp.MMAP, 0, 4096, flags | write | above, 2) == errno.EPERM


def test_the_personality_stays_what_it_is(decide):
    assert decide(seccomp.PERSONALITY, 0) == decide(seccomp.PERSONALITY, 0xFFFFFFFF) == "allow"
    assert decide(seccomp.PERSONALITY, 0x0400000) == errno.EPERM  # READ_IMPLIES_EXEC


def test_one_process_gets_no_signal_however_it_is_meant(decide_spared):
    others = [1, 76, 78, 0, -76 & 0xFFFFFFFF]
    for name, call in seccomp.SIGNALS.items():
        for whom in (77, -77 & 0xFFFFFFFF, 0xFFFFFFFF):
            assert decide_spared(call, whom, 1) == errno.EPERM, name
        assert {decide_spared(call, whom, 1) for whom in others} == {"allow"}, name
    for name in ("tgkill", "rt_tgsigqueueinfo"):
        assert decide_spared(seccomp.SIGNALS[name], 1, 77) == errno.EPERM
    for call, refused, allowed in (
        (seccomp.FCNTL, (8, 15), (0, 1, 2, 3, 4, 9, 1030)),
        (seccomp.IOCTL, (0x8901, 0x8902), (0x5401, 0x8903, 0x541B)),
    ):
        assert {decide_spared(call, 3, command) for command in refused} == {errno.EPERM}
        assert {decide_spared(call, 3, command) for command in allowed} == {"allow"}


def test_without_namespaces_no_socket_leads_out_and_no_file_changes_hands(decide_alone):
    column = decide_alone.column
    assert {decide_alone(seccomp.SOCKET, family, 1, 0) for family in range(50)} == {errno.EAFNOSUPPORT}
    assert decide_alone(seccomp.SOCKETPAIR, 1, 1 | 0o2000000, 0) == "allow"
    for family, kind in ((1, 2), (1, 5), (2, 1)):
        assert decide_alone(seccomp.SOCKETPAIR, family, kind, 0) == errno.EAFNOSUPPORT
    for calls, told in ((seccomp.OF_THE_USER, errno.EPERM), (seccomp.PRETENDED, 0)):
        assert {decide_alone(numbers) for numbers in calls.values() if numbers[column] >= 0} == {told}
    assert decide_alone(seccomp.PRCTL, 1, 0) == errno.EPERM
    assert decide_alone(seccomp.PRCTL, 4, 0) == "allow"
