"""Read and write the memory of another process by process_vm_readv and process_vm_writev."""


class Piece(ctypes.Structure):
    _fields_ = [("at", ctypes.c_void_p), ("length", ctypes.c_size_t)]


mine = ctypes.create_string_buffer(32)


def transfer(call, victim):
    here, there = Piece(ctypes.addressof(mine), 32), Piece(victim["address"], 32)
    done(call(victim["pid"], ctypes.byref(here), 1, ctypes.byref(there), 1, 0))


for part, victim in parameters["victims"].items():
    attempt(f"{part}: read", lambda: transfer(libc.process_vm_readv, victim))
    # The same bytes again: what counts is that we may.
    attempt(f"{part}: write", lambda: transfer(libc.process_vm_writev, victim))
answer()
