"""Any number of models side by side: ranks over a group's tasks, and scores on the medical tasks."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from ..benchmark.read_results import Answers, Problem, Runs, difference_in_questions
from ..models import Role
from ..statistics.multiple_testing import disjoint
from ..tasks.suite import SUITE, TASKS
from ..tasks.task_suite import union
from .benchmark_tables import EMPTY_ENTRY, average_entry
from .table_formats import Entry, Mark, Row, Table, number_entry, score_entry
from .texts import Words

TOPICS_OF_TABLES = (
    ("anatomy", "clinical_knowledge"),
    ("college_biology", "college_medicine"),
    ("medical_genetics", "professional_medicine"),
    ("health",),
)
"""Topics of Tables 8 to 11."""


def comparable_models(runs: Sequence[Runs], task: str) -> tuple[dict[str, Answers], list[Problem]]:
    """Every model's answers to a task if they are to the first model's prompts, and the other models' problems."""
    comparable: dict[str, Answers] = {}
    problems = []
    for of_folder in runs:
        for member in of_folder.members:
            answers = of_folder.answers.get((member.name, task))
            if answers is None:
                continue
            label = member.name if member.role == Role.OTHER or len(runs) == 1 else f"{of_folder.name}/{member.name}"
            first = next(iter(comparable.values()), answers)
            difference = difference_in_questions(first, answers)
            if difference is None:
                comparable[label] = answers
            else:
                problems.append(Problem(label, task, *difference))
    return comparable, problems


def ranked_tasks(group: str, runs: Sequence[Runs]) -> list[str]:
    """A group's tasks that some model answered."""
    tasks = union(of_folder.suite for of_folder in runs).of_group(group)
    return [task.name for task in tasks if comparable_models(runs, task.name)[0]]


def ranking_table(group: str, runs: Sequence[Runs], w: Words) -> Table | None:
    """Table 7: mean rank, over a group's tasks, of the models that did all of them; None of fewer than two."""
    tasks = ranked_tasks(group, runs)
    by_task = {task: comparable_models(runs, task)[0] for task in tasks}
    models = [
        name for name in dict.fromkeys(n for t in tasks for n in by_task[t]) if all(name in by_task[t] for t in tasks)
    ]
    if len(models) < 2:
        return None
    scores = np.array([[by_task[task][model].score for model in models] for task in tasks])
    ranks = stats.rankdata(-scores, method="average", axis=1)
    tied = (stats.rankdata(-scores, method="max", axis=1) > stats.rankdata(-scores, method="min", axis=1)).sum(axis=0)
    order = np.argsort(ranks.mean(axis=0), kind="stable")
    rows = [
        Row(
            models[i],
            [
                number_entry(float(ranks[:, i].mean()), w.language, ".2f"),
                average_entry([by_task[task][models[i]] for task in tasks], w),
                number_entry(int(tied[i]), w.language, "d"),
            ],
        )
        for i in order
    ]
    caption = w("ranking_caption", group=w.group(group), models=len(models), tasks=len(tasks))
    return Table(f"ranking-{group}", caption, [w(key) for key in ("model", "mean_rank", "average", "ties")], rows)


def all_models_tables(runs: Sequence[Runs], w: Words) -> list[Table]:
    """Tables 8 to 11: every model on the medical tasks, English beside French."""
    names = {(task.group, task.subject): task.name for task in SUITE}
    tables = []
    for number, topics in enumerate(TOPICS_OF_TABLES, start=8):
        columns = [(topic, language) for topic in topics for language in ("EN", "FR")]
        by_column = [comparable_models(runs, names[f"{language}-MEDICAL", topic])[0] for topic, language in columns]
        models = dict.fromkeys(name for of_column in by_column for name in of_column)
        rows = [
            Row(
                model,
                [
                    _entry(model, answers, language, w)
                    for (_, language), answers in zip(columns, by_column, strict=True)
                ],
            )
            for model in models
        ]
        heads = [f"{TASKS[names['EN-MEDICAL', topic]].abbreviation} {language}" for topic, language in columns]
        if rows:
            caption = all_models_caption({h: _questions(of) for h, of in zip(heads, by_column, strict=True)}, w)
            tables.append(Table(f"models-{number}", caption, [w("model"), *heads], rows))
    return tables


def all_models_caption(questions: Mapping[str, int], w: Words) -> str:
    """Caption of one of Tables 8 to 11, which its columns tell from the others; their numbers of questions."""
    return w("all_models_caption", columns=", ".join(f"{head} ({count})" for head, count in questions.items()))


def _questions(answers: dict[str, Answers]) -> int:
    """Number of questions that all these models answered; 0 without a model."""
    return next((len(each.keys) for each in answers.values()), 0)


def _entry(model: str, answers: dict[str, Answers], language: str, w: Words) -> Entry:
    """A model's score, in French marked by how it compares with the best one."""
    if model not in answers:
        return EMPTY_ENTRY
    own, best = answers[model], max(answers.values(), key=lambda of_model: of_model.score)
    mark, mark_words = Mark.NONE, ""
    if language == "FR" and own.score == best.score:
        mark, mark_words = Mark.BETTER, w("told_best")
    elif language == "FR" and not disjoint(own.score, own.stderr, best.score, best.stderr):
        mark, mark_words = Mark.NEAR, w("told_near")
    return score_entry(
        100 * own.score, 100 * own.stderr, w.language, mark=mark, mark_words=mark_words, strong=bool(mark)
    )
