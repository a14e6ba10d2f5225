"""Leave a daemon behind: two forks, a session of its own, every signal ignored. It holds the stream, to show itself."""
import sys
import time

if os.fork() == 0:
    os.setsid()
    for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(name, signal.SIG_IGN)
    if os.fork() == 0:
        for _ in range(200):  # an end of its own, for the control
            try:
                stream.send(b"alive")
            except OSError:
                break
            time.sleep(0.02)
    os._exit(0)
os.wait()
sys.stdout.flush()
os._exit(0)
