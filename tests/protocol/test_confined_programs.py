"""What honest tests of other people do still works in the sandbox: the filter and the limits refuse attacks alone."""

import json
from types import SimpleNamespace

import pytest

from repairlab import sandbox as box

SETTINGS = SimpleNamespace(tier="bubblewrap", memory_mb=1024, processes=64, tmpfs_mb=64, open_files=256, file_mb=64)
LIMITS = box.SandboxLimits(wall_s=30, tmpfs_mb=64)

HONEST = """
import asyncio, concurrent.futures, ctypes, mmap, multiprocessing, multiprocessing.shared_memory, os, socket, sqlite3
import ssl, subprocess, sys, tempfile, threading


def square(number):
    return number * number


def test_ctypes_calls_back():
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    numbers = (ctypes.c_int * 3)(3, 1, 2)
    ctypes.CDLL(None).qsort(numbers, 3, 4, compare(lambda a, b: a[0] - b[0]))
    assert list(numbers) == [1, 2, 3]


def test_asyncio_serves_and_connects():
    async def conversation():
        async def answer(reader, writer):
            writer.write((await reader.readline()).upper())
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello\\n")
        said = await reader.read()
        writer.close()
        server.close()
        process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
        return said, (await process.communicate(b"cat"))[0]

    assert asyncio.run(conversation()) == (b"HELLO\\n", b"cat")


def test_sockets_of_the_families_that_programs_use():
    assert socket.if_nameindex()
    for family in (socket.AF_INET, socket.AF_INET6):
        with socket.create_server(("localhost", 0), family=family) as server:
            with socket.create_connection(server.getsockname()[:2]):
                pass
    left, right = socket.socketpair()
    with left, right, socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP):
        socket.send_fds(left, [b"x"], [0])


def test_threads_and_pools():
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(square, range(5))) == [0, 1, 4, 9, 16]
    local = threading.Thread(target=square, args=[2])
    local.start()
    local.join()


def test_processes_by_fork_and_spawn(tmp_path):
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map(square, range(5)) == [0, 1, 4, 9, 16]
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        assert pool.submit(square, 3).result() == 9


def test_memory_that_is_shared():
    memory = multiprocessing.shared_memory.SharedMemory(create=True, size=4096)
    memory.buf[0] = 7
    memory.close()
    memory.unlink()
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(bytes(4096))
        with mmap.mmap(file.fileno(), 4096) as mapped:
            mapped[:1] = b"x"


def test_programs_are_started():
    assert subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True, check=True).stdout == b"1\\n"
    assert subprocess.run("echo $((1 + 1)) | cat", shell=True, capture_output=True, check=True).stdout == b"2\\n"


def test_libraries_with_code_of_their_own():
    assert sqlite3.connect(":memory:").execute("select 1 + 1").fetchone() == (2,)
    assert ssl.create_default_context()
"""

RUN = b"""
import json, os, subprocess, sys
open("test_honest.py", "wb").write(stream.recv())
argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "test_honest.py"]
done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
stream.send(json.dumps([done.returncode, done.stdout]).encode())
"""


@pytest.fixture(scope="module")
def tier():
    return box.open_sandbox(SETTINGS)


def test_an_honest_test_run_passes(tier):
    with tier.start(RUN, limits=LIMITS, env={"PYTHONWARNINGS": "default"}) as confined:
        confined.stream.send(HONEST.encode())
        status, said = json.loads(confined.stream.recv(LIMITS.wall_s))
    assert status == 0, said
    assert f"{HONEST.count('def test_')} passed" in said
