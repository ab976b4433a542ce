"""The face: quick help, exit codes, one JSON object, and messages without a traceback."""

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Said

from pdapt.core import manifest

VERBS = {
    "corpus": ["build", "topics"],
    "tokens": ["build", "stats", "show"],
    "convert": ["import", "export", "verify", "follow"],
    "merge": ["run", "sweep", "average", "choose"],
    "eval": ["fetch", "baselines", "run", "status", "proxy"],
    "report": ["build", "paper"],
    "bench": ["packing", "tokens", "dedup", "train", "convert", "merge", "scaling", "gemm", "copy", "nccl", "data"],
    "plan": ["recipe", "score", "fit", "curves"],
}


@pytest.mark.parametrize("verb", ["train", "launch", "run"])
def test_the_help_of_what_runs_for_long_lists_the_exit_codes(verb: str, say: Callable[..., Said]) -> None:
    said = say(verb, "--help")
    assert said.code == 0
    listed = re.findall(r"^ +(\d+)  \S", said.out.partition("Exit codes:")[2], re.MULTILINE)
    assert listed == ["0", "1", "2", "75", "76", "141"]


def test_help_is_quick_because_it_loads_no_torch() -> None:
    """The budget is 0.3 s; `docs/benchmarks.md` has the figure. A test of time would measure the machine."""
    heavy = {"torch", "transformers", "datasets", "pyarrow", "megatron", "mergekit", "lm_eval", "numpy", "omegaconf"}
    code = f"import sys, pdapt.cli.main; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_every_verb_is_there_and_explains_itself(say: Callable[..., Said]) -> None:
    whole = say("--help").out
    for verb in ("train", "launch", "run", "quickstart", "doctor", *VERBS):
        assert verb in whole
    for room, verbs in VERBS.items():
        for verb in verbs:
            said = say(room, verb, "--help")
            assert said.code == 0
            assert "--json" in said.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["corpus", "build", "no-such-file.jsonl", "--out", "out"], "no such file"),
        (["corpus", "build", "empty.jsonl", "--out", "out"], "empty"),
        (["corpus", "build", "latin.txt", "--out", "out"], "UTF-8"),
        (["tokens", "build", "corpus", "--tokenizer", "tok", "--out", "out"], "no such file or folder: corpus"),
        (["tokens", "build", "ok.txt", "--tokenizer", "tok/en", "--out", "out"], "no tokenizer at tok/en"),
        (["tokens", "build", "bad.jsonl", "--tokenizer", "TOK", "--out", "out"], "bad.jsonl:2"),
        (["tokens", "build", "ok.jsonl", "--tokenizer", "tok", "--out", "out"], "no tokenizer at tok"),
        (["tokens", "build", "ok.jsonl", "--tokenizer", "TOK", "--out", "out", "--layout", "pack"], "'packed'?"),
        (["tokens", "build", "ok.jsonl", "--tokenizer", "TOK", "--out", "out", "--seq-length", "0"], "0 slots"),
        (["tokens", "build", "ok.jsonl", "--tokenizer", "TOK", "--out", "out", "--verify", "some"], "sample, all"),
        (["tokens", "build", "ok.jsonl", "--tokenizer", "TOK", "--out", "out", "--backend", "fats"], "'fast'?"),
        (["tokens", "build", "ok.jsonl", "--tokenizer", "TOK", "--out", "out", "--vocab-size", "9"], "9 rows"),
        (["tokens", "build", "ok.jsonl", "--tokenizer", "TOK", "--out", "out", "--text-column", "input"], "'input'"),
        (["tokens", "stats", "gone"], "tokens.json is missing"),
        (["tokens", "stats", "gone", "--batch", "8"], "both --batch and --steps"),
        (["tokens", "show", "gone", "0"], "tokens.json is missing"),
        (["tokens", "show", "gone", "0", "steps=3"], "is given without a recipe"),
        (["tokens", "show", "gone", "0", "--seq-length", "0"], "0 slots"),
        (["tokens", "show", "gone", "0", "--split", "test"], "train, valid"),
        (["bench", "tokens", "ok.txt", "--tokenizer", "TOK"], "not a Parquet file"),
        (["bench", "dedup", "ok.txt"], "not a Parquet file"),
        (["corpus", "build", "ok.txt", "--duplicates", "nears", "--out", "out"], "did you mean 'near'"),
        (["corpus", "topics", "gone"], "no documents in gone"),
        (
            ["corpus", "topics", "gone", "--labels", "ok.txt", "--terms", "ok.txt"],
            "labels are given together with terms",
        ),
        (["bench", "scaling", "--out", "out", "--way", "wide"], "no way to scale is called 'wide'"),
        (["plan", "score", "gone.json"], "gone.json is missing"),
        (["plan", "recipe", "qwen3_8b"], "no recipe is called"),
        (["convert", "import", "hf", "out"], "no such folder"),
        (["convert", "export", "ckpt", "out"], "not a Megatron checkpoint"),
        (["merge", "run", "base", "tuned", "out"], "base"),
        (["merge", "run", "base", "tuned", "out", "--t", "1.5"], "1.5"),
        (["eval", "proxy", "base", "--heldout", "medical", "--out", "out"], "does not name a domain"),
        (["eval", "proxy", "gone", "--heldout", "medical=gone", "--out", "out"], "no such file or folder: gone"),
        (["eval", "run", "gone", "--data", "data", "--out", "out"], "the tasks' data are missing"),
        (["eval", "run", "gone", "--tasks", "law.csv", "--out", "out"], "no such folder: gone"),
        (["eval", "run", ".", "--data", "data", "--out", "out", "--backend", "vlm"], "did you mean 'vllm'"),
        (["eval", "run", ".", "--data", "data", "--out", "out", "--tasks", "mmlu_law"], "no task is called"),
        (["eval", "run", "x=.", "--tasks", "law.csv", "--out", "out"], "x is not a Hugging Face model folder"),
        (["eval", "fetch", "--out", "data", "--source", "gone"], "is missing"),
        (["eval", "fetch", "Qwen3", "--out", "models"], "no baseline is called"),
        (["eval", "status", "out"], "runs.json is missing"),
        (["merge", "sweep", "base", "tuned", "out", "--t", "0.1:1.2:0.1"], "t is 1.2"),
        (["merge", "choose", "base", "tuned", "sweep", "--heldout", "medical=x", "--out", "out"], "'general'"),
        (["bench", "merge", "--size", "06b"], "did you mean '0p6b'"),
        (["train", "qwen3_8b", "--tokens", "tokens", "--out", "out"], "no recipe is called"),
        (["train", "qwen3_tiny_pretrain_2xcpu", "--tokens", "tokens", "--out", "out"], "tokens.json is missing"),
        (["train", "qwen3_tiny_cpt_2xcpu", "--tokens", "tokens", "--out", "out"], "--base is missing"),
        (["launch", "qwen3_8b_cpt_48xh100_packed", "--print"], "--base is missing"),
        (["launch", "qwen3_8b_cpt_48xh100_packed", "--base", "b", "--print"], "tokens.json is missing"),
        (
            ["launch", "qwen3_8b_cpt_48xh100_packed", "parallel.tp=3", "--print"],
            "does not divide the model's 32 att",
        ),
        (["report", "build", "run"], "the folder holds nothing that a report can be made from"),
        (["report", "build", "a=run", "a=other"], "two folders are called a"),
        (["report", "build", "../up=run"], "cannot name a model"),
        (["report", "paper", "--tables", "ok.jsonl"], "does not hold the paper's tables"),
        (["report", "paper", "--language", "de"], "not a language"),
        (["report", "paper", "--runs", "Qwen3-4B-Base=run"], "--out is missing"),
        (["run", "--data", "gone", "--out", "out"], "no such file"),
        (["run", "--data", "ok.txt", "--base", "gone", "--out", "out"], "no such folder"),
        (["doctor", "--base", "gone"], "no such folder"),
    ],
)
def test_a_mistake_is_one_clear_message_and_code_2(
    tmp_path: Path,
    tokenizer_folder: Path,
    say: Callable[..., Said],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.jsonl").write_bytes(b"")
    (tmp_path / "latin.txt").write_bytes("patient âgé".encode("latin-1"))
    (tmp_path / "ok.txt").write_text("Un texte.")
    (tmp_path / "law.csv").write_text("question,A,B,answer\nMit 17?,ja,nein,B\nMit 18?,ja,nein,A\n")
    (tmp_path / "ok.jsonl").write_text('{"text": "Un texte."}\n')
    (tmp_path / "bad.jsonl").write_text('{"text": "Un texte."}\n{"text": \n')
    before = set(tmp_path.iterdir())
    said = say(*(tokenizer_folder if word == "TOK" else word for word in arguments))
    assert said.code == 2, said.err
    assert message in said.err
    assert "Traceback" not in said.err
    assert said.out == ""
    left = set(tmp_path.iterdir()) - before
    assert not any((path / "manifest.json").exists() for path in left)


def test_a_base_of_another_type_is_refused_before_anything_is_made(
    tmp_path: Path, tiny_qwen3: Callable[..., Path], say: Callable[..., Said]
) -> None:
    (tmp_path / "ok.txt").write_text("Un texte.")
    base = tiny_qwen3(dtype="float16")
    done = say("run", "--data", tmp_path / "ok.txt", "--base", base, "--out", tmp_path / "run")
    assert done.code == 2, done.err
    assert "the base's weights are float16, but training saves bfloat16 or float32" in done.err
    assert not (tmp_path / "run").exists()


def test_json_is_one_object_and_nothing_else(tmp_path: Path, say: Callable[..., Said]) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("Paracétamol 500 mg, 1 à 2 comprimés.", encoding="utf-8")
    done = say("corpus", "build", tmp_path / "notes", "--out", tmp_path / "corpus", "--json")
    assert done.code == 0, done.err
    value = json.loads(done.out)
    assert value["stage"] == "corpus"
    assert value["counts"]["notes"]["kept"] == 1


def test_a_full_disk_is_said_and_nothing_half_written_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: Callable[..., Said]
) -> None:
    """The disk is full when the stage's last file is forced to it."""
    (tmp_path / "a.txt").write_text("Un texte.")

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(manifest, "fsync_path", full)
    said = say("corpus", "build", tmp_path / "a.txt", "--out", tmp_path / "c")
    assert said.code == 2
    assert "the disk is full" in said.err
    assert not (tmp_path / "c").exists()
    monkeypatch.undo()
    assert say("corpus", "build", tmp_path / "a.txt", "--out", tmp_path / "c").code == 0


def test_a_file_system_that_is_really_full_is_said(
    small_disk: Callable[[str], Path], tmp_path: Path, say: Callable[..., Said]
) -> None:
    source = tmp_path / "big.txt"
    source.write_text("\n".join(str(n * 7919 % 1_000_003) for n in range(400_000)))
    small = small_disk("256k")
    done = say("corpus", "build", source, "--out", small / "corpus")
    assert done.code == 2, done.err
    assert "the disk is full" in done.err
    assert not (small / "corpus").exists()


@pytest.mark.slow
def test_the_doctor_agrees_on_a_whole_base_and_says_so(tiny_qwen3: Callable[..., Path]) -> None:
    command = [sys.executable, "-m", "pdapt.cli.main", "doctor", "--base", str(tiny_qwen3()), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["comparison"]
    assert found["agree"] is True
    assert found["max_abs_difference"] <= 1e-5
    assert found["same_argmax"] == 1.0
    assert found["positions"] > 5


def test_the_paper_s_claims_are_one_object(say: Callable[..., Said]) -> None:
    done = say("report", "paper", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["significant_changes"]["FR-OTHER"]["PDAPT"] == {"positive": 0, "negative": 13}
    assert set(found["weighted_averages"]["EN-MEDICAL"]["Qwen3-8B-Base"]) == {"base", "PDAPT", "SLERP"}
    assert all(isinstance(claim["holds"], bool) and claim["computed"] for claim in found["claims"])
