"""loading: why a test file, or what it imports, cannot be loaded, and whether other files can be.

One part of the program that `repairlab.trial.server` assembles (Python 3.8 or newer).
"""

MAX_CAUSES = 20
MAX_FRAMES = 50
TOLD_APART = (SyntaxError, ImportError, NameError, AttributeError)


def cause_of(where, error):
    """Return what is known of an exception at load: kind, message, the name it misses, frames, the innermost last.

    pytest wraps what it meets in exceptions of its own; the one that began it all is meant.
    """
    for _ in range(10):
        inner = error.__cause__ or getattr(error, "cause", None)
        if not isinstance(inner, BaseException) or type(error).__name__ == "UsageError":
            break
        error = inner
    frames, trace = [], error.__traceback__
    while trace is not None and len(frames) < 1000:
        frames.append([trace.tb_frame.f_code.co_filename, trace.tb_lineno])
        trace = trace.tb_next
    if isinstance(error, SyntaxError):
        frames.append([error.filename, error.lineno])
    frames = [[os.path.realpath(p), n] for p, n in frames[-MAX_FRAMES:] if isinstance(p, str) and isinstance(n, int)]
    name = getattr(error, "name", None)
    try:
        message = str(error)
    except Exception:  # a bundle's exception need not know how to print itself
        message = ""
    base = next((kind.__name__ for kind in TOLD_APART if isinstance(error, kind)), "")
    return {
        "where": str(where)[:500],
        "kind": type(error).__name__[:100],
        "base": base,
        "message": message[:1000],
        "name": name[:200] if isinstance(name, str) else "",
        "frames": frames,
    }


def load_body(prepare, limit_s):
    """Return what a fork does that loads everything anew and runs the tests; `prepare` gives (session, recorder)."""

    def body(write_end):
        try:
            session, recorder = prepare()
        except BaseException as error:
            send_all(write_end, b"\nh " + JSON.dumps({"causes": [cause_of("", error)]}).encode() + b"\n")
            return
        found = {"ids": [item.nodeid for item in session.items], "causes": recorder.causes}
        if recorder.errors and not recorder.causes:
            found["causes"] = [{"where": where[:500], "message": text[-1000:]} for where, text in recorder.errors]
        send_all(write_end, b"\nh " + JSON.dumps(found).encode() + b"\n")
        if found["causes"]:
            return

        def report(index, outcome, cpu, wall):
            _write(write_end, ("\n%d %s\n" % (index, outcome)).encode())
            return True

        run_tests(session, recorder, range(len(session.items)), limit_s, report)

    return body


def forked_load(prepare, limit_s, wall_s):
    """Load everything anew in a fork and run the tests, each for `limit_s`; return ids, causes and outcomes."""
    fork, found, outcomes = Fork(load_body(prepare, limit_s)), None, {}
    stop_at = _monotonic() + wall_s
    for record in fork.records(lambda: 4 * limit_s + 5, stop_at):
        word, _, rest = record.partition(" ")
        if word == "h" and found is None:
            try:
                found = dict(JSON.loads(rest))
            except (ValueError, TypeError):
                found = {}  # no record of ours: the bundle's code can write here too
        elif word.isdigit():
            outcomes[int(word)] = rest
    if found is None:
        return {"lost": "never ended" if fork.timed_out or fork.out_of_cpu else "ended its process"}
    return dict(found, outcomes=sorted(outcomes.items()))
