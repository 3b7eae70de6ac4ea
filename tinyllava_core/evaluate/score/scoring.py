"""A benchmark as a row of the table: its variants, and how questions and answers become scores with error bars.

The rules of each benchmark are in `benchmarks/<name>.py`. Nothing here reads answer files or asks a model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyllava_core.errors import BadInput, unknown
from tinyllava_core.evaluate.questions.answers import Join, OwnAnswers, Texts, check_complete
from tinyllava_core.evaluate.questions.questions import Files, Question, QuestionId
from tinyllava_core.evaluate.score.judge import Judge
from tinyllava_core.evaluate.score.statistics import Estimate, Floats, Measure, codes, estimate, mean_measure, ratio

RIGHT = 0.5  # an item's score from which its answer counts as right, wherever it is said of one answer; answers.js has the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One answer, scored."""

    question_id: QuestionId
    image: str | None
    parsed: str  # what the rule read in the answer
    score: float  # 0..1
    cluster: str  # what it shares with others; one draw of the error bar
    facets: tuple[str, ...] = ()  # names of the sub-scores that it counts in
    counts: tuple[float, ...] = ()  # further numbers that a benchmark's measures are made of; its file says which
    unparsed: bool = False  # the rule could make nothing of the answer; each benchmark says what that means


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A benchmark's score of one set of answers."""

    headline: Estimate
    subscores: tuple[Estimate, ...]
    items: tuple[Item, ...]  # in the order of the questions

    @property
    def metric(self) -> str:
        """Name the headline metric."""
        return self.headline.name

    @property
    def score(self) -> float:
        """Give the headline's value."""
        return self.headline.value

    @property
    def stderr(self) -> float:
        """Give the headline's standard error."""
        return self.headline.stderr

    @property
    def num_unparsed(self) -> int:
        """Count the answers that the rule could make nothing of."""
        return sum(item.unparsed for item in self.items)

    def value(self, name: str) -> float:
        """Give a sub-score's value."""
        return next(one.value for one in self.subscores if one.name == name)


Mark = Callable[[Sequence[Question], Texts], list[Item]]
Judged = Callable[[Sequence[Question], Texts, Judge], list[Item]]
Measures = Callable[[Sequence[Item]], list[Measure]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to ask and score a benchmark, under its own name."""

    meaning: str
    read: Callable[[Files], list[Question]]
    mark: Mark | None = None  # one of the two
    judged: Judged | None = None
    measures: Measures  # of items alone, so that two item files can be compared; the first is the headline
    lower_is_better: bool = False  # of the headline


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A row of the table in `benchmarks/__init__.py`."""

    name: str
    variants: Mapping[str, Variant]
    default: str  # a key of variants
    cluster: str  # what an error bar's draw is, in words
    max_new_tokens: int = 128  # Source: LLaVA's runner of the short-answer benchmarks
    suffix: str = ""  # what is added to each question
    join: Callable[[Sequence[Question]], Join] | None = None  # whose answer a line is, where LLaVA's ids do not say
    own_answers: OwnAnswers | None = None  # reads the benchmark's own result format
    submit: Callable[[Texts, Path, Path], None] | None = None  # (answers, official questions, the upload file)
    submit_ending: str = ".json"  # of the upload file
    write_pictures: Callable[[Path, Path], int] | None = None  # (official file, folder): those in the file's own cells
    missing_allowed: bool = False  # the official rule says what an answer that is missing counts as
    extra_ignored: bool = False  # the official rule passes over answers to other questions
    variant_of: Callable[[Collection[str]], str | None] | None = (
        None  # tells from an answer file's prompts which one it is
    )

    def variant(self, name: str | None) -> Variant:
        """Give a variant; None: the default. Raises BadInput on an unknown name."""
        if name is not None and name not in self.variants:
            raise unknown(f"variant of {self.name}", name, self.variants)
        return self.variants[name or self.default]


def score(
    benchmark: Benchmark,
    variant: str | None,
    questions: Sequence[Question],
    answers: Texts,
    judge: Judge | None = None,
    *,
    missing_allowed: bool = False,
) -> Scored:
    """Score one answer to every question. Raises BadInput where they do not fit, or the right answers are not public."""
    row = benchmark.variant(variant)
    check_scorable(benchmark, questions)
    if missing_allowed and not benchmark.missing_allowed:
        raise BadInput(f"{benchmark.name}: no rule says what a missing answer counts as; answer every question")
    check_complete([question.question_id for question in questions], answers, missing_allowed=missing_allowed)
    if row.mark is not None:
        items = row.mark(questions, answers)
    else:
        assert row.judged is not None
        assert judge is not None, f"{benchmark.name} needs a judge: the caller should have made one"
        items = row.judged(questions, answers, judge)
    headline, *subscores = estimates(row, items)
    return Scored(headline=headline, subscores=tuple(subscores), items=tuple(items))


def is_public(questions: Sequence[Question]) -> bool:
    """Tell whether the right answers of this split are known here."""
    return not questions or any(one.gold for one in questions)


def check_scorable(benchmark: Benchmark, questions: Sequence[Question]) -> None:
    """Raises BadInput if the right answers of this split are not public: before anybody answers thousands of questions."""
    if not is_public(questions):
        raise BadInput(
            f"{benchmark.name}: the annotations hold no right answers; those of this split are not public. "
            "Use the split that is scored locally, or write the upload file (`tinyllava score --submission`)"
        )
    unknown = [question.question_id for question in questions if not question.gold]
    if unknown:
        raise BadInput(
            f"{benchmark.name}: {len(unknown)} of {len(questions)} questions have no right answer in the annotations (the "
            f"first: {unknown[0]!r}); expected one for each, or for none: is the file whole?"
        )


def estimates(variant: Variant, items: Sequence[Item]) -> list[Estimate]:
    """Give every number of a benchmark with its error bar, the headline first."""
    cluster_I, num_clusters = codes([item.cluster for item in items])
    return [estimate(measure, cluster_I, num_clusters) for measure in variant.measures(items)]


def item(
    question: Question, parsed: str, value: float, *, counts: tuple[float, ...] = (), unparsed: bool = False
) -> Item:
    """Make a question's scored item."""
    return Item(
        question_id=question.question_id,
        image=question.image,
        parsed=parsed,
        score=value,
        cluster=question.cluster,
        facets=question.facets,
        counts=counts,
        unparsed=unparsed,
    )


def facet_rows(items: Sequence[Item]) -> dict[str, list[int]]:
    """Give the places of each facet's items, facets in alphabetical order."""
    rows: dict[str, list[int]] = {}
    for place, one in enumerate(items):
        for facet in one.facets:
            rows.setdefault(facet, []).append(place)
    return dict(sorted(rows.items()))


def mean_and_facets(items: Sequence[Item]) -> list[Measure]:
    """Measure the mean score of all items (`accuracy`), and of each facet's."""
    values = [one.score for one in items]
    facets = facet_rows(items).items()
    return [mean_measure("accuracy", values), *(mean_measure(name, values, rows) for name, rows in facets)]


def mean_of_means(name: str, items: Sequence[Item], weights: Mapping[str, float]) -> Measure:
    """Measure a weighted mean of facets' mean scores, in percent: what tables call a macro average.

    A resample that drew nothing of a facet is the mean of the others: as a zero it would be the error of no one's answers.
    """
    rows = facet_rows(items)
    columns_IC = np.zeros((len(items), 2 * len(weights)))
    for place, facet in enumerate(weights):
        mine = rows.get(facet, [])
        columns_IC[mine, 2 * place] = [items[row].score for row in mine]
        columns_IC[mine, 2 * place + 1] = 1
    weight_F = np.array(list(weights.values()))

    def statistic(sums_RC: Floats) -> Floats:
        count_RF = sums_RC[:, 1::2]
        mean_RF = sums_RC[:, ::2] / np.maximum(count_RF, 1)
        return ratio(np.stack([mean_RF @ weight_F, (count_RF > 0) @ weight_F], axis=1))

    rows_I = np.flatnonzero(columns_IC[:, 1::2].any(axis=1))
    return Measure(name=name, rows_I=rows_I, columns_IC=columns_IC[rows_I], statistic=statistic)


def all_right(name: str, items: Sequence[Item], groups: Sequence[str]) -> Measure:
    """Measure the share of groups of which every item is right; each item's group is named, "" is none."""
    places: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        if group:
            places.setdefault(group, []).append(place)
    values = [0.0] * len(items)
    for mine in places.values():
        values[mine[0]] = float(all(items[place].score == 1 for place in mine))
    return mean_measure(name, values, sorted(mine[0] for mine in places.values()))
