"""Training reads only what was written: tokens and base, damaged in every way, are refused before the first step."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pdapt.conversion.convert import import_hf
from pdapt.core.errors import UserError
from pdapt.core.files import read_json
from pdapt.data_prep.tokens.index import IdRange, bin_path, check_offsets, idx_path, write_indexed
from pdapt.recipes.load import load
from pdapt.training.input_hashes import Inputs, check_bytes, on_one_rank_of_each_node
from pdapt.training.train import train

Maker = Callable[..., Path]


@pytest.fixture
def base(tiny_qwen3: Maker, tmp_path: Path) -> Callable[[int], Path]:
    """Imported bases with the tokens' own tokenizer, one for each seed."""

    def make(seed: int) -> Path:
        if not (tmp_path / f"base-{seed}").is_dir():
            import_hf(tiny_qwen3(seed), tmp_path / f"base-{seed}")
        return tmp_path / f"base-{seed}"

    return make


def flip(path: Path, _: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path, _: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])


def remove(path: Path, _: Path) -> None:
    path.unlink()


def swap(path: Path, other: Path) -> None:
    shutil.copyfile(other, path)


def swap_two_ids(path: Path, _: Path) -> None:
    """Ids that are all in the vocabulary, in another order."""
    ids = np.fromfile(path, "<i4")
    first, second = 0, int(np.flatnonzero(ids != ids[0])[0])
    ids[[first, second]] = ids[[second, first]]
    ids.tofile(path)


def read_files(folder: Path) -> list[str]:
    return [name for name in read_json(folder / "manifest.json")["outputs"] if not name.startswith(("heldout", "lat"))]


@pytest.mark.slow
def test_training_refuses_every_damage_to_tokens_and_base_before_its_folder_is_there(
    base: Callable[[int], Path], tokens: Path, recipe_file: Path, tmp_path: Path
) -> None:
    mine, root, recipe = tmp_path / "tokens", tmp_path / "base", load(str(recipe_file))
    shutil.copytree(tokens, mine)
    shutil.copytree(base(0), root)
    tried = 0
    for folder in (mine, root):
        names = read_files(folder)
        for name in names:
            path, whole = folder / name, (folder / name).read_bytes()
            other = base(1) / name if folder == root else tokens / name.replace("soins", "ville")
            for damage in (flip, cut, remove, swap, *([swap_two_ids] if name.endswith(".bin") else [])):
                damage(path, other)
                if path.is_file() and path.read_bytes() == whole:
                    continue
                tried += 1
                with pytest.raises(UserError) as caught:
                    train(recipe, mine, tmp_path / "run", base=root)
                assert path.name in str(caught.value), f"{name}: {damage.__name__}: {caught.value}"
                assert not (tmp_path / "run").exists(), name
                path.write_bytes(whole)
    assert tried > 100
    check_bytes(recipe, Inputs(mine, root))


def test_what_was_checked_is_said_with_its_speed(
    base: Callable[[int], Path], tokens: Path, recipe_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_bytes(load(str(recipe_file)), Inputs(tokens, base(0)))
    said = capsys.readouterr().err
    assert said.count("train: checked 0.00 GB of tokens and base in") == 1
    assert "MB/s" in said
    check_bytes(load(str(recipe_file)), Inputs(tokens, base(0), verify=False))
    assert not capsys.readouterr().err


def test_only_what_the_recipe_names_is_read(tokens: Path, recipe_file: Path, tmp_path: Path) -> None:
    mine = tmp_path / "tokens"
    shutil.copytree(tokens, mine)
    flip(mine / "train" / "ville.bin", mine)
    check_bytes(load(str(recipe_file), ["data.blend=[{sources: [soins]}]"]), Inputs(mine))
    with pytest.raises(UserError, match=r"ville\.bin"):
        check_bytes(load(str(recipe_file)), Inputs(mine))


def test_a_base_and_tokens_without_hashes_are_said_once_and_their_ids_are_looked_at(
    base: Callable[[int], Path], tokens: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, root, recipe = tmp_path / "tokens", tmp_path / "base", load(str(recipe_file))
    shutil.copytree(tokens, mine)
    shutil.copytree(base(0), root)
    for folder in (mine, root):
        (folder / "manifest.json").unlink()
    check_bytes(recipe, Inputs(mine, root))
    said = capsys.readouterr().err
    assert said.count(f"{mine} holds no hashes of its files") == 1
    assert said.count(f"{root / 'release'} holds no hashes of its files") == 1
    path = mine / "valid" / "ville.bin"
    for value in (-1, read_json(mine / "tokens.json")["vocabulary_size"]):
        ids = np.fromfile(path, "<i4")
        whole, ids[7] = ids.copy(), value
        ids.tofile(path)
        with pytest.raises(
            UserError, match=rf"ville\.bin holds 1 id .* {value:,}\n.*ville\.bin, token 8, in document 1"
        ):
            train(recipe, mine, tmp_path / "run", base=root)
        whole.tofile(path)
    assert not (tmp_path / "run").exists()


def test_the_place_of_an_id_out_of_range_is_its_document_across_blocks(tmp_path: Path) -> None:
    lengths = np.array([3, 4, 5], np.int32)
    np.arange(12, dtype="<i4").tofile(tmp_path / "ids")
    write_indexed(tmp_path / "set", [(tmp_path / "ids", lengths)])
    look, data = IdRange(tmp_path / "set", 9), bin_path(tmp_path / "set").read_bytes()
    for begin in range(0, len(data), 8):
        look(memoryview(data)[begin : begin + 8])
    with pytest.raises(UserError, match=r"holds 3 ids .*of them 9\n.*token 10, in document 3\n  allowed: 0 to 8\n"):
        look.check()
    fine = IdRange(tmp_path / "set", 12)
    fine(memoryview(data))
    fine.check()


def test_an_index_whose_offsets_are_others_is_refused(tmp_path: Path) -> None:
    """Its lengths are right, and Megatron reads by its offsets."""
    np.arange(12, dtype="<i4").tofile(tmp_path / "ids")
    write_indexed(tmp_path / "set", [(tmp_path / "ids", np.array([3, 4, 5], np.int32))])
    check_offsets(tmp_path / "set")
    path = idx_path(tmp_path / "set")
    data = bytearray(path.read_bytes())
    at = data.index((12).to_bytes(8, "little"))
    data[at] = 8
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"puts document 2 at byte 8 of set\.bin(.|\n)*allowed: 12"):
        check_offsets(tmp_path / "set")


@pytest.mark.slow
def test_the_command_ends_with_2_and_names_the_file(tokens: Path, recipe_file: Path, tmp_path: Path) -> None:
    mine = tmp_path / "tokens"
    shutil.copytree(tokens, mine)
    flip(mine / "train" / "soins.bin", mine)
    command = [sys.executable, "-m", "pdapt.cli.main", "train", str(recipe_file), "--tokens", str(mine), "--out"]
    done = subprocess.run([*command, str(tmp_path / "run")], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "soins.bin: another SHA-256" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_under_torchrun_one_rank_of_each_node_checks_and_no_other_begins(
    tokens: Path, recipe_file: Path, tmp_path: Path
) -> None:
    """Two agents stand for two nodes; the second has the damaged copy."""
    copies = [tmp_path / "tokens-0", tmp_path / "tokens-1"]
    for copy in copies:
        shutil.copytree(tokens, copy)
    flip(copies[1] / "train" / "soins.bin", tmp_path)
    overrides = ["parallel.nodes=2", "parallel.ranks_per_node=2"]
    agents = []
    for number, copy in enumerate(copies):
        command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--node-rank", str(number)]
        command += ["--nproc-per-node", "2", "--master-addr", "127.0.0.1", "--master-port", "29417", "--no-python"]
        command += ["pdapt", "train", str(recipe_file), *overrides, "--tokens", str(copy), "--out"]
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        agents.append(
            subprocess.Popen(
                [*command, str(tmp_path / "run")],
                stderr=subprocess.STDOUT,
                stdout=(tmp_path / f"log-{number}").open("wb"),
                env=environment,
            )
        )
    codes = [agent.wait(timeout=240) for agent in agents]
    said = [(tmp_path / f"log-{number}").read_text() for number in (0, 1)]
    assert all(codes), codes
    assert "soins.bin: another SHA-256 than was written with it" in said[1]
    assert "train: checked" in said[0]
    assert said[0].count("train: checked") + said[1].count("train: checked") == 1
    assert not (tmp_path / "run").exists()


def test_without_torchrun_a_nodes_first_rank_checks_and_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")  # where nobody listens
    checked: list[str] = []
    for rank in ("0", "1"):
        monkeypatch.setenv("LOCAL_RANK", rank)
        on_one_rank_of_each_node(lambda: checked.append(os.environ["LOCAL_RANK"]), rank)
    assert checked == ["0"]
