"""Models as they are named on the command line, and figures while training goes on."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pdapt.conversion.convert import import_hf
from pdapt.core.errors import UserError
from pdapt.core.files import read_json, write_json
from pdapt.core.manifest import MANIFEST_FILE, Manifest
from pdapt.eval.harness.backends import Limits
from pdapt.eval.scores import Score, Scores
from pdapt.launch import score_models as evaluate
from pdapt.launch.score_models import resolve

Maker = Callable[..., Path]


def _names(models: list[Any]) -> list[tuple[str, str, int | None]]:
    return [(model.name, model.role, model.step) for model in models]


def test_folders_are_named(tmp_path: Path) -> None:
    (tmp_path / "Qwen3-8B").mkdir()
    given = [f"base={tmp_path / 'Qwen3-8B'}", str(tmp_path / "Qwen3-8B"), f"merged={tmp_path / 'Qwen3-8B'}"]
    assert _names(resolve(given, tmp_path)) == [
        ("base", "base", None),
        ("Qwen3-8B", "other", None),
        ("merged", "merged", None),
    ]
    with pytest.raises(UserError, match=r"no such folder: gone(.|\n)*`pdapt eval fetch"):
        resolve([str(tmp_path / "gone")], tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="no such folder: file") as raised:
        resolve([str(tmp_path / "file")], tmp_path)
    assert "fetch" not in str(raised.value), "what is there is not downloaded again"


def test_what_made_a_folder_says_what_it_is(tmp_path: Path) -> None:
    made = {"last": ("export", {"step": 60}), "imported": ("export", {}), "half": ("merge", {}), "t0.5": ("sweep", {})}
    for name, (stage, counts) in made.items():
        write_json(tmp_path / name / MANIFEST_FILE, asdict(Manifest(stage, {}, {}, counts, {})))
    assert _names(resolve([str(tmp_path / name) for name in made], tmp_path)) == [
        ("last", "checkpoint", 60),
        ("imported", "other", None),
        ("half", "merged", None),
        ("t0.5", "merged", None),
    ]
    assert _names(resolve([f"base={tmp_path / 'last'}"], tmp_path)) == [("base", "base", None)]


def _roles(given: list[str], exports: Path, roles: list[str] | None = None) -> dict[str, str]:
    return {model.name: model.role for model in resolve(given, exports, roles)}


def test_a_folder_that_is_named_beside_a_base_is_compared_whoever_made_it(tmp_path: Path) -> None:
    for name in ("A", "B", "C"):
        (tmp_path / name).mkdir()
    write_json(tmp_path / "B" / MANIFEST_FILE, asdict(Manifest("baseline", {}, {}, {}, {})))
    a, b, c = (str(tmp_path / name) for name in "ABC")
    assert _roles([f"base={a}", f"cpt={b}", f"mine={c}"], tmp_path) == {
        "base": "base",
        "cpt": "checkpoint",
        "mine": "checkpoint",
    }
    assert _roles([f"base={a}", f"cpt={b}", c], tmp_path)["C"] == "other", "a baseline is only ranked"
    assert _roles([f"cpt={b}", f"mine={c}"], tmp_path) == {"cpt": "other", "mine": "other"}, "no base to compare with"
    assert _roles([f"tuned={b}", c], tmp_path) == {"tuned": "checkpoint", "C": "other"}
    assert _roles([f"base={a}", f"other={b}"], tmp_path)["other"] == "other"


def test_a_role_may_be_stated(tmp_path: Path) -> None:
    for name in ("A", "B", "C"):
        (tmp_path / name).mkdir()
    a, b, c = (str(tmp_path / name) for name in "ABC")
    assert _roles([a, b, c], tmp_path, ["A=base", "B=tuned", "C=merged"]) == {
        "A": "base",
        "B": "checkpoint",
        "C": "merged",
    }
    assert _roles([f"base={a}", f"cpt={b}"], tmp_path, ["cpt=other"]) == {"base": "base", "cpt": "other"}
    assert _roles([f"x={a}", f"cpt={b}"], tmp_path, ["x=base"])["cpt"] == "checkpoint"
    for roles, message in (
        (["D=base"], "no model is called 'D'"),
        (["A=bass"], "did you mean 'base'"),
        (["base"], "does not give a model a role"),
        (["A=base", "A=other"], "A has two roles"),
    ):
        with pytest.raises(UserError, match=message):
            resolve([a, b], tmp_path, roles)


def test_a_whole_run_stands_for_its_models(tmp_path: Path) -> None:
    for name in ("base", "cpt-00020", "cpt-00100", "merged"):
        (tmp_path / "run" / "hf" / name).mkdir(parents=True)
    write_json(tmp_path / "run" / "request.json", {"base": None})
    assert _names(resolve([str(tmp_path / "run")], tmp_path)) == [
        ("base", "base", None),
        ("cpt-00020", "checkpoint", 20),
        ("cpt-00100", "checkpoint", 100),
        ("merged", "merged", None),
    ]
    write_json(tmp_path / "run" / "request.json", {"base": str(tmp_path / "elsewhere")})
    found = resolve([f"8b={tmp_path / 'run'}"], tmp_path)
    assert [model.name for model in found] == ["8b-base", "8b-cpt-00020", "8b-cpt-00100", "8b-merged"]
    assert found[0].path == tmp_path / "elsewhere"


@pytest.fixture
def training(tiny_qwen3: Maker, tmp_path: Path) -> Callable[[int], Path]:
    """A training run's folder to which checkpoints are added, as Megatron leaves them: `training(step)`."""
    run = tmp_path / "cpt"

    def add(step: int) -> Path:
        import_hf(tiny_qwen3(seed=step), tmp_path / f"imported-{step}")
        run.mkdir(exist_ok=True)
        write_json(run / "run.json", {})
        target = run / "checkpoints" / f"iter_{step:07d}"
        shutil.copytree(tmp_path / f"imported-{step}" / "release", target)
        if not (run / "checkpoints" / "hf").exists():
            shutil.copytree(tmp_path / f"imported-{step}" / "hf", run / "checkpoints" / "hf")
        return run

    return add


def test_a_training_run_stands_for_its_checkpoints(training: Callable[[int], Path], tmp_path: Path) -> None:
    run = training(20)
    exports = tmp_path / "exports"
    assert _names(resolve([str(run)], exports)) == [("cpt-00020", "checkpoint", 20)]
    training(40)
    shutil.rmtree(run / "checkpoints" / "iter_0000020")  # as a recipe that keeps the last one does
    found = resolve([f"a={run}"], exports)
    assert _names(found) == [("a-00040", "checkpoint", 40)]
    assert _names(resolve([str(run)], exports)) == [("cpt-00020", "checkpoint", 20), ("cpt-00040", "checkpoint", 40)]
    assert list(found[0].path.glob("*.safetensors"))


def test_scores_are_a_table_of_models_and_domains_with_errors() -> None:
    rows = [
        Score("base", "perplexity_medical", "medical", source, metric, value, 0.02, 20, 4000)
        for source, metric, value in (
            ("", "byte_perplexity", 2.5),
            ("notes", "byte_perplexity", 2.4),
            ("", "gold_logprob", -3.5),
            ("", "acc", 0.5),
        )
    ]
    assert evaluate.as_table(Scores([("base", "base"), ("cpt-10", "checkpoint")], rows, [])) == {
        "base": {
            "medical": {
                "perplexity": 2.5,
                "perplexity_stderr": 0.02,
                "gold_logprob": -3.5,
                "gold_logprob_stderr": 0.02,
            },
            "medical/notes": {"perplexity": 2.4, "perplexity_stderr": 0.02},
        },
        "cpt-10": {},
    }


@pytest.mark.slow
def test_a_run_is_measured_while_it_trains(
    training: Callable[[int], Path], tiny_qwen3: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--follow` sees the checkpoint that appears, measures it, and ends with the run; nothing is measured twice."""
    run, heldout = training(20), tmp_path / "heldout"
    heldout.mkdir()
    for source in ("notes", "letters"):
        texts = [f"{source} {n} : " + " ".join(f"mot{n * k % 97}" for k in range(60)) for n in range(6)]
        rows = [{"text": text, "doc_id": str(n), "source": source} for n, text in enumerate(texts)]
        (heldout / f"{source}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rounds: list[int] = []

    def sleep(seconds: float) -> None:
        """Between two looks, training saves a checkpoint and ends."""
        rounds.append(int((tmp_path / "out/cpt-00020/manifest.json").stat().st_mtime_ns))
        if len(rounds) == 1:
            training(40)
            write_json(run / "state.json", {"state": "finished", "step": 40, "reason": ""})

    monkeypatch.setattr(evaluate.time, "sleep", sleep)
    given = [f"base={tiny_qwen3()}", str(run)]
    table = evaluate.proxy(
        given, [f"medical={heldout}"], tmp_path / "out", limits=Limits(questions=12), batch_size=8, follow=True
    )
    assert rounds == [int((tmp_path / "out/cpt-00020/manifest.json").stat().st_mtime_ns)]
    assert list(table) == ["base", "cpt-00020", "cpt-00040"]
    for cells in table.values():
        assert set(cells) == {"medical", "medical/notes", "medical/letters"}
        assert cells["medical"]["perplexity"] > 1
        assert cells["medical"]["gold_logprob"] < 0
        assert cells["medical/notes"]["perplexity_stderr"] is not None
    comparisons = read_json(tmp_path / "out" / "proxy.json")["comparisons"]
    assert {(row["model"], row["against"]) for row in comparisons} == {("cpt-00020", "base"), ("cpt-00040", "base")}


def test_baselines_are_listed_as_one_object() -> None:
    command = [sys.executable, "-m", "pdapt.cli.main", "eval", "baselines", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(json.loads(done.stdout)["baselines"]) == 35
