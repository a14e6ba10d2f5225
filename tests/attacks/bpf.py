"""Hand the kernel programs of ours to check: bpf(BPF_MAP_CREATE)."""
import struct

attributes = struct.pack("=5I", 2, 4, 4, 1, 0) + bytes(100)  # an array of one element
attempt("bpf", lambda: os.close(done(libc.syscall(number(321, 280), 0, attributes, len(attributes)))))
answer()
