"""Pages on lm-eval's own results: of any tasks, paired where the answers are there, else by scores, and said so."""

import csv
import hashlib
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.metrics import aggregate_subtask_metrics, mean_stderr, pooled_sample_stderr
from test_french_pages import english_in, misprints_in, words_of

from pdapt.core.errors import UserError
from pdapt.eval.benchmark.read_lm_eval import LmEvalFolders, read_lm_eval
from pdapt.eval.report import page
from pdapt.eval.report.benchmark_figures import draw_averages
from pdapt.launch.build_reports import ReportOptions, build_report

TASKS = {"jura_bgb": 60, "jura_stgb": 40, "rechnen": 50}
GENERATED = "rechnen"
DATE = "_2026-01-02T03-04-05.678901"


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the pictures out, for tests of words: a page's take seconds."""
    monkeypatch.setattr(page, "draw_twice", lambda _, folder, *__: dict.fromkeys(("light", "dark"), folder))
    monkeypatch.setattr(page, "data_uris", lambda images: dict.fromkeys(images, "data:"))


def write(
    folder: Path,
    share: dict[str, float],
    *,
    samples: tuple[str, ...] = tuple(TASKS),
    questions: str = "frage",
    date: str = DATE,
    **change: Any,
) -> Path:
    """A model's results as lm-eval writes them: the first part of each task's answers is right."""
    folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"results": {}, "n-samples": {}, "n-shot": {}, "versions": {}, "configs": {}}
    results |= {"higher_is_better": {}, "group_subtasks": {"jura": ["jura_bgb", "jura_stgb"], GENERATED: []}}
    for task, part in share.items():
        metric, its_filter = ("exact_match", "strict-match") if task == GENERATED else ("acc", "none")
        right = [float(n < part * TASKS[task]) for n in range(TASKS[task])]
        mean = sum(right) / len(right)
        results["results"][task] = {"alias": task, f"{metric},{its_filter}": mean}
        results["results"][task][f"{metric}_stderr,{its_filter}"] = mean_stderr(right)
        results["n-samples"][task] = {"original": 500, "effective": len(right)}
        results["n-shot"][task], results["versions"][task] = 3, 1.0
        kind = "generate_until" if task == GENERATED else "multiple_choice"
        results["configs"][task] = {"output_type": kind, "metric_list": [{"metric": metric}]}
        results["higher_is_better"][task] = {metric: True}
        if task in samples:
            rows = [_sample(task, n, score, metric, its_filter, questions) for n, score in enumerate(right)]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / f"samples_{task}{date}.jsonl").write_text(text)
    (folder / f"results{date}.json").write_text(json.dumps(results | change))
    return folder


def _sample(task: str, n: int, score: float, metric: str, its_filter: str, questions: str) -> dict[str, Any]:
    row: dict[str, Any] = {"doc_id": n, "doc_hash": hashlib.sha256(f"{questions}{task}{n}".encode()).hexdigest()}
    row |= {"prompt_hash": f"p{n}", "target_hash": "t", "filter": its_filter, "metrics": [metric], metric: score}
    if task == GENERATED:
        return row | {"target": "7", "filtered_resps": ["7" if score else "[invalid]"]}
    return row | {"target": "1", "filtered_resps": [["-3.0", "False"], [str(-2.0 - 2 * (not score)), "True"]]}


HALF = {"jura_bgb": 0.5, "jura_stgb": 0.5, "rechnen": 0.5}
BETTER = {"jura_bgb": 0.9, "jura_stgb": 0.8, "rechnen": 0.5}


def build(folders: dict[str, Path], out: Path, **options: Any) -> str:
    given = [f"{name}={path}" for name, path in folders.items()]
    build_report(given, out, ReportOptions(**({"test": "holm"} | options)))
    return (out / "index.html").read_text(encoding="utf-8")


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {next(iter(row.values())): row for row in rows}


def test_answers_of_any_tasks_are_paired_and_averaged_as_lm_eval_does(tmp_path: Path) -> None:
    folders = {"base": write(tmp_path / "b/org__model", HALF).parent, "tuned": write(tmp_path / "t", BETTER)}
    text = build(folders, tmp_path / "out", target="jura")
    assert "gains on jura (+36.0 points)" in text
    assert "compared by scores alone" not in text
    groups = rows_of(tmp_path / "out/tables/groups.csv")
    sizes = [TASKS["jura_bgb"], TASKS["jura_stgb"]]
    for column, share in (("before", HALF), ("after", BETTER)):
        scores = [[float(n < share[task] * TASKS[task]) for n in range(TASKS[task])] for task in list(TASKS)[:2]]
        means = [sum(right) / len(right) for right in scores]
        row = groups["jura: base, adapted"]
        assert float(row[column]) == pytest.approx(100 * aggregate_subtask_metrics(means, sizes))
        pooled = pooled_sample_stderr([mean_stderr(right) for right in scores], sizes)
        assert float(row[f"{column} stderr"]) == pytest.approx(100 * pooled)
    tasks = rows_of(tmp_path / "out/tables/tasks.csv")
    assert tasks["rechnen"]["score"] == "exact_match,strict-match"
    numbers = json.loads((tmp_path / "out/numbers.json").read_text())
    assert [(cell["task"], cell["gained"], cell["lost"]) for cell in numbers["cells"]] == [
        ("jura_bgb", 24, 0),
        ("jura_stgb", 12, 0),
        ("rechnen", 0, 0),
    ]


@pytest.mark.slow
def test_what_cannot_be_paired_is_compared_by_scores_and_said_so(tmp_path: Path) -> None:
    """One task without samples makes its whole group so; the interval is that of two independent means."""
    folders = {"base": write(tmp_path / "b", HALF), "tuned": write(tmp_path / "t", BETTER, samples=("jura_bgb",))}
    folders["merged"] = write(tmp_path / "m", BETTER, questions="andere")
    text = build(folders, tmp_path / "out", target="jura")
    assert "5 tasks are compared by scores alone" in text
    of_tasks = rows_of(tmp_path / "out/tables/unpaired-tasks.csv")
    assert of_tasks["jura_stgb: base, adapted"]["Why"] == "one of the two has no answers that are each right or wrong"
    assert of_tasks["jura_bgb: base, merged"]["Why"] == "other questions, by their hashes"
    numbers = json.loads((tmp_path / "out/numbers.json").read_text())
    (group,) = [g for g in numbers["unpaired"] if (g["model"], g["group"]) == ("tuned", "jura")]
    error = (group["before"][1] ** 2 + group["after"][1] ** 2) ** 0.5
    assert group["change"] == pytest.approx(0.36)
    assert group["interval"] == pytest.approx([0.36 - 1.959964 * error, 0.36 + 1.959964 * error])
    assert [cell["task"] for cell in numbers["cells"]] == ["jura_bgb"], "what can be paired is"
    assert numbers["groups"] == []
    build(folders, tmp_path / "fr", target="jura", language="fr")
    words = words_of(tmp_path / "fr/index.html")
    assert "Comparé par les seuls scores" in words
    assert (english_in(words), misprints_in(words)) == ([], [])


def test_each_model_of_a_legend_is_in_the_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that is compared by scores alone, and none that has no score in the group."""
    drawn: list[Any] = []
    images = dict.fromkeys(("light", "dark"), tmp_path)
    monkeypatch.setattr(page, "draw_twice", lambda draw, *_: drawn.append(draw) or images)
    folders = {"base": write(tmp_path / "b", HALF), "tuned": write(tmp_path / "t", BETTER)}
    folders["merged"] = write(tmp_path / "m", {"jura_bgb": 0.9, "jura_stgb": 0.8}, questions="andere")
    build(folders, tmp_path / "out", target="jura")
    figures = [draw.args for draw in drawn if draw.func is draw_averages]
    markers = [{series.look.marker for series in args[1]} for args in figures]
    assert markers == [{0, 1, 2}, {0, 1}]
    assert [{look.marker for _, look in args[3]} for args in figures] == markers


@pytest.mark.slow
def test_a_model_is_not_called_after_its_role(tmp_path: Path) -> None:
    folders = {"base": write(tmp_path / "b", HALF), "tuned": write(tmp_path / "t", BETTER)}
    assert "Against its base, the adapted model gains on jura" in build(folders, tmp_path / "en", target="jura")
    french = build(folders, tmp_path / "fr", target="jura", language="fr")
    assert "Par rapport à sa base, le modèle adapté gagne sur" in french


def test_graded_answers_are_compared_by_scores_and_targets_may_be_words(tmp_path: Path) -> None:
    folders = {"base": write(tmp_path / "b", HALF), "tuned": write(tmp_path / "t", BETTER)}
    for folder in folders.values():
        path = folder / f"samples_rechnen{DATE}.jsonl"
        path.write_text(path.read_text().replace('"exact_match": 0.0', '"exact_match": 0.25', 1))
        path = folder / f"samples_jura_bgb{DATE}.jsonl"
        path.write_text(path.read_text().replace('"target": "1"', '"target": "achtzehn"'))
    text = build(folders, tmp_path / "out")
    assert "1 task is compared by scores alone" in text
    numbers = json.loads((tmp_path / "out/numbers.json").read_text())
    assert {cell["task"]: cell["margin"] is None for cell in numbers["cells"]} == {"jura_bgb": True, "jura_stgb": False}
    assert [group["not_paired"] for group in numbers["unpaired"]] == [{"rechnen": "no_samples"}]
    assert numbers["left_out"] == []


def test_groups_come_from_a_file_and_the_newest_result_counts(tmp_path: Path) -> None:
    old, new = "_2025-01-01T00-00-00.0", "_2026-01-01T00-00-00.0"
    write(tmp_path / "b", BETTER, date=old)
    folders = {"base": write(tmp_path / "b", HALF, date=new), "tuned": write(tmp_path / "t", BETTER)}
    (tmp_path / "groups.yaml").write_text("recht: [jura_*]\nmathe: [rechnen]\n")
    text = build(folders, tmp_path / "out", groups=tmp_path / "groups.yaml", target="recht")
    assert "gains on recht (+36.0 points)" in text
    assert {path.stem for path in (tmp_path / "out/tables").glob("results-*.csv")} == {"results-recht", "results-mathe"}


def _damaged(folder: Path) -> dict[str, Path]:
    """Models that are wrong in one way each."""
    nan = json.loads((write(folder / "plain", HALF) / f"results{DATE}.json").read_text())
    nan["results"]["jura_bgb"]["acc,none"] = float("nan")
    few = write(folder / "few", HALF)
    path = few / f"samples_jura_bgb{DATE}.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    worse = {task: {"acc": False, "exact_match": False} for task in TASKS}
    return {
        "nan": write(folder / "nan", HALF, results=nan["results"]),
        "few": few,
        "worse": write(folder / "worse", HALF, higher_is_better=worse),
        "other": write(folder / "other", {"rechnen": 0.5}),
        "bgb": write(folder / "bgb", {"jura_bgb": 0.5}),
        "plain": folder / "plain",
    }


def test_results_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    made = _damaged(tmp_path)
    (tmp_path / "groups.yaml").write_text("recht: [gibt_es_nicht]\n")
    several = tmp_path / "several"
    write(several / "a", HALF), write(several / "b", HALF)
    base = made["plain"]
    for folders, options, message in (
        ({"base": base, "tuned": tmp_path / "groups.yaml"}, {}, "there are no results of lm-eval for tuned"),
        ({"base": base, "tuned": base}, {"metric": "f1"}, "jura_bgb has no metric 'f1'"),
        ({"base": base, "tuned": base}, {"target": "medizin"}, "there is no group 'medizin'|no group is called"),
        ({"base": base, "tuned": base}, {"groups": tmp_path / "groups.yaml"}, "no task is called 'gibt_es_nicht'"),
        ({"base": base, "a": base, "b": base}, {}, "has 2 tuned models: a, b"),
        ({"base": made["other"], "tuned": made["bgb"]}, {}, "no task in common"),
        ({"base": made["worse"], "tuned": base}, {}, "not a share of right answers"),
        ({"base": several, "tuned": base}, {}, "results of several models: a, b"),
        ({"base": made["bgb"], "tuned": tmp_path / "nobody"}, {}, "there are no results of lm-eval for tuned"),
    ):
        with pytest.raises(UserError, match=message):
            build(folders, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("score", "is_share"), [(0.0, True), (1.0, True), (1.0001, False), (-0.0001, False)])
def test_a_share_is_from_0_to_1(tmp_path: Path, score: float, is_share: bool) -> None:
    """Every model's score counts: the base's may be low enough of a metric in percent."""
    folders = {name: write(tmp_path / name, {"rechnen": 0.5}, samples=()) for name in ("base", "tuned")}
    (path,) = folders["tuned"].glob("results*.json")
    given = json.loads(path.read_text())
    given["results"]["rechnen"]["exact_match,strict-match"] = score
    path.write_text(json.dumps(given))
    with nullcontext() if is_share else pytest.raises(UserError, match=f"is {score:g}, which is not a share"):
        assert read_lm_eval(LmEvalFolders(folders)).stated["tuned", "rechnen"].score == score


@pytest.mark.parametrize(("answered", "problems"), [(1, {"rechnen"}), (2, set())])
def test_a_score_of_a_single_question_is_left_out(tmp_path: Path, answered: int, problems: set[str]) -> None:
    folders = {name: write(tmp_path / name, HALF, samples=()) for name in ("base", "tuned")}
    (path,) = folders["tuned"].glob("results*.json")
    given = json.loads(path.read_text())
    given["n-samples"]["rechnen"]["effective"] = answered
    path.write_text(json.dumps(given))
    runs = read_lm_eval(LmEvalFolders(folders))
    assert {problem.task for problem in runs.problems} == problems
    assert {task for model, task in runs.stated if model == "tuned"} == set(TASKS) - problems


@pytest.mark.slow
def test_a_score_that_is_no_number_and_samples_that_are_too_few_are_left_out_and_said(tmp_path: Path) -> None:
    made = _damaged(tmp_path)
    for name, words in (("few", "59 of 60 questions"), ("nan", "acc,none has a score that is not a number")):
        text = build({"base": made["plain"], "tuned": made[name]}, tmp_path / f"out-{name}")
        assert words in text
        cells = json.loads((tmp_path / f"out-{name}/numbers.json").read_text())["cells"]
        assert [cell["task"] for cell in cells] == ["jura_stgb", "rechnen"]
