"""Folders as others leave them: tied output layers written out, old indices, no tokenizer, links to blobs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pdapt.conversion.convert import import_hf
from pdapt.conversion.verify import verify
from pdapt.core.errors import UserError
from pdapt.core.hf.model import open_model
from pdapt.merge.run import average, merge
from pdapt.merge.sweep import sweep

Maker = Callable[..., Path]
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def with_head(folder: Path, change: float = 0.0) -> Path:
    weights = load_file(folder / "model.safetensors")
    head = weights[EMBEDDING].clone()
    head[3, 5] += change
    save_file(weights | {HEAD: head}, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def stages(base: Path, tuned: Path, out: Path) -> dict[str, Callable[[], Any]]:
    return {
        "import": lambda: import_hf(tuned, out),
        "merge": lambda: merge(base, tuned, out),
        "average": lambda: average([base, tuned], out),
        "sweep": lambda: sweep(base, tuned, out, [0.5]),
        "verify": lambda: verify(base, tuned),
    }


@pytest.mark.parametrize("stage", ["import", "merge", "average", "sweep", "verify"])
@pytest.mark.parametrize("change", [1.0, float("nan")])
def test_a_tied_model_with_an_output_layer_of_its_own_is_refused(
    tiny_qwen3: Maker, tmp_path: Path, stage: str, change: float
) -> None:
    base, tuned = tiny_qwen3(0), with_head(tiny_qwen3(1), change)
    with pytest.raises(UserError, match=r"ties the output layer to the embedding, but lm_head\.weight differs from it"):
        stages(base, tuned, tmp_path / "out")[stage]()
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_tied_output_layer_that_is_the_embedding_is_left_out_and_said(
    tiny_qwen3: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, tuned = with_head(tiny_qwen3(0)), with_head(tiny_qwen3(1))
    for number, name in enumerate(("merge", "average", "sweep")):
        stages(base, tuned, tmp_path / name)[name]()
        assert capsys.readouterr().err.count("lm_head.weight is left out: it repeats the embedding") == 2, number
    for folder in (tmp_path / "merge", tmp_path / "average", tmp_path / "sweep" / "t0.5"):
        assert HEAD not in load_file(folder / "model.safetensors")
    import_hf(base, tmp_path / "root")
    assert verify(base, tmp_path / "root").identical


def test_an_untied_model_without_an_output_layer_is_refused(tiny_qwen3: Maker, tmp_path: Path) -> None:
    base, tuned = tiny_qwen3(0, False), tiny_qwen3(1, False)
    weights = load_file(tuned / "model.safetensors")
    del weights[HEAD]
    save_file(weights, tuned / "model.safetensors", metadata={"format": "pt"})
    for name in ("import", "merge", "average", "sweep"):
        with pytest.raises(UserError, match=r"missing: lm_head\.weight"):
            stages(base, tuned, tmp_path / "out")[name]()


def test_a_single_file_beside_an_old_index_is_refused(tiny_qwen3: Maker, tmp_path: Path) -> None:
    base, tuned = tiny_qwen3(0), tiny_qwen3(1)
    old = {"weight_map": dict.fromkeys(load_file(tuned / "model.safetensors"), "model-00001-of-00001.safetensors")}
    shutil.copyfile(tuned / "model.safetensors", tuned / "model-00001-of-00001.safetensors")
    (tuned / "model.safetensors.index.json").write_text(json.dumps(old))
    for name in ("import", "merge", "average", "sweep", "verify"):
        with pytest.raises(UserError, match=r"model\.safetensors lies beside"):
            stages(base, tuned, tmp_path / "out")[name]()


def test_files_that_are_in_no_index_are_named(
    tiny_qwen3: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tiny_qwen3()
    save_file({"x": torch.zeros(1)}, source / "adapter_model.safetensors")
    import_hf(source, tmp_path / "out")
    assert "adapter_model.safetensors: not read, because no index names it" in capsys.readouterr().err
    names = ["adapter_model.safetensors", *(f"extra-{number}.safetensors" for number in range(5))]
    for count, more in ((5, ""), (6, " and 1 more")):
        for name in names[:count]:
            save_file({"x": torch.zeros(1)}, source / name)
        open_model(source)
        assert f"{source}: {', '.join(names[:5])}{more}: not read" in capsys.readouterr().err


def test_models_without_a_tokenizer_are_merged_and_that_is_said(
    tiny_qwen3: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, tuned = tiny_qwen3(0), tiny_qwen3(1)
    for folder in (base, tuned):
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).unlink()
    merge(base, tuned, tmp_path / "merged")
    sweep(base, tuned, tmp_path / "sweep", [0.5])
    assert capsys.readouterr().err.count("the models have no tokenizer") == 2
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("merged", "sweep/t0.5"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_links_to_blobs_are_read_as_files(tiny_qwen3: Maker, tmp_path: Path) -> None:
    source, snapshot = tiny_qwen3(), tmp_path / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for path in source.iterdir():
        (snapshot / path.name).symlink_to(path)
    import_hf(snapshot, tmp_path / "root")
    assert verify(source, tmp_path / "root").identical
    assert not [path for path in (tmp_path / "root").rglob("*") if path.is_symlink()]


@pytest.mark.parametrize(
    ("changes", "config"),
    [
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e6}}, {"rope_theta": [1e6, 5e6]}),
        ({"eos_token_id": 7, "mine": 1}, {"eos_token_id": [None, 7], "mine": [None, 1]}),
        ({"rope_theta": 1_000_000, "torch_dtype": "float32", "layer_types": None, "transformers_version": "4"}, {}),
    ],
)
def test_verify_compares_what_configurations_say(
    tiny_qwen3: Maker, tmp_path: Path, changes: dict[str, Any], config: dict[str, Any]
) -> None:
    source, other = tiny_qwen3(), tmp_path / "other"
    shutil.copytree(source, other)
    path = other / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    found = verify(source, other)
    assert found.config == config
    assert found.identical is not bool(config)
    assert not found.different
