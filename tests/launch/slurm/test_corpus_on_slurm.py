"""A corpus whose parts are jobs of a real Slurm's."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from task_runs import completed, finish, start, start_build, wait

from pdapt.core.exit_codes import ExitCode
from pdapt.core.manifest import Manifest
from pdapt.data_prep.corpus import build_corpus, discover
from pdapt.data_prep.tokens.build import build_tokens

FILES = 4
SITE = ("--tasks", str(FILES), "--duplicates", "near", "--slurm", "partition=p", "--slurm", "time=10")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Files that each take a part of a second to clean; each has texts of the one before, and longer."""
    folder = tmp_path / "notes"
    folder.mkdir()
    for number in range(FILES):
        texts = (f"Patient{n} : hyper-\ntension <b>à</b> 12 mmHg.\n" * 30 for n in range(10 * number, 10 * number + 20))
        lines = [json.dumps({"text": f"{text} Suite {'bis ' * number}"}) + "\n" for text in texts]
        (folder / f"{number}.jsonl").write_text("".join(lines))
    return folder


def jobs(slurm: dict[str, str]) -> set[str]:
    """Numbers of the jobs that Slurm has."""
    asked = subprocess.run(["squeue", "-h", "-o", "%A"], env=slurm, capture_output=True, text=True, check=True)
    return set(asked.stdout.split())


@pytest.mark.slow
def test_parts_run_on_slurm_and_a_kill_costs_those_at_work(
    slurm: dict[str, str], notes: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    """The jobs of the killed command are ended before others begin, and no finished task is done again."""
    whole = build_corpus(discover([f"notes={notes}"]), tmp_path / "whole", duplicates="near")
    out = tmp_path / "killed" / "corpus"
    process = start_build(notes, out, *SITE, environment=slurm)
    wait(lambda: len(completed(out.parent)) >= 1)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    before, left = completed(out.parent), jobs(slurm)
    again = start_build(notes, out, *SITE, environment=slurm)
    wait(lambda: not left & jobs(slurm))
    assert again.poll() is None
    wait(lambda: len(completed(out.parent)) > len(before) or again.poll() is not None)
    assert before.items() <= completed(out.parent).items()
    said = finish(again)
    for step in ("finish", "join", "sign", "choose", "drop"):
        assert f"corpus: {step}: submitted as job " in said
    manifest = Manifest.read(out)
    assert (manifest.outputs, manifest.counts) == (whole.outputs, whole.counts)
    assert 0 < manifest.counts["notes"]["kept"] < FILES * 20
    tokens_on_slurm([str(out), f"raw={notes / '0.jsonl'}"], tokenizer_folder, tmp_path, slurm)
    wait(lambda: not jobs(slurm), seconds=30)  # the last has done its work, and is about to end


def tokens_on_slurm(paths: list[str], tokenizer: Path, folder: Path, slurm: dict[str, str]) -> None:
    """Assert that jobs make the tokens that threads of one process make."""
    out = folder / "tokens"
    whole = build_tokens(paths, tokenizer, folder / "whole-tokens")
    options = ["--tokenizer", str(tokenizer), "--out", str(out), "--tasks", "2", *SITE[-4:]]
    said = finish(start("tokens", "build", *paths, *options, environment=slurm))
    for step in ("scan", "tokenize", "assemble"):
        assert f"tokens: {step}: submitted as job " in said
    assert "tokens: tokenize: 2 tasks of 2" in said
    manifest = Manifest.read(out)
    assert (manifest.outputs, manifest.counts) == (whole.outputs, whole.counts)


@pytest.mark.slow
def test_a_job_that_slurm_does_not_take_or_ends_is_said(slurm: dict[str, str], notes: Path, tmp_path: Path) -> None:
    refused = start_build(notes, tmp_path / "corpus", *SITE, "--slurm", "partition=none", environment=slurm)
    _, said = refused.communicate(timeout=60)
    assert refused.returncode == ExitCode.USER_ERROR
    assert "sbatch refused the job" in said
    process = start_build(notes, tmp_path / "corpus", *SITE, environment=slurm)
    wait(lambda: bool(jobs(slurm)))
    subprocess.run(["scancel", "-u", "root"], env=slurm, check=True)
    _, said = process.communicate(timeout=120)
    assert process.returncode == ExitCode.FAILED, said
    assert "tasks left" in said
    assert not (tmp_path / "corpus").exists()
