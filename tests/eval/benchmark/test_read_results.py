"""Runs as they are read: what is wrong with one is named, and it is compared with nothing."""

import json
from pathlib import Path

import pytest

from pdapt.core.errors import UserError
from pdapt.eval.benchmark.read_results import SAMPLES_FILE, difference_in_questions, read_runs
from pdapt.eval.models import Role

MMLU, PROX = "mmlu_anatomy", "mmlu_prox_fr_health"


def _even(task: str, question: int) -> bool:
    return question % 2 == 0


@pytest.fixture
def runs(benchmark) -> Path:
    benchmark.tasks = [MMLU, PROX]
    benchmark.add("base", "base", _even)
    benchmark.add("cpt-20", "checkpoint", lambda _, question: question % 4 > 0, step=20)
    return benchmark.folder


def _change(path: Path, number: int, **values: object) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[number] |= values
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_answers_are_read_with_their_score_shots_and_margin(runs):
    found = read_runs(runs)
    answers = found.answers["base", MMLU]
    assert not found.problems
    assert (answers.score, len(answers.right), answers.protocol.shots) == (0.5, 40, 3)
    assert answers.margin is not None
    assert answers.margin[:2] == pytest.approx([0.5, -1.5])
    assert found.answers["base", PROX].margin is None
    assert found.answers["cpt-20", PROX].score == 0.75
    assert [member.step for member in found.with_role(Role.CHECKPOINT)] == [20]


def test_standard_error_is_lm_eval_s(runs):
    from lm_eval.api.metrics import mean_stderr

    answers = read_runs(runs).answers["cpt-20", PROX]
    assert answers.stderr == pytest.approx(mean_stderr(answers.right.tolist()))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / SAMPLES_FILE).unlink(), "missing"),
        (lambda folder: (folder / "results.json").write_text("{"), "unreadable"),
        (lambda folder: (folder / SAMPLES_FILE).write_text('{"doc_id": 1}\n'), "unreadable"),
        (lambda folder: _change(folder / SAMPLES_FILE, 3, doc_id=4), "duplicated"),
        (lambda folder: _change(folder / SAMPLES_FILE, 3, acc=float("nan")), "not_a_number"),
        (lambda folder: _change(folder / SAMPLES_FILE, 3, acc=0.5), "graded"),
        (lambda folder: _change(folder / SAMPLES_FILE, 3, filtered_resps=[["nan", "False"]] * 4), "not_a_number"),
        (lambda folder: _change(folder / SAMPLES_FILE, 3, target="9"), "unreadable"),
        (lambda folder: _change(folder / SAMPLES_FILE, 3, acc=1.0), "disagrees"),
        (lambda folder: (folder / "settings.json").write_text("[1]"), "unreadable"),
        (lambda folder: (folder / "settings.json").write_text('{"batch_size": 1, "warnings": []}'), "unreadable"),
        (lambda folder: (folder / "settings.json").write_text('{"warnings": ' + "[" * 9000), "unreadable"),
        (lambda folder: (folder / "answers.jsonl").write_text("[1]\n" * 40), "unreadable"),
        (
            lambda f: (f / SAMPLES_FILE).write_text("".join((f / SAMPLES_FILE).read_text().splitlines(True)[:9])),
            "partial",
        ),
    ],
)
def test_what_is_wrong_is_named_and_left_out(runs, spoil, reason):
    spoil(runs / "base" / MMLU)
    found = read_runs(runs)
    assert ("base", MMLU) not in found.answers
    assert [(p.model, p.task, p.reason) for p in found.problems] == [("base", MMLU, reason)]
    assert ("base", PROX) in found.answers


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"prompt": "another"}, "other_prompts"),
        ({"shots": 0}, "other_shots"),
        ({"version": 2.0}, "other_version"),
    ],
)
def test_runs_that_asked_otherwise_are_not_compared(benchmark, runs, options, reason):
    benchmark.write("cpt-20", MMLU, _even, **options)
    found = read_runs(runs)
    why = difference_in_questions(found.answers["base", MMLU], found.answers["cpt-20", MMLU])
    assert why is not None
    assert why[0] == reason
    assert difference_in_questions(found.answers["base", PROX], found.answers["cpt-20", PROX]) is None


def test_other_questions_and_versions_of_lm_eval_are_not_compared(runs):
    _change(runs / "cpt-20" / MMLU / SAMPLES_FILE, 3, doc_hash="another")
    results = json.loads((runs / "cpt-20" / PROX / "results.json").read_text()) | {"lm_eval_version": "0.4.9"}
    (runs / "cpt-20" / PROX / "results.json").write_text(json.dumps(results))
    found = read_runs(runs)
    reasons = [
        difference_in_questions(found.answers["base", task], found.answers["cpt-20", task]) for task in (MMLU, PROX)
    ]
    assert [why and why[0] for why in reasons] == ["other_questions", "other_lm_eval"]


def test_a_folder_without_a_plan_or_answers_is_refused(runs, tmp_path):
    with pytest.raises(UserError, match=r"runs\.json is missing"):
        read_runs(tmp_path)
    (tmp_path / "runs.json").write_text("{}")
    with pytest.raises(UserError, match="not a plan of runs"):
        read_runs(tmp_path)
    for path in runs.rglob(SAMPLES_FILE):
        path.unlink()
    with pytest.raises(UserError, match="no task of any model can be used"):
        read_runs(runs)
