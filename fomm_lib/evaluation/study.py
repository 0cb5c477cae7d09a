"""A study with human raters: of two animations side by side, which is better?

    ballot = Ballot({"anna": {"model": png, "repeated frame": png}, ...}, rater="Kim", file="kim.csv")
    ballot_widget(ballot)                                   # in a notebook: a click an answer

    print(analyse(read_choices(["kim.csv", "lee.csv"])).markdown())

Sides and order are random for every rater, and no names of methods are shown. The file is rewritten after
every click, so nothing is lost, and a rater can continue on another day.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import scipy.stats

from fomm_lib.data.tables import Table
from fomm_lib.errors import InputError
from fomm_lib.evaluation.comparison import Interval, format_interval, markdown_table, mean_or_nan


@dataclass(frozen=True)
class Trial:
    """One question: which of two videos is better?

    Attributes:
        item: what both videos show, e.g. the name of a clip.
        left, right: the methods.
    """

    item: str
    left: str
    right: str


@dataclass(frozen=True)
class Choice:
    """One answer.

    Attributes:
        rater: name or number.
        trial: the question.
        chosen: the method that was chosen.
        seconds: how long the answer took.
    """

    rater: str
    trial: Trial
    chosen: str = field(metadata={"column": "choice"})
    seconds: float

    @property
    def rejected(self) -> str:
        """The method that was not chosen."""
        return self.trial.right if self.chosen == self.trial.left else self.trial.left


_TABLE = Table(Choice, "is no answer of a study", line_end="\r\n", extra_columns=True)


class Ballot:
    """The questions for one rater, and the answers so far.

    Args:
        videos: item -> method -> the bytes of an animated PNG (`plots.animation_png`). For every item each
            pair of methods is asked once.
        rater: a name or number; together with `seed` it decides order and sides.
        file: a CSV, made or continued; its columns are rater, item, left, right, choice, seconds.
        seed: of the study.
    Raises:
        InputError: an item with fewer than two methods, no rater, or a file with other content.

    Example:
        >>> ballot = Ballot({"anna": {"a": b"...", "b": b"..."}}, "Kim", "kim.csv")  # doctest: +SKIP
        >>> ballot.choose("left")                                                    # doctest: +SKIP
    """

    def __init__(
        self,
        videos: Mapping[str, Mapping[str, bytes]],
        rater: str,
        file: str | os.PathLike,
        seed: int = 0,
    ):
        if not str(rater).strip():
            raise InputError(
                "the rater needs a name, or a number, to tell the answers of several raters apart"
            )
        questions = list(pairs_of(videos))
        self.videos, self.rater, self.file = videos, str(rater), Path(file)
        self.choices = read_choices([self.file]) if self.file.exists() else []
        other_raters = {choice.rater for choice in self.choices} - {self.rater}
        if other_raters:
            raise InputError(f"{file}: holds answers of {', '.join(sorted(other_raters))}; give another file")
        done = {_unordered(choice.trial) for choice in self.choices}
        self.trials = [t for t in _trials(questions, self.rater, seed) if _unordered(t) not in done]
        self._since = time.monotonic()

    @property
    def current(self) -> Trial | None:
        """The next question; None when all are answered."""
        return self.trials[0] if self.trials else None

    def choose(self, side: str) -> None:
        """Answer the current question, "left" or "right", and write the file.

        Raises:
            InputError: another side, or nothing left to answer.
        """
        if side not in ("left", "right"):
            raise InputError(f"{side!r}: choose 'left' or 'right'")
        if self.current is None:
            raise InputError("all questions are answered; thank you")
        trial = self.trials.pop(0)
        seconds, self._since = time.monotonic() - self._since, time.monotonic()
        self.choices.append(Choice(self.rater, trial, getattr(trial, side), round(seconds, 1)))
        _TABLE.write(self.file, self.choices)


def ballot_widget(ballot: Ballot):
    """Two videos and two buttons, for a notebook. Needs ipywidgets.

    Args:
        ballot: the questions; it writes its file after every click.
    Returns:
        The widget.
    """
    import ipywidgets

    message = ipywidgets.Label()
    videos = [ipywidgets.Image(format="png", width=256) for _ in range(2)]
    buttons = [ipywidgets.Button(description=f"{side} is better") for side in ("left", "right")]

    def refresh() -> None:
        trial = ballot.current
        asked = len(ballot.choices) + len(ballot.trials)
        if trial is None:
            message.value = f"All {asked} questions answered: {ballot.file}. Thank you."
            for button in buttons:
                button.disabled = True
            return
        message.value = f"Question {len(ballot.choices) + 1} of {asked}: which moves more like a real person?"
        for video, method in zip(videos, (trial.left, trial.right), strict=True):
            video.value = ballot.videos[trial.item][method]

    def clicked(button) -> None:
        ballot.choose("left" if button is buttons[0] else "right")
        refresh()

    for button in buttons:
        button.on_click(clicked)
    refresh()
    columns = [ipywidgets.VBox(pair) for pair in zip(videos, buttons, strict=True)]
    return ipywidgets.VBox([message, ipywidgets.HBox(columns)])


def read_choices(files: Iterable[str | os.PathLike]) -> list[Choice]:
    """The answers in the files of one or several raters.

    Raises:
        InputError: a file that cannot be read or has other content, or an answer that is there twice.
    """
    choices, seen = [], set()
    for path in files:
        for line, choice in _TABLE.read_lines(path):
            trial = choice.trial
            if choice.chosen not in (trial.left, trial.right):
                raise InputError(f"{path}, line {line}: {choice.chosen!r} was not among the two shown")
            key = choice.rater, _unordered(trial)
            if key in seen:
                raise InputError(f"{path}, line {line}: {choice.rater} answered {trial.item} before")
            seen.add(key)
            choices.append(choice)
    return choices


@dataclass(frozen=True)
class Preference:
    """How often one method was preferred to another.

    Attributes:
        first, second: the methods.
        wins, asked: how often the first was chosen, and how often the two were compared.
        low, high: 95 % interval of the share wins / asked (Wilson's binomial interval).
        p: the probability of a result at least as one-sided if the two were alike (exact binomial test).
        by_rater: rater -> (wins, asked).
    """

    first: str
    second: str
    wins: int
    asked: int
    low: float
    high: float
    p: float
    by_rater: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class StudyResult:
    """The result of a study.

    Attributes:
        preferences: one a pair of methods.
        left: how often the left video was chosen, whatever it showed: far from half means a bias of raters.
        asked: the number of answers.
        agreement: how often two raters gave the same answer to the same question, 0 to 1; NaN for one rater.
    """

    preferences: Sequence[Preference]
    left: int
    asked: int
    agreement: float

    def markdown(self) -> str:
        """A table, and below it the bias to the left and the agreement."""
        rows = []
        for p in self.preferences:
            share = format_interval(Interval(p.wins / p.asked, p.low, p.high, p.asked), 2)
            counts = f"{p.first} over {p.second}", f"{p.wins} of {p.asked}"
            rows.append([*counts, share, f"{p.p:.3f}", str(len(p.by_rater))])
        titles = ["preferred", "chosen", "share, 95 % interval", "p", "raters"]
        agreed = "–" if np.isnan(self.agreement) else f"{self.agreement:.2f}"
        note = f"The left video was chosen {self.left} of {self.asked} times. Agreement of raters: {agreed}."
        return f"{markdown_table(titles, rows)}\n\n{note}\n"


def analyse(choices: Sequence[Choice]) -> StudyResult:
    """Preferences with binomial intervals, the bias to the left, and the agreement of raters.

    The interval assumes that answers are independent. Ten answers of one rater, or of ten raters on one
    video, are not quite independent; so look at `by_rater` too, and ask many raters about many videos.
    Intervals and p are computed by SciPy.

    Raises:
        InputError: no answers.

    Source: Wilson, *Probable Inference, the Law of Succession, and Statistical Inference*, 1927.

    Example:
        >>> trial = Trial("anna", "a", "b")
        >>> analyse([Choice(str(r), trial, "a", 1.0) for r in range(10)]).preferences[0].low > 0.5
        True
    """
    if not choices:
        raise InputError("there are no answers to analyse")
    by_pair: dict[tuple[str, str], list[Choice]] = defaultdict(list)
    for choice in choices:
        by_pair[tuple(sorted((choice.trial.left, choice.trial.right)))].append(choice)
    preferences = []
    for pair, asked in by_pair.items():
        wins = Counter(choice.chosen for choice in asked)
        first, second = sorted(pair, key=lambda method: (-wins[method], method))
        test = scipy.stats.binomtest(wins[first], len(asked))
        low, high = map(float, test.proportion_ci(method="wilson"))
        won = Counter(choice.rater for choice in asked if choice.chosen == first)
        by_rater = {rater: (won[rater], n) for rater, n in Counter(c.rater for c in asked).items()}
        share = wins[first], len(asked), low, high
        preferences.append(Preference(first, second, *share, float(test.pvalue), by_rater))
    left = sum(choice.chosen == choice.trial.left for choice in choices)
    return StudyResult(preferences, left, len(choices), _agreement(choices))


def _agreement(choices: Sequence[Choice]) -> float:
    """The share of equal answers, over all pairs of raters who answered the same question."""
    questions: dict[tuple, list[str]] = defaultdict(list)
    for choice in choices:
        questions[_unordered(choice.trial)].append(choice.chosen)
    return mean_or_nan([a == b for of in questions.values() for a, b in itertools.combinations(of, 2)])


def pairs_of(videos: Mapping[str, Mapping[str, bytes]]) -> Iterator[tuple[str, tuple[str, str]]]:
    """What a study asks: every pair of methods of every item.

    Args:
        videos: item -> method -> the bytes of an animated PNG.

    Yields:
        The item, and two of its methods in alphabetical order.

    Raises:
        InputError: an item has fewer than two methods.

    Example:
        >>> list(pairs_of({"anna": {"model": b"m", "still": b"s"}}))
        [('anna', ('model', 'still'))]
    """
    for item, methods in videos.items():
        if len(methods) < 2:
            raise InputError(f"{item}: has {len(methods)} video; a comparison needs two")
        for pair in itertools.combinations(sorted(methods), 2):
            yield item, pair


def _trials(questions: Iterable[tuple[str, tuple[str, str]]], rater: str, seed: int) -> list[Trial]:
    """All questions in random order; of each pair of methods, either is on the left equally often."""
    rng = np.random.default_rng([seed, *rater.encode()])
    by_pair: dict[tuple[str, str], list[str]] = defaultdict(list)
    for item, pair in questions:
        by_pair[pair].append(item)
    trials = []
    for (first, second), items in by_pair.items():
        swapped = rng.permutation(np.arange(len(items)) + rng.integers(2)) % 2
        for item, swap in zip(items, swapped, strict=True):
            trials.append(Trial(item, second, first) if swap else Trial(item, first, second))
    return [trials[i] for i in rng.permutation(len(trials))]


def _unordered(trial: Trial) -> tuple:
    """The question, whatever the sides."""
    return trial.item, frozenset((trial.left, trial.right))
