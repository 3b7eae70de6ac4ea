import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from tinyllava_core.data.files.checksums import FILE, remember
from tinyllava_core.errors import BadInput

ONE, TWO = "1" * 64, "2" * 64


def test_the_first_sum_is_kept_and_the_same_one_is_welcome(tmp_path):
    remember(tmp_path, "http://a/b.zip", ONE, 7)
    remember(tmp_path, "http://a/b.zip", ONE, 7)
    remember(tmp_path, "http://a/c.zip", TWO, 8)
    noted = yaml.safe_load((tmp_path / FILE).read_text())
    assert {url: (entry["sha256"], entry["bytes"]) for url, entry in noted.items()} == {
        "http://a/b.zip": (ONE, 7),
        "http://a/c.zip": (TWO, 8),
    }
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", entry["first_seen"]) for entry in noted.values())


def test_another_file_under_the_same_url_is_one_line_with_both_sums_and_what_to_do(tmp_path):
    remember(tmp_path, "http://a/b.zip", ONE, 7)
    with pytest.raises(BadInput) as error:
        remember(tmp_path, "http://a/b.zip", TWO, 8)
    text = str(error.value)
    assert text.startswith(
        f"http://a/b.zip: is another file than when it was first downloaded: sha256 was {ONE} (7 bytes"
    )
    assert f"is {TWO} (8 bytes); if the change is meant, take its entry out of {tmp_path / FILE}" in text
    assert "\n" not in text
    assert yaml.safe_load((tmp_path / FILE).read_text())["http://a/b.zip"]["sha256"] == ONE


def test_two_at_once_lose_nothing(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: remember(tmp_path, f"http://a/{number}", ONE, 1), range(40)))
    assert len(yaml.safe_load((tmp_path / FILE).read_text())) == 40
