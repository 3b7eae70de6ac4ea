"""How well a page, or a translation, was written out: the mean of BLEU, METEOR, F1 of the words, and 1 - edit distance.

BLEU and METEOR are nltk's, Chinese is cut into words by jieba; METEOR looks synonyms up in WordNet, which a person fetches.
Source: OCRBench v2 `page_ocr_metric.py`.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.score.benchmarks.rules.distance import edit_distance

_CHINESE = re.compile("[\u4e00-\u9fa5]")


def page_similarity(said: str, gold: str) -> float:
    """Compare two texts -> 0..1; nothing said is worth nothing. Raises BadInput without the libraries or WordNet."""
    if not said:
        return 0.0
    bleu, meteor, f_measure, chinese = libraries()
    cut = chinese if _CHINESE.search(gold) or _CHINESE.search(said) else str.split
    wanted, words = cut(gold), cut(said)
    with warnings.catch_warnings():  # nltk warns of texts without a common n-gram
        warnings.simplefilter("ignore")
        worth = bleu([wanted], words) + meteor([wanted], words) + (f_measure(set(wanted), set(words)) or 0.0)
    return float(worth + 1 - edit_distance(said, gold) / max(len(said), len(gold))) / 4


@cache
def libraries() -> tuple[Callable[..., Any], ...]:
    """Give BLEU, METEOR, F1 of sets, and what cuts Chinese. Raises BadInput without nltk, jieba or WordNet."""
    try:
        import jieba
        from nltk.corpus import wordnet
        from nltk.metrics.scores import f_measure
        from nltk.translate import bleu
        from nltk.translate.meteor_score import meteor_score
    except ModuleNotFoundError:
        raise BadInput(
            "pages and translations are scored with nltk and jieba: pip install 'tinyllava-pipelines[ocrbench]'; variant "
            "simple passes over them"
        ) from None
    try:
        wordnet.synsets("page")
    except LookupError:
        raise BadInput(
            "METEOR looks synonyms up in WordNet, which is not on this machine: python -m nltk.downloader wordnet; variant "
            "simple passes over pages and translations"
        ) from None
    jieba.setLogLevel(logging.WARNING)
    return bleu, meteor_score, f_measure, jieba.lcut
