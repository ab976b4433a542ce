"""The report of benchmark runs and the page on the paper: complete, self-contained, in two languages."""

import csv
import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from browser import WIDTHS, axe_source, inspect, print_to_pdf
from pypdfium2 import PdfDocument
from test_heldout_report import Page

from pdapt.core.errors import UserError
from pdapt.core.training_cost import Spent
from pdapt.eval.paper.paper_report import build_paper_report, overlay_tables
from pdapt.eval.paper.tables import Tables
from pdapt.eval.paper.tables_file import TABLES_FILE
from pdapt.eval.report.benchmark_findings import BenchmarkReportOptions, read_findings
from pdapt.eval.report.benchmark_report import build_benchmark_report
from pdapt.eval.report.benchmark_tables import margins_table
from pdapt.eval.report.heldout_report import HeldoutReportOptions, build_heldout_report
from pdapt.eval.report.texts import TEXTS_FILES, Words, read_texts
from pdapt.eval.tasks.suite import PAPER_SUITE, SUITE, TASKS

FAMILY = "Qwen3-0.6B-Base"


def _answers(seed: int, gain: float) -> Callable[[str, int], bool]:
    """Answers that are the base's but for a few; French medicine gains."""

    def right(task: str, question: int) -> bool:
        base = random.Random(f"{task}{question}").random() < 0.5
        draw = random.Random(f"{seed}{task}{question}").random()
        if TASKS[task].group == "FR-MEDICAL":
            return base or draw < gain
        return base and draw > gain / 4

    return right


def _write(benchmark: Any, tasks: list[str]) -> Path:
    """One family with three checkpoints and a merge, and a baseline."""
    benchmark.tasks = tasks
    benchmark.add("base", "base", _answers(0, 0))
    for number, step in enumerate((720, 1440, 2160)):
        benchmark.add(f"cpt-{step:05d}", "checkpoint", _answers(1 + number, 0.8 if step == 1440 else 0.2), step=step)
    benchmark.add("merged", "merged", _answers(9, 0.6), invalid=lambda _, question: question % 20 == 0)
    benchmark.add("Apollo-7B", "other", lambda task, question: random.Random(f"x{task}{question}").random() < 0.4)
    benchmark.write("merged", "mmlu_med_fr_anatomy", _answers(9, 0.6), prompt="another")
    return benchmark.folder


@pytest.fixture(scope="module")
def scores(make_benchmark, tmp_path_factory) -> Path:
    """Runs on French medicine alone: figures take the time."""
    tasks = [task.name for task in SUITE if task.group == "FR-MEDICAL"]
    return _write(make_benchmark(tmp_path_factory.mktemp("runs") / FAMILY), tasks)


@pytest.fixture(scope="module")
def contaminated(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("list") / "contaminated.jsonl"
    path.write_text('{"task": "mmlu_med_fr_anatomy", "doc_id": 1}\n')
    return path


def _in_french(scores: Path, contaminated: Path) -> BenchmarkReportOptions:
    took = {FAMILY: Spent(4320, 10_191_000_000, 12.5, 600.0, 0.9312, 1.26e9)}
    return BenchmarkReportOptions({FAMILY: scores}, {}, contaminated=contaminated, language="fr", training=took)


@pytest.fixture(scope="module")
def small(scores, contaminated, tmp_path_factory) -> Path:
    """The report of French medicine, in French."""
    out = tmp_path_factory.mktemp("small") / "out"
    build_benchmark_report(_in_french(scores, contaminated), out)
    return out


@pytest.fixture(scope="module")
def whole(make_benchmark, tmp_path_factory) -> Path:
    """The report of all 28 tasks, in English."""
    folder = tmp_path_factory.mktemp("whole")
    scores = _write(make_benchmark(folder / FAMILY), list(TASKS))
    build_benchmark_report(BenchmarkReportOptions({FAMILY: scores}, {}), folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def paper(tmp_path_factory) -> Path:
    """The page on the paper, in French."""
    out = tmp_path_factory.mktemp("paper") / "out"
    build_paper_report(TABLES_FILE, BenchmarkReportOptions({}, {}, language="fr"), out)
    return out


@pytest.fixture
def page(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("whole", "paper")]
each_page = pytest.mark.parametrize("page", ["small", *SLOW], indirect=True)
LANGUAGE = {"small": "fr", "whole": "en", "paper": "fr"}


def _text(page: Path) -> str:
    return (page / "index.html").read_text(encoding="utf-8")


@pytest.mark.slow
@each_page
def test_a_page_needs_nothing_else(page):
    found = Page(_text(page))
    addresses = [str(value) for _, a in found.elements for key, value in a.items() if key in ("src", "href", "srcset")]
    assert len(addresses) >= 4
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    assert not found.all("script")
    assert not found.all("link")


@each_page
def test_a_page_is_semantic(page, request):
    text = _text(page)
    found = Page(text)
    assert found.all("html") == [{"lang": LANGUAGE[request.node.callspec.params["page"]]}]
    assert len(found.all("h1")) == len(found.all("main")) == 1
    assert all(len(image["alt"] or "") > 20 for image in found.all("img"))
    assert all(cell.get("scope") in ("row", "col") for cell in found.all("th"))
    ids = [a["id"] for _, a in found.elements if "id" in a]
    assert len(set(ids)) == len(ids)
    named = [str(a["aria-labelledby"]) for _, a in found.elements if "aria-labelledby" in a]
    assert len(named) > 10
    assert set(named) <= set(ids), "what a region is named by is there"
    marks = [a for a in found.all("span") if str(a.get("class", "")).startswith("mark ")]
    assert marks, "some change is clear"
    assert len(marks) == text.count('<span class="hidden">'), "each symbol is said in words, too"


@pytest.mark.slow
def test_tables_are_those_of_the_paper(whole, paper):
    names = {path.stem for path in (whole / "tables").glob("*.csv")}
    groups = ("FR-MEDICAL", "EN-MEDICAL", "FR-OTHER", "EN-OTHER")
    assert {f"results-{group}" for group in groups} <= names
    assert {f"ranking-{group}" for group in groups} <= names
    assert {"models-8", "models-9", "models-10", "models-11", "rules", "made-of", "trace"} <= names
    assert {path.stem for path in (whole / "tables").glob("*.tex")} == names
    assert {"decisions"} <= names
    assert {f"table-{number}" for number in (1, 3, 4, 5, 6, 7, 8, 9, 10, 11)} <= {
        path.stem for path in (paper / "tables").glob("*.csv")
    }


def test_csv_holds_the_samples_own_numbers(small, scores):
    with (small / "tables/results-FR-MEDICAL.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    results = json.loads((scores / "base/mmlu_med_fr_anatomy/results.json").read_text())
    stated = results["results"]["mmlu_med_fr_anatomy"]["acc,none"]
    assert float(rows[0]["Anat."]) == pytest.approx(100 * stated)
    marks = {row[key] for row in rows for key in row if key.endswith(" mark")}
    assert marks == {"", "better"}
    with (small / "tables/trace.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 6 * 7
    assert (small / "tables/contamination.csv").is_file()


def test_what_training_took_is_told(small):
    """From joules to kWh, and a share as percent."""
    (row,) = csv.reader((small / "tables/train-cost.csv").read_text(encoding="utf-8").splitlines()[1:])
    assert row == [FAMILY, "4320", "10191000000", "12.5", "600", "93.12", "350"]
    assert "temps utile" in _text(small)


def test_numbers_name_their_samples(small):
    numbers = json.loads((small / "numbers.json").read_text())
    assert len(numbers["cells"]) == 2 * 7 - 1
    assert all(len(its["sha256"]) == 64 for cell in numbers["cells"] for its in cell["samples"].values())
    assert numbers["left_out"] == [
        {"model": "merged", "task": "mmlu_med_fr_anatomy", "reason": "other_prompts", "count": 40, "questions": 40}
    ]


def test_the_answer_comes_first_in_french(small):
    """The checkpoint that one half of the questions chose gains, and so does the merge."""
    text = _text(small)
    first, second = re.findall(r'<p class="headline">(.*)</p>', text)
    assert re.fullmatch(
        rf"Par rapport à sa base, le modèle {FAMILY} adapté gagne sur la médecine.*\(\+\d+,\d points\)\.", first
    )
    assert re.match("La fusion avec la base garde le gain\u00a0: par rapport à la base, elle gagne sur", second)
    assert text.index(second) < text.index("<img") < text.index('id="table-decisions"') < text.index("<details")
    assert "autres énoncés\u00a0: 40 sur 40 diffèrent" in text
    assert "+ adapté (cpt-01440)" in text, "the best one is chosen"
    assert "1 résultat a été écarté" in text
    for words in ("training", "right answers", "adapted"):
        assert words not in text


def test_no_line_of_french_begins_with_a_mark(small):
    """Nor is a number written with a decimal point."""
    words = re.sub(r"<style>.*?</style>|<code>.*?</code>|<[^>]+>", "", _text(small), flags=re.DOTALL)
    assert not re.findall(r".{20} [:;?!»%].{9}", words)
    shown = re.sub(r"Llama3\.\d|Qwen3-\S+|\w+\.(?:jsonl?|txt)|\d+\.\d+\.\d\S*|[\w.+]*[a-z]\w*\.\S+", "", words)
    assert not re.findall(r"(?<![\d.])\d+\.\d+(?![\d.])", shown)


@pytest.mark.slow
def test_the_answer_comes_first_in_english(whole):
    text = _text(whole)
    first, _ = re.findall(r'<p class="headline">(.*)</p>', text)
    assert first.startswith(f"Against its base, the adapted {FAMILY} gains on medicine in French (+")
    assert "and loses on medicine in English (−" in first
    assert "other prompts: 40 of 40 differ" in text


def test_every_word_is_in_both_languages():
    keys = [key for path in TEXTS_FILES for key in yaml.safe_load(path.read_text(encoding="utf-8"))]
    assert len(set(keys)) == len(keys), "no file says anew what another says"
    english, french = read_texts("en"), read_texts("fr")
    names = {
        key: (set(re.findall(r"{(\w+)", english[key])), set(re.findall(r"{(\w+)", french[key]))) for key in english
    }
    assert {key for key, (one, other) in names.items() if one != other} == set()


@pytest.mark.slow
def test_the_users_choice_of_checkpoint_and_test_is_on_the_page(scores, tmp_path):
    checkpoints = {FAMILY: "cpt-00720"}
    build_benchmark_report(BenchmarkReportOptions({FAMILY: scores}, checkpoints, test="paper"), tmp_path / "out")
    assert "+ adapted (cpt-00720)" in _text(tmp_path / "out")
    assert "intervals of one standard error that do not overlap" in _text(tmp_path / "out")


@pytest.mark.slow
def test_the_same_inputs_give_the_same_page(scores, contaminated, small, tmp_path):
    build_benchmark_report(_in_french(scores, contaminated), tmp_path / "again")
    assert _text(tmp_path / "again") == _text(small)


def test_runs_without_a_base_are_ranked(make_benchmark, tmp_path):
    benchmark = make_benchmark(tmp_path / "baselines")
    benchmark.tasks = ["mmlu_med_fr_anatomy", "mmlu_prox_fr_health"]
    for name, chance in (("good", 3), ("bad", 2), ("alike", 2)):
        benchmark.add(name, "other", lambda _, question, chance=chance: question % 4 < chance)
    build_benchmark_report(BenchmarkReportOptions({"baselines": benchmark.folder}, {}), tmp_path / "out")
    with (tmp_path / "out/tables/ranking-FR-MEDICAL.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["Model"], row["mean rank"], row["ties"]) for row in rows] == [
        ("good", "1", "0"),
        ("bad", "2.5", "2"),
        ("alike", "2.5", "2"),
    ]
    with (tmp_path / "out/tables/models-8.csv").open(encoding="utf-8") as file:
        good, *others = csv.DictReader(file)
    assert [row["Anat. FR mark"] for row in (good, *others)] == ["better", "", ""]
    for row, share in ((good, 3 / 4), (others[0], 2 / 4)):
        assert float(row["Anat. FR"]) == pytest.approx(100 * share)
        assert float(row["Anat. FR stderr"]) == pytest.approx(100 * (share * (1 - share) / 39) ** 0.5)
    assert "No model here is a base, so the models are ranked" in _text(tmp_path / "out")


def pair_of_runs(benchmark: Any, roles: tuple[str, str], **options: Any) -> BenchmarkReportOptions:
    benchmark.tasks = ["mmlu_med_fr_anatomy", "mmlu_prox_fr_health"]
    benchmark.add("A", roles[0], lambda _, question: question % 4 < 1)
    benchmark.add("B", roles[1], lambda _, question: question % 4 < 2, **options)
    return BenchmarkReportOptions({"runs": benchmark.folder}, {})


def test_an_empty_comparison_is_an_error_not_a_page(make_benchmark, tmp_path):
    for number, (roles, options, message) in enumerate(
        (
            (("base", "other"), {}, r"no two models fit(?s:.*)A \(base\), B \(other\)(?s:.*)--role NAME"),
            (("other", "checkpoint"), {}, r"A \(other\), B \(tuned\)"),
            (("base", "checkpoint"), {"prompt": "another"}, "2 results were left out, such as B, mmlu_med_fr_anatomy"),
            (("base", "merged"), {"shots": 0}, "another number of examples"),
        )
    ):
        wanted = pair_of_runs(make_benchmark(tmp_path / f"{number}"), roles, **options)
        with pytest.raises(UserError, match=f"nothing can be compared: .*{message}|(?s:{message})"):
            build_benchmark_report(wanted, tmp_path / "out")
        assert not (tmp_path / "out").exists()
    alone = make_benchmark(tmp_path / "alone")
    alone.tasks = ["mmlu_med_fr_anatomy"]
    alone.add("A", "other", lambda _, question: question % 4 < 1)
    with pytest.raises(UserError, match="nothing can be compared"):
        build_benchmark_report(BenchmarkReportOptions({"alone": alone.folder}, {}), tmp_path / "out")


def test_a_role_may_be_corrected_where_the_report_is_made(make_benchmark, tmp_path):
    wanted = pair_of_runs(make_benchmark(tmp_path / "runs"), ("base", "other"))
    cells = read_findings(replace(wanted, roles={"B": "checkpoint"})).compared.cells
    assert [(c.pair.base.model, c.pair.other.model, c.change.value) for c in cells] == [("A", "B", 0.25)] * 2
    assert len(cells[0].pair.base.right) == 40
    with pytest.raises(UserError, match="no model is called 'C'"):
        read_findings(replace(wanted, roles={"C": "base"}))


@pytest.mark.parametrize("role", ["checkpoint", "merged"])
def test_one_model_beside_its_base_is_told_on_all_questions(make_benchmark, tmp_path, role):
    """None was chosen, so no question is held back."""
    found = read_findings(pair_of_runs(make_benchmark(tmp_path / "runs"), ("base", role)))
    (group,) = found.compared.groups
    assert (group.role, group.half) == ({"checkpoint": "adapted", "merged": "merged"}[role], False)
    assert group.change.documents == 80


def test_margins_are_shown_of_the_tasks_that_have_them(make_benchmark, tmp_path):
    """One of two tasks is of multiple choice; the group's other tasks were not run."""
    compared = read_findings(pair_of_runs(make_benchmark(tmp_path / "runs"), ("base", "checkpoint"))).compared
    table = margins_table("FR-MEDICAL", PAPER_SUITE, compared, Words.read("en"))
    assert table is not None
    assert table.columns == ["Model", "Anat."]
    assert margins_table("EN-MEDICAL", PAPER_SUITE, compared, Words.read("en")) is None


def test_answers_through_another_chat_template_are_not_compared(make_benchmark, tmp_path):
    benchmark = make_benchmark(tmp_path / "runs")
    wanted = pair_of_runs(benchmark, ("base", "checkpoint"))
    path = benchmark.folder / "B" / "mmlu_med_fr_anatomy" / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template_sha": "0" * 64}))
    found = read_findings(wanted)
    assert [c.pair.base.task for c in found.compared.cells] == ["mmlu_prox_fr_health"]
    assert "other_chat_template" in {p.reason for p in found.problems}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test": "t"}, "no test is called 't'"),
        ({"language": "de"}, "'de' is not a language"),
        ({"checkpoints": {FAMILY: "cpt-9"}}, "no checkpoint 'cpt-9'"),
        ({"checkpoints": {"other": "cpt-9"}}, "not among the runs"),
    ],
)
def test_options_that_name_nothing_are_refused(scores, tmp_path, change, message):
    options = BenchmarkReportOptions(**({"folders": {FAMILY: scores}, "checkpoints": {}} | change))
    with pytest.raises(UserError, match=message):
        build_benchmark_report(options, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_our_runs_lie_beside_the_paper_s(make_benchmark, tmp_path):
    """A comparison over anatomy, with all its 135 questions; a task with fewer is named and left out."""
    benchmark = make_benchmark(tmp_path / "runs")
    benchmark.tasks, benchmark.questions = ["mmlu_med_fr_anatomy"], 135
    benchmark.add("base", "base", lambda _, question: question < 41)
    benchmark.add("cpt-1", "checkpoint", lambda _, question: question < 90, step=1)
    tables, wanted, w = Tables.read(), BenchmarkReportOptions({FAMILY: benchmark.folder}, {}), Words.read("en")
    (overlay,), problems = overlay_tables(tables, read_findings(wanted), w)
    base, adapted = (dict(zip(overlay.columns[1:], row.entries, strict=True)) for row in overlay.rows)
    assert problems == []
    # 41 of 135 are 30.4 %, and 39.3 is printed of the adapted one.
    assert (base["paper"].value, base["ours"].value) == (30.4, pytest.approx(100 * 41 / 135))
    assert adapted["difference"].value == pytest.approx(100 * 90 / 135 - 39.3)
    assert (base["difference"].mark, adapted["difference"].mark) == ("", "better")
    benchmark.questions = 40
    for model in ("base", "cpt-1"):
        benchmark.write(model, "mmlu_med_fr_anatomy", lambda _, question: question < 20)
    overlay, problems = overlay_tables(tables, read_findings(wanted), w)
    assert overlay == []
    assert {(p.reason, p.values["found"]) for p in problems} == {("other_size", 40)}
    with pytest.raises(UserError, match="no model 'Qwen3-1B'"):
        build_paper_report(TABLES_FILE, BenchmarkReportOptions({"Qwen3-1B": benchmark.folder}, {}), tmp_path / "none")


@pytest.mark.slow
def test_a_browser_shows_all_of_every_page(small, whole, paper, make_scores, trade, programs, tmp_path):
    """At three widths no page scrolls sideways, and no table does that does not say so; axe-core finds nothing grave.

    The same once more for screen readers in dark colours. Printed, the folded details are there.
    """
    browser, npm = programs("chromium", "npm")
    (tmp_path / "scores").mkdir()
    heldout = HeldoutReportOptions("Qwen3", domain="medical", settings={"seed": 1})
    build_heldout_report(make_scores(tmp_path / "scores", trade), tmp_path / "heldout", heldout)
    folders = {"small": small, "whole": whole, "paper": paper, "heldout": tmp_path / "heldout"}
    pages = {name: _text(folder) for name, folder in folders.items()}
    pages["spoilt"] = pages["heldout"].replace(' alt="', ' data-alt="').replace("--soft: #59636e", "--soft: #ccc")
    seen = inspect(browser, axe_source(npm, tmp_path), pages, tmp_path)
    spoilt = {violation["id"] for violation in seen.pop("spoilt")["axe"]}
    del seen["spoilt, dark"]
    assert {"image-alt", "color-contrast"} <= spoilt, "the check can fail"
    for name, page in pages.items():
        for look in seen[name]["looks"] if name in seen else ():
            assert (look["scrolls"], look["cut"], look["unsaid"]) == (False, [], []), (name, look["width"])
            assert look["drawn"] == len(Page(page).all("img")), (name, look["width"])
    assert [look["width"] for look in seen["whole"]["looks"]] == list(WIDTHS)
    assert seen["whole"]["looks"][0]["scrolling"], "a telephone is narrower than a table of seven tasks"
    assert seen["whole"]["looks"][2]["scrolling"] == []
    grave = {name: [v for v in page["axe"] if v["impact"] in ("serious", "critical")] for name, page in seen.items()}
    assert {name: violations for name, violations in grave.items() if violations} == {}
    printed = PdfDocument(print_to_pdf(browser, tmp_path / "heldout/index.html", tmp_path))
    text = "".join(page.get_textpage().get_text_range() for page in printed)
    assert "linearised ratio estimate" in text
    assert [round(size) for size in printed[0].get_size()] == [595, 842], "A4"
