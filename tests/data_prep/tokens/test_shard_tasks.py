"""Tokens built in tasks: however the shards are divided, what is written is what threads of one process write."""

import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from pdapt.core.errors import UserError
from pdapt.core.manifest import Manifest
from pdapt.core.slurm import SlurmOptions
from pdapt.data_prep.tasks import at_work
from pdapt.data_prep.tokens import build as build_module
from pdapt.data_prep.tokens.build import Options, build_tokens

SOURCES = 4
SHARD_BYTES = 2500
OPTIONS = Options(0.2, near_duplicates=True, max_rejected=0.1)
Steps = list[tuple[str, int]]
Build = Callable[..., Manifest]


def texts_of(source: int) -> list[str]:
    """Texts of which some are in every source, some nearly, some give a telephone number, and one is blank."""
    draw = np.random.default_rng(source)
    own = [" ".join(f"mot{word}" for word in draw.integers(0, 10**6, 40)) for _ in range(10)]
    shared = [" ".join(f"commun{number}-{word}" for word in range(40)) for number in range(6)]
    return [
        *own,
        *shared[:3],
        *(f"{text} et suite {source}" for text in shared[3:]),
        f"Tél. 01 23 45 67 8{source}",
        " ",
    ]


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    """Sources of several shards, with parts for tests, licences, and two document types."""
    paths = []
    for source in range(SOURCES):
        paths.append(tmp_path / f"s{source}.jsonl")
        rows = [
            {
                "text": text,
                "licence": ("CC0", "")[number % 2],
                "document_type": ("note", "article")[number % 3 == 0],
                "original_split": ("train", "test")[number % 7 == 0],
            }
            for number, text in enumerate(texts_of(source))
        ]
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [str(path) for path in paths]


@pytest.fixture
def build(tmp_path: Path, inputs: list[str], tokenizer_folder: Path) -> Build:
    def run(name: str, options: Options = OPTIONS, **more: object) -> Manifest:
        out = tmp_path / name
        return build_tokens(inputs, tokenizer_folder, out, options, shard_bytes=SHARD_BYTES, **more)  # pyright: ignore[reportArgumentType]

    return run


@pytest.mark.slow
def test_any_number_of_tasks_writes_the_same(build: Build, tmp_path: Path, tasks_in_this_process: Steps) -> None:
    whole = build("whole")
    assert not tasks_in_this_process
    assert len(whole.outputs) > 4 * SOURCES
    assert whole.counts["rejected"] == SOURCES
    assert whole.counts["screened"]["telephone"]
    shards = 0
    for tasks in (2, 1000):
        parts = build(str(tasks), tasks=tasks)
        assert (parts.outputs, parts.counts, parts.config) == (whole.outputs, whole.counts, whole.config)
        assert not list((tmp_path / str(tasks)).rglob(".*"))
        steps = dict(tasks_in_this_process)
        shards = steps["scan"]
        assert list(steps) == ["scan", "sign", "pair", "shingle", "compare", "tokenize", "assemble"]
        assert steps["tokenize"] == shards <= tasks
        tasks_in_this_process.clear()
    assert shards > 2 * SOURCES, "each file is several shards"


def test_tasks_give_texts_their_topics(
    build: Build, inputs: list[str], tmp_path: Path, tasks_in_this_process: Steps
) -> None:
    texts = [json.loads(line)["text"] for path in inputs for line in Path(path).read_text().splitlines()]
    listed = dict.fromkeys(text for text in texts if "mot" in text)
    lines = [
        f"{sha256(text.encode()).hexdigest()}\t{('cardiology', 'neurology')[at % 2]}\n"
        for at, text in enumerate(listed)
    ]
    (tmp_path / "topics.tsv").write_text("text_sha256\ttopic\n" + "".join(lines))
    options = replace(OPTIONS, near_duplicates=False)
    whole = build("whole", options, topics=tmp_path / "topics.tsv")
    parts = build("parts", options, topics=tmp_path / "topics.tsv", tasks=3)
    assert (parts.outputs, parts.counts) == (whole.outputs, whole.counts)
    assert any("neurology" in name for name in parts.outputs)
    assert [name for name, _ in tasks_in_this_process] == ["scan", "tokenize", "assemble"]


@pytest.mark.slow
def test_files_that_cannot_be_read_are_named_as_by_threads(
    build: Build, inputs: list[str], tasks_in_this_process: Steps
) -> None:
    options = replace(OPTIONS, near_duplicates=False)
    whole = {path: Path(path).read_bytes() for path in inputs[1:4:2]}
    for path, content in whole.items():
        Path(path).write_bytes(content + b"\xff\n")
    with pytest.raises(UserError) as by_threads:
        build("threads", options)
    with pytest.raises(UserError) as by_tasks:
        build("tasks", options, tasks=4)
    assert str(by_tasks.value) == str(by_threads.value)
    assert "2 files cannot be read" in str(by_tasks.value)
    for path, content in whole.items():
        Path(path).write_bytes(content)
    assert build("tasks", options, tasks=4).outputs == build("threads", options).outputs


@pytest.mark.slow
@pytest.mark.parametrize("stopped", ["tasks", "parts"])
def test_an_interruption_of_the_clean_up_loses_nothing(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tasks_in_this_process: Steps, stopped: str
) -> None:
    class Interruption(Exception):
        pass

    def remove_some(folder: Path) -> None:
        for path in folder.rglob("*.npz" if stopped == "tasks" else "verified"):
            path.unlink()
            raise Interruption

    options = replace(OPTIONS, near_duplicates=False)
    whole = build("whole", options)
    monkeypatch.setattr(at_work if stopped == "tasks" else build_module, "remove", remove_some)
    with pytest.raises(Interruption):
        build("parts", options, tasks=3)
    monkeypatch.undo()
    assert build("parts", options).outputs == whole.outputs
    assert not list((tmp_path / "parts").rglob(".*"))


def test_jobs_of_slurm_need_tasks(build: Build, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--tasks N makes them"):
        build("out", slurm=SlurmOptions(time="10"))
    assert not (tmp_path / "out").exists()
