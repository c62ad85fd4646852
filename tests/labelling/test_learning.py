"""What is learnt, how sure that is, and what is asked next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from videomae_cli.errors import OptionError, OutputError
from videomae_cli.labelling import labelling_session
from videomae_cli.labelling.answers import AnswerTable, Clip
from videomae_cli.labelling.labelling_session import OPEN, Session
from videomae_cli.labelling.learner import FeatureScale, Head, balance, estimate, fit, kappa, wilson
from videomae_cli.labelling.questions import Questions, directions

RNG = np.random.default_rng(0)
CENTRES = RNG.standard_normal((4, 24))


def cluster(count: int, kind: int) -> np.ndarray:
    return (CENTRES[kind] * 2 + RNG.standard_normal((count, 24))).astype(np.float32)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with AnswerTable(tmp_path / "labels.csv") as answers, AnswerTable(tmp_path / "labels.unsure.csv") as unsure:
        made = Session(answers, unsure, classes=["a", "b", "c", "d"])
        features = np.concatenate([cluster(20, kind) for kind in range(4)])
        made.add([Clip(f"{'abcd'[number // 20]}{number}.mp4") for number in range(80)], features)
        yield made
        made.close()


def truth(session: Session, number: int) -> str:
    return session.clips[number].path[0]


def test_the_fit_is_the_optimum(tmp_path: Path) -> None:
    features = np.concatenate([cluster(30, 0), cluster(10, 1), cluster(20, 2)])
    classes = np.repeat([0, 1, 2], [30, 10, 20])
    head = fit(features, classes, 3, iterations=2000)
    weights = balance(classes, 3)
    # sum(w * loss) + 0.5 / n * |W|^2: theirs is C * sum(loss) + 0.5 * |W|^2
    reference = LogisticRegression(C=1.0, tol=1e-8, max_iter=5000).fit(features, classes, weights * len(classes))
    assert head.probabilities(features) == pytest.approx(reference.predict_proba(features), abs=2e-3)


def test_weights_for_raw_features_say_the_same() -> None:
    features = np.concatenate([cluster(30, 0) * 50 + 7, cluster(30, 1) * 50 + 7])
    scale, classes = FeatureScale.of(features), np.repeat([0, 1], 30)
    head = fit(scale(features), classes, 2)
    weight, bias = head.raw(scale)
    assert Head(weight, bias).probabilities(features) == pytest.approx(head.probabilities(scale(features)), abs=1e-3)


def test_a_warm_start_ends_where_a_cold_one_does() -> None:
    features, classes = np.concatenate([cluster(30, 0), cluster(30, 3)]), np.repeat([0, 1], 30)
    before = fit(features[1:], classes[1:], 2)
    warm, cold = (fit(features, classes, 2, start=start, iterations=500) for start in (before, None))
    assert warm.probabilities(features) == pytest.approx(cold.probabilities(features), abs=3e-3)


def test_the_estimate_holds_on_clips_that_were_never_seen() -> None:
    noise = [3 * RNG.standard_normal((n, 24)).astype(np.float32) for n in (120, 4000)]
    features, fresh = (
        np.concatenate([cluster(n // 2, 0), cluster(n // 2, 1)]) + noise[place] for place, n in enumerate((120, 4000))
    )
    classes, fresh_classes = np.repeat([0, 1], 60), np.repeat([0, 1], 2000)
    found = estimate(features, classes, 2)
    right = (fit(features, classes, 2).probabilities(fresh).argmax(axis=1) == fresh_classes).mean()
    assert found is not None
    assert found.low - 0.03 <= right <= found.high + 0.03
    assert found.low < found.accuracy < found.high
    assert estimate(features[:9], classes[:9], 2) is None
    assert estimate(features[:60], classes[:60], 2) is None


def test_intervals_and_agreement() -> None:
    assert wilson(8, 10) == pytest.approx((0.490, 0.943), abs=1e-3)  # Newcombe 1998
    assert wilson(10, 10)[1] == pytest.approx(1.0)
    assert kappa(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])) == 1.0
    assert kappa(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])) == 0.0


def test_the_first_questions_are_of_all_kinds(session: Session) -> None:
    asked = []
    for _ in range(4):
        number = session.question()
        assert number is not None
        asked.append(truth(session, number))
        session.answer([number], asked[-1])
    assert sorted(asked) == ["a", "b", "c", "d"]
    right = [said is not None and said[0] == truth(session, n) for n, said in enumerate(session.predictions(range(80)))]
    assert np.mean(right) > 0.9


def test_a_question_is_where_the_model_is_torn() -> None:
    features = np.concatenate([cluster(40, 0), cluster(40, 1)])
    questions = Questions()
    questions.draw(features, FeatureScale.of(features), np.ones(80, bool))
    margins = np.ones(80, np.float32)
    margins[50:60] = 0.1
    for answered in ([], [0], [0, 1], []):
        questions.cover(answered, lambda places: directions(features[list(places)], FeatureScale.of(features)))
        chosen = questions.next(margins, np.ones(80, bool))
        assert chosen is not None
        assert chosen >= 40  # among those most like the uncertain ones


def test_two_pages_are_asked_different_questions(session: Session) -> None:
    one, other = session.question("one"), session.question("other")
    assert one != other
    assert session.question("one") == one


def test_an_answer_of_another_page_stays(session: Session) -> None:
    session.answer([5], "a", seen={5: OPEN})
    assert session.answer([5, 6], "b", seen={5: OPEN, 6: OPEN}) == [5]
    assert (session.label_of(5), session.label_of(6)) == ("a", "b")
    assert session.answer([5], "c", seen={5: session.state_of(5)}) == []  # who saw it may change it
    assert session.label_of(5) == "c"


def test_undo_goes_back_step_by_step(session: Session) -> None:
    session.answer([1, 2, 3], "a")
    session.answer([2], "b")
    session.answer([3], None)
    session.withdraw([1])
    assert [session.label_of(n) for n in (1, 2, 3)] == [None, "b", None]
    assert session.members(None) == [3]
    assert [session.undo() for _ in range(3)] == [[1], [3], [2]]
    assert [session.label_of(n) for n in (1, 2, 3)] == ["a", "a", "a"]
    assert session.members(None) == []
    session.undo()
    assert session.undo() == []
    assert session.answers.answers == []


def test_undo_goes_on_with_answers_of_earlier_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(f"2026-11-30T04:05:06.{number:03}Z" for number in range(100))
    monkeypatch.setattr(labelling_session, "now", lambda: next(times))
    clips = [Clip(f"{number}.mp4") for number in range(8)]

    @contextmanager
    def run(*left_out: int) -> Iterator[Session]:
        with AnswerTable(tmp_path / "l.csv") as answers, AnswerTable(tmp_path / "u.csv") as unsure:
            session = Session(answers, unsure, classes=["a", "b"])
            given = [clip for number, clip in enumerate(clips) if number not in left_out]
            session.add(given, cluster(len(given), 0), labels={0: "a"})
            yield session
            session.close()

    with run() as session:
        session.answer([1, 2], "a")
        session.answer([3], None)
        session.answer([4], "b")
        session.withdraw([1])
        session.undo()  # puts the answer back with its own time
    with run() as session:
        session.answer([5], "b")
        assert [session.undo() for _ in range(3)] == [[5], [4], [3]]
    with run(2) as session:  # a file that isn't given this time keeps its answer
        assert [session.undo() for _ in range(2)] == [[1], []]
        assert {Path(answer.clip.path).name: answer.label for answer in session.answers.answers} == {
            "0.mp4": "a",
            "2.mp4": "a",
        }
        assert session.unsure.answers == []


def test_skipped_and_unsure_clips_come_last_or_not_at_all(session: Session) -> None:
    number = session.question()
    assert number is not None
    session.skip(number)
    assert session.question() != number
    session.answer([n for n in range(80) if n != number and n != 7], "a")
    session.answer([7], None)
    assert session.question() == number
    session.answer([number], "b")
    assert session.question() is None


def test_neighbours_are_alike_and_unanswered(session: Session) -> None:
    session.answer([1], "a")
    near = session.nearest(0, 15)
    assert 0 not in near
    assert 1 not in near
    assert np.mean([truth(session, number) == "a" for number in near]) > 0.9


def test_a_wrong_answer_stands_first_in_its_class(session: Session) -> None:
    session.answer([*range(0, 9), 70], "a")
    session.answer([*range(20, 29)], "b")
    session.answer([*range(60, 69)], "d")
    assert session.members("a")[0] == 70


def test_answers_that_were_not_kept_change_nothing(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> None:
        raise OutputError("full")

    session.answer([0], "a")
    monkeypatch.setattr(session.answers, "_append", full)
    monkeypatch.setattr(session.answers, "_write", full)
    for change in (lambda: session.answer([1], "a"), lambda: session.answer([0], "b"), session.undo):
        with pytest.raises(OutputError):
            change()
    assert (session.count, session.label_of(0), session.label_of(1)) == (1, "a", None)
    with pytest.raises(OptionError, match="there is no clip 99"):
        session.answer([99], "a")


def test_answers_are_there_when_clips_come_again(tmp_path: Path) -> None:
    clips = [Clip("film.mp4", start, start + 4.0) for start in (0.0, 4.0, 8.0)]
    for _ in range(2):
        with AnswerTable(tmp_path / "l.csv") as answers, AnswerTable(tmp_path / "u.csv") as unsure:
            session = Session(answers, unsure)
            session.add(clips, cluster(3, 0), labels={1: "late"})
            if session.label_of(0) is None:
                session.answer([0], "new class")
                session.answer([2], None)
            assert [session.label_of(n) for n in range(3)] == ["new class", "late", None]
            assert (session.count, session.unsure_count, set(session.classes)) == (2, 1, {"new class", "late"})
            session.close()


def test_more_answers_change_little_in_the_end(session: Session) -> None:
    assert not session.settled
    while (number := session.question()) is not None and session.count < 60:
        session.answer([number], truth(session, number))
    session.question()
    assert session.settled
