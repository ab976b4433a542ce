"""`pdapt run` up to the first step of training: what is refused before it, and what a change afterwards may touch."""

import json
import random
import shutil
import sys
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pdapt.core.errors import UserError
from pdapt.core.files import read_json, write_json
from pdapt.core.manifest import Manifest
from pdapt.core.qwen3 import SIZES
from pdapt.data_prep import sample as embedded
from pdapt.launch import preflight, request
from pdapt.launch.pipeline import run_whole
from pdapt.launch.request import REQUEST_FILE, Reading, Request, is_path
from pdapt.recipes.fit_to_machine import fit, published
from pdapt.recipes.hardware import Hardware
from pdapt.recipes.load import load

Maker = Callable[..., Path]
CPU = Hardware(gpus=0, gpu_gib=0, cores=2, host_gib=24)
WORDS = "le patient reçoit du paracétamol contre la fièvre puis sera revu dans une semaine avec son dossier".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def base(qwen3_at: Maker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return qwen3_at(tmp_path_factory.mktemp("base") / "qwen3", dtype="bfloat16")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tenth of the embedded sample, of which some documents are held out, too."""
    folder = tmp_path_factory.mktemp("sample")
    sources = tuple(replace(source, size=source.size // 10) for source in embedded.SOURCES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "SOURCES", sources)
        embedded.write_sample(folder)
    return folder


@pytest.fixture(autouse=True)
def drawn_once(monkeypatch: pytest.MonkeyPatch, sample: Path) -> None:
    copied = partial(shutil.copytree, sample, dirs_exist_ok=True)
    monkeypatch.setattr("pdapt.data_prep.sample.write_sample", copied)


class Trained(Exception):
    """Training would begin now."""


@pytest.fixture(autouse=True)
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(recipe: Any, tokens: Path, out: Path, *, base: Path | None = None, verify: bool = True) -> None:
        assert verify
        write_json(out / "run.json", {})
        raise Trained(recipe)

    monkeypatch.setitem(sys.modules, "pdapt.training.train", SimpleNamespace(train=train))
    monkeypatch.setattr("pdapt.launch.pipeline.this_machine", lambda: CPU)


def notes(folder: Path, count: int = 200, words: int = 60, first: str = "note") -> str:
    """JSON lines of distinct documents, the same every time; where they are."""
    path = folder / f"{first}-{count}-{words}.jsonl"
    draw = random.Random(first)
    texts = (" ".join([first, str(n), *draw.choices(WORDS, k=words - 2)]) for n in range(count))
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def asked(data: str, base: Path | None = None, **others: Any) -> Request:
    request = Request("title", "medical", [data], base=str(base) if base else None)
    return replace(request, **others)


def begin(request: Request, out: Path) -> Any:
    """Run up to training; the recipe that would be trained first."""
    with pytest.raises(Trained) as raised:
        run_whole(request, out)
    return raised.value.args[0]


def refused(request: Request, out: Path, message: str) -> None:
    """Check that a run is refused, and that nothing of training is there."""
    with pytest.raises(UserError, match=message):
        run_whole(request, out)
    assert not request_began(out)


def request_began(out: Path) -> bool:
    return request.training_began(out)


@pytest.mark.slow
def test_a_base_gets_the_fitted_recipe_and_the_request_holds_it(base: Path, tmp_path: Path) -> None:
    recipe = begin(asked(notes(tmp_path), base), tmp_path / "run")
    kept = read_json(tmp_path / "run" / REQUEST_FILE)["fitted"]
    assert recipe.optimizer.lr == pytest.approx(2e-4)
    assert kept["kept"]["steps"] == recipe.steps
    train = read_json(tmp_path / "run" / "tokens" / "tokens.json")["totals"]["train"]
    assert 512 / 3 < train["tokens"] / train["documents"] < 512 / 2, "two of these documents fill a sequence"
    read = recipe.steps * recipe.batch.global_size
    assert read == pytest.approx(2.53 * train["documents"] / 2, abs=recipe.batch.global_size), "2.53 epochs"
    assert kept["told"][1]["values"]["sequences"] == round(train["documents"] / 2)


def test_without_a_base_the_toy_recipe_stays(tmp_path: Path) -> None:
    recipe = begin(asked(notes(tmp_path), general=[notes(tmp_path, first="ville")]), tmp_path / "run")
    assert recipe.steps == load("qwen3_tiny_pretrain_2xcpu").steps
    assert [part.sources for part in recipe.data.blend] == [["general-*"]]


def test_a_recipe_by_name_is_taken_as_it_is(base: Path, tmp_path: Path) -> None:
    given = asked(notes(tmp_path), base, recipe="qwen3_tiny_cpt_2xcpu")
    recipe = begin(replace(given, overrides=["steps=7", "checkpoint.every=5"]), tmp_path / "run")
    assert (recipe.optimizer.lr, recipe.steps, recipe.data.seq_length) == (1e-3, 7, 512)
    assert recipe.model.shape.hidden == 64


@pytest.mark.slow
def test_a_blend_of_the_users_is_not_replaced(base: Path, tmp_path: Path) -> None:
    data = [f"a={notes(tmp_path)}", f"b={notes(tmp_path, first='lettre')}"]
    blend = "data.blend=[{sources: [medical-a], weight: 3}, {sources: [medical-b], weight: 1}]"
    given = replace(asked("", base), data=data, overrides=[blend])
    assert [part.weight for part in begin(given, tmp_path / "run").data.blend] == [3, 1]
    gone = blend.replace("medical-b", "medical-c")
    refused(replace(given, overrides=[gone]), tmp_path / "other", r"matches sources \['medical-c'\]")


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"domain": "Médical"}, "cannot name the domain"),
        ({"domain": "general"}, "cannot name the domain"),
        ({"domain": "general-medicine"}, "cannot name the domain"),
        ({"t": [1.5]}, "t is 1.5"),
        ({"questions": 3}, "--questions is 3"),
        ({"profile": "papers"}, "did you mean 'paper'"),
        ({"duplicates": "nearly"}, "did you mean 'near'"),
        ({"mask": ["mail"]}, "did you mean 'email'"),
        ({"topics": "gone.csv"}, "no such file: gone.csv"),
        ({"documents": 0}, "--documents is 0"),
        ({"parts": 0}, "parts is 0"),
        ({"edition": "comercial"}, "no edition is called 'comercial'"),
        ({"overrides": ["optimizer.rate=1"]}, "unknown key"),
        ({"overrides": ["parallel.tp=3"]}, "does not divide"),
        ({"overrides": ["parallel.nodes=2"]}, "works on one"),
        ({"overrides": ["model.fp8=true"]}, "needs Transformer Engine"),
        ({"overrides": ["model.precision=fp32"]}, "saves another type"),
        ({"recipe": "qwen3_8b_cpt_48xh100_packed"}, "but the model has only 512 positions"),
        ({"base": "gone"}, "no such folder"),
        ({"general": ["none", "x.jsonl"]}, "cannot be combined"),
        ({"data": ["gone.jsonl"]}, "gone.jsonl"),
    ],
)
def test_what_cannot_be_is_refused_before_any_text_is_read(
    base: Path, tmp_path: Path, others: dict[str, Any], message: str
) -> None:
    refused(replace(asked(notes(tmp_path), base), **others), tmp_path / "run", message)
    assert not (tmp_path / "run" / "corpus").exists()


def test_as_few_questions_as_a_question_has_choices_are_asked(base: Path, tmp_path: Path) -> None:
    given = asked(notes(tmp_path), base, general=["none"], questions=4, documents=4)
    begin(given, tmp_path / "run")
    assert Manifest.read(tmp_path / "run" / "tasks").counts["medical"]["questions"] == 4


def test_a_base_that_is_not_whole_is_refused_first(tiny_qwen3: Maker, base: Path, tmp_path: Path) -> None:
    base, data = tiny_qwen3(dtype="bfloat16"), notes(tmp_path)
    refused(asked(data, tiny_qwen3(dtype="float16")), tmp_path / "run", "float16")
    (base / "tokenizer.json").rename(base / "away.json")
    refused(asked(data, base), tmp_path / "run", "tokenizer.json")
    (base / "away.json").rename(base / "tokenizer.json")
    (base / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes()[:-100])
    refused(asked(data, base), tmp_path / "run", "not a complete safetensors file")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_too_little_held_out_text_is_said_first_and_mended_in_place(base: Path, tmp_path: Path) -> None:
    """30 documents: 5 % are 2 of them, a quarter are 8."""
    given, out = asked(notes(tmp_path, 30), base), tmp_path / "run"
    refused(given, out, r"medical: only 2 held-out documents have 24 words(.|\n)*--valid-fraction")
    begin(replace(given, valid_fraction=0.25), out)
    assert Manifest.read(out / "tasks").counts["medical"]["documents"] >= 4
    assert read_json(out / REQUEST_FILE)["valid_fraction"] == 0.25


def test_documents_too_short_to_ask_about_are_said_before_training(base: Path, tmp_path: Path) -> None:
    refused(
        asked(notes(tmp_path, 200, words=23), base),
        tmp_path / "run",
        "only 0 held-out documents have 24 words",
    )


def test_general_text_may_be_left_out_with_a_base_and_not_without(base: Path, tmp_path: Path) -> None:
    data = notes(tmp_path)
    begin(asked(data, base, general=["none"]), tmp_path / "run")
    assert set(Manifest.read(tmp_path / "run" / "tasks").counts) == {"medical"}
    refused(asked(data, general=["none"]), tmp_path / "other", "tiny base is trained on general text")


@pytest.mark.slow
def test_text_of_another_language_is_not_compared_with_the_french_sample(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Left out with a base, asked for without one; one's own, or the French one where it is asked for, is taken."""
    words = [
        "the",
        "patient",
        "was",
        "given",
        "paracetamol",
        "for",
        "the",
        "fever",
        "and",
        "will",
        "be",
        "seen",
        "in",
        "a",
        "week",
        "with",
        "all",
        "of",
        "his",
    ]
    draw = random.Random(0)
    data = tmp_path / "english.jsonl"
    texts = (f"note {n} " + " ".join(draw.choices(words, k=60)) for n in range(200))
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    given = asked(str(data), base)
    begin(given, tmp_path / "run")
    assert set(Manifest.read(tmp_path / "run" / "tasks").counts) == {"medical"}
    assert "general text is left out: most of the domain's documents are not in French (en)" in capsys.readouterr().err
    begin(replace(given, general=["sample"]), tmp_path / "run")
    assert set(Manifest.read(tmp_path / "run" / "tasks").counts) == {"medical", "general"}
    refused(replace(given, base=None), tmp_path / "other", r"not in French \(en\)(.|\n)*give --general PATH")
    begin(replace(given, base=None, general=[notes(tmp_path, first="city")]), tmp_path / "other")


def test_too_few_documents_to_hold_out_any_are_refused(base: Path, tmp_path: Path) -> None:
    refused(asked(notes(tmp_path, 1), base), tmp_path / "run", "no document of the domain could be held out")


@pytest.mark.slow
def test_general_text_that_is_the_domains_too_is_left_out(base: Path, tmp_path: Path) -> None:
    """With a base, general text changes nothing of the tokens, and loses what the domain has."""
    data = notes(tmp_path)
    general = tmp_path / "mixed.jsonl"
    general.write_text(Path(notes(tmp_path, 60, first="ville")).read_text() + Path(data).read_text())
    begin(asked(data, base, general=[str(general)]), tmp_path / "run")
    begin(asked(data, base, general=["none"]), tmp_path / "without")
    tokens = [Manifest.read(tmp_path / name / "tokens").outputs for name in ("run", "without")]
    assert tokens[0] == tokens[1]
    assert Manifest.read(tmp_path / "run" / "general").counts == {"read": 260, "repeated": 0, "known": 200, "kept": 60}
    rows = rows_of(tmp_path / "run/general/heldout/general-mixed.jsonl")
    assert {row["text"].split()[0] for row in rows} == {"ville"}
    refused(
        asked(data, base, general=[data]),
        tmp_path / "same",
        "every document also occurs in the text that is trained on",
    )


@pytest.mark.slow
def test_an_edition_chooses_of_the_domains_text_alone(tmp_path: Path) -> None:
    """The embedded general text, on which a tiny base is trained, is of no edition."""
    data = Path(notes(tmp_path))
    rows = [row | {"licence": "CC BY-NC 4.0" if n < 50 else "CC BY 4.0"} for n, row in enumerate(rows_of(data))]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    begin(asked(str(data), edition="commercial"), tmp_path / "run")
    counts = Manifest.read(tmp_path / "run" / "corpus").counts
    medical = counts.pop(f"medical-{data.stem}")
    assert medical["kept"] == 150
    assert medical["left_out_of_edition"]["commercial use is not allowed"]["documents"] == 50
    assert counts
    assert all(each["kept"] == each["read"] for each in counts.values())


@pytest.mark.slow
def test_once_training_began_a_change_of_text_is_refused_by_name(
    tiny_qwen3: Maker, base: Path, tmp_path: Path, questions: Path
) -> None:
    data, out = notes(tmp_path), tmp_path / "run"
    given = asked(data, base, general=["none"])
    begin(given, out)
    began = read_json(out / REQUEST_FILE)
    for others, message in (
        ({"valid_fraction": 0.1}, r"--valid-fraction: 0.05 then, 0.1 now"),
        ({"domain": "clinical"}, r"--domain: medical then, clinical now"),
        ({"decontaminate": str(questions)}, r"--decontaminate: none then, \S+questions now"),
        ({"data": [notes(tmp_path, 199)]}, r"--data: \S+note-200-60.jsonl then, \S+note-199-60.jsonl now"),
        ({"base": str(tiny_qwen3(seed=1, dtype="bfloat16"))}, r"--base: \S+base\S+ then, \S+qwen3-1\S+ now"),
        ({"base": None, "general": [notes(tmp_path, first="ville")]}, r"--base: \S+base\S+ then, none now"),
    ):
        with pytest.raises(UserError, match=message):
            run_whole(replace(given, **others), out)
        assert read_json(out / REQUEST_FILE) == began
    Path(data).write_text(Path(notes(tmp_path, 201)).read_text())
    with pytest.raises(UserError, match="corpus: other medical-note-200-60"):
        run_whole(given, out)


def test_a_copy_of_the_text_elsewhere_is_the_same_text(base: Path, tmp_path: Path) -> None:
    data, out = notes(tmp_path), tmp_path / "run"
    begin(asked(data, base, general=["none"]), out)
    (tmp_path / "moved").mkdir()
    moved = Path(data).rename(tmp_path / "moved" / Path(data).name)
    begin(asked(str(moved), base, general=["none"]), out)


def test_later_choices_change_once_training_began(base: Path, tmp_path: Path) -> None:
    data, out = notes(tmp_path), tmp_path / "run"
    given = asked(data, base, general=["none"])
    first = begin(given, out)
    tokens = (out / "tokens" / "manifest.json").stat().st_mtime_ns
    later = replace(given, t=[0.2], title="other", questions=8, general=[notes(tmp_path, 80, first="ville")])
    assert begin(later, out) == first
    assert (out / "tokens" / "manifest.json").stat().st_mtime_ns == tokens
    counts = Manifest.read(out / "tasks").counts
    assert {name: value["questions"] for name, value in counts.items()} == {"medical": 8, "general": 8}


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("…")
    with pytest.raises(UserError, match="does not hold a run"):
        run_whole(asked(notes(tmp_path)), tmp_path)
    assert not (tmp_path / REQUEST_FILE).exists()


def test_a_disk_that_is_too_small_is_said_with_the_sum(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: usage(0, 0, 100e9))
    shape = SIZES["8b"]
    recipe = fit(published(shape, "bfloat16"), [], 7e3, Hardware(8, 79.1, 64, 900)).recipe
    base = preflight.Base(tmp_path, shape)
    # 8.19 G parameters: base 16.4, six times 114.7 + 16.4, merged 16.4.
    with pytest.raises(UserError, match=r"would write 819.1 GB \(6 checkpoints of 114.7 GB"):
        preflight.check_space(recipe, tmp_path / "run", base)
    tiny = load("qwen3_tiny_cpt_2xcpu")
    preflight.check_space(tiny, tmp_path / "run", None)


def test_a_recipe_for_more_than_this_machine_is_refused() -> None:
    recipe = load("qwen3_1p7b_cpt_8xh100_packed")
    preflight.check_machine(recipe, Hardware(8, 79.1, 64, 900))
    with pytest.raises(UserError, match="needs 8 GPUs, and this machine has 4 GPUs of 79 GiB"):
        preflight.check_machine(recipe, Hardware(4, 79.1, 64, 900))
    with pytest.raises(UserError, match="more memory than this machine has"):
        preflight.check_machine(load("qwen3_8b_cpt_8xh100_packed"), CPU)


def test_arguments_are_text_or_overrides(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    (tmp_path / "steps=3").touch()
    for given in ("a.jsonl", "gone.jsonl", str(tmp_path / "a.jsonl"), f"letters={tmp_path / 'a.jsonl'}"):
        assert is_path(given)
    assert is_path(str(tmp_path / "steps=3"))
    for given in ("steps=3", "optimizer.lr=1e-5", f"data.x={tmp_path / 'a.jsonl'}", "letters=gone.jsonl"):
        assert not is_path(given)


def test_another_request_is_told_by_its_options() -> None:
    first = Request("a", "medical", ["x"], overrides=["steps=3"])
    before = json.loads(json.dumps(request.asdict(first)))
    assert request.changes(before, replace(first, title="b", t=[0.1])) == []
    now = replace(first, overrides=[], reading=Reading(text_column="note"))
    assert request.changes(before, now) == [
        "KEY=VALUE: steps=3 then, none now",
        "how text is read: text_column text then, text_column note now",
    ]
    cleaned = replace(first, profile="paper", mask=["email"])
    said = ["--profile: clinical then, paper now", "--mask: none then, email now"]
    assert request.changes(before, cleaned) == said
    for name in ("profile", "duplicates", "mask", "topics"):
        del before[name]  # as an earlier version has written it
    assert request.changes(before, first) == []
    assert request.changes(before, cleaned) == said
