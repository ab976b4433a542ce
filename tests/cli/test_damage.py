"""A table of damages against every stage that reads what another one wrote: each is refused, by the file's name.

Import, export, merges and verify have theirs in tests/conversion/test_integrity.py, training in
tests/training/test_input_hashes.py.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from pdapt.conversion.convert import import_hf
from pdapt.conversion.follow import follow
from pdapt.core.checkpoint import CHECKPOINTS, HASHES_FILE, HF, newest
from pdapt.core.errors import UserError
from pdapt.core.files import sha256, write_json
from pdapt.core.integrity import damage_first
from pdapt.core.manifest import Manifest
from pdapt.data_prep.corpus import Source, build_corpus
from pdapt.data_prep.tokens.build import Options, build_tokens
from pdapt.eval.harness.backends import Limits
from pdapt.eval.heldout.build_tasks import build_tasks
from pdapt.eval.heldout.domains import read_domains
from pdapt.eval.heldout.evaluate import evaluate
from pdapt.eval.heldout.reuse import reuse_results
from pdapt.eval.models import Model, Role
from pdapt.launch.choose_merge import Rule, choose
from pdapt.merge.sweep import sweep
from pdapt.recipes.load import load
from pdapt.training.input_hashes import Inputs, check_bytes, small_files

Maker = Callable[..., Path]
Damage = Callable[[Path, Path], Path]


def flip(path: Path, _: Path) -> Path:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return path


def cut(path: Path, _: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-1])
    return path


def swap(path: Path, other: Path) -> Path:
    """A sound file of the same kind and size, as far as there is one."""
    shutil.copyfile(other, path)
    return path


def remove(path: Path, _: Path) -> Path:
    path.unlink()
    return path


def add(path: Path, other: Path) -> Path:
    return Path(shutil.copyfile(other, path.with_name(f"added{path.suffix}")))


DAMAGES: list[Damage] = [flip, cut, swap, remove, add]


@dataclass(frozen=True)
class Read:
    """A stage's input.

    Attributes:
        folder: that is damaged.
        files: name of a file in it -> a sound file of the same kind.
        stage: reads it and makes a folder.
        adds: whether a file that comes to it would be read.
    """

    folder: Path
    files: dict[str, Path]
    stage: Callable[[Path], Any]
    adds: bool = True


def refused_whatever_is_damaged(read: Read, tmp_path: Path, makes: str = "") -> None:
    """Damage one file after the other in every way; `makes` is what of the stage's folder would pass for whole."""
    tried = 0
    for name, damage, path, out in damaged(read, tmp_path):
        with pytest.raises(UserError) as caught:
            read.stage(out)
        assert path.name in str(caught.value), f"{name}: {damage}: {caught.value}"
        assert not (out / makes / "manifest.json").exists(), f"{name}: {damage}"
        tried += 1
    assert tried >= 4 * len(read.files)
    read.stage(tmp_path / "sound")


def damaged(read: Read, tmp_path: Path) -> Iterator[tuple[str, str, Path, Path]]:
    for name, other in read.files.items():
        path = read.folder / name
        whole = path.read_bytes()
        for damage in DAMAGES if read.adds else DAMAGES[:-1]:
            changed = damage(path, other)
            if not changed.is_file() or changed != path or path.read_bytes() != whole:
                yield name, damage.__name__, changed, tmp_path / f"out-{Path(name).stem}-{damage.__name__}"
            if changed != path:
                changed.unlink()
            path.write_bytes(whole)


def texts(folder: Path, words: str, count: int = 12) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        line = " ".join(f"{words} {number * 7 % 13} {place}" for place in range(8))
        (folder / f"{number:02d}.txt").write_text(f"{line} {number}", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two corpora of two sources each, with the same names and other texts."""
    made = tmp_path_factory.mktemp("corpora")
    for number, words in enumerate((("la dose est de", "la ville a"), ("le patient prend", "la gare est à"))):
        sources = [
            Source(name, texts(made / f"text-{number}" / name, word))
            for name, word in zip(("medical-notes", "general-ville"), words, strict=True)
        ]
        build_corpus(sources, made / str(number))
    return [made / "0", made / "1"]


@pytest.fixture(scope="module")
def tokens(corpora: list[Path], tokenizer_folder: Path) -> list[Path]:
    """A tokens folder of each."""
    for corpus in corpora:
        out = corpus.parent / f"tokens-{corpus.name}"
        build_tokens([str(corpus)], tokenizer_folder, out, Options(valid_fraction=0.5))
    return [corpus.parent / f"tokens-{corpus.name}" for corpus in corpora]


def names(folder: Path, beginning: str) -> list[str]:
    return [name for name in Manifest.read(folder).outputs if name.startswith(beginning)]


@pytest.mark.parametrize("given", ["folder", "file"])
def test_tokens_are_built_of_the_corpus_as_it_was_written(
    corpora: list[Path], tokenizer_folder: Path, tmp_path: Path, given: str
) -> None:
    """As a whole, and one of its files by its own name: either way the manifest's hash stands for the bytes."""
    corpus, other = tmp_path / "corpus", corpora[1]
    shutil.copytree(corpora[0], corpus)
    files = {name: other / name for name in names(corpus, "documents/")}
    files = files if given == "folder" else dict(list(files.items())[:1])
    paths = [str(corpus)] if given == "folder" else [str(corpus / name) for name in files]

    def stage(out: Path) -> Any:
        return build_tokens(paths, tokenizer_folder, out, Options(valid_fraction=0.5))

    refused_whatever_is_damaged(Read(corpus, files, stage, adds=given == "folder"), tmp_path)


def test_what_a_damaged_corpus_began_is_not_gone_on_with(
    corpora: list[Path], tokenizer_folder: Path, tmp_path: Path
) -> None:
    """Corpus and copy have one fingerprint: no shard may be kept of the damaged one."""
    corpus = tmp_path / "corpus"
    shutil.copytree(corpora[0], corpus)
    name = names(corpus, "documents/")[0]
    whole = (corpus / name).read_bytes()
    shutil.copyfile(corpora[1] / name, corpus / name)
    with pytest.raises(UserError, match=r"another SHA-256(.|\n)*build the corpus again"):
        build_tokens([str(corpus)], tokenizer_folder, tmp_path / "out")
    (corpus / name).write_bytes(whole)
    found = build_tokens([str(corpus)], tokenizer_folder, tmp_path / "out")
    assert found.outputs == build_tokens([str(corpora[0])], tokenizer_folder, tmp_path / "sound").outputs
    assert found.counts["verified"] == 2


@pytest.mark.parametrize("place", ["heldout", "heldout/*.jsonl"])
def test_held_out_text_is_read_as_it_was_written(tokens: list[Path], tmp_path: Path, place: str) -> None:
    mine = tmp_path / "tokens"
    shutil.copytree(tokens[0], mine)
    files = {name: tokens[1] / name for name in names(mine, "heldout/")}

    def stage(out: Path) -> Any:
        return build_tasks(read_domains([f"medical={mine / place}", f"general={mine / place}"]), out)

    refused_whatever_is_damaged(Read(mine, files, stage), tmp_path)
    path = mine / sorted(files)[0]
    flip(path, path)
    with pytest.raises(UserError, match=path.name):
        read_domains([f"general={path}"])
    assert read_domains([f"general={path}"], verify=False) == {"general": [path]}


def test_text_of_somebody_elses_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "a web page\'s"}')
    (tmp_path / "text.jsonl").write_text('{"text": "la ville"}\n')
    assert read_domains([f"general={tmp_path}"]) == {"general": [tmp_path / "text.jsonl"]}


@pytest.fixture
def run(tiny_qwen3: Maker, tmp_path: Path) -> Callable[[int], Path]:
    """Make a run's folder with one hashed checkpoint, as training leaves it, without a start of ranks."""

    def make(seed: int) -> Path:
        folder = tmp_path / f"run-{seed}"
        import_hf(tiny_qwen3(seed), folder / CHECKPOINTS)
        root = folder / CHECKPOINTS
        checkpoint = (root / "release").rename(root / "iter_0000004")
        (root / "manifest.json").unlink()
        recipe = {"batch": {"global_size": 1}, "data": {"seq_length": 8}, "optimizer": {"lr": 0.1}, "steps": 4}
        hashes = {path.name: sha256(path) for path in checkpoint.iterdir()}
        stated = {"recipe": recipe, "inputs": {}, "commit": None, "versions": {}}
        write_json(checkpoint / HASHES_FILE, {"step": 4, "provenance": stated, "files": hashes})
        kept = {path.name: sha256(path) for path in (root / HF).iterdir()}
        settings = Manifest("settings", inputs={}, config={}, counts={}, outputs=kept)
        write_json(root / HF / "manifest.json", settings.__dict__)
        write_json(folder / "run.json", {})
        return folder

    return make


def test_a_run_is_followed_as_it_was_saved(run: Callable[[int], Path], tmp_path: Path) -> None:
    mine, other = run(0), run(1)
    name = "iter_0000004"
    saved = mine / CHECKPOINTS / name
    weights = max(saved.glob("*.distcp"), key=lambda path: path.stat().st_size).name
    files = [f"{CHECKPOINTS}/{file}" for file in (f"{name}/{weights}", f"{name}/.metadata", f"{HF}/config.json")]

    def stage(out: Path) -> Any:
        assert follow(mine, out, once=True) == [name]

    read = Read(mine, {file: other / file for file in files}, stage, adds=False)
    for file, damage, path, out in damaged(read, tmp_path):
        with pytest.raises(UserError) as caught:
            stage(out)
        assert path.name in str(caught.value), f"{file}: {damage}"
        assert not (out / name).exists(), f"{file}: {damage}"
    stage(tmp_path / "sound")


def test_a_run_that_another_starts_from_is_read_as_it_was_saved(
    run: Callable[[int], Path], tokens: list[Path], tmp_path: Path
) -> None:
    """Its newest checkpoint by the hashes in it, and the settings beside it by theirs."""
    mine, other, recipe = run(0), run(1), load("qwen3_tiny_cpt_2xcpu", ["steps=1"])
    saved = mine / CHECKPOINTS / "iter_0000004"
    weights = max(saved.glob("*.distcp"), key=lambda path: path.stat().st_size)
    files = [
        str(path.relative_to(mine)) for path in (weights, saved / ".metadata", mine / CHECKPOINTS / HF / "config.json")
    ]
    inputs = Inputs(tokens[0], mine)

    def stage(_: Path) -> None:
        with damage_first(lambda: small_files(inputs)):
            if newest(mine) is None:  # cut and missing files are told by their sizes, and there is none before it
                raise UserError("neither a run with a checkpoint nor a root")
            check_bytes(recipe, inputs)

    read = Read(mine, {file: other / file for file in files}, stage, adds=False)
    for file, damage, path, out in damaged(read, tmp_path):
        with pytest.raises(UserError) as caught:
            read.stage(out)
        assert path.name in str(caught.value), f"{file}: {damage}: {caught.value}"
    read.stage(tmp_path)


@pytest.mark.slow
def test_a_point_is_chosen_of_models_as_they_were_written(
    tiny_qwen3: Maker, tokens: list[Path], tmp_path: Path
) -> None:
    base, tuned = tiny_qwen3(0, dtype="bfloat16"), tiny_qwen3(1, dtype="bfloat16")
    sweep(base, tuned, tmp_path / "points", [0.5])
    point = tmp_path / "points" / "t0.5"
    held = [f"{domain}={tokens[0] / 'heldout' / domain}-*.jsonl" for domain in ("medical", "general")]
    other = tuned / "model.safetensors"
    for name, damage, path, out in damaged(Read(point, {"model.safetensors": other}, choose), tmp_path):
        with pytest.raises(UserError) as caught:
            choose(
                base,
                tuned,
                tmp_path / "points",
                heldout=held,
                out=out,
                rule=Rule("general"),
                limits=Limits(questions=4, max_length=64),
                batch_size=2,
            )
        assert path.name in str(caught.value), f"{name}: {damage}"
        assert not (out / "curve").exists()
        assert not (out / "scores" / "manifest.json").exists()


def test_tasks_models_and_earlier_results_are_read_as_they_were_written(
    tiny_qwen3: Maker, tokens: list[Path], tmp_path: Path
) -> None:
    """Each before a model is loaded."""
    tasks = tmp_path / "tasks"
    build_tasks({"general": [tokens[0] / "heldout" / "general-ville.jsonl"]}, tasks)
    model = Model("base", Role.BASE, tiny_qwen3())
    files = {name: tasks / name.replace("perplexity", "continuation") for name in names(tasks, "perplexity")}
    for name, damage, path, out in damaged(Read(tasks, files, evaluate), tmp_path):
        with pytest.raises(UserError) as caught:
            evaluate([model], tasks, out)
        assert path.name in str(caught.value), f"{name}: {damage}"
        assert not (out / "manifest.json").exists()
    earlier = tmp_path / "earlier"
    (earlier / "base" / "perplexity_general").mkdir(parents=True)
    sample = earlier / "base" / "perplexity_general" / "samples.jsonl"
    sample.write_text("{}")
    done = Manifest(
        "eval",
        inputs={"model/base": "m", "task/perplexity_general": "t"},
        config={"limit": None, "batch_size": 8, "max_length": None},
        counts={},
        outputs={"base/perplexity_general/samples.jsonl": sha256(sample)},
    )
    write_json(earlier / "manifest.json", done.__dict__)
    assert reuse_results(earlier, tmp_path / "work", done.inputs, done.config) == ["base/perplexity_general"]
    sample.write_text("[]")
    with pytest.raises(UserError, match=r"samples\.jsonl: another SHA-256"):
        reuse_results(earlier, tmp_path / "again", done.inputs, done.config)


def test_a_value_that_is_another_number_is_met_by_the_hash_alone(tiny_qwen3: Maker, tmp_path: Path) -> None:
    """Whole, finite, of the right shapes: nothing but the hash tells."""
    from pdapt.eval.harness.check_weights import check_weights

    folder = tmp_path / "point" / "t0.5"
    sweep(tiny_qwen3(0, dtype="bfloat16"), tiny_qwen3(1, dtype="bfloat16"), tmp_path / "point", [0.5])
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"model\.safetensors: another SHA-256"):
        check_weights({"merged": folder})
    check_weights({"merged": folder}, verify=False)
    assert json.loads((folder / "manifest.json").read_text())["outputs"]
