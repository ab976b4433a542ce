"""The tasks on numbers as lm-eval builds and scores them."""

from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks import TaskManager

from pdapt.eval.clinical.numbers.number_questions import number_questions
from pdapt.eval.clinical.numbers.number_tasks import MEASURES, NUMBER_TASKS, NumberTask
from pdapt.eval.harness.answer_notes import UNPARSEABLE
from pdapt.eval.tasks.fetch import fetch_tasks


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("numbers") / "data"
    fetch_tasks(folder, tasks=NUMBER_TASKS)
    return folder


@pytest.mark.parametrize("task", NUMBER_TASKS, ids=lambda task: task.name)
def test_a_quantity_is_asked_for_after_worked_examples(
    task: NumberTask, data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From the packaged file, in the folder that `fetch` makes; and an answer is scored as its filter took it."""
    monkeypatch.chdir(data)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    manager = TaskManager(include_path=str(task.task_file.parent), include_defaults=False)
    made = manager.load([task.name])["tasks"][task.name]
    made.build_all_requests(limit=2)
    examples = number_questions(*task.asked, "dev", task.shots)
    asked = number_questions(*task.asked, "test", 2)
    shown = [f"Texte : {e.text}\nQuestion : {e.question}\nRéponse : {e.answer}\n\n" for e in examples]
    question = f"Texte : {asked[1].text}\nQuestion : {asked[1].question}\nRéponse :"
    context, options = made.instances[1].arguments
    assert context.endswith("".join(shown) + question)
    assert options["until"] == ["\n"]
    assert options["max_gen_toks"] == task.answer_tokens
    assert made.instances[1].request_type == task.kind
    for answer, taken in ((f" {asked[1].answer}", asked[1].answer), (" je ne sais pas, B12", UNPARSEABLE)):
        for instance in made.instances:
            instance.resps = [answer]
        made.apply_filters()
        assert made.instances[1].filtered_resps[task.filter] == taken
        scores: Any = made.process_results(made.instances[1].doc, [taken])
        assert set(scores) == {task.metric, *MEASURES}
        aggregations: Any = made.aggregation()
        assert set(scores) == set(aggregations)
        assert scores["absent"] == float(taken == UNPARSEABLE)
        assert scores[task.metric] == scores["exact"] == float(taken != UNPARSEABLE)
