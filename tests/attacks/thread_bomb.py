"""Start threads until the kernel says no."""
import threading

made = 0
threading.stack_size(64 << 10)
stop = threading.Event()


def start():
    global made
    try:
        for _ in range(parameters["threads"]):
            threading.Thread(target=stop.wait, daemon=True).start()
            made += 1
    except RuntimeError:  # pthread_create's EAGAIN, as Python words it
        return "EAGAIN"


attempt("threads", start)
stop.set()
answer(made=made)
