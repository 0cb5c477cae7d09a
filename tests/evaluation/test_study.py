"""The study: fair questions, answers that are kept, and intervals that are right."""

import numpy as np
import pytest
import scipy.stats

from fomm_lib.errors import InputError
from fomm_lib.evaluation.study import Ballot, Choice, Trial, analyse, ballot_widget, read_choices

VIDEOS = {f"clip {i}": {"model": bytes([i]), "still": bytes([i + 100])} for i in range(20)}


def vote(tmp_path, rater, favourite, videos=VIDEOS, count=None):
    ballot = Ballot(videos, rater, tmp_path / f"{rater}.csv")
    for _ in range(count or len(ballot.trials)):
        ballot.choose("left" if ballot.current.left == favourite else "right")
    return ballot.file


# --- questions ----------------------------------------------------------------------------------------------


def test_questions_are_fair_and_differ_by_rater(tmp_path):
    trials = {rater: Ballot(VIDEOS, rater, tmp_path / rater).trials for rater in ("Kim", "Lee")}
    for asked in trials.values():
        assert sorted(trial.item for trial in asked) == sorted(VIDEOS)
        assert sum(trial.left == "model" for trial in asked) == 10
        assert {trial.left for trial in asked[:10]} == {"model", "still"}  # not first all of one
    assert trials["Kim"] != trials["Lee"]
    assert Ballot(VIDEOS, "Kim", tmp_path / "other").trials == trials["Kim"]
    assert Ballot(VIDEOS, "Kim", tmp_path / "other", seed=1).trials != trials["Kim"]


def test_three_methods_make_three_pairs(tmp_path):
    videos = {"one": {"a": b"a", "b": b"b", "c": b"c"}}
    asked = Ballot(videos, "Kim", tmp_path / "kim.csv").trials
    assert {frozenset((t.left, t.right)) for t in asked} == {frozenset(p) for p in ("ab", "ac", "bc")}


def test_answers_are_kept_and_one_can_go_on(tmp_path):
    file = vote(tmp_path, "Kim", "model", count=5)
    ballot = Ballot(VIDEOS, "Kim", file)
    assert len(ballot.choices) == 5 and len(ballot.trials) == 15
    vote(tmp_path, "Kim", "model")
    choices = read_choices([file])
    assert (
        len(choices) == 20
        and {c.chosen for c in choices} == {"model"}
        and {c.rejected for c in choices} == {"still"}
    )
    done = Ballot(VIDEOS, "Kim", file)
    assert done.current is None
    with pytest.raises(InputError, match="all questions are answered"):
        done.choose("left")


def test_the_widget_asks_and_notes(tmp_path):
    ballot = Ballot(dict(list(VIDEOS.items())[:2]), "Kim", tmp_path / "kim.csv")
    first = ballot.current
    widget = ballot_widget(ballot)
    said, row = widget.children
    (left, left_button), (_, right_button) = (column.children for column in row.children)
    assert said.value.startswith("Question 1 of 2") and left.value == VIDEOS[first.item][first.left]
    assert "model" not in said.value and "still" not in said.value
    right_button.click()
    assert ballot.choices[0].chosen == first.right and said.value.startswith("Question 2 of 2")
    left_button.click()
    assert said.value.startswith("All 2 questions answered") and left_button.disabled
    assert len(read_choices([ballot.file])) == 2


# --- analysis -----------------------------------------------------------------------------------------------


def test_several_raters(tmp_path):
    files = [vote(tmp_path, "Kim", "model"), vote(tmp_path, "Lee", "model"), vote(tmp_path, "Mo", "still")]
    result = analyse(read_choices(files))
    (found,) = result.preferences
    assert (found.first, found.second, found.wins, found.asked) == ("model", "still", 40, 60)
    assert dict(found.by_rater) == {"Kim": (20, 20), "Lee": (20, 20), "Mo": (0, 20)}
    assert result.left == 30 and result.agreement == pytest.approx(1 / 3)
    n, share, z = 60, 40 / 60, scipy.stats.norm.ppf(0.975)
    middle, half = share + z * z / (2 * n), z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    assert (found.low, found.high) == pytest.approx(
        tuple((middle + s * half) / (1 + z * z / n) for s in (-1, 1))
    )
    assert found.p == pytest.approx(2 * scipy.stats.binom.sf(39, 60, 0.5))
    assert "| model over still | 40 of 60 | 0.67 (0.54 to 0.77) |" in result.markdown()


def test_guessing_is_seen_as_guessing():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        guesses = [Choice("Kim", Trial(str(i), "a", "b"), "ab"[rng.integers(2)], 1.0) for i in range(50)]
        (found,) = analyse(guesses).preferences
        held += found.low <= 0.5
    assert held / 200 > 0.9
    assert np.isnan(analyse(guesses).agreement)  # of one rater


def test_a_habit_is_seen():
    always_left = [
        Choice("Kim", Trial(str(i), *("ab" if i % 2 else "ba")), "b" if i % 2 == 0 else "a", 1.0)
        for i in range(10)
    ]
    result = analyse(always_left)
    assert result.left == 10 and result.preferences[0].wins == 5


# --- bad input ----------------------------------------------------------------------------------------------


def test_ballots_that_cannot_be(tmp_path):
    with pytest.raises(InputError, match="a comparison needs two"):
        Ballot({"one": {"a": b""}}, "Kim", tmp_path / "x.csv")
    with pytest.raises(InputError, match="the rater needs a name"):
        Ballot(VIDEOS, " ", tmp_path / "x.csv")
    with pytest.raises(InputError, match="choose 'left' or 'right'"):
        Ballot(VIDEOS, "Kim", tmp_path / "x.csv").choose("both")
    assert list(tmp_path.iterdir()) == []
    file = vote(tmp_path, "Kim", "model", count=1)
    with pytest.raises(InputError, match="holds answers of Kim; give another file"):
        Ballot(VIDEOS, "Lee", file)


HEAD = "rater,item,left,right,choice,seconds\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a,b\n1,2\n", "x.csv: is no answer of a study"),
        (HEAD + "Kim,one,a,b,c,1\n", "line 2: 'c' was not among the two shown"),
        (HEAD + "Kim,one,a,b,a,soon\n", "line 2: is no answer of a study .seconds is 'soon', not a number"),
        (HEAD + "Kim,one,a,b,a,1\nKim,one,b,a,a,1\n", "line 3: Kim answered one before"),
    ],
)
def test_files_that_are_none(tmp_path, content, words):
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(InputError, match=words):
        read_choices([tmp_path / "x.csv"])


def test_nothing_to_analyse(tmp_path):
    with pytest.raises(InputError, match="no answers"):
        analyse([])
    with pytest.raises(InputError, match="cannot be read"):
        read_choices([tmp_path / "none.csv"])
