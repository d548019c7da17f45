"""Programs that attack, run for real: each is stopped for its own reason and leaves nothing."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rl.box import Way
from rl.rewards import sandbox
from rl.rewards.sandbox import Case, judge
from tests.rewards.boxes import boxes, ended, limits

pytestmark = pytest.mark.usefixtures("nothing_left")

FORK_BOMBS = {
    "at once": "import os\ndef f(x):\n    while True: os.fork()",
    "in silence": """
import os, time
def f(x):
    while True:
        try: os.fork()
        except OSError: time.sleep(.01)
""",
    "in turn": """
import os
def f(x):
    while True:
        if (child := os.fork()) == 0: os._exit(0)
        os.waitpid(child, 0)
""",
    "of threads": """
import _thread, time
def f(x):
    while True:
        try: _thread.start_new_thread(time.sleep, (100,))
        except RuntimeError: time.sleep(.01)
""",
    "with the right answer": """
import os
def f(x):
    for _ in range(4):
        if os.fork() == 0:
            while True: pass
""",
}


@pytest.mark.parametrize("kind", FORK_BOMBS)
def test_fork_bomb(way: Way, kind: str) -> None:
    began = time.monotonic()
    assert ended(way, FORK_BOMBS[kind], None).reason == "processes"
    assert time.monotonic() - began < limits().wall_seconds  # seen, not waited out


def test_as_many_processes_as_allowed(way: Way) -> None:
    """Three beside the first; they do not outlive it, whatever they call themselves."""
    daemons = """
import os, time
def f(x):
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            time.sleep(1000)
    return x
"""
    assert ended(way, daemons, 0, processes=4).reason == "passed"
    assert ended(way, daemons, 0, processes=3).reason == "processes"


def test_endless_loop(way: Way) -> None:
    loop = "def f(x):\n    while True: pass"
    assert ended(way, loop, cpu_seconds=1).reason == "cpu"


def test_endless_loop_that_ignores_the_warning(way: Way) -> None:
    loop = """
import signal
signal.signal(signal.SIGXCPU, signal.SIG_IGN)
def f(x):
    while True: pass
"""
    assert ended(way, loop, cpu_seconds=1).reason == "cpu"


def test_endless_sleep(way: Way) -> None:
    assert ended(way, "import time\ndef f(x): time.sleep(1000)", wall_seconds=0.5).reason == "time"


@pytest.mark.parametrize(
    "size",
    ["bytearray(10 * 10**9)", "[0] * 10**10", "str().join('a' * 10**6 for _ in range(10**4))"],
)
def test_allocation_of_10_gigabytes(way: Way, size: str) -> None:
    verdict = ended(way, f"def f(x): return len({size})", 10**10)
    assert (verdict.reason, verdict.detail) == ("memory", "MemoryError")


def test_memory_outside_the_limit(way: Way) -> None:
    """Memory that belongs to no process's address space, such as System V's, is refused."""
    program = """
import ctypes, os
libc = ctypes.CDLL(None)
def f(x):
    if x == 0: return libc.shmget(0, 1 << 30, 0o1600)
    if x == 1: return libc.msgget(0, 0o1600)
    return os.memfd_create("more")
"""
    verdict = ended(way, program, -1, -1, None)
    assert (verdict.reason, verdict.detail, verdict.passed) == ("denied", "PermissionError", 2)


def test_write_outside(way: Way, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    places = [tmp_path / "x", Path("/tmp/x"), Path("/dev/shm/x"), Path("/etc/passwd")]  # noqa: S108
    program = f"""
places = {[*map(str, places), "/x", "../x", "/box/x", "/work/x"]}
def f(x):
    try:
        with open(places[x], "w") as file: return file.write("was here")
    except OSError:
        return "no"
"""
    assert ended(way, program, *["no"] * 7, 8).reason == "passed"
    assert not any(place.exists() for place in (*places[:3], Path("/x"), Path("/work/x")))
    for place in (*places, "/x"):
        assert ended(way, f"open({str(place)!r}, 'w')").reason == "denied"
    # Its own directory is empty again.
    assert ended(way, "import os\ndef f(x): return os.listdir()", []).reason == "passed"


def test_writing_without_end(way: Way) -> None:
    """In its own directory, up to the size of a file and then of them all."""
    program = """
def f(x):
    for number in range(100):
        with open(str(number), "wb") as file:
            file.write(bytes(2**19 if x else 2**21))
"""
    for x in (0, 1):
        cases = [Case((x,), None)]
        verdict = judge(program, function="f", cases=cases, limits=limits(), way=way)
        assert (verdict.reason, verdict.detail) == ("output", "OSError")


SEARCH = """
import gc, os, re, sys
def f(*given):
    texts = [repr(given)]
    for thing in gc.get_objects():
        if type(thing) is dict: texts += [v for v in thing.values() if type(v) in (str, bytes)]
        if type(thing) in (list, tuple): texts += [v for v in thing if type(v) in (str, bytes)]
    for file in range(64):
        try: texts.append(os.read(file, 10**6))
        except OSError: pass
    for place in PLACES:
        try: texts.append(open(place).read())
        except OSError: pass
    words = [t if type(t) is str else t.decode("latin-1") for t in texts]
    found = re.search("SECRET-[0-9a-f]{8}", " ".join(words))
    return found.group() if found else "nothing"
"""


def test_reading_the_tests(way: Way, tmp_path: Path) -> None:
    """A search of all that it can reach, which does find what is there, finds no expected value."""
    secret = f"SECRET-{os.getpid():08x}"
    file = tmp_path / "tests.json"
    file.write_text(secret)
    file.chmod(0o644)
    places = [str(file), __file__, "/proc/1/environ", "/proc/self/mem", "/proc/1/cmdline"]
    program = f"PLACES = {places}\n{SEARCH}"
    cases = [Case((), secret), Case((), "nothing"), Case(("a", secret), secret)]
    verdict = judge(program, function="f", cases=cases, limits=limits(), way=way)
    assert (verdict.reason, verdict.passed) == ("failed", 2)
    assert ended(way, f"def f(x): return open({str(file)!r}).read()", secret).reason == "denied"


@pytest.mark.parametrize(
    ("leave", "passed"),
    [
        ("import os\nos._exit(0)", 0),
        ("import sys\nsys.exit(0)", 0),
        ("import os\ndef f(x): return x if x < 2 else os._exit(0)", 2),
        ("import os\ndef f(x): return x if x < 2 else os._exit(3)", 2),
        ("import sys\ndef f(x): return x if x < 2 else sys.exit(0)", 2),
        ("import os\ndef f(x):\n    os.write(3, b'=0\\n=1\\n=2\\n=3\\n')\n    os._exit(0)", 4),
        ("import os\ndef f(x): os.execv('/bin/true', ['true'])", 0),
    ],
)
def test_exit_in_the_middle(way: Way, leave: str, passed: int) -> None:
    verdict = ended(way, leave, 0, 1, 2, 3)
    assert verdict.reason == ("denied" if "execv" in leave else "early_exit")
    assert verdict.passed == passed


def test_network(way: Way) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = server.getsockname()
        for reach in (
            f"socket.create_connection({address})",
            "socket.create_connection(('1.1.1.1', 53))",
            "socket.create_connection(('example.org', 80))",
            "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('1.1.1.1', 53))",
        ):
            verdict = ended(way, f"import socket\ndef f(x): {reach}")
            assert verdict.reason == "network", reach
        with pytest.raises(TimeoutError):
            server.accept()


def test_inherited_environment(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    program = """
import ctypes, os
libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
def f(x): return [dict(os.environ), libc.getenv(b"SECRET_TOKEN"), libc.getenv(b"PATH")]
"""
    assert ended(way, program, [{}, None, None]).reason == "passed"


@pytest.mark.parametrize(
    "flood",
    [
        "while True: print('x' * 1000)",
        "while True: sys.stderr.write('x' * 1000)",
        "return 'x' * 100_000",
        "while True: os.write(3, b'=0')",
    ],
)
def test_huge_output(way: Way, flood: str) -> None:
    assert ended(way, f"import os, sys\ndef f(x):\n    {flood}").reason == "output"


@pytest.mark.parametrize(
    ("end", "name"),
    [
        ("ctypes.string_at(0)", "SIGSEGV"),
        ("os.abort()", "SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("os.kill(os.getpid(), 40)", "signal 40"),
    ],
)
def test_crash(way: Way, end: str, name: str) -> None:
    verdict = ended(
        way, f"import ctypes, os, signal\ndef f(x): return x if x == 0 else {end}", 0, 1
    )
    assert (verdict.reason, verdict.detail, verdict.passed) == ("crash", name, 1)


def test_the_watcher_cannot_be_ended(way: Way) -> None:
    program = """
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
def f(x):
    for number in range(1, 32):
        try: os.kill(1, number)
        except PermissionError: pass
    return libc.ptrace(16, 1, 0, 0)
"""
    assert ended(way, program, -1).reason == "passed"


def test_no_way_to_more_rights(way: Way) -> None:
    """A user namespace of its own would give it every right in there."""
    program = f"""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
USERS = 0x10000000
CLONE = {{"x86_64": 56, "aarch64": 220}}[os.uname().machine]
def f(x):
    if x == 0: return libc.unshare(USERS)
    if x == 1: return libc.syscall(CLONE, USERS | 17, 0, 0, 0, 0)
    if x == 2: return libc.mount(b"none", b"/work", b"tmpfs", 0, b"")
    if x == 3: return libc.chroot(b"/work")
    if x == 4: return libc.setresuid(0, 0, 0)
    return [os.getpid(), {os.getuid()} in os.getresuid(), os.listdir("/")]
"""
    verdict = ended(way, program, -1, -1, -1, -1, -1, [2, False, ["work"]])
    assert (verdict.reason, verdict.passed) == ("passed", 6)


def test_a_killed_caller_leaves_nothing(way: Way) -> None:
    """SIGKILL to whoever asked, in the middle of a run."""
    asks = f"""
import json, subprocess, sys
job = {{"way": {way!r}, "program": "import time\\ndef f(x): time.sleep(1000)", "function": "f",
       "arguments": [[0]], "limits": {vars(limits())}}}
subprocess.run({sandbox.PYTHON}, input=json.dumps(job).encode(), env={{}}, cwd="/")
"""
    with subprocess.Popen([sys.executable, "-S", "-c", asks]) as caller:
        deadline = time.monotonic() + 60
        while len(boxes()) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(boxes()) == 3  # launcher, watcher, program
        caller.send_signal(signal.SIGKILL)
    while boxes() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert boxes() == []


def test_a_box_that_does_not_report_is_given_up(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "PATIENCE_SECONDS", 2.0 - limits().wall_seconds)
    assert ended(way, "import time\ndef f(x): time.sleep(1000)").reason == "time"
    deadline = time.monotonic() + 60
    while boxes() and time.monotonic() < deadline:
        time.sleep(0.02)
