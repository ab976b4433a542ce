"""`pdapt bench train`: what it compares is the same work, and its figures are those of the steps."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pdapt.bench import train as bench_train
from pdapt.bench.side_job import SideJob
from pdapt.bench.train import Bench, Steps, check, counted, durations, stalls, steps_of, way_of
from pdapt.bench.train_results import Overhead, Results, Saves, Throughput, Way, table
from pdapt.bench.trainers import bare_arguments, packed_inputs, padded_inputs, training_options
from pdapt.core.errors import UserError
from pdapt.recipes.load import load
from pdapt.recipes.megatron_args import Places, megatron_args
from pdapt.recipes.schema import Recipe

LENGTHS = [7, 1, 12, 4]
"""The pieces of one row: three whole documents, and the beginning of a fourth."""


def recipe(*overrides: str) -> Recipe:
    return load("qwen3_tiny_cpt_2xcpu", list(overrides))


def packed_sample() -> dict[str, Any]:
    """A row as `PackedDataset` lays it out."""
    positions = np.concatenate([np.arange(length) for length in LENGTHS])
    ids = np.arange(100, 100 + len(positions))
    counts = np.ones(len(ids), np.float32)
    counts[np.cumsum(LENGTHS[:-1]) - 1] = 0  # ends of documents
    return {"tokens": ids, "labels": ids + 1, "loss_mask": counts, "position_ids": positions}


def test_a_packed_row_keeps_its_labels_and_ignores_documents_ends() -> None:
    sample = packed_sample()
    inputs = packed_inputs(sample)
    assert inputs["input_ids"].tolist() == sample["tokens"].tolist()
    assert "attention_mask" not in inputs  # with one, transformers does not look for documents
    assert inputs["shift_labels"].tolist() == inputs["labels"].tolist()
    ignored = np.flatnonzero(inputs["labels"] == -100)
    assert ignored.tolist() == [6, 7, 19]
    assert inputs["labels"][-1] == sample["labels"][-1]


def test_a_padded_row_counts_what_pdapt_counts(tmp_path: Path) -> None:
    sample = {"tokens": np.array([5, 6, 7, 0, 0]), "loss_mask": np.array([1, 1, 0, 0, 0], np.float32)}
    inputs = padded_inputs(sample)
    assert inputs["attention_mask"].tolist() == [1, 1, 1, 0, 0]
    assert inputs["labels"].tolist() == [5, 6, 7, -100, -100]
    np.savez(tmp_path / "padded.npz", **{name: column[None] for name, column in inputs.items()})
    assert counted(tmp_path / "padded.npz") == 2
    rows: dict[str, Any] = {name: np.stack([column] * 3) for name, column in packed_inputs(packed_sample()).items()}
    np.savez(tmp_path / "packed.npz", **rows)
    assert counted(tmp_path / "packed.npz") == 3 * int(packed_sample()["loss_mask"].sum())


@pytest.fixture
def logits(tiny_qwen3: Callable[..., Path]) -> Callable[..., torch.Tensor]:
    """Logits of a row in transformers, as its Trainer computes them in training."""
    from transformers import Qwen3ForCausalLM

    model = Qwen3ForCausalLM.from_pretrained(tiny_qwen3(), dtype=torch.float32, attn_implementation="sdpa").train()
    model.config.use_cache = False  # as Trainer sets it; with a cache transformers does not look for documents

    def run(ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return model(input_ids=ids[None], position_ids=positions[None]).logits[0]

    return run


def test_transformers_keeps_packed_documents_apart(logits: Callable[..., torch.Tensor]) -> None:
    inputs = packed_inputs(packed_sample())
    ids, positions = (torch.from_numpy(inputs[name]) for name in ("input_ids", "position_ids"))
    whole = logits(ids, positions)
    begin = 0
    for length in LENGTHS:
        piece = slice(begin, begin + length)
        torch.testing.assert_close(whole[piece], logits(ids[piece], positions[piece]), atol=1e-5, rtol=1e-5)
        begin += length
    changed = ids.clone()
    changed[:7] += 300
    assert torch.equal(logits(changed, positions)[7:], whole[7:])
    # And the test can fail: where positions go on, attention does too.
    straight = torch.arange(len(ids))
    assert not torch.allclose(logits(changed, straight)[7:], logits(ids, straight)[7:], atol=1e-3)


def test_warm_steps_do_not_count() -> None:
    ends = [0.0, 10.0, 20.0, 21.0, 23.0, 26.0]  # of steps 1 to 6
    assert durations(ends) == [1.0, 2.0, 3.0]  # of steps 4 to 6


def test_steps_and_stalls_are_read_from_the_journal(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"event": "start", "start": 0, "time": 0.0, "step": 0, "ranks": 2}]
    for step, end in enumerate([5.0, 6.0, 7.0, 7.5, 8.5], start=1):
        row = {"event": "step", "start": 0, "time": end, "step": step, "seconds": 0.1, "loss": 9.0 - step}
        rows.append(row | {"data_wait": 0.0, "tokens": 9, "skipped": False, "sources": {}})
    rows.append({"event": "save", "start": 0, "time": 9.0, "step": 4, "stall_seconds": 0.4, "seconds": 2.0})
    rows.append({"event": "save", "start": 0, "time": 9.1, "step": 2, "stall_seconds": 0.2, "seconds": 4.0})
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert steps_of(tmp_path) == Steps([0.5, 1.0], 8.0)
    assert stalls(tmp_path) == [0.2, 0.4]


def test_a_way_has_the_median_of_all_its_turns() -> None:
    way = way_of("a", [Steps([1.0, 9.0], 8.5), Steps([2.0], 8.5)], tokens=100.0)
    assert (way.seconds, way.tokens_per_second, way.first_loss) == (2.0, 50.0, 8.5)


def test_the_bare_loop_computes_what_pdapt_computes() -> None:
    unused = Path("none")
    places = Places(unused, unused, unused, unused, unused, eod=0)
    given = megatron_args(recipe("data.layout=concat", "data.document_masks=false"), places, gpu=False)
    kept = bare_arguments(given)
    dropped = {word for word in given if word.startswith("--")} - set(kept)
    assert {"--log-interval", "--tensorboard-dir", "--save", "--load", "--pretrained-checkpoint"} <= dropped
    assert str(unused) not in kept  # no value is left behind
    assert "--mock-data" in kept
    decisive = ("--num-layers", "--seq-length", "--micro-batch-size", "--use-distributed-optimizer", "--clip-grad")
    for flag in (*decisive, "--calculate-per-token-loss", "--distributed-backend", "--rerun-mode"):
        assert flag in kept


@pytest.mark.parametrize(
    ("overrides", "parts", "where"),
    [
        (["parallel.tp=2"], [], "parallel"),
        (["steps=3"], ["saves"], "--steps"),
        (["steps=7"], ["own_time"], "from 8"),
        ([], ["troughput"], "--part"),
    ],
)
def test_what_cannot_be_compared_is_refused(overrides: list[str], parts: list[str], where: str) -> None:
    with pytest.raises(UserError, match=where):
        check(recipe(*overrides), parts)


def test_the_fewest_steps_of_each_part_are_enough() -> None:
    check(recipe("steps=4"), ["throughput", "overhead", "saves"])
    check(recipe("steps=8"), [])


def test_the_table_says_what_was_found() -> None:
    ways = [Way("pdapt", 0.5, 100.0, tokens_per_second=200.0, first_loss=8.0)]
    ways.append(Way("other", 1.0, 100.0, tokens_per_second=100.0, first_loss=8.0))
    found = Results(
        throughput=Throughput(ways, {"other": 2.0}),
        overhead=Overhead({"pdapt": [1.01], "bare": [1.0]}, percents=[1.0], percent=1.0),
        saves={"synchronous": Saves([0.5], 0.5)},
        others=0.25,
    )
    lines = list(table(found))
    assert lines == [
        "pdapt: 0.500 s per step, 200 real tokens/s; loss of the first step 8.0000",
        "other: 1.000 s per step, 100 real tokens/s, pdapt 2.00 x as fast; loss of the first step 8.0000",
        "pdapt: 1.010 s per step",
        "bare: 1.000 s per step",
        "overhead of pdapt: +1.0 % (turns: +1.0)",
        "synchronous save: stalls training for 0.50 s (saves: 0.50)",
        "other processes took 25% of the cores' time",
    ]


def stand_in(arguments: list[str], work: Path, ranks: int = 1, *, gpu: bool = False) -> None:
    """A process of a benchmark that trains nothing: each step takes the turn's number of seconds, or ten for pdapt."""
    assert not gpu
    if "train" in arguments:
        chosen = load(arguments[arguments.index("train") + 1], [])
        ends = [10.0 * step for step in range(chosen.steps)]
        every = chosen.checkpoint.every
        rows: list[dict[str, Any]] = [
            {"event": "step", "start": 0, "time": end, "step": step, "seconds": 0.1, "loss": 8.5, "data_wait": 0.0}
            | {"tokens": 9, "skipped": False, "sources": {}}
            for step, end in enumerate(ends, 1)
        ]
        saved = [step for step in range(1, chosen.steps + 1) if step % every == 0 or step == chosen.steps]
        rows += [{"event": "save", "start": 0, "time": 0.0, "step": step, "stall_seconds": step} for step in saved]
        (work / "run").mkdir()
        (work / "run" / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return
    side, job = arguments[-2], SideJob.read(Path(arguments[-1]))
    assert ranks == job.recipe.parallel.ranks_per_node
    seconds = int(work.name.partition("-")[0]) + 1 if side != "prepare" else 0
    if side == "prepare":
        labels = np.full((job.recipe.steps, 8), -100)
        labels[:, :6] = 1
        np.savez(job.out / "packed.npz", shift_labels=labels)
        np.savez(job.out / "paper.npz", labels=labels[:, :4])
    elif side == "trainer":
        ends = [float(seconds * step) for step in range(job.recipe.steps)]
        job.out.write_text(json.dumps({"ends": ends, "loss": 8.25}))
    else:
        assert job.eod == 7
        job.out.write_text(json.dumps({"begins": [8.0 * seconds * step for step in range(job.recipe.steps)]}))


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(bench_train, "_process", stand_in)
    monkeypatch.setattr(bench_train, "read_record", lambda _: SimpleNamespace(eod_id=7))
    return Bench(recipe("steps=20"), tmp_path / "tokens", tmp_path, repeats=3)


def test_a_way_is_as_fast_as_the_labels_of_its_steps(stand_ins: Bench) -> None:
    """pdapt and the packed rows have six labels a step, the padded ones three: their first one is no label."""
    found = bench_train.run(stand_ins, ["throughput"]).throughput
    assert found is not None
    assert [(way.tokens, way.seconds, way.first_loss) for way in found.ways] == [
        (6, 10, 8.5),
        (6, 2, 8.25),
        (3, 2, 8.25),
    ]
    assert list(found.speedup.values()) == pytest.approx([0.6 / 3, 0.6 / 1.5])


def test_overhead_is_what_a_step_takes_longer_in_each_turn(stand_ins: Bench) -> None:
    found = bench_train.run(stand_ins, ["overhead"]).overhead
    assert found is not None
    assert list(found.seconds.values()) == [[10, 10, 10], [8, 16, 24]]
    assert found.percents == pytest.approx([25, -37.5, 100 * (10 / 24 - 1)])
    assert found.percent == pytest.approx(-37.5)


def test_saves_are_spread_over_the_steps_and_the_last_steps_does_not_count(stand_ins: Bench) -> None:
    found = bench_train.run(stand_ins, ["saves"]).saves
    assert found is not None
    assert {name: (save.stalls, save.seconds) for name, save in found.items()} == {
        "synchronous": ([5, 10, 15], 10),
        "asynchronous": ([5, 10, 15], 10),
    }
    chosen = [load(str(stand_ins.work / "saves" / name / "recipe.yaml"), []) for name in found]
    assert [(each.checkpoint.asynchronous, each.steps) for each in chosen] == [(False, 16), (True, 16)]


def test_transformers_trains_as_the_recipe_says(tmp_path: Path) -> None:
    chosen = recipe("steps=20", "batch.micro_size=2", "optimizer.beta2=0.97", "optimizer.clip=0.5")
    given, optimizer = training_options(chosen, tmp_path), chosen.optimizer
    assert (given["max_steps"], given["per_device_train_batch_size"], given["bf16"]) == (20, 2, True)
    ranks = chosen.parallel.ranks_per_node
    assert given["gradient_accumulation_steps"] * 2 * ranks == chosen.batch.global_size
    assert (given["learning_rate"], given["weight_decay"]) == (optimizer.lr, optimizer.weight_decay)
    assert (given["adam_beta1"], given["adam_beta2"], given["adam_epsilon"]) == (optimizer.beta1, 0.97, optimizer.eps)
    assert given["max_grad_norm"] == 0.5
    assert not training_options(recipe("model.precision=fp32"), tmp_path)["bf16"]


def test_other_parts_save_and_validate_at_their_end_alone() -> None:
    unsaved = bench_train.unsaved(recipe("steps=20"))
    assert min(unsaved.checkpoint.every, unsaved.validation.every) > 20
    assert (unsaved.checkpoint.keep_every, unsaved.validation.batches) == (None, 1)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bench_train.sample_tokens(recipe(), tmp_path_factory.mktemp("sample"))


@pytest.mark.slow
def test_pdapt_and_transformers_begin_with_the_same_loss_on_the_same_rows(tokens: Path, tmp_path: Path) -> None:
    chosen = recipe("steps=4", "model.precision=fp32", "batch.global_size=4", "batch.micro_size=2")
    found = bench_train.run(Bench(chosen, tokens, tmp_path, repeats=1), ["throughput"]).throughput
    assert found is not None
    pdapt, packed, padded = found.ways
    assert abs((pdapt.first_loss or 0) - (packed.first_loss or 1)) < 1e-5  # about 8.4 nats
    assert pdapt.tokens == packed.tokens > 1.5 * padded.tokens
    assert min(found.speedup.values()) > 0


@pytest.mark.slow
def test_the_bare_loop_and_both_kinds_of_save_run(tokens: Path, tmp_path: Path) -> None:
    chosen = recipe("steps=8", "model.precision=fp32", "data.seq_length=128")
    found = bench_train.run(Bench(chosen, tokens, tmp_path, repeats=1), ["overhead", "saves"])
    assert found.overhead is not None
    assert len(found.overhead.percents) == 1
    assert {len(seconds) for seconds in found.overhead.seconds.values()} == {1}
    assert found.saves is not None
    assert {len(save.stalls) for save in found.saves.values()} == {bench_train.SAVES}
    assert all(min(save.stalls) > 0 for save in found.saves.values())


def test_the_share_of_others_is_of_the_time_of_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    now, spent = 100.0, 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(bench_train, "spent_by_others", lambda: spent)
    others = bench_train.WorkOfOthers()
    now, spent = 110.0, 1000.0 + 4.0 * (os.cpu_count() or 1)
    assert others.share() == pytest.approx(0.4)
    spent = 999.9
    assert others.share() == 0


@pytest.mark.slow
def test_the_work_of_other_processes_is_noticed() -> None:
    before = bench_train.spent_by_others()
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(1.5)
        assert bench_train.spent_by_others() - before > 0.2  # a child is not ours before it is waited for
    finally:
        other.kill()
        other.wait()


@pytest.mark.slow
def test_the_parent_loads_no_torch() -> None:
    """It would stand beside the ranks with 0.5 GB, and take their cores while it loads."""
    code = "import sys, pdapt.bench.train; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
