"""sandbox.seccomp: the filter decides as its table says, run by an interpreter of our own."""

import struct

import pytest

from repairlab.sandbox import seccomp


def interpret(program, number, argument=0, audit=0xC000003E):
    """Run a filter as the kernel does."""
    steps = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    data = struct.pack("=IIQ", number, audit, 0) + struct.pack("=Q", argument) + bytes(40)
    at = value = 0
    while True:
        code, then, otherwise, k = steps[at]
        if code == seccomp.RETURN:
            return k
        if code == seccomp.LOAD:
            (value,) = struct.unpack_from("=I", data, k)
            at += 1
            continue
        tests = {
            seccomp.JUMP_EQUAL: value == k,
            seccomp.JUMP_AT_LEAST: value >= k,
            seccomp.JUMP_BITS: bool(value & k),
        }
        at += 1 + (then if tests[code] else otherwise)


@pytest.mark.parametrize(("machine", "column", "audit"), [("x86_64", 0, 0xC000003E), ("aarch64", 1, 0xC00000B7)])
def test_the_filter_decides_as_its_table_says(machine, column, audit):
    program = seccomp.program(machine)
    assert len(program) // 8 < 4096  # BPF_MAXINSNS
    denied = {numbers[column] for numbers in (*seccomp.DENIED.values(), *seccomp.AS_IF_OLDER.values())}
    denied |= set(seccomp.X86_ONLY.values()) if column == 0 else set()
    assert len(denied) == len(seccomp.DENIED) + len(seccomp.AS_IF_OLDER) + (len(seccomp.X86_ONLY) if column == 0 else 0)
    clone, connect = seccomp.CLONE[column], seccomp.SOCKET[column]
    for number in range(500):
        verdict = interpret(program, number, audit=audit)
        if number in denied:
            assert verdict & ~0xFFFF == seccomp.ERRNO, number
        elif number != connect:
            assert verdict == seccomp.ALLOW, number
    assert interpret(program, clone, 0x3D0F00, audit) == seccomp.ALLOW  # a thread
    assert interpret(program, clone, 17, audit) == seccomp.ALLOW  # a fork
    assert interpret(program, clone, 0x10000000 | 17, audit) & ~0xFFFF == seccomp.ERRNO
    for family in range(50):
        allowed = interpret(program, connect, family, audit) == seccomp.ALLOW
        assert allowed == (family in seccomp.FAMILIES)
    assert interpret(program, 0, audit=0x40000003) == seccomp.KILL  # a 32-bit call
    assert seccomp.program("vax") == b""
