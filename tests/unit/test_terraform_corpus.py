"""Recall and precision on the seeded corpus, and that the score would see a miss and a false alarm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.terraform import corpus, parse
from ccobs_ops.core.terraform import classify
from ccobs_ops.core.terraform.change import DriftClass
from ccobs_ops.core.terraform.document import read_plan


@pytest.mark.parametrize("seed", range(1, 1 + 2 * int(os.environ.get("CCOBS_SWEEP", "1"))))
def test_everything_seeded_is_found_and_no_noise_is_reported(seed: int) -> None:
    score = corpus.score(seed)
    assert (score.missed, score.wrong, score.impacts_missed, score.impacts_wrong) == ((), (), (), ())
    assert (score.recall, score.precision, score.impact_recall, score.impact_precision) == (
        1.0,
        1.0,
        1.0,
        1.0,
    )
    assert score.seeded >= 200
    assert score.noise >= 200
    assert set(score.by_class) == {each.value for each in DriftClass}


def test_the_score_sees_what_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classify, "_moved", lambda refresh, plan: ())
    score = corpus.score(1)
    assert score.recall < 1
    assert all(each.startswith("moved") for each in score.missed)


def test_the_score_sees_a_false_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classify, "_puts_back", lambda difference, entry, planned: True)
    score = corpus.score(1)
    assert score.precision < 1
    assert any("quiet" in each for each in score.wrong)


def test_the_large_plan_is_read_as_a_stream_and_its_drift_found(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    drifted = parse.write(path, 400, 0.1)
    plan = read_plan(path)
    assert (plan.managed, len(plan.drift), plan.changes) == (400, drifted, ())
    assert {each.path for entry in plan.drift for each in entry.differences} == {"size"}
    assert "secret-" not in repr(plan)
