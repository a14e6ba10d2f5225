"""Take memory in one process."""
held = []


def take():
    try:
        for _ in range(parameters["mb"]):
            held.append(bytearray(b"\1") * (1 << 20))
    except MemoryError:
        return "MemoryError"


attempt("memory", take)
count = len(held)
held.clear()
answer(mb=count)
