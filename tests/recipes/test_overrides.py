"""A recipe's layers: what is no recipe, what takes values from elsewhere, what would take all memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pdapt.core.errors import UserError
from pdapt.recipes.load import load, merge
from pdapt.recipes.overrides import read_layer

NAME = "qwen3_0p6b_pretrain"
BAD_OVERRIDES = (
    "log.tensorboard='half",
    'data.blend=[{sources: ["a}]',
    "steps=[1, 2",
    "steps={a: 1",
    "=3",
    "steps",
    "steps=" + "9" * 20_000,
    "steps=" + "[" * 5_000,
    "optimizer.lr=1" + "0" * 400,
    "optimizer.lr=2020-13-45",
    "data.blend[0].weight=1",
    "data.blend[=1",
    "a..b=1",
    ".=1",
    "steps: 3=4",
    "steps=&a [*a]",
    "optimizer.lr=!!python/object/apply:os.system ['true']",
    "steps=\0",
    "steps=\ud800",
)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    text = """
    model: {size: 0p6b}
    data: {seq_length: 2048, blend: [{sources: ['*'], weight: 1.0}]}
    batch: {micro_size: 1, global_size: 8}
    optimizer: {lr: 1.0e-05}
    steps: 100
    """
    path.write_text("\n".join(line[4:] for line in text.splitlines()))
    load(str(path), fitting=False)
    return path


@pytest.mark.parametrize("item", BAD_OVERRIDES)
def test_an_override_that_cannot_be_read_is_the_users_error(recipe: Path, item: str) -> None:
    with pytest.raises(UserError) as refusal:
        load(str(recipe), [item], fitting=False)
    assert "command line" in refusal.value.where
    assert len(str(refusal.value)) < 4000


@pytest.mark.parametrize(
    "value", ["${oc.env:HOME}", "a-${oc.env:HOME}", "${steps}", "${oc.decode:1}", '["${oc.env:X}"]']
)
def test_values_from_elsewhere_are_refused_unless_allowed(
    recipe: Path, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "secret")
    for given in ((str(recipe), [f"job.account={value}"]), (str(_with(recipe, f"job: {{account: '{value}'}}")), [])):
        with pytest.raises(UserError, match=r"takes its value from elsewhere(.|\n)*--allow-env") as refusal:
            load(*given, fitting=False)
        assert "secret" not in str(refusal.value)


def test_with_leave_the_environment_is_read(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCOUNT", "lab-7")
    items = ["job.account=${oc.env:ACCOUNT}"]
    assert load(str(recipe), items, fitting=False, allow_env=True).job.account == "lab-7"
    path = _with(recipe, "job: {account: '${oc.env:ACCOUNT}'}")
    assert load(str(path), fitting=False, allow_env=True).job.account == "lab-7"
    monkeypatch.delenv("ACCOUNT")
    with pytest.raises(UserError, match="ACCOUNT"):
        load(str(recipe), items, fitting=False, allow_env=True)


def test_aliases_are_refused_before_they_are_written_out(recipe: Path) -> None:
    """Nine lines of them stand for a thousand million values."""
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(UserError, match="YAML aliases"):
        load(str(_with(recipe, "\n".join(lines))))


@pytest.mark.parametrize("opening", ["[", "{", "[{", "- ", "? ", "[{a: ["])
def test_what_is_nested_too_deep_is_refused_before_it_is_loaded(recipe: Path, opening: str) -> None:
    """20,000 deep, YAML's reader in C ends the process."""
    deep = opening * (20_000 // len(opening))
    message = "nested more than 100 deep"
    with pytest.raises(UserError, match=message):
        load(str(_with(recipe, f"data:\n  {deep}")))
    with pytest.raises(UserError, match=message):
        load(str(recipe), [f"data.blend={deep}"])


def test_a_key_hides_no_part_of_a_value(recipe: Path) -> None:
    """OmegaConf divides this at the second equals sign."""
    with pytest.raises(UserError, match="is not key=value"):
        load(str(recipe), ["data\\=x=" + "[" * 20_000])


def test_a_refused_override_is_quoted_in_part(recipe: Path) -> None:
    with pytest.raises(UserError, match="cannot be read") as refusal:
        load(str(recipe), [f"{'a.' * 20_000}a=1"])
    assert len(str(refusal.value)) < 1000


def test_fuzz_recipe(fuzz: Callable[[Path, Callable[[], Any]], None], recipe: Path) -> None:
    fuzz(recipe, lambda: load(str(recipe), fitting=False))


def test_fuzz_override(fuzz: Callable[..., None], recipe: Path, tmp_path: Path) -> None:
    path = tmp_path / "override"
    path.write_text("data.blend=[{sources: ['a*', 'b'], weight: 0.5}, {sources: ['*'], weight: 1, max_epochs: 2}]")
    values = read_layer(recipe)
    fuzz(
        path,
        lambda: merge(values, [path.read_bytes().decode("utf-8", "surrogateescape")], "recipe"),
        share=4,
        places=False,
    )


def _with(recipe: Path, lines: str) -> Path:
    path = recipe.with_name("more.yaml")
    path.write_text(recipe.read_text() + "\n" + lines + "\n")
    return path
