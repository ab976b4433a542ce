"""Whether recipe, tokens and base go together, before anything is started."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import pdapt
from tokenizers import Tokenizer

from pdapt.core.errors import UserError
from pdapt.core.files import read_json, write_json
from pdapt.recipes.load import load
from pdapt.training.announce import announce_validation
from pdapt.training.blend import valid_sequences
from pdapt.training.compare_tokenizers import differences, read_vocabulary
from pdapt.training.inputs import Inputs, check_inputs


@pytest.fixture
def base(tmp_path: Path, tokenizer_folder: Path, recipe_file: Path) -> Path:
    """A checkpoint root with the tokens' own tokenizer; the checks read no weight."""
    from pdapt.recipes.schema import shape_of

    root = tmp_path / "base"
    shutil.copytree(tokenizer_folder, root / "hf")
    write_json(root / "hf" / "config.json", shape_of(load(str(recipe_file))).to_hf("float32"))
    (root / "release").mkdir()
    (root / "latest_checkpointed_iteration.txt").write_text("release")
    return root


def change(base: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    path = base / "hf" / "tokenizer.json"
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


def test_the_bases_own_tokenizer_passes_however_it_is_spelled(
    base: Path, tokens: Path, recipe_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = load(str(recipe_file))
    members = check_inputs(recipe, Inputs(tokens, base))
    assert {member.name for member in members} == {"soins", "ville"}

    def older(value: dict[str, Any]) -> None:
        value["model"]["merges"] = [" ".join(pair) for pair in value["model"]["merges"]]
        value["model"]["vocab"] = dict(reversed(value["model"]["vocab"].items()))
        value["post_processor"] = None

    change(base, older)
    check_inputs(recipe, Inputs(tokens, base))
    path = base / "hf" / "tokenizer.json"
    path.write_text(Tokenizer.from_file(str(path)).to_str(pretty=True))  # as the library writes it again
    check_inputs(recipe, Inputs(tokens, base))
    assert "warning" not in capsys.readouterr().err


def swap(value: dict[str, Any]) -> None:
    vocabulary = value["model"]["vocab"]
    first, second = list(vocabulary)[300:302]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]


def move_end(value: dict[str, Any]) -> None:
    ids = {token["content"]: token for token in value["added_tokens"]}
    end, other = ids["<|endoftext|>"], ids["<|im_end|>"]
    end["id"], other["id"] = other["id"], end["id"]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (swap, "is 300 and 301"),
        (lambda value: value["model"]["merges"].reverse(), "the merges differ from number 1 on"),
        (lambda value: value["model"]["merges"].pop(), r"the merges differ: \d+ and \d+"),
        (move_end, r"documents end with id \d+ in the tokens and \d+"),
        (lambda value: value["added_tokens"].pop(), "absent"),
        (lambda value: value["added_tokens"].append({"id": 1001, "content": "<dose>"}), "'<dose>' is absent and 1,001"),
    ],
    ids=["vocabulary", "order of merges", "a merge less", "end of document", "a token less", "a token more"],
)
def test_another_tokenizer_is_refused(
    edit: Callable[[dict[str, Any]], None], message: str, base: Path, tokens: Path, recipe_file: Path
) -> None:
    change(base, edit)
    with pytest.raises(UserError, match=f"a tokenizer other than the base's.*{message}"):
        check_inputs(load(str(recipe_file)), Inputs(tokens, base))


def test_another_way_to_cut_text_is_said(
    base: Path, tokens: Path, recipe_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(base, lambda value: value.update(normalizer=None))
    check_inputs(load(str(recipe_file)), Inputs(tokens, base))
    assert "the normalizer of their tokenizers differ" in capsys.readouterr().err


def test_a_root_without_a_tokenizer_is_said_or_given_one(
    base: Path, tokens: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As Megatron's own trainer leaves a root."""
    (base / "hf").rename(tmp_path / "given")
    recipe = load(str(recipe_file))
    check_inputs(recipe, Inputs(tokens, base))
    said = capsys.readouterr().err
    assert "(--tokenizer FOLDER gives it)" in said
    assert "shape cannot be compared" in said
    check_inputs(recipe, Inputs(tokens, base, tmp_path / "given"))
    assert "--tokenizer" not in capsys.readouterr().err
    value = read_json(tmp_path / "given" / "tokenizer.json")
    swap(value)
    write_json(tmp_path / "given" / "tokenizer.json", value)
    with pytest.raises(UserError, match="a tokenizer other than"):
        check_inputs(recipe, Inputs(tokens, base, tmp_path / "given"))


def test_a_swapped_tokenizer_of_the_tokens_is_found(
    base: Path, tokens: Path, recipe_file: Path, tmp_path: Path
) -> None:
    """Base and copy agree, and the ids are still another tokenizer's."""
    copy = tmp_path / "tokens"
    shutil.copytree(tokens, copy)
    change(base, swap)
    shutil.copy(base / "hf" / "tokenizer.json", copy / "tokenizer" / "tokenizer.json")
    with pytest.raises(UserError, match=r"tokenizer\.json: another SHA-256 than was written with it"):
        check_inputs(load(str(recipe_file)), Inputs(copy, base))
    with pytest.raises(UserError, match="not the one that the tokens were made with"):
        check_inputs(load(str(recipe_file)), Inputs(copy, base, verify=False))


@pytest.mark.slow
def test_qwen3_and_its_like_are_told_apart(shared: Callable[[str], Path], tmp_path: Path) -> None:
    """The real one: with itself as the library writes it, and with one of its tokens renamed."""
    folder = shared("tokenizers/qwen3")
    Tokenizer.from_file(str(folder / "tokenizer.json")).save(str(tmp_path / "tokenizer.json"))
    ours = read_vocabulary(folder)
    assert (len(ours.ids), ours.eod) == (151_669, 151_643)
    assert differences(ours, read_vocabulary(tmp_path)) == []
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(text.replace('"<|fim_prefix|>"', '"<|fim_début|>"'), encoding="utf-8")
    (found,) = differences(ours, read_vocabulary(tmp_path))
    assert "'<|fim_prefix|>' is 151,659 and absent" in found


def test_a_dry_run_checks_the_blend_and_the_tokenizer_against_the_tokens(
    base: Path, tokens: Path, recipe_file: Path
) -> None:
    given = ["train", recipe_file, "--tokens", tokens, "--dry-run"]
    assert "Data that the run reads:\n  soins: " in pdapt(*given, "--base", base)
    batches = -(-valid_sequences(tokens, load(str(recipe_file)).data) // 8)
    assert f"  --eval-iters {batches}\n" in pdapt(*given, "validation.batches=all")
    with pytest.raises(UserError, match=r"no data set is left that has tokens for train and matches sources \['mode"):
        pdapt(*given, "data.blend=[{sources: ['mode*']}]")
    change(base, swap)
    with pytest.raises(UserError, match="a tokenizer other than the base's"):
        pdapt(*given, "--base", base)


@pytest.mark.parametrize(
    ("batches", "read", "warned"), [("2", "16 of", False), ("all", "{there} of", False), ("40", "{there} of", True)]
)
def test_what_a_validation_reads_is_said(
    batches: str,
    read: str,
    warned: bool,
    tokens: Path,
    recipe_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = load(str(recipe_file), [f"validation.batches={batches}"])
    there = valid_sequences(tokens, recipe.data)
    announce_validation(recipe, tokens)
    said = capsys.readouterr().err
    assert f"each validation reads {read.format(there=there)} {there} sequences, each once" in said
    assert (f"{320 / there:.2f} times the validation sets" in said) is warned


@pytest.mark.parametrize("batches", ["0", "-1", "every", "1.5"])
def test_a_number_of_validation_batches_is_from_1_on_or_all(batches: str, recipe_file: Path) -> None:
    with pytest.raises(UserError, match=r"validation\.batches"):
        load(str(recipe_file), [f"validation.batches={batches}"])
