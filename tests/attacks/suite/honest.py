"""honest: what tests of other people do, run by the suite with `--honest`. pytest collects it inside the sandbox alone."""

import asyncio
import concurrent.futures
import ctypes
import mmap
import multiprocessing
import multiprocessing.shared_memory
import os
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading


def square(number):
    return number * number


def test_ctypes_calls_back():
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    numbers = (ctypes.c_int * 3)(3, 1, 2)
    ctypes.CDLL(None).qsort(numbers, 3, 4, compare(lambda a, b: a[0] - b[0]))
    assert list(numbers) == [1, 2, 3]


def test_asyncio_talks_over_unix_sockets_and_to_processes():
    async def conversation():
        async def answer(reader, writer):
            writer.write((await reader.readline()).upper())
            writer.close()

        server = await asyncio.start_unix_server(answer, "socket")
        reader, writer = await asyncio.open_unix_connection("socket")
        writer.write(b"hello\n")
        said = await reader.read()
        writer.close()
        server.close()
        process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
        return said, (await process.communicate(b"cat"))[0]

    assert asyncio.run(conversation()) == (b"HELLO\n", b"cat")


def test_asyncio_waits_in_threads():
    async def later():
        return await asyncio.gather(asyncio.sleep(0.01, 1), asyncio.to_thread(square, 2))

    assert asyncio.run(later()) == [1, 4]


def test_loopback_asyncio():
    async def conversation():
        async def answer(reader, writer):
            writer.write((await reader.readline()).upper())
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello\n")
        said = await reader.read()
        writer.close()
        server.close()
        return said

    assert asyncio.run(conversation()) == b"HELLO\n"


def test_loopback_of_both_families():
    assert socket.if_nameindex()
    for family in (socket.AF_INET, socket.AF_INET6):
        with socket.create_server(("localhost", 0), family=family) as server:
            with socket.create_connection(server.getsockname()[:2]):
                pass
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP).close()


def test_pairs_of_sockets_carry_descriptors():
    left, right = socket.socketpair()
    with left, right:
        socket.send_fds(left, [b"x"], [0])
        _, (taken,), _, _ = socket.recv_fds(right, 1, 1)
        os.close(taken)


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
    assert subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True, check=True).stdout == b"1\n"
    assert subprocess.run("echo $((1 + 1)) | cat", shell=True, capture_output=True, check=True).stdout == b"2\n"


def test_libraries_with_code_of_their_own():
    assert sqlite3.connect(":memory:").execute("select 1 + 1").fetchone() == (2,)
    assert ssl.create_default_context()


def test_scripts_are_run(tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\necho ran\n")
    script.chmod(0o755)
    assert subprocess.run([script], capture_output=True, check=True).stdout == b"ran\n"
