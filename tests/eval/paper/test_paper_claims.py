"""The paper's claims: which follow from its tables, and that each verdict depends on the cells it is about."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pdapt.core.jsonio import JsonObject
from pdapt.eval.paper.claims import CHECKS, claims, undecidable_claims
from pdapt.eval.paper.tables import VARIANTS, Tables
from pdapt.eval.paper.tables_file import GROUPS, TABLES_FILE, Stated, TablesFile

FAIL = {
    "corpus-sources-listed",
    "corpus-totals-commercial",
    "epochs",
    "errors-bootstrapped",
    "scores-are-counts",
    "adaptation-changes-averages-little",
    "changes-shrink-in-each-group",
    "best-checkpoint",
    "fr-medical-changes",
    "positive-elsewhere-named",
    "no-decrease-after-merge",
    "merged-stays-above-base",
    "averages-little-changed",
    "gains-cancelled-in-average",
    "baselines-agree",
    "largest-are-best",
    "gemma-instruct-gains",
    "rows-distinct",
}
SMALL, SECOND, THIRD, LARGE = "Qwen3-0.6B-Base", "Qwen3-1.7B-Base", "Qwen3-4B-Base", "Qwen3-8B-Base"


class Editor:
    """A copy of the paper's tables, and of what its text states, to change values of."""

    def __init__(self) -> None:
        self.raw: dict[str, Any] = json.loads(TABLES_FILE.read_text())
        self.stated = Stated.read()

    @property
    def tables(self) -> Tables:
        return Tables(TablesFile.parse(JsonObject(self.raw, "edited")), self.stated)

    def state(self, **changes: int) -> None:
        self.stated = replace(self.stated, **changes)

    def source(self, name: str, **more: int) -> None:
        row = next(row for row in self.raw["table1"]["rows"] if row["source"] == name)
        row.update({key: row[key] + value for key, value in more.items()})

    def cell(self, group: str, model: str, topic: str, variant: str, score: float) -> None:
        self.raw[GROUPS[group]]["results"][model][topic][variant]["score"] = score

    def fill(self, groups: tuple[str, ...], variants: tuple[str, ...], score: Callable[[str, float], float]) -> None:
        """Make the variants' scores of what `score` says of model and base's score."""
        for group in groups:
            for model, topics in self.raw[GROUPS[group]]["results"].items():
                for cells in topics.values():
                    for variant in variants:
                        cells[variant] |= {"score": score(model, cells["base"]["score"])}

    def baseline(self, model: str, score: float, languages: tuple[str, ...] = ("FR",)) -> None:
        for cells in self.raw["table8_11"]["results"][model].values():
            for language in languages:
                cells[language]["score"] = score


def _bootstrapped(edit: Editor) -> None:
    for _, cell, questions, _ in list(edit.tables.cells()):
        share = round(cell.score * questions / 100) / questions
        error = round(100 * math.sqrt(share * (1 - share) / questions), 1)
        for table in [edit.raw[name]["results"] for name in GROUPS.values()] + [edit.raw["table8_11"]["results"]]:
            for topics in table.values():
                for cells in topics.values():
                    for its in cells.values():
                        if (its["score"], its["stderr"]) == (cell.score, cell.stderr):
                            its["stderr"] = error


def _narrow_small_sets(edit: Editor) -> None:
    for group in ("FR-MEDICAL", "EN-MEDICAL"):
        for topics in edit.raw[GROUPS[group]]["results"].values():
            for topic, cells in topics.items():
                for its in cells.values():
                    its["stderr"] = 3.0 if topic == "health" else 0.1
    for topics in edit.raw["table8_11"]["results"].values():
        for topic, cells in topics.items():
            for its in cells.values():
                its["stderr"] = 3.0 if topic == "health" else 0.1


def _make_counts(edit: Editor) -> None:
    edit.cell("EN-MEDICAL", LARGE, "health", "base", 55.7)
    for model in ("Gaperon-8B", "Mistral-7B-Instruct-v0.3"):
        edit.raw["table8_11"]["results"][model]["medical_genetics"]["EN"]["score"] = 62.0


def _one_positive_of_8b(edit: Editor) -> None:
    edit.cell("EN-OTHER", SECOND, "business", "SLERP", 37.1)
    edit.cell("EN-OTHER", LARGE, "business", "SLERP", 99)


def _agree(edit: Editor) -> None:
    for topic, score in (("anatomy", 30.4), ("college_medicine", 42.8), ("medical_genetics", 48.0)):
        edit.raw["table8_11"]["results"][SMALL][topic]["FR"]["score"] = score


def _largest_best(edit: Editor) -> None:
    edit.baseline("GPT-OSS-20B", 100)
    edit.baseline("Qwen3-14B", 0)


def _no_twins(edit: Editor) -> None:
    edit.baseline("Llama3.2-1B", 1)
    edit.baseline("Llama3.2-1B-Instruct", 2)


def _same(_: str, base: float) -> float:
    return base


def _more_significant(edit: Editor) -> None:
    for topic in ("anatomy", "health", "medical_genetics"):
        edit.cell("FR-MEDICAL", LARGE, topic, "SLERP", 99)


OTHER = ("FR-OTHER", "EN-OTHER")
MEDICAL = ("FR-MEDICAL", "EN-MEDICAL")
ALL = tuple(GROUPS)
STEPS = {SMALL: 4, SECOND: 3, THIRD: 2, LARGE: 1}
FLIPS: dict[str, Callable[[Editor], Any]] = {
    "corpus-sources-listed": lambda e: e.raw["table1"]["rows"].append(e.raw["table1"]["rows"][0] | {"source": "ANSES"}),
    "corpus-totals-commercial": lambda e: e.source("HAL", n_docs=4, n_words=1160),
    "corpus-totals-research": lambda e: e.source("CAS", n_docs=1),
    "corpus-scientific-share": lambda e: e.source("HAL", n_words=-200_000_000),
    "corpus-documents-collected": lambda e: e.source("CAS", n_docs=1),
    "corpus-training-documents": lambda e: e.source("HAL", n_docs=5000),
    "best-base-model": lambda e: e.baseline("Apollo-7B", 100),
    "four-sizes": lambda e: e.raw["table5"]["results"].pop(LARGE),
    "tokens-and-words": lambda e: e.source("HAL", n_words=200_000_000),
    "epochs": lambda e: e.source("BDPM", n_docs=200_000),
    "checkpoint-interval": lambda e: e.state(checkpoint=1000),
    "errors-bootstrapped": _bootstrapped,
    "errors-wider-on-small-sets": _narrow_small_sets,
    "scores-are-counts": _make_counts,
    "other-below-medical": lambda e: e.fill(("FR-OTHER",), ("base",), lambda _, base: min(99.0, base + 60)),
    "adaptation-changes-averages-little": lambda e: e.fill(ALL, ("PDAPT",), _same),
    "changes-shrink-with-size": lambda e: e.fill(("EN-OTHER",), ("PDAPT",), lambda m, base: 0 if m == LARGE else base),
    "changes-shrink-in-each-group": lambda e: e.fill(ALL, ("PDAPT",), lambda m, base: base - STEPS[m]),
    "other-falls": lambda e: e.cell("EN-OTHER", LARGE, "business", "PDAPT", 99),
    "falls-without-medical-gain": lambda e: e.fill(MEDICAL, ("PDAPT",), lambda _, base: base + 1),
    "smallest-gains-most": lambda e: e.cell("FR-MEDICAL", LARGE, "health", "PDAPT", 99),
    "best-checkpoint": lambda e: e.fill(ALL, ("PDAPT",), lambda _, base: base + 1),
    "comparisons-per-group": lambda e: e.raw["table3"]["results"].pop(LARGE),
    "fr-medical-changes": _more_significant,
    "fr-medical-negative": lambda e: e.cell("FR-MEDICAL", LARGE, "health", "PDAPT", 50.2),
    "one-positive-elsewhere": lambda e: e.cell("EN-OTHER", LARGE, "business", "SLERP", 99),
    "positive-elsewhere-named": _one_positive_of_8b,
    "other-groups-bleak": lambda e: e.fill(("EN-MEDICAL",), ("PDAPT",), _same),
    "no-decrease-after-merge": lambda e: e.cell("FR-OTHER", SMALL, "computer_science", "SLERP", 19.5),
    "merged-stays-above-base": lambda e: e.cell("FR-MEDICAL", LARGE, "health", "SLERP", 60),
    "merged-small-gain-more": lambda e: e.cell("FR-MEDICAL", LARGE, "health", "SLERP", 99),
    "averages-little-changed": lambda e: e.fill(ALL, ("PDAPT", "SLERP"), _same),
    "gains-cancelled-in-average": lambda e: e.cell("FR-MEDICAL", SMALL, "health", "PDAPT", 10),
    "baselines-agree": _agree,
    "models-ranked": lambda e: e.raw["table8_11"]["results"].pop("Baguettotron"),
    "ranks-follow": lambda e: e.raw["table7"][0].update(avg_rank=5.0),
    "largest-are-best": _largest_best,
    "8b-within-errors-of-larger": lambda e: e.baseline(LARGE, 1),
    "4b-above-7-to-9b": lambda e: e.baseline("Apertus-8B", 100),
    "base-above-instruct": lambda e: e.baseline("Qwen3-8B", 100),
    "gemma-instruct-gains": lambda e: e.baseline("Gemma3-270m-it", 90),
    "rows-distinct": _no_twins,
}


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables.read()


def test_the_claims_that_do_not_follow_are_these(tables):
    found = {claim.id: claim.holds for claim in claims(tables)}
    assert {name for name, holds in found.items() if not holds} == FAIL
    assert found.keys() == CHECKS.keys() == FLIPS.keys()


@pytest.mark.parametrize("name", list(FLIPS))
def test_a_changed_cell_turns_the_verdict(tables, name):
    before = CHECKS[name](tables)
    edit = Editor()
    FLIPS[name](edit)
    after = CHECKS[name](edit.tables)
    assert (before.holds, after.holds) == (name not in FAIL, name in FAIL)
    assert after.values != before.values


def test_computed_values_are_the_sums_made_here(tables, shared):
    evidence = json.loads(shared("paper/paper_tables.json").read_text())["table1"]
    found = CHECKS["corpus-totals-commercial"](tables).values
    off = evidence["mismatch_stated_minus_computed"]["commercial"]
    assert (found["docs_off"], found["words_off"]) == (off["n_docs"], off["n_words"])
    assert CHECKS["corpus-scientific-share"](tables).values["commercial"] == pytest.approx(96.11, abs=5e-3)
    epochs = CHECKS["epochs"](tables).values
    assert epochs["high"] == pytest.approx(4320 * 1152 / (1_955_165_272 / 2048))
    assert epochs["low"] == pytest.approx(4320 * 1152 / (892_339 + 1_955_165_272 / 2044))
    errors = CHECKS["errors-bootstrapped"](tables).values
    assert (errors["fits"], errors["cells"], errors["analytic"], errors["bootstrap"]) == (818, 826, 53, 0)


def test_the_least_distance_of_other_subjects_is_that_of_the_closest_averages(tables):
    distances = [
        tables.average(f"{language}-MEDICAL", model, variant).score
        - tables.average(f"{language}-OTHER", model, variant).score
        for language in ("FR", "EN")
        for model in tables.models
        for variant in VARIANTS
    ]
    assert CHECKS["other-below-medical"](tables).values["least"] == pytest.approx(min(distances))


def test_a_score_that_stays_cancels_no_gain():
    edit = Editor()
    edit.fill(("FR-MEDICAL",), ("PDAPT", "SLERP"), _same)
    edit.cell("FR-MEDICAL", LARGE, "health", "PDAPT", 99)
    found = CHECKS["gains-cancelled-in-average"](edit.tables)
    assert (found.values["cases"], found.values["kept"]) == (1, 1)
    assert str(found.values["looked"]).endswith("(0 −)")


def test_words_are_in_both_languages_and_every_name_is_filled(tables):
    english, french = claims(tables), claims(tables, "fr")
    assert [claim.id for claim in english] == [claim.id for claim in french]
    for one, other in zip(english, french, strict=True):
        assert one.text != other.text
        assert one.holds == other.holds
        assert "{" not in one.computed + other.computed
    by_id = {claim.id: claim.computed for claim in french}
    assert "892\u202f339 documents" in by_id["corpus-totals-commercial"]
    assert "0.6B +2,98" in by_id["smallest-gains-most"], "model names keep their point, numbers have a comma"
    assert len(undecidable_claims("fr")) == len(undecidable_claims()) == 3
