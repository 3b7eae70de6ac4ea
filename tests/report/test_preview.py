"""The contact sheet: the right records, judged as inspection judges them, on a page that a browser shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from browser import browser
from data.planted import LIMITS, PlantedSource, plant

from tinyllava_core.artifact import make_once
from tinyllava_core.cli import main
from tinyllava_core.data.inspect.inspect import inspect_source
from tinyllava_core.data.inspect.preview import preview
from tinyllava_core.data.manifest.manifest import load
from tinyllava_core.errors import BadInput


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> PlantedSource:
    return plant(tmp_path_factory.mktemp("tree"))["planted-chat"]


def keep_download(source: PlantedSource, workspace: Path):
    """Leave the source in a workspace as downloaded, and inspected under LIMITS."""
    home, result = source.downloaded()
    downloaded = make_once(workspace, "download", 1, {}, {}, lambda _: result)
    return make_once(
        workspace,
        "inspect",
        1,
        {"limits": LIMITS},
        {"download": downloaded},
        lambda out: inspect_source(home, result, "llava", 1.0, out, images=source.images, limits=LIMITS),
    )


def test_local_data_needs_no_workspace_and_the_same_seed_shows_the_same(tmp_path, chat):
    manifest = load(str(chat.manifest))
    first, again, other = (preview(manifest, tmp_path / "none", 8, seed, dropped=False) for seed in (0, 0, 1))
    assert first.shown == again.shown
    assert first.shown != other.shown
    assert len({one.record_id for one in first.shown}) == 8
    assert all(one.reason is None for one in first.shown)


def test_with_an_inspection_its_limits_hold_and_its_dropped_are_shown(tmp_path, chat):
    keep_download(chat, tmp_path)
    found = preview(load(str(chat.manifest)), tmp_path, 100, 0, dropped=True)
    wanted = {f"planted-chat-{index:08d}": case.reason for index, case in enumerate(chat.cases) if case.reason}
    assert {one.record_id: one.reason for one in found.shown} == wanted
    assert found.num_searched == len(wanted), "no good record was looked at to find them"


def test_good_records_come_with_their_repairs_and_notes(tmp_path, chat):
    keep_download(chat, tmp_path)
    found = preview(load(str(chat.manifest)), tmp_path, 100, 0, dropped=False)
    assert {one.record_id[-8:]: (one.repairs, one.notes) for one in found.shown} == {
        f"{index:08d}": (tuple(map(str, chat.cases[index].repairs)), tuple(map(str, chat.cases[index].notes)))
        for index in chat.good
    }
    assert all(picture.jpeg for one in found.shown for picture in one.pictures)


def test_a_source_that_is_nowhere_is_told(tmp_path):
    with pytest.raises(BadInput, match=r"'toy-chat' is not on this disk: .* run a recipe that uses it"):
        preview(load("toy-chat"), tmp_path, 1, 0, dropped=False)
    with pytest.raises(BadInput, match="'toy-pope' is of kind benchmark: expected a source"):
        preview(load("toy-pope"), tmp_path, 1, 0, dropped=False)


def test_the_command_writes_one_file_and_says_so(tmp_path, chat, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["data", "preview", str(chat.manifest), "--count", "3", "--workspace", "none"]
    assert main(command) == 0
    assert capsys.readouterr().out.startswith("preview-planted-chat.html: 3 records of planted-chat, ")
    assert main([*command, "--dropped", "--out", "deep/x.html"]) == 0
    assert (tmp_path / "deep" / "x.html").is_file()
    assert main([*command[:3], "--count", "0"]) == 2
    assert "--count 0: expected 1 or more" in capsys.readouterr().err


def test_nothing_in_a_record_can_become_html(tmp_path, chat):
    evil = "<script>document.title='caught'</script>"
    records = [{"id": evil, "conversations": [{"from": "human", "value": evil}, {"from": "gpt", "value": evil}]}]
    records += [{"id": 1, "image": evil, "conversations": [{"from": evil, "value": "x"}]}, evil]
    (tmp_path / "a.json").write_text(json.dumps(records))
    text = chat.manifest.read_text().replace(str(chat.annotations), str(tmp_path / "a.json"))
    (tmp_path / "m.yaml").write_text(re.sub(r"count: \d+", "count: 3", text))
    for dropped in (["--dropped"], []):
        assert main(["data", "preview", str(tmp_path / "m.yaml"), "--out", str(tmp_path / "x.html"), *dropped]) == 0
        assert "<script" not in (tmp_path / "x.html").read_text()


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_shows_it_without_asking_anybody(tmp_path, chat, dropped, width):
    keep_download(chat, tmp_path / "workspace")
    page_file, asked, told = tmp_path / "x.html", list[str](), list[str]()
    words = ["--dropped"] if dropped else []
    main(
        [
            "data",
            "preview",
            str(chat.manifest),
            "--count",
            "40",
            "--out",
            str(page_file),
            "--workspace",
            str(tmp_path / "workspace"),
            *words,
        ]
    )
    with browser() as chromium:
        page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme="dark" if dropped else "light")
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: told.append(message.text))
        page.goto(page_file.as_uri())
        cases = [case for case in chat.cases if (case.reason is not None) == dropped]
        assert page.locator("article").count() == len(cases)
        assert page.locator(".reason").count() == (len(cases) if dropped else 0)
        broken = page.evaluate(
            "[...document.images].filter(image => !(image.complete && image.naturalWidth > 0)).length"
        )
        assert broken == 0
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "nothing sticks out"
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(22, 24, 27)" if dropped else "rgb(253, 253, 252)")
        if not dropped:
            gif = page.locator("article", has_text="155611804.jpg")
            badges = gif.locator(".badge").all_inner_texts()
            assert badges == ["suffix corrected", "first frame taken", "palette expanded", "format changed"]
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert told == []


def test_the_page_shows_each_record_as_a_recipes_model_reads_it(tmp_path, chat, capsys):
    out = tmp_path / "page.html"
    words = ["data", "preview", str(chat.manifest), "--count", "3", "--recipe", "toy", "--out", str(out)]
    assert main([*words, "--workspace", str(tmp_path / "none")]) == 0
    page = out.read_text()
    assert len(re.findall(r"as the model reads it: \d+ tokens, \d+ of images, \d+ learned", page)) == 3
    assert '<i class="image">image × 36</i>' in page
    assert '<i class="learned">&lt;/s&gt;</i>' in page
    assert main([*words[:-2], "--stage", "tune", "--workspace", str(tmp_path / "none")]) == 2
    assert "recipe 'toy' has no stage 'tune'" in capsys.readouterr().err
