"""Near-duplicates in tasks: however the texts are divided, what is found is what threads of one process find."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pdapt.data_prep.corpus import Source, build_corpus
from pdapt.data_prep.documents import store

WORDS, TEXTS = 60, 90


def texts_of(draw: np.random.Generator) -> list[str]:
    """Texts of which many are others' copies: equal, in capitals, with another ending, or another number."""
    texts: list[str] = []
    for number in range(TEXTS):
        if number % 3 or not texts:
            texts.append(" ".join(f"mot{word}" for word in draw.integers(0, 10**6, int(draw.integers(3, WORDS)))))
            continue
        text = texts[int(draw.integers(len(texts)))]
        texts.append([text, text.upper(), f"{text} et la suite", f"{text} {number} mg"][int(draw.integers(4))])
    return texts


@pytest.mark.slow
def test_any_number_of_tasks_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tasks_in_this_process: list[tuple[str, int]]
) -> None:
    monkeypatch.setattr(store, "ROW_GROUP_BYTES", 6_000)
    draw, sources = np.random.default_rng(1), []
    for name in ("a", "b", "empty-but-one"):
        texts = texts_of(draw) if len(name) == 1 else ["?"]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        sources.append(Source(name, tmp_path / f"{name}.jsonl"))
    whole = build_corpus(sources, tmp_path / "whole", duplicates="near")
    rows = pq.read_table(tmp_path / "whole" / "duplicates.parquet").to_pylist()
    assert {row["kind"] for row in rows} == {"kept", "exact", "words", "near"}
    assert len(rows) > TEXTS // 2
    assert not tasks_in_this_process
    for tasks in (2, 18):
        parts = build_corpus(sources, tmp_path / str(tasks), duplicates="near", tasks=tasks)
        assert (parts.outputs, parts.counts) == (whole.outputs, whole.counts)
        steps = dict(tasks_in_this_process[-7:])
        assert (steps["join"], steps["drop"]) == (len(sources), len(sources))
        assert (steps["pair"], steps["choose"]) == (1, 1)
        assert (steps["sign"], steps["shingle"], steps["compare"]) == (tasks, tasks, min(tasks, 16))
