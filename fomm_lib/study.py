"""Ask people: two animations side by side, which is better? Small enough for a class, with honest intervals.

    ballot = Ballot({"anna": {"model": png, "repeated frame": png}, ...}, rater="Kim", file="kim.csv")
    ballot_widget(ballot)                                   # in a notebook: click, click, click

    print(analyse(read_choices(["kim.csv", "lee.csv"])).markdown())

Which comes left and in what order is drawn anew for every rater, and no name is shown. The file is rewritten
after every click, so nothing is lost, and a rater can go on another day.
"""

from __future__ import annotations

import csv
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.stats

from fomm_lib.comparison import markdown_table
from fomm_lib.files import InputError, atomic_output

_COLUMNS = ("rater", "item", "left", "right", "choice", "seconds")


@dataclass(frozen=True)
class Trial:
    """One question: which of two?

    Attributes:
        item: what is shown, e.g. the name of a clip.
        left, right: the methods.
    """

    item: str
    left: str
    right: str


@dataclass(frozen=True)
class Choice:
    """One answer.

    Attributes:
        rater: who.
        trial: what was asked.
        chosen: the method.
        seconds: how long it took.
    """

    rater: str
    trial: Trial
    chosen: str
    seconds: float

    @property
    def rejected(self) -> str:
        """The other method."""
        return self.trial.right if self.chosen == self.trial.left else self.trial.left


class Ballot:
    """The questions for one rater, and the answers so far.

    Args:
        films: item -> method -> the bytes of an animated PNG (`plots.animation_png`). Of every item each pair
            of methods is asked once.
        rater: a name or number; together with `seed` it decides order and sides.
        file: a CSV, made or continued.
        seed: of the study.
    Raises:
        InputError: an item with fewer than two methods, no rater, or a file of something else.

    Example:
        >>> ballot = Ballot({"anna": {"a": b"...", "b": b"..."}}, "Kim", "kim.csv")  # doctest: +SKIP
        >>> ballot.choose("left")                                                    # doctest: +SKIP
    """

    def __init__(
        self,
        films: Mapping[str, Mapping[str, bytes]],
        rater: str,
        file: str | os.PathLike,
        seed: int = 0,
    ):
        if not str(rater).strip():
            raise InputError("the rater needs a name, or a number; answers of several are told apart by it")
        for item, methods in films.items():
            if len(methods) < 2:
                raise InputError(f"{item}: has {len(methods)} film; a comparison needs two")
        self.films, self.rater, self.file = films, str(rater), Path(file)
        self.choices = read_choices([self.file]) if self.file.exists() else []
        strangers = {choice.rater for choice in self.choices} - {self.rater}
        if strangers:
            raise InputError(f"{file}: holds answers of {', '.join(sorted(strangers))}; give another file")
        done = {_unordered(choice.trial) for choice in self.choices}
        self.trials = [t for t in _trials(films, self.rater, seed) if _unordered(t) not in done]
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
        with (
            atomic_output(self.file, overwrite=True) as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            for c in self.choices:
                writer.writerow([c.rater, c.trial.item, c.trial.left, c.trial.right, c.chosen, c.seconds])


def ballot_widget(ballot: Ballot):
    """Two films and two buttons, for a notebook. Needs ipywidgets.

    Args:
        ballot: what to ask; it writes its file after every click.
    """
    import ipywidgets

    said = ipywidgets.Label()
    films = [ipywidgets.Image(format="png", width=256) for _ in range(2)]
    buttons = [ipywidgets.Button(description=f"{side} is better") for side in ("left", "right")]

    def refresh() -> None:
        trial = ballot.current
        asked = len(ballot.choices) + len(ballot.trials)
        if trial is None:
            said.value = f"All {asked} questions answered: {ballot.file}. Thank you."
            for button in buttons:
                button.disabled = True
            return
        said.value = f"Question {len(ballot.choices) + 1} of {asked}: which moves more like a real person?"
        for film, method in zip(films, (trial.left, trial.right), strict=True):
            film.value = ballot.films[trial.item][method]

    def clicked(button) -> None:
        ballot.choose("left" if button is buttons[0] else "right")
        refresh()

    for button in buttons:
        button.on_click(clicked)
    refresh()
    columns = [ipywidgets.VBox(pair) for pair in zip(films, buttons, strict=True)]
    return ipywidgets.VBox([said, ipywidgets.HBox(columns)])


def read_choices(files: Iterable[str | os.PathLike]) -> list[Choice]:
    """The answers in the files of one or several raters.

    Raises:
        InputError: a file that cannot be read, that is none of a study, or an answer that is there twice.
    """
    choices, seen = [], set()
    for path in files:
        try:
            with open(path, newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{path}: cannot be read as answers of a study ({error})") from error
        for number, row in enumerate(rows, 2):
            try:
                trial = Trial(row["item"], row["left"], row["right"])
                choice = Choice(row["rater"], trial, row["choice"], float(row["seconds"]))
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(f"{path}, line {number}: is no answer of a study") from error
            if choice.chosen not in (trial.left, trial.right):
                raise InputError(f"{path}, line {number}: {choice.chosen!r} was not among the two shown")
            key = choice.rater, _unordered(trial)
            if key in seen:
                raise InputError(f"{path}, line {number}: {choice.rater} answered {trial.item} before")
            seen.add(key)
            choices.append(choice)
    return choices


@dataclass(frozen=True)
class Preference:
    """How often one method was preferred to another.

    Attributes:
        first, second: the methods.
        wins, asked: how often the first was chosen, of how many.
        low, high: 95 % interval of the share wins / asked (Wilson's binomial one).
        p: how often chance alone would be as one-sided, were the two alike (exact binomial test).
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
    """What a study found.

    Attributes:
        preferences: one a pair of methods.
        left: how often the left film was chosen, whatever it showed: far from half, raters had a habit.
        asked: of how many.
        agreement: how often two raters gave the same answer to the same question, 0 to 1; NaN for one rater.
    """

    preferences: Sequence[Preference]
    left: int
    asked: int
    agreement: float

    def markdown(self) -> str:
        """A table, and below it habits and agreement."""
        rows = [
            [
                f"{p.first} over {p.second}",
                f"{p.wins} of {p.asked}",
                f"{p.wins / p.asked:.2f} ({p.low:.2f} to {p.high:.2f})",
                f"{p.p:.3f}",
                str(len(p.by_rater)),
            ]
            for p in self.preferences
        ]
        titles = ["preferred", "chosen", "share, 95 % interval", "p", "raters"]
        agreed = "–" if np.isnan(self.agreement) else f"{self.agreement:.2f}"
        words = f"The left film was chosen {self.left} of {self.asked} times. Agreement of raters: {agreed}."
        return f"{markdown_table(titles, rows)}\n\n{words}\n"


def analyse(choices: Sequence[Choice]) -> StudyResult:
    """Shares with binomial intervals, habits, agreement.

    The interval takes every answer for an independent one. Ten answers of one rater, or of ten raters on one
    film, are not quite; so look at `by_rater` too, and ask many raters about many films.

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
        interval = test.proportion_ci(method="wilson")
        raters = {
            rater: (sum(c.chosen == first for c in of), len(of)) for rater, of in _grouped(asked).items()
        }
        preferences.append(
            Preference(
                first,
                second,
                wins[first],
                len(asked),
                float(interval.low),
                float(interval.high),
                float(test.pvalue),
                raters,
            )
        )
    left = sum(choice.chosen == choice.trial.left for choice in choices)
    return StudyResult(preferences, left, len(choices), _agreement(choices))


def _agreement(choices: Sequence[Choice]) -> float:
    same = pairs = 0
    questions: dict[tuple, list[str]] = defaultdict(list)
    for choice in choices:
        questions[_unordered(choice.trial)].append(choice.chosen)
    for answers in questions.values():
        same += sum(n * (n - 1) for n in Counter(answers).values())
        pairs += len(answers) * (len(answers) - 1)
    return same / pairs if pairs else float("nan")


def _grouped(choices: Sequence[Choice]) -> dict[str, list[Choice]]:
    groups: dict[str, list[Choice]] = defaultdict(list)
    for choice in choices:
        groups[choice.rater].append(choice)
    return groups


def _trials(films: Mapping[str, Mapping[str, bytes]], rater: str, seed: int) -> list[Trial]:
    """All questions in random order; of each pair of methods, either is on the left as often as the other."""
    rng = np.random.default_rng([seed, *rater.encode()])
    by_pair: dict[tuple[str, str], list[str]] = defaultdict(list)
    for item, methods in films.items():
        names = sorted(methods)
        for i, first in enumerate(names):
            for second in names[i + 1 :]:
                by_pair[first, second].append(item)
    trials = []
    for (first, second), items in by_pair.items():
        swapped = rng.permutation(np.arange(len(items)) + rng.integers(2)) % 2
        for item, swap in zip(items, swapped, strict=True):
            trials.append(Trial(item, second, first) if swap else Trial(item, first, second))
    return [trials[i] for i in rng.permutation(len(trials))]


def _unordered(trial: Trial) -> tuple:
    return trial.item, frozenset((trial.left, trial.right))
