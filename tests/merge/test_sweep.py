"""The sweep against mergekit, the parents themselves, kills, and what must be refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen3ForCausalLM

from pdapt.core.errors import UserError
from pdapt.core.files import list_files, sha256
from pdapt.core.hf import writer as hf_writer
from pdapt.core.hf.config import SIDE_FILES, both_spellings
from pdapt.core.manifest import Manifest, fingerprint
from pdapt.merge import sweep as room
from pdapt.merge.run import merge
from pdapt.merge.slerp import CHUNK
from pdapt.merge.sweep import sweep

Maker = Callable[..., Path]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder, sharded or not."""
    return {name: value for path in sorted(folder.glob("*.safetensors")) for name, value in load_file(path).items()}


def put(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def bits(values: torch.Tensor) -> torch.Tensor:
    return values.contiguous().view(torch.int16 if values.dtype == torch.bfloat16 else torch.int32).int()


def steps(first: torch.Tensor, second: torch.Tensor) -> int:
    """How many floating point numbers of their type lie between two values at most."""
    one, other = (torch.where(found < 0, -(found & 0x7FFF), found) for found in (bits(first), bits(second)))
    return int((one - other).abs().max())


def shard(folder: Path, target: Path, size: str = "100KB") -> Path:
    """The same model in many files."""
    Qwen3ForCausalLM.from_pretrained(folder).save_pretrained(target, max_shard_size=size)
    for name in SIDE_FILES:
        if (folder / name).is_file():
            shutil.copy(folder / name, target)
    assert len(list(target.glob("model-*.safetensors"))) > 2
    return target


def spread(base: Path, tuned: Path) -> None:
    """Make the parents' tensors all that SLERP tells apart: equal, parallel, antiparallel, zero, tiny, and unlike."""
    first, second = weights(base), weights(tuned)
    made = {
        "self_attn.q_proj": lambda x: x.clone(),
        "self_attn.k_proj": lambda x: (x.float() * 1.7).to(x.dtype),
        "self_attn.v_proj": lambda x: -x,
        "self_attn.o_proj": torch.zeros_like,
        "mlp.up_proj": lambda x: torch.full_like(x, 1e-12),
        "mlp.gate_proj": lambda x: (x.float() + 0.03 * x.float().std() * torch.randn(x.shape)).to(x.dtype),
    }
    for name, value in first.items():
        for part, make in made.items():
            if part in name:
                second[name] = make(value)
    first["model.layers.1.self_attn.o_proj.weight"] = torch.zeros_like(second["model.layers.1.self_attn.o_proj.weight"])
    put(base, first)
    put(tuned, second)


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_every_point_is_mergekits_bit_by_bit(tiny_qwen3: Maker, tmp_path: Path, tied: bool) -> None:
    base, tuned = tiny_qwen3(0, tied, "bfloat16"), tiny_qwen3(1, tied, "bfloat16")
    spread(base, tuned)
    made = sweep(base, tuned, tmp_path / "sweep", [0.1, 0.5, 0.95])
    for t, manifest in made.items():
        merge(base, tuned, tmp_path / f"mergekit-{t}", t=t)
        ours, theirs = weights(tmp_path / "sweep" / f"t{t}"), weights(tmp_path / f"mergekit-{t}")
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
        assert manifest.outputs["model.safetensors"] == sha256(tmp_path / "sweep" / f"t{t}" / "model.safetensors")


@pytest.mark.slow
def test_fp32_is_mergekits_bit_by_bit(tiny_qwen3: Maker, tmp_path: Path) -> None:
    """More values than a chunk holds, so that sums over chunks are compared; the last bits of their FP32 decide."""
    wide = {"vocab_size": 1024, "hidden_size": 1088}
    base, tuned = tiny_qwen3(0, **wide), tiny_qwen3(1, **wide)
    assert weights(base)["model.embed_tokens.weight"].numel() > CHUNK
    sweep(base, tuned, tmp_path / "sweep", [0.3])
    merge(base, tuned, tmp_path / "mergekit", t=0.3)
    ours, theirs = weights(tmp_path / "sweep" / "t0.3"), weights(tmp_path / "mergekit")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_ends_are_the_parents_bit_by_bit(tiny_qwen3: Maker, tmp_path: Path, dtype: str) -> None:
    base, tuned = tiny_qwen3(0, dtype=dtype), tiny_qwen3(1, dtype=dtype)
    for folder in (base, tuned):
        tensors = weights(folder)
        tensors["model.norm.weight"][:2] = torch.tensor([-0.0, 0.0])
        put(folder, tensors)
    sweep(base, tuned, tmp_path / "sweep", [0, 0.5, 1])
    for point, parent in (("t0", base), ("t1", tuned)):
        expected, found = weights(parent), weights(tmp_path / "sweep" / point)
        assert found.keys() == expected.keys()
        assert all(torch.equal(bits(found[name]), bits(expected[name])) for name in expected)
    assert not torch.equal(
        weights(tmp_path / "sweep" / "t0.5")["model.norm.weight"], weights(base)["model.norm.weight"]
    )


def test_shards_in_and_out_do_not_matter(tiny_qwen3: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, tuned = tiny_qwen3(0, dtype="bfloat16"), tiny_qwen3(1, dtype="bfloat16")
    sweep(base, tuned, tmp_path / "single", [0.2, 0.7])
    parts = shard(base, tmp_path / "base-parts"), shard(tuned, tmp_path / "tuned-parts")
    monkeypatch.setattr(room, "Writer", lambda work, tensors: hf_writer.Writer(work, tensors, 100_000))
    sweep(*parts, tmp_path / "sharded", [0.2, 0.7])
    for point in ("t0.2", "t0.7"):
        one, many = weights(tmp_path / "single" / point), weights(tmp_path / "sharded" / point)
        assert one.keys() == many.keys()
        assert all(torch.equal(one[name], many[name]) for name in one)
        assert len(list((tmp_path / "sharded" / point).glob("model-*.safetensors"))) > 2
        Qwen3ForCausalLM.from_pretrained(tmp_path / "sharded" / point)


def test_a_point_has_the_bases_tokenizer_and_a_card_without_paths(tiny_qwen3: Maker, tmp_path: Path) -> None:
    base, tuned = tiny_qwen3(0, dtype="bfloat16"), tiny_qwen3(1, dtype="bfloat16")
    sweep(base, tuned, tmp_path / "sweep", [0.1])
    point = tmp_path / "sweep" / "t0.1"
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert sha256(point / name) == sha256(base / name)
    assert json.loads((point / "config.json").read_text()) == both_spellings(
        json.loads((base / "config.json").read_text()), "bfloat16"
    )
    card = (point / "README.md").read_text(encoding="utf-8")
    assert fingerprint(base) in card
    assert fingerprint(tuned) in card
    assert "t: 0.1" in (point / "mergekit_config.yml").read_text(encoding="utf-8")
    texts = [path for path in list_files(point) if path.suffix in {".md", ".yml", ".json"}]
    assert not [path.name for path in texts if str(tmp_path) in path.read_text(encoding="utf-8")]


def test_points_that_are_there_are_not_made_again_and_others_join(tiny_qwen3: Maker, tmp_path: Path) -> None:
    base, tuned, out = tiny_qwen3(0), tiny_qwen3(1), tmp_path / "sweep"
    sweep(base, tuned, out, [0.2, 0.4])
    written = (out / "t0.2" / "model.safetensors").stat().st_mtime_ns
    assert list(sweep(base, tuned, out, [0.2, 0.3])) == [0.2, 0.3]
    assert (out / "t0.2" / "model.safetensors").stat().st_mtime_ns == written
    assert sorted(path.name for path in out.iterdir()) == ["t0.2", "t0.3", "t0.4"]
    other = tiny_qwen3(2)
    with pytest.raises(UserError, match="made by another run: other tuned"):
        sweep(base, other, out, [0.1, 0.2])
    assert not list(out.glob("*t0.1*")), "something was written"


def test_points_written_a_few_at_a_time_are_the_same(
    tiny_qwen3: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, tuned = tiny_qwen3(0), tiny_qwen3(1)
    points = [0.1, 0.2, 0.3, 0.4, 0.5]
    whole = sweep(base, tuned, tmp_path / "whole", points)
    monkeypatch.setattr(room, "TOGETHER", 2)
    parts = sweep(base, tuned, tmp_path / "parts", points)
    assert [manifest.outputs for manifest in parts.values()] == [manifest.outputs for manifest in whole.values()]


COMMAND = [sys.executable, "-m", "pdapt.cli.main", "merge", "sweep"]


@pytest.mark.slow
def test_killed_at_any_time_and_started_again_the_sweep_ends_the_same(tiny_qwen3: Maker, tmp_path: Path) -> None:
    """Kills spread over the time that the writing takes; what was whole by then is left as it is."""
    shape = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 4}
    base, tuned = (tiny_qwen3(seed, dtype="bfloat16", **shape) for seed in (0, 1))
    command = [*COMMAND, str(base), str(tuned)]
    begin = time.monotonic()
    subprocess.run([*command, str(tmp_path / "undisturbed")], check=True, capture_output=True)
    whole = time.monotonic() - begin
    expected = {path.name: Manifest.read(path).outputs for path in (tmp_path / "undisturbed").iterdir()}
    assert len(expected) == 9
    out, finished = tmp_path / "killed", dict[str, int]()
    for kill in range(8):
        process = subprocess.Popen([*command, str(out)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not list(out.glob(".t*.partial")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(kill / 8 * min(whole, 2))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        whole_now = {path.name: path.stat().st_mtime_ns for path in out.glob("t*/model.safetensors")}
        assert whole_now.items() >= finished.items(), "a finished point was made again"
        finished = whole_now
        if len(list(out.glob("t*"))) == 9:
            break
    subprocess.run([*command, str(out)], check=True, capture_output=True)
    assert {path.name: Manifest.read(path).outputs for path in out.iterdir()} == expected
    for path in out.iterdir():
        assert sha256(path / "model.safetensors") == expected[path.name]["model.safetensors"]


def test_a_stop_while_points_become_whole_keeps_those_that_are(
    tiny_qwen3: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, tuned, out = tiny_qwen3(0), tiny_qwen3(1), tmp_path / "sweep"
    points = [0.2, 0.4, 0.6]
    expected = {t: manifest.outputs for t, manifest in sweep(base, tuned, tmp_path / "undisturbed", points).items()}
    described = room.describe

    def stop_at_the_second(*args: Any, **named: Any) -> None:
        if (out / "t0.6").exists():
            raise KeyboardInterrupt
        described(*args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(room, "describe", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            sweep(base, tuned, out, points)
    assert sorted(path.name for path in out.iterdir()) == [".t0.2.partial", ".t0.4.partial", "t0.6"]
    kept = (out / "t0.6" / "model.safetensors").stat().st_mtime_ns
    again = sweep(base, tuned, out, points)
    assert {t: manifest.outputs for t, manifest in again.items()} == expected
    assert (out / "t0.6" / "model.safetensors").stat().st_mtime_ns == kept


@pytest.mark.slow
def test_memory_does_not_grow_with_the_model(tiny_qwen3: Maker, tmp_path: Path) -> None:
    """At the highest, mapped files included, over what the imports take: far less than both parents have."""
    shape = {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 12}
    parents = []
    for seed in (0, 1):
        folder = tiny_qwen3(seed, dtype="bfloat16", **shape)
        parents.append(shard(folder, tmp_path / f"parts-{seed}", "20MB"))
        shutil.rmtree(folder)
    files = list(parents[0].glob("*.safetensors"))
    total, largest = (f(path.stat().st_size for path in files) for f in (sum, max))

    def peak(code: str) -> int:
        """The process's own figure: its `ru_maxrss` would begin with the memory of this one, which forked it."""
        told = "; print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
        done = subprocess.run([sys.executable, "-c", code + told], check=True, capture_output=True, text=True)
        return int(done.stdout) * 1024

    code = "import mergekit.config, torch; from pathlib import Path; from pdapt.merge.sweep import sweep; "
    code += "torch.linalg.vector_norm(torch.ones(2**21).bfloat16().float() * 2)"
    paths = ", ".join(f"Path({str(path)!r})" for path in (*parents, tmp_path / "sweep"))
    call = f"; sweep({paths}, [0.3, 0.6])"
    used = peak(code + call) - peak(code)
    assert 0 < used < 2 * largest + 150 * 10**6 < 2 * total


def nan_at_the_end(folder: Path) -> None:
    tensors = weights(folder)
    tensors["model.norm.weight"][-1] = float("nan")
    put(folder, tensors)


def infinity(folder: Path) -> None:
    tensors = weights(folder)
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = float("-inf")
    put(folder, tensors)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (nan_at_the_end, "model.norm.weight holds nan at position 63"),
        (infinity, "model.layers.1.mlp.up_proj.weight holds -inf at position 197"),
    ],
)
@pytest.mark.parametrize("way", ["run", "sweep"])
def test_a_parent_that_is_not_finite_is_refused(
    tiny_qwen3: Maker, tmp_path: Path, which: int, spoil: Callable[[Path], None], message: str, way: str
) -> None:
    parents = tiny_qwen3(0, dtype="bfloat16"), tiny_qwen3(1, dtype="bfloat16")
    spoil(parents[which])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=message):
        _ = merge(*parents, tmp_path / "out") if way == "run" else sweep(*parents, tmp_path / "out", [0.5])
    assert sorted(tmp_path.rglob("*")) == before, "something was written"


def test_values_whose_norm_overflows_are_not_taken_for_infinite(tiny_qwen3: Maker, tmp_path: Path) -> None:
    base, tuned = tiny_qwen3(0, dtype="bfloat16"), tiny_qwen3(1, dtype="bfloat16")
    tensors = weights(base)
    tensors["model.norm.weight"].fill_(1e30)
    put(base, tensors)
    sweep(base, tuned, tmp_path / "sweep", [0.5])
    merge(base, tuned, tmp_path / "mergekit", t=0.5)
    ours, theirs = (weights(folder)["model.norm.weight"] for folder in (tmp_path / "sweep/t0.5", tmp_path / "mergekit"))
    assert steps(ours, theirs) <= 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"num_hidden_layers": 3}, "layers 2 and 3"),
        ({"vocab_size": 1040}, "vocab 1024 and 1040"),
        ({"dtype": "bfloat16"}, "the weights are F32 in .* and BF16 in "),
    ],
)
def test_parents_that_cannot_be_mixed_are_refused(
    tiny_qwen3: Maker, tmp_path: Path, overrides: dict[str, object], message: str
) -> None:
    base, tuned = tiny_qwen3(0), tiny_qwen3(1, **overrides)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=message):
        sweep(base, tuned, tmp_path / "sweep", [0.5])
    assert sorted(tmp_path.rglob("*")) == before, "something was written"


def test_a_disk_without_room_is_refused_first(
    tiny_qwen3: Maker, tmp_path: Path, small_disk: Callable[[str], Path]
) -> None:
    base, tuned, small = tiny_qwen3(0), tiny_qwen3(1), small_disk("2m")
    with pytest.raises(UserError, match=r"[3-9]\.\d MB are to be written, [0-2]\.\d MB are free on "):
        sweep(base, tuned, small / "sweep", [0.1, 0.2, 0.3, 0.4, 0.5])
    assert not list(small.iterdir())
