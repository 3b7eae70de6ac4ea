"""CIDEr-D, how much a caption says what people say of the same picture, and the tokens that it counts.

The words' weights come from the references of the whole set that is scored: a part of it has another scale. The tokenizer
is ours: on captions it agrees with the Penn Treebank's, which is a Java program, but for rare forms.
Source: Vedantam et al. 2015, arXiv 1411.5726; pycocoevalcap 1.2 `cider_scorer.py`, `ptbtokenizer.py`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

N, SIGMA = 4, 6.0
Ngrams = Counter[tuple[str, ...]]
_WORD = re.compile(r"(?:[a-z]\.){2,}|\w+(?:(?:[-&/']|[.,:](?=\d))\w+)*|'\w+|[^\w\s]")
_ENDINGS = re.compile(r"(?<=\w)(n't|'(?:s|m|d|re|ve|ll))$|(?<=^can)(not)$")  # words of their own
_MARKS = frozenset("'`.?!,:-;\"")
_BRACKETS = dict(zip("()[]{}", ("-lrb-", "-rrb-", "-lsb-", "-rsb-", "-lcb-", "-rcb-"), strict=True))  # count as words


def words(caption: str) -> list[str]:
    """Cut a caption into lower-case words, without punctuation; `dog's` and `isn't` are two words each."""
    found = (part for word in _WORD.findall(caption.lower()) for part in _ENDINGS.sub(r" \1\2", word).split())
    return [_BRACKETS.get(word, word) for word in found if word not in _MARKS]


def cider(captions: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> list[float]:
    """Score each caption, a list of words, against its references -> 0..10 each.

    References of all captions together are the set that words are weighed by.
    """
    cooked = [[_ngrams(one) for one in mine] for mine in references]
    found_in = Counter(ngram for mine in cooked for ngram in set().union(*mine))
    log_size = math.log(len(references)) if references else 0.0

    def weigh(ngrams: Ngrams) -> tuple[dict[tuple[str, ...], float], list[float], int]:
        weights = {one: count * (log_size - math.log(max(1, found_in[one]))) for one, count in ngrams.items()}
        norms = [0.0] * N
        for one, weight in weights.items():
            norms[len(one) - 1] += weight**2
        return weights, [math.sqrt(norm) for norm in norms], sum(c for one, c in ngrams.items() if len(one) == 2)

    scores = []
    for caption, mine in zip(captions, cooked, strict=True):
        said, said_norms, said_length = weigh(_ngrams(caption))
        total = 0.0
        for reference in mine:
            right, norms, length = weigh(reference)
            sums = [0.0] * N
            for one, weight in said.items():
                other = right.get(one, 0.0)
                sums[len(one) - 1] += min(weight, other) * other
            penalty = math.exp(-((said_length - length) ** 2) / (2 * SIGMA**2))
            pairs = zip(sums, said_norms, norms, strict=True)
            total += penalty * sum(value / (one * other) if one and other else value for value, one, other in pairs)
        scores.append(10 * total / N / len(mine))
    return scores


def _ngrams(caption: Iterable[str]) -> Ngrams:
    text = tuple(caption)
    return Counter(text[start : start + n] for n in range(1, N + 1) for start in range(len(text) - n + 1))
