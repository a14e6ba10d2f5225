"""Count events of the processor: perf_event_open, of this process and of everybody."""
import struct

attributes = struct.pack("=IIQ", 1, 112, 0) + bytes(96)  # software, the processor's clock


def count(pid, cpu):
    os.close(done(libc.syscall(number(298, 241), attributes, pid, cpu, -1, 0)))


attempt("own", lambda: count(0, -1))
attempt("all", lambda: count(-1, 0))
answer()
