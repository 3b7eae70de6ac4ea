import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from tinyllava_core.data.web import polite
from tinyllava_core.data.web.polite import turn

# Takes six turns at a host and tells when each began and ended.
TAKER = """
import sys, time
from tinyllava_core.data.web.polite import turn
for _ in range(6):
    with turn(sys.argv[1], connections=2, pause_s=float(sys.argv[2])):
        began = time.time()
        time.sleep(0.03)
        print(began, time.time(), flush=True)
"""


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.setattr(polite.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return f"https://{uuid.uuid4().hex}.example:443"


def overlap(spans):
    """Give the most spans that held at one moment."""
    return max(sum(began <= moment < ended for began, ended in spans) for moment, _ in spans)


def taken(host, pause_s):
    takers = [
        subprocess.Popen([sys.executable, "-c", TAKER, f"{host}/{n}", pause_s], stdout=subprocess.PIPE, text=True)
        for n in range(3)
    ]
    lines = [line for taker in takers for line in taker.communicate(timeout=60)[0].splitlines()]
    return sorted(tuple(map(float, line.split())) for line in lines)


def test_several_processes_hold_no_more_connections_to_a_host_than_allowed(host):
    spans = taken(host, "0")
    assert len(spans) == 18
    assert overlap(spans) <= 2


def test_several_processes_leave_the_pause_between_their_requests(host):
    begun = [began for began, _ in taken(host, "0.05")]
    # what lies between the appointment and the first line of the block is not held back, so neighbours may come closer
    assert begun[-1] - begun[0] >= 17 * 0.05 - 0.04


def test_threads_take_turns_too_and_other_hosts_do_not_wait(host):
    spans, mine = [], threading.Lock()

    def take(_):
        with turn(host, connections=2, pause_s=0):
            began = time.time()
            time.sleep(0.02)
            with mine:
                spans.append((began, time.time()))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, range(12)))
    assert overlap(spans) == 2
    with turn(host, connections=1, pause_s=100), turn(f"{host}1", connections=1, pause_s=100):
        pass  # neither waits for the other, nor for an appointment that is its first


def test_nobody_waits_behind_the_one_connection_that_hangs(host, monkeypatch):
    """Whoever waits begins its search at the slot that hangs, and takes the other one as soon as that is free."""
    monkeypatch.setattr(polite.random, "randrange", lambda slots: 0)
    came = threading.Event()

    def wait():
        with turn(host, connections=2, pause_s=0):
            came.set()

    with turn(host, connections=2, pause_s=0):
        with turn(host, connections=2, pause_s=0):
            waiter = threading.Thread(target=wait)
            waiter.start()
            assert not came.wait(0.3)
        assert came.wait(30)
    waiter.join()


def test_a_killed_holder_gives_its_turn_back(host):
    holder = "import sys, time; from tinyllava_core.data.web.polite import turn\n"
    holder += "with turn(sys.argv[1], connections=1, pause_s=0):\n print('held', flush=True); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", holder, host], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    process.kill()
    process.wait()
    with turn(host, connections=1, pause_s=0):
        pass


def test_an_appointment_far_ahead_is_a_clock_that_was_set_back(host, tmp_path):
    with turn(host, connections=1, pause_s=0.01):
        pass
    (book,) = tmp_path.rglob("next")
    book.write_text(f"{time.time() + 3600:<32.6f}")
    began = time.monotonic()
    with turn(host, connections=1, pause_s=0.01):
        assert time.monotonic() - began < 5
