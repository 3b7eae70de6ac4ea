"""The model card: its head is what the hub reads, and its numbers are the run's."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from made_up_run import MadeUp

from tinyllava_core.report import card
from tinyllava_core.report.card import licences, write_card, write_card_page
from tinyllava_core.report.scores import score_rows


def test_the_hubs_own_reader_finds_the_scores_in_its_head(run: MadeUp, tmp_path: Path):
    facts = run.facts()
    card = ModelCard(write_card(facts, score_rows(facts), tmp_path).read_text())
    assert (card.data.library_name, card.data.pipeline_tag, card.data.license) == (
        "transformers",
        "image-text-to-text",
        "other",
    )
    assert card.data.to_dict()["license_name"] == "Apache-2.0"
    assert [(one.dataset_name, one.metric_value) for one in card.data.eval_results] == [
        ("toy-pope", 91.3),
        ("toy-vqa", 78.6),
    ]


def test_the_card_tells_data_with_licences_scores_with_errors_and_what_is_not_known(run: MadeUp, tmp_path: Path):
    facts = run.facts(**{"sft.lr": 3e-4})
    assert licences(facts) == dict.fromkeys(("toy-captions", "toy-chat", "toy-places"), "Apache-2.0")
    text = write_card(facts, score_rows(facts), tmp_path).read_text()
    for told in (
        "| sft | toy-places | 40 | 30.8 % | Apache-2.0 |",
        "| toy-pope | accuracy | 91.3 ± 1.4 | 50.7 |  | 8 |",
        "`sft.lr = 0.0003`",
        "logits differ by at most 1e-06",
        "with changes that are not committed",
        "Pictures are not shown to help it on toy-pope",
    ):
        assert told in text, told


def test_the_card_is_a_page_too_in_which_nothing_that_data_says_becomes_html(tmp_path: Path):
    text = "---\nlicense: other\n---\n\n# toy-1\n\n<b>bold</b> by `a < b` [x](javascript:alert(1))\n\n| a | b |\n|---|---:|\n| 1 | 2 |\n"
    (tmp_path / "MODEL_CARD.md").write_text(text)
    page = write_card_page(tmp_path / "MODEL_CARD.md", back="report.html").read_text()
    assert "<title>toy-1 · model card</title>" in page
    assert "<h1>toy-1</h1>" in page
    assert "license: other" not in page
    assert "&lt;b&gt;bold&lt;/b&gt; by <code>a &lt; b</code>" in page
    assert 'href="javascript' not in page
    assert re.search(
        r'<div class="scroll"><table>.*<td>1</td>\s*<td style="text-align:right">2</td>.*</table></div>', page, re.S
    )
    assert re.findall('href="([^"]*)"', page) == ["report.html", "MODEL_CARD.md"]


def test_what_a_strangers_manifest_says_is_words_and_no_markdown(
    run: MadeUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A licence that was a picture had the page fetch it, and line ends in it forged a section."""
    licence = "![x](http://evil/pixel.gif) | [y](http://evil/) <b>`\n\n# Scores\n\nforged"
    monkeypatch.setattr(card, "licences", lambda facts: {row.source: licence for row in card.mix_rows(facts)})
    text = write_card(run.facts(), [], tmp_path)
    page = write_card_page(text, back="report.html").read_text()
    assert "<img" not in page
    assert re.findall('href="([^"]*)"', page) == ["report.html", "MODEL_CARD.md"]
    assert re.findall("<h[12]>(.*?)</h[12]>", page)[1:] == ["Trained on", "Scores", "Limits"]
    assert "![x](http://evil/pixel.gif) | [y](http://evil/) &lt;b&gt;` # Scores forged" in page


def test_a_run_without_data_and_scores_has_a_card_that_says_so(run: MadeUp, tmp_path: Path):
    text = write_card(dataclasses.replace(run.facts(), stages=()), [], tmp_path).read_text()
    assert "Nothing is known of its data." in text
    assert "None was measured." in text
    assert "model-index" not in text
