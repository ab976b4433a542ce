"""Changes by task and group against direct computations, and against lm-eval's and statsmodels' own numbers."""

import json
from dataclasses import replace

import numpy as np
import pytest
from statsmodels.stats import contingency_tables

from pdapt.core.errors import UserError
from pdapt.eval.benchmark.read_results import first_half, read_runs
from pdapt.eval.statistics.choose_checkpoint import _choose_by_count, _TaskChange, follow_checkpoints
from pdapt.eval.statistics.compare import Family, compare
from pdapt.eval.statistics.contamination import read_contaminated
from pdapt.eval.tasks.suite import TASKS

MMLU, PROX = "mmlu_med_fr_anatomy", "mmlu_prox_fr_health"


def _base(task: str, question: int) -> bool:
    return question % 2 == 0


def _adapted(task: str, question: int) -> bool:
    """Gains ten of the 40 questions and loses the four multiples of ten."""
    if question % 2:
        return question % 4 == 1
    return question % 10 > 0


@pytest.fixture
def family(benchmark):
    benchmark.tasks = [MMLU, PROX]
    benchmark.add("base", "base", _base)
    benchmark.add("cpt-20", "checkpoint", _adapted, step=20, invalid=lambda _, question: question % 10 == 0)
    return read_runs(benchmark.folder)


def test_a_cell_is_what_its_answers_say(family):
    (cell, _) = compare([Family(family, "cpt-20")]).cells
    before, after = (family.answers[name, MMLU].right for name in ("base", "cpt-20"))
    assert cell.change.value == pytest.approx(after.mean() - before.mean())
    table = np.histogram2d(before, after, bins=2)[0]
    reference = contingency_tables.mcnemar(table, exact=True)
    assert cell.p == pytest.approx(reference.pvalue)  # type: ignore[attr-defined]
    assert cell.change.low < cell.change.value < cell.change.high
    assert cell.p <= cell.p_bh <= cell.p_holm <= 1


def test_a_group_average_is_lm_eval_s(family):
    from lm_eval.api.metrics import aggregate_subtask_metrics, mean_stderr, pooled_sample_stderr

    (group,) = compare([Family(family, "cpt-20")]).groups
    answers = [family.answers["cpt-20", task].right.tolist() for task in (MMLU, PROX)]
    sizes = [len(its) for its in answers]
    assert group.after[0] == pytest.approx(aggregate_subtask_metrics([np.mean(its) for its in answers], sizes))
    assert group.after[1] == pytest.approx(pooled_sample_stderr([mean_stderr(its) for its in answers], sizes))
    assert group.change.value == pytest.approx(group.after[0] - group.before[0])


def test_lost_format_is_told_from_lost_knowledge(family):
    """Four health questions, the multiples of 10, were answered rightly before and cannot be read any more."""
    cells = {cell.pair.base.task: cell for cell in compare([Family(family, "cpt-20")]).cells}
    assert cells[PROX].format == pytest.approx(-4 / 40)
    assert cells[PROX].knowledge + cells[PROX].format == pytest.approx(cells[PROX].change.value)
    assert cells[MMLU].format == 0
    (group,) = compare([Family(family, "cpt-20")]).groups
    assert group.unparseable == (0, 4 / 40)
    assert group.truncated == (0, 4 / 40)
    assert group.knowledge + group.format == pytest.approx(group.change.value)


def test_margin_is_the_mean_change_of_the_gold_answer_s_lead(family):
    (cell, other) = compare([Family(family, "cpt-20")]).cells
    before, after = (family.answers[name, MMLU].margin for name in ("base", "cpt-20"))
    assert cell.margin is not None
    assert cell.margin.value == pytest.approx((after - before).mean())
    assert other.margin is None


def test_contaminated_questions_are_left_out_beside_the_whole(family, tmp_path):
    path = tmp_path / "contaminated.jsonl"
    digest = family.answers["base", PROX].keys[1].split(":")[1]
    path.write_text(f'{{"task": "{MMLU}", "doc_id": 1}}\n{{"task": "{PROX}", "doc_hash": "{digest}"}}\n')
    (group,) = compare([Family(family, "cpt-20")], read_contaminated(path, TASKS)).groups
    assert group.without is not None
    assert group.without.documents == 78
    # Both were gained.
    assert group.without.value == pytest.approx((group.change.value * 80 - 2) / 78)
    assert compare([Family(family, "cpt-20")]).groups[0].without is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "the line does not name a contaminated question"),
        ('{"task": "mmlu_anatomy"}', "doc_hash"),
        ('{"task": "x", "doc_id": 1}', "no task"),
        ('{"task": ["mmlu_anatomy"], "doc_id": 1}', "task is a list"),
    ],
)
def test_a_list_that_names_no_question_is_refused(tmp_path, line, message):
    (tmp_path / "list.jsonl").write_text(line)
    with pytest.raises(UserError, match=message):
        read_contaminated(tmp_path / "list.jsonl", TASKS)


def test_what_cannot_be_compared_is_named(benchmark, family):
    benchmark.write("cpt-20", MMLU, _adapted, prompt="another")
    found = compare([Family(read_runs(benchmark.folder), "cpt-20")])
    assert [cell.pair.base.task for cell in found.cells] == [PROX]
    assert [(p.model, p.task, p.reason, p.values["count"]) for p in found.problems] == [
        ("cpt-20", MMLU, "other_prompts", 40)
    ]


def test_every_number_names_its_samples(family):
    found = compare([Family(family, "cpt-20")]).to_json()
    assert json.loads(json.dumps(found)) == json.loads(json.dumps(found))
    assert found["cells"][0]["samples"]["base"]["sha256"] == family.answers["base", MMLU].digest
    assert found["groups"][0]["tasks"] == [MMLU, PROX]


def test_a_checkpoint_that_is_better_is_found_and_told_on_other_questions(benchmark):
    benchmark.tasks, benchmark.questions = [MMLU, PROX], 400
    benchmark.add("base", "base", _base)
    for step in (10, 20, 30):
        benchmark.add(
            f"cpt-{step}", "checkpoint", lambda _, q, step=step: q % 2 == 0 or q % 50 < step // 10 * 5 % 16, step=step
        )
    found = follow_checkpoints(read_runs(benchmark.folder))
    assert found is not None
    assert (found.ours.model, found.papers.model) == ("cpt-30", "cpt-10"), "a count does not tell how much"
    assert found.ours.unseen > 0.1
    assert [point.step for point in found.points] == [10, 20, 30]
    assert abs(found.ours.optimism) < 0.02


def test_the_paper_s_rule_counts_a_task_that_gains_one_question():
    none, gain, loss = [0, 0], [0, 1], [-1, 0]
    changes = [
        _TaskChange(True, np.array([loss, none, gain]), np.array([True, False])),
        _TaskChange(False, np.array([none, none, gain]), np.array([True, False])),
    ]
    assert _choose_by_count(changes, [np.array([True, True])] * 2) == 2
    assert _choose_by_count(changes, [np.array([True, False])] * 2) == 0, "none gains: the earliest"


def test_without_any_effect_the_paper_s_rule_sees_one(benchmark):
    """Six checkpoints that differ from the base by chance alone: what chooses them on their own questions flatters."""
    benchmark.tasks, benchmark.questions = [MMLU, PROX, "mmlu_prox_fr_law"], 300
    random = np.random.default_rng(0)
    benchmark.add("base", "base", lambda *_: bool(random.random() < 0.5))
    for step in range(1, 7):
        benchmark.add(f"cpt-{step}", "checkpoint", lambda *_: bool(random.random() < 0.5), step=step)
    found = follow_checkpoints(read_runs(benchmark.folder))
    assert found is not None
    assert found.papers.optimism > 0.01
    assert found.ours.optimism > 0.01


def test_what_has_chosen_does_not_tell(family):
    """With a chosen checkpoint the target group is told on the second half, by the answers of that half alone."""
    (whole,), (half,) = (compare([Family(family, "cpt-20", chosen=chosen)]).groups for chosen in (False, True))
    change, count = 0.0, 0
    for task in (MMLU, PROX):
        before, after = (family.answers[name, task] for name in ("base", "cpt-20"))
        others = ~first_half(before.keys)
        change += (after.right - before.right)[others].sum()
        count += int(others.sum())
    assert 0 < count < 80
    assert (half.half, half.change.documents) == (True, count)
    assert half.change.value == pytest.approx(change / count)
    assert half.change.value == pytest.approx(half.after[0] - half.before[0])
    assert (whole.half, whole.change.documents) == (False, 80)


def test_halves_are_halves_and_fixed():
    keys = [f"{number}:hash" for number in range(4000)]
    half = first_half(keys)
    assert 0.47 < half.mean() < 0.53
    assert (first_half(keys[::-1])[::-1] == half).all()


def test_a_task_that_a_checkpoint_lacks_is_left_out_for_all(benchmark):
    benchmark.tasks = [MMLU, PROX]
    for name, role, step in (("base", "base", None), ("cpt-1", "checkpoint", 1), ("cpt-2", "checkpoint", 2)):
        benchmark.add(name, role, _base, step=step)
    (benchmark.folder / "cpt-2" / PROX / "samples.jsonl").unlink()
    found = follow_checkpoints(read_runs(benchmark.folder))
    assert found is not None
    assert [(p.task, p.reason) for p in found.problems] == [(PROX, "not_of_all")]
    alone = replace(read_runs(benchmark.folder), members=[])
    assert follow_checkpoints(alone) is None
