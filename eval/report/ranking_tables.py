"""Any number of models side by side: ranks over a group's tasks, and scores on the medical tasks."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from ..benchmark.cells import Answers, Problem, Runs, differs
from ..statistics.estimates import disjoint
from ..tasks.suite import SUITE, TASKS
from .benchmark_tables import NONE, Words, average_entry
from .tabulate import Entry, Row, Table, plain, scored

PAIRS = (
    ("anatomy", "clinical_knowledge"),
    ("college_biology", "college_medicine"),
    ("medical_genetics", "professional_medicine"),
    ("health",),
)
"""Topics of Tables 8 to 11."""


def comparable_models(runs: Sequence[Runs], task: str) -> tuple[dict[str, Answers], list[Problem]]:
    """Every model's answers to a task, if they are to the same prompts as the first one's."""
    found: dict[str, Answers] = {}
    problems = []
    for its in runs:
        for member in its.members:
            answers = its.answers.get((member.name, task))
            if answers is None:
                continue
            label = member.name if member.role == "other" or len(runs) == 1 else f"{its.name}/{member.name}"
            why = differs(next(iter(found.values())), answers) if found else None
            if why is None:
                found[label] = answers
            else:
                problems.append(Problem(label, task, *why))
    return found, problems


def ranking_table(group: str, runs: Sequence[Runs], w: Words) -> Table | None:
    """Table 7: mean rank over a group's tasks of the models that have them all; None where none has."""
    tasks = [task.name for task in SUITE if task.group == group]
    by_task = {task: comparable_models(runs, task)[0] for task in tasks}
    tasks = [task for task in tasks if by_task[task]]
    models = [
        name for name in dict.fromkeys(n for t in tasks for n in by_task[t]) if all(name in by_task[t] for t in tasks)
    ]
    if not models:
        return None
    scores = np.array([[by_task[task][model].score for model in models] for task in tasks])
    ranks = stats.rankdata(-scores, method="average", axis=1)
    tied = (stats.rankdata(-scores, method="max", axis=1) > stats.rankdata(-scores, method="min", axis=1)).sum(axis=0)
    order = np.argsort(ranks.mean(axis=0), kind="stable")
    rows = [
        Row(
            models[i],
            [
                plain(float(ranks[:, i].mean()), w.language, ".2f"),
                average_entry([by_task[task][models[i]] for task in tasks], w),
                plain(int(tied[i]), w.language, "d"),
            ],
        )
        for i in order
    ]
    caption = w("ranking_caption", group=w(group), models=len(models), tasks=len(tasks))
    return Table(f"ranking-{group}", caption, [w(key) for key in ("model", "mean_rank", "average", "ties")], rows)


def all_models_tables(runs: Sequence[Runs], w: Words) -> list[Table]:
    """Tables 8 to 11: every model on the medical tasks, English beside French."""
    names = {(task.group, task.subject): task.name for task in SUITE}
    tables = []
    for number_, topics in enumerate(PAIRS, start=8):
        columns = [(topic, language) for topic in topics for language in ("EN", "FR")]
        by_column = [comparable_models(runs, names[f"{language}-MEDICAL", topic])[0] for topic, language in columns]
        models = dict.fromkeys(name for found in by_column for name in found)
        rows = [
            Row(model, [_standing(model, f, language, w) for (_, language), f in zip(columns, by_column, strict=True)])
            for model in models
        ]
        heads = [f"{TASKS[names['EN-MEDICAL', topic]].abbreviation} {language}" for topic, language in columns]
        if rows:
            tables.append(Table(f"models-{number_}", w("all_models_caption"), [w("model"), *heads], rows))
    return tables


def _standing(model: str, found: dict[str, Answers], language: str, w: Words) -> Entry:
    """A score, and in French how it stands to the best one."""
    if model not in found:
        return NONE
    its, best = found[model], max(found.values(), key=lambda answers: answers.score)
    mark = ""
    if language == "FR":
        apart = disjoint(its.score, its.stderr, best.score, best.stderr)
        mark = "better" if its.score == best.score else "" if apart else "near"
    told = {"better": w("told_best"), "near": w("told_near"), "": ""}[mark]
    return scored(100 * its.score, 100 * its.stderr, w.language, mark=(mark, told), strong=bool(mark))
