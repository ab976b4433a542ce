"""The choice of an engine: what one refuses, by name, and what has to be installed, before anything starts."""

import re
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from pdapt.core.errors import UserError
from pdapt.recipes.load import load
from pdapt.recipes.refusals import NEMO_REFUSES
from pdapt.recipes.schema import Engine, Recipe
from pdapt.training.nemo import installed
from pdapt.training.options_page import options
from pdapt.training.rank import ENGINES
from pdapt.training.run.identity import recipe_values

ROOT = Path(__file__).resolve().parents[2]
SERVED = ["engine=nemo", "checkpoint.asynchronous=false"]


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The packages that this environment seems to have."""
    present = dict(installed.VERSIONS)

    def version(name: str) -> str:
        if name not in present:
            raise PackageNotFoundError(name)
        return present[name]

    monkeypatch.setattr(installed, "version", version)
    monkeypatch.setattr(installed, "find_spec", lambda name: name)
    return present


def test_megatron_is_the_default_and_every_engine_has_its_module(recipe_file: Path) -> None:
    assert load(str(recipe_file)).engine == Engine.MEGATRON
    assert ENGINES.keys() == set(Engine)
    for name in ENGINES.values():
        file = ROOT.joinpath("training", *name.split(".")).with_suffix(".py")
        assert "\ndef train_rank(task: RankTask, stops: Stops, file: RankFile) -> None:" in file.read_text(), name


def test_an_unknown_engine_names_the_known_ones(recipe_file: Path) -> None:
    with pytest.raises(UserError, match="nemoo") as refused:
        load(str(recipe_file), ["engine=nemoo"])
    assert "megatron" in str(refused.value)
    assert "nemo" in str(refused.value)


@pytest.mark.parametrize(
    ("option", "override"),
    [
        ("megatron", "megatron={log-params-norm: true}"),
        ("checkpoint.asynchronous", "checkpoint.asynchronous=true"),
        ("checkpoint.asynchronous", "checkpoint.asynchronous=null"),
        ("parallel.fsdp", "parallel.fsdp=true"),
    ],
)
def test_an_option_that_nemo_does_not_serve_is_refused_by_name_with_the_reason(
    recipe_file: Path, option: str, override: str
) -> None:
    load(str(recipe_file), SERVED)
    more = ["checkpoint.reshardable=false"] if option == "parallel.fsdp" else []
    load(str(recipe_file), [*more, override])
    with pytest.raises(UserError, match=re.escape(NEMO_REFUSES[option].reason)) as refused:
        load(str(recipe_file), [*SERVED, *more, override])
    assert refused.value.where == option


def test_what_is_refused_is_an_option() -> None:
    assert NEMO_REFUSES.keys() <= {option.name for option in options()}


def test_the_engine_is_free_to_change_between_two_starts_of_a_run(recipe_file: Path) -> None:
    ours, theirs = load(str(recipe_file), SERVED[1:]), load(str(recipe_file), SERVED)
    assert recipe_values(ours) == recipe_values(theirs)


def test_every_package_that_is_missing_or_another_version_is_named(versions: dict[str, str]) -> None:
    installed.check_installed(Recipe(engine=Engine.NEMO))
    del versions["megatron-bridge"]
    versions["megatron-core"] = "0.13.0"
    with pytest.raises(UserError, match=r"megatron-bridge is not installed; megatron-core is 0\.13\.0, not ") as wrong:
        installed.check_installed(Recipe(engine=Engine.NEMO))
    assert installed.REQUIREMENTS in str(wrong.value)


def test_the_default_engine_is_refused_on_a_megatron_core_without_masks(versions: dict[str, str]) -> None:
    """That of NeMo 2, in whose environment `nemo pdapt train` is there, too."""
    installed.check_installed(Recipe())
    versions["megatron-core"] = "0.15.3"
    with pytest.raises(UserError, match=r"engine=megatron cannot run here: megatron-core is 0\.15\.3"):
        installed.check_installed(Recipe())


def test_what_a_recipe_for_nemo_2_needs_is_named(versions: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UserError, match=r"nemo-toolkit is not installed; megatron-core is 0\.19\.2, not 0\.15\.3"
    ) as wrong:
        installed.check_toolkit()
    assert installed.TOOLKIT_REQUIREMENTS in str(wrong.value)
    versions |= installed.TOOLKIT_VERSIONS
    monkeypatch.setattr(installed, "has_gpu", lambda: False)
    monkeypatch.delenv(installed.ARCHITECTURES, raising=False)
    with pytest.raises(UserError, match="there is no GPU, and TORCH_CUDA_ARCH_LIST does not name one"):
        installed.check_toolkit()
    monkeypatch.setenv(installed.ARCHITECTURES, "9.0")
    installed.check_toolkit()


def test_the_versions_for_nemo_2_are_those_of_its_requirements_file() -> None:
    text = (ROOT / installed.TOOLKIT_REQUIREMENTS).read_text()
    pinned = dict(re.findall(r"^([\w.-]+)(?:\[.*\])?==([^ ]+)", text, re.MULTILINE))
    assert {name: pinned[name] for name in installed.TOOLKIT_VERSIONS} == installed.TOOLKIT_VERSIONS
    base = dict(re.findall(r"^([\w.-]+)==([^ ]+)", (ROOT / "requirements/base.txt").read_text(), re.MULTILINE))
    shared = ("torch", "triton", "omegaconf", "safetensors")
    assert {name: pinned[name] for name in shared} == {name: base[name] for name in shared}


def test_kernels_that_bridge_imports_are_named_where_they_are_missing(
    versions: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    del versions
    monkeypatch.setattr(installed, "find_spec", lambda name: None if name == "transformer_engine" else name)
    with pytest.raises(UserError, match="transformer_engine, which this environment lacks"):
        installed.check_installed(Recipe(engine=Engine.NEMO))


def test_the_versions_are_those_of_the_requirements_file() -> None:
    pinned = dict(re.findall(r"^([\w.-]+)==([^ ]+)", (ROOT / installed.REQUIREMENTS).read_text(), re.MULTILINE))
    assert {name: pinned[name] for name in installed.VERSIONS} == installed.VERSIONS
    base = dict(re.findall(r"^([\w.-]+)==([^ ]+)", (ROOT / "requirements/base.txt").read_text(), re.MULTILINE))
    shared = ("torch", "triton", "omegaconf", "megatron-core", "numpy", "safetensors", "datasets")
    assert {name: pinned[name] for name in shared} == {name: base[name] for name in shared}
