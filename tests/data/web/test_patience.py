from datetime import UTC, datetime

import pytest

from tinyllava_core.data.web.pace import Pace
from tinyllava_core.data.web.patience import Patience, retry_after_s


def test_waits_double_and_are_spread_by_chance_up_to_the_longest():
    patience = Patience(first_wait_s=1.0, longest_wait_s=6.0)
    for failures, shortest, longest in ((1, 0.5, 1.0), (2, 1.0, 2.0), (3, 2.0, 4.0), (4, 4.0, 6.0), (9, 6.0, 6.0)):
        waits = [patience.wait_s(failures) for _ in range(200)]
        assert all(shortest <= wait <= longest for wait in waits)
        assert failures > 3 or len(set(waits)) > 100, "not all at the same moment"


def test_what_the_server_asks_for_is_waited_for_at_least():
    patience = Patience(first_wait_s=1.0, longest_wait_s=60.0)
    assert patience.wait_s(1, asked_s=7.0) == 7.0
    assert patience.wait_s(1, asked_s=3600.0) == 60.0
    assert 16.0 <= patience.wait_s(6, asked_s=7.0) <= 32.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 5 ", 5.0),
        ("Wed, 25 Nov 2026 12:00:30 GMT", 30.0),
        ("Wed, 25 Nov 2026 11:59:00 GMT", 0.0),
        ("Wed, 25 Nov 2026 12:00:30", 30.0),
        ("soon", 0.0),
        ("-3", 0.0),
        ("", 0.0),
        (None, 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(header, seconds):
    assert retry_after_s(header, now=datetime(2026, 11, 25, 12, 0, tzinfo=UTC)) == seconds


def test_the_pace_is_that_of_the_last_ten_seconds():
    now = iter([0.0, 2.0, 12.0, 22.0, 22.0, 24.0])
    pace = Pace(clock=lambda: next(now))
    assert pace.note(0, 100_000_000) == ""
    assert pace.note(4_000_000, 100_000_000) == "2.0 MB/s, 48 s left"
    assert pace.note(14_000_000, 1_000_000_000) == "1.0 MB/s, 16 min left"  # 10 MB in the last 10 s
    assert pace.note(14_000_000, 100_000_000) == "", "it stands"
    assert pace.note(0, 0) == "", "begun anew"
    assert pace.note(3000, 0) == "1.5 kB/s"
