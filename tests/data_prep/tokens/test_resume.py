"""The tokens stage, interrupted: what is finished is kept, and what is half done is not taken for whole."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pdapt.core.manifest import Manifest
from pdapt.data_prep.tokens import assemble
from pdapt.data_prep.tokens import build as tokens
from pdapt.data_prep.tokens.build import Options, build_tokens


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    """Two files of many documents and one of a single one: three shards, five data sets."""
    paths = []
    for name, count in {"alpha": 50, "beta": 30, "solo": 1}.items():
        paths.append(tmp_path / f"{name}.jsonl")
        rows = [{"text": f"{name} : le patient {number} reçoit {number * 5} mg."} for number in range(count)]
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [str(path) for path in paths]


class Interruption(Exception):
    """A signal in the middle of a run."""


def failing_at(call: int, function: Callable[..., Any]) -> tuple[Callable[..., Any], list[Any]]:
    """A function that fails at a call of it, and the list of the calls before."""
    calls: list[Any] = []

    def fail(*args: Any) -> Any:
        if len(calls) == call:
            raise Interruption
        calls.append(args)
        return function(*args)

    return fail, calls


@pytest.mark.parametrize(("module", "stop"), [(tokens, "tokenize_shard"), (assemble, "write_indexed")])
def test_what_is_finished_is_not_made_again(
    tmp_path: Path,
    inputs: list[str],
    tokenizer_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    stop: str,
) -> None:
    def build(name: str) -> Manifest:
        return build_tokens(inputs, tokenizer_folder, tmp_path / name, Options(0.2), workers=1)

    whole, function = build("whole"), getattr(module, stop)
    fail, calls = failing_at(2, function)
    monkeypatch.setattr(module, stop, fail)
    with pytest.raises(Interruption):
        build("tokens")
    assert not (tmp_path / "tokens").exists()
    assert len(calls) == 2
    counting, again = failing_at(10**9, function)
    monkeypatch.setattr(module, stop, counting)
    resumed = build("tokens")
    assert len(again) == {"tokenize_shard": 3, "write_indexed": 5}[stop] - 2
    assert (resumed.outputs, resumed.counts) == (whole.outputs, whole.counts)
    assert not list((tmp_path / "tokens").rglob(".*"))


@pytest.mark.parametrize("call", [0, 1, 5, 8])
def test_an_interruption_while_the_parts_of_a_data_set_are_removed_loses_nothing(
    tmp_path: Path, inputs: list[str], tokenizer_folder: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    whole = build_tokens(inputs, tokenizer_folder, tmp_path / "whole", Options(0.2))
    fail, _ = failing_at(call, assemble.remove)
    monkeypatch.setattr(assemble, "remove", fail)
    with pytest.raises(Interruption):
        build_tokens(inputs, tokenizer_folder, tmp_path / "tokens", Options(0.2), workers=1)
    monkeypatch.undo()
    resumed = build_tokens(inputs, tokenizer_folder, tmp_path / "tokens", Options(0.2))
    assert (resumed.outputs, resumed.counts) == (whole.outputs, whole.counts)


def test_an_interruption_of_the_clean_up_loses_nothing(
    tmp_path: Path, inputs: list[str], tokenizer_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build_tokens(inputs, tokenizer_folder, tmp_path / "whole")

    def remove_some(parts: Path) -> None:
        for path in parts.rglob("verified"):
            path.unlink()
            raise Interruption

    monkeypatch.setattr(tokens, "remove", remove_some)
    with pytest.raises(Interruption):
        build_tokens(inputs, tokenizer_folder, tmp_path / "tokens")
    monkeypatch.undo()
    assert build_tokens(inputs, tokenizer_folder, tmp_path / "tokens").outputs == whole.outputs


def test_parts_of_other_shards_are_not_taken_up(
    tmp_path: Path, inputs: list[str], tokenizer_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(name: str, shard_bytes: int) -> Manifest:
        return build_tokens(inputs, tokenizer_folder, tmp_path / name, workers=1, shard_bytes=shard_bytes)

    whole = build("whole", 1000)
    monkeypatch.setattr(tokens, "tokenize_shard", failing_at(2, tokens.tokenize_shard)[0])
    with pytest.raises(Interruption):
        build("tokens", 500)
    monkeypatch.undo()
    assert build("tokens", 1000).outputs == whole.outputs


def test_another_source_name_takes_up_nothing(
    tmp_path: Path, inputs: list[str], tokenizer_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = [f"x={inputs[0]}", f"y={inputs[1]}"]
    other = [f"y={inputs[0]}", f"x={inputs[1]}"]
    whole = build_tokens(other, tokenizer_folder, tmp_path / "whole")
    monkeypatch.setattr(assemble, "write_indexed", failing_at(1, assemble.write_indexed)[0])
    with pytest.raises(Interruption):
        build_tokens(named, tokenizer_folder, tmp_path / "tokens", workers=1)
    monkeypatch.undo()
    assert build_tokens(other, tokenizer_folder, tmp_path / "tokens").outputs == whole.outputs
