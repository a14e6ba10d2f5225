"""prelude: what every attack begins with; it stands before the attack's own text and runs where that runs.

    parameters               what the runner sent
    attempt(part, action)    try one thing; `apart` in a process of its own, for what would change this one
    done(result)             return it, or raise what the kernel said, for a call through `libc` that returned -1
    must(result)             the same for a call that returns nothing else
    number(x86_64, aarch64)  the number of a system call here
    answer(**figures)        say what came of it: part → null when it succeeded, else what stopped it
"""

import ctypes
import errno
import json
import os
import signal

stream = globals()["stream"]
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.shmat.restype = ctypes.c_void_p
results = {}


def number(x86_64, aarch64):
    return x86_64 if os.uname().machine == "x86_64" else aarch64


def done(result):
    if result in (-1, (1 << 64) - 1):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def must(result):
    done(result)


def attempt(part, action, apart=False):
    """Record what came of `action`, which raises OSError or returns why it came to nothing."""
    try:
        results[part] = _apart(action) if apart else action()
    except OSError as error:
        results[part] = errno.errorcode.get(error.errno, str(error))
    return results[part] is None


def _apart(action):
    try:
        pid = os.fork()
    except OSError as error:
        raise RuntimeError("no process to try it in") from error  # that stops the test, not the attack
    if pid == 0:
        status = 255
        try:
            status = 0 if action() is None else 254
        except OSError as error:
            status = error.errno
        except ValueError:  # setrlimit's EPERM, as Python words it
            status = errno.EPERM
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    if os.WEXITSTATUS(status):
        raise OSError(os.WEXITSTATUS(status), "")
    return None


def answer(**figures):
    stream.send(json.dumps({"parts": results, "figures": figures}).encode())


parameters = json.loads(stream.recv())
