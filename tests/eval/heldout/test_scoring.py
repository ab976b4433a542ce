"""From lm-eval's samples to scores."""

import json
import math
from pathlib import Path

import pytest

from pdapt.eval.heldout.scoring import compute_scores
from pdapt.eval.heldout.task_index import HeldoutTask, TaskKind
from pdapt.eval.models import Model, Role

TASKS = [HeldoutTask.of(kind, "medical") for kind in TaskKind]
MODELS = [
    Model("base", Role.BASE, Path()),
    Model("a", Role.CHECKPOINT, Path()),
    Model("b", Role.CHECKPOINT, Path()),
    Model("m", Role.MERGED, Path()),
]


def _write(folder: Path, nats: list[int]) -> None:
    """Documents of 100, 200, 300 bytes from two sources; two questions on the first document, one on the second."""
    folder.mkdir(parents=True)
    origins = [{"source": "s", "doc_id": "0"}, {"source": "s", "doc_id": "1"}, {"source": "t", "doc_id": "0"}]
    documents = [
        {"doc": doc, "byte_perplexity": [-n, size], "word_perplexity": [-n, size / 5], "bits_per_byte": [-n, size]}
        for doc, n, size in zip(origins, nats, (100, 200, 300), strict=True)
    ]
    questions = [
        {
            "doc": origins[place],
            "acc": right,
            "acc_norm": right,
            "target": "1",
            "filtered_resps": [["-9.0", "False"], [str(gold), "False"], ["-4.0", "True"]],
        }
        for place, right, gold in ((0, 1.0, -1.5), (0, 0.0, -6.0), (1, 1.0, -3.0))
    ]
    for task, samples in (("perplexity_medical", documents), ("continuation_medical", questions)):
        lines = "".join(json.dumps(sample) + "\n" for sample in samples)
        (folder / task).mkdir()
        (folder / task / "samples.jsonl").write_text(lines)


@pytest.fixture
def found(tmp_path):
    for model, nats in zip(MODELS, ([100, 210, 290], [90, 200, 280], [80, 190, 270], [85, 195, 276]), strict=True):
        _write(tmp_path / model.name, nats)
    return compute_scores(tmp_path, MODELS, TASKS)


def test_totals_are_over_all_documents_and_by_source(found):
    assert found.score("base", "medical", "byte_perplexity").value == pytest.approx(math.exp(600 / 600))
    assert found.score("base", "medical", "word_perplexity").value == pytest.approx(math.exp(600 / 120))
    assert found.score("base", "medical", "bits_per_byte").value == pytest.approx(1 / math.log(2))
    assert found.score("base", "medical", "byte_perplexity", "s").value == pytest.approx(math.exp(310 / 300))
    alone = found.score("base", "medical", "byte_perplexity", "t")
    assert (alone.documents, alone.units, alone.stderr) == (1, 300, None)


def test_the_perplexitys_standard_error_is_that_of_a_ratio(found):
    residuals = [100 - 100, 210 - 200, 290 - 300]
    of_log = math.sqrt(3 / 2 * sum(r * r for r in residuals)) / 600
    assert found.score("base", "medical", "byte_perplexity").stderr == pytest.approx(math.e * of_log)


def test_questions_about_one_document_are_one_cluster(found):
    accuracy = found.score("base", "medical", "acc")
    assert (accuracy.value, accuracy.documents, accuracy.units) == (pytest.approx(2 / 3), 2, 3)
    # Residuals by document: 1 - 2 * 2/3 and 1 - 2/3.
    assert accuracy.stderr == pytest.approx(math.sqrt(2 * ((1 / 3) ** 2 + (1 / 3) ** 2)) / 3)


def test_pairs_are_each_model_with_the_base_and_the_merged_with_the_last_checkpoint(found):
    pairs = {(c.model, c.against) for c in found.comparisons}
    assert pairs == {("a", "base"), ("b", "base"), ("m", "base"), ("m", "b")}
    assert len(found.comparisons) == 8


def test_comparison_is_in_nats_per_byte_and_knows_the_better(found):
    comparison = found.comparison("b", "base", "medical", "byte_perplexity")
    assert comparison.difference == pytest.approx(-60 / 600)
    assert comparison.better
    assert comparison.p <= comparison.p_holm <= 1
    assert not found.comparison("m", "b", "medical", "byte_perplexity").better


def test_the_true_answers_log_probability_is_a_mean_over_questions(found):
    score = found.score("base", "medical", "gold_logprob")
    assert score.value == pytest.approx((-1.5 - 6.0 - 3.0) / 3)
    assert score.units == 3
    assert score.documents == 2
