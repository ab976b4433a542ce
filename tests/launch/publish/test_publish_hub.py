"""`pdapt publish`: what is checked, what the card says, and which calls reach the Hub, in which order."""

import getpass
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from commands import pdapt, pdapt_json
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import load_file, save_file
from test_publish_corpus import TITLE, corpus_of

from pdapt.core.errors import UserError
from pdapt.core.hf.config import both_spellings
from pdapt.core.hf.turns import end_at_turns
from pdapt.launch.publish import publish_hub
from pdapt.launch.publish.hub import Kind, Publication, upload
from pdapt.launch.publish.publish_hub import ModelSources, prepare_dataset, prepare_model, publish

BASE = "Qwen/Qwen3-0.6B-Base"
HOME = "/" + "home"


class Recorded:
    """The Hub's client as far as an upload takes it: keeps the calls, and fails at one if told so."""

    def __init__(self, fails: str = "") -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.fails = fails

    def _call(self, name: str, values: dict[str, Any]) -> None:
        self.calls.append((name, values))
        if name == self.fails:
            raise httpx.ConnectError("the connection was lost")

    def create_repo(self, repo_id: str, **values: Any) -> None:
        self._call("create_repo", {"repo_id": repo_id, **values})

    def upload_file(self, **values: Any) -> None:
        self._call("upload_file", values)

    def upload_folder(self, **values: Any) -> None:
        self._call("upload_folder", values)


@pytest.fixture(scope="module")
def made(qwen3_at: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a `model`, its `run`, `corpus` and `report`, and a data set."""
    folder = tmp_path_factory.mktemp("made")
    config = qwen3_at(folder / "model") / "config.json"
    config.write_text(json.dumps(both_spellings(json.loads(config.read_text()), "float32")))
    (folder / "model/README.md").write_text("---\nlibrary_name: transformers\n---\n# cpt-10\n\nExported by pdapt.\n")
    rows = [{"event": "start", "step": 0, "time": 0, "start": 0, "ranks": 4}]
    step = {"event": "step", "start": 0, "seconds": 10, "data_wait": 0, "skipped": False, "tokens": 7000, "slots": 8000}
    rows += [step | {"step": n, "time": 900 * n, "joules": 3.6e6, "loss": 2.5, "sources": {}} for n in (1, 2)]
    (folder / "run").mkdir()
    (folder / "run/log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus_of(folder)
    (folder / "report/tables").mkdir(parents=True)
    (folder / "report/tables/groups.csv").write_text("Comparison,before,after\nMedicine in French,31.657,33.25\n")
    pdapt("corpus", "publish", folder / "corpus", "--out", folder / "data-set", "--title", TITLE)
    return folder


def sources(made: Path, **change: Any) -> ModelSources:
    values = {"base": BASE, "run": made / "run", "corpus": made / "corpus", "report": made / "report"}
    return ModelSources(**(values | change))


@pytest.fixture
def model(made: Path, tmp_path: Path) -> Path:
    """A copy of the model to spoil."""
    return shutil.copytree(made / "model", tmp_path / "model")


@pytest.mark.slow
def test_a_card_says_all_that_a_reader_asks(made: Path) -> None:
    card = prepare_model(made / "model", sources(made, title="Qwen3 <medical>")).card
    _, head, body = card.split("---\n", 2)
    header = yaml.safe_load(head)
    assert header["base_model"] == BASE
    assert header["license"] == "other", "a document of the corpus states no licence"
    assert "# Qwen3 \\<medical\\>\n" in body
    assert "2 steps on 14,000 tokens that count in the loss; 0.5 hours of all starts, 2.0 GPU-hours" in body
    assert "2.0 kWh of the GPUs" in body
    assert "| Medicine in French | 31.66 | 33.25 |" in body
    assert "| HAL | CC BY 4.0 |" in body
    assert "### cpt-10\n\nExported by pdapt." in body
    for section in ("Training", "Data and licences", "Evaluation", "Intended use and limits", "Energy"):
        assert f"\n## {section}\n" in body


def test_the_card_of_a_fine_tuned_model_does_not_say_that_it_cannot_converse(made: Path, model: Path) -> None:
    assert "it is not tuned to follow instructions" in prepare_model(model, sources(made)).card
    (model / "manifest.json").unlink(missing_ok=True)
    end_at_turns(model, model)
    card = prepare_model(model, sources(made)).card
    assert "It answers in conversations" in card
    assert "supervised-fine-tuning" in yaml.safe_load(card.split("---\n", 2)[1])["tags"]


def test_a_model_of_free_documents_has_its_base_s_licence(made: Path, tmp_path: Path) -> None:
    rows = [{"text": f"Le foie pèse {n} kg.", "licence": "CC BY 4.0", "commercial": True} for n in range(3)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pdapt("corpus", "build", tmp_path / "a.jsonl", "--out", tmp_path / "corpus")
    card = prepare_model(made / "model", sources(made, corpus=tmp_path / "corpus")).card
    assert yaml.safe_load(card.split("---\n", 2)[1])["license"] == "apache-2.0"
    assert "All documents of the corpus may be used commercially" in card


def test_the_hub_is_asked_in_this_order_and_privately(made: Path) -> None:
    api = Recorded()
    publication = prepare_model(made / "model", sources(made))
    told = publish(publication, "owner/name", public=False, dry_run=False, api=api)
    assert [name for name, _ in api.calls] == ["create_repo", "upload_folder", "upload_file"]
    (_, made_repo), (_, folder), (_, card) = api.calls
    assert made_repo == {"repo_id": "owner/name", "repo_type": "model", "private": True, "exist_ok": True}
    assert card["path_in_repo"] == "README.md"
    assert card["path_or_fileobj"].decode() == told["card"]
    assert "model.safetensors" in folder["allow_patterns"]
    names = [path.name for path in (made / "model").iterdir()]
    sent = set(filter_repo_objects(names, allow_patterns=folder["allow_patterns"]))
    assert sent == set(names) - {"README.md", "manifest.json"} == set(told["files"])
    publish(publication, "owner/name", public=True, dry_run=False, api=(public := Recorded()))
    assert public.calls[0][1]["private"] is False


def test_an_upload_that_fails_in_the_middle_goes_on_when_it_is_repeated(made: Path) -> None:
    """The same calls again: the Hub skips what it has. The card does not come before the files."""
    publication = prepare_model(made / "model", sources(made))
    broken, whole = Recorded("upload_folder"), Recorded()
    with pytest.raises(UserError, match=r"the connection was lost(?s:.*)repeat the command") as caught:
        upload(publication, "owner/name", public=False, api=broken)
    assert isinstance(caught.value.__cause__, httpx.ConnectError)
    upload(publication, "owner/name", public=False, api=whole)
    assert [name for name, _ in broken.calls] == ["create_repo", "upload_folder"]
    assert whole.calls[:2] == broken.calls
    assert whole.calls[2][0] == "upload_file"


def test_a_name_with_brackets_is_no_pattern(tmp_path: Path) -> None:
    api = Recorded()
    upload(Publication(tmp_path, ["a[1].json", "b.json"], "card", Kind.MODEL), "owner/name", public=False, api=api)
    patterns = api.calls[1][1]["allow_patterns"]
    assert list(filter_repo_objects(["a[1].json", "a1.json", "b.json"], allow_patterns=patterns)) == [
        "a[1].json",
        "b.json",
    ]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("pytorch_model.bin", "pickle", r"'\.bin' are not published(?s:.*)safetensors"),
        ("notes.txt", f"see {HOME}/marie/runs/cpt", f"notes.txt: {HOME}/marie/runs/cpt"),
        ("generation_config.json", '{"_from": "/lustre/fswork/projects/x"}', "/lustre/fswork/projects/x"),
        ("README.md", f"# x\n\nfrom {HOME}/base\n", f"README.md: {HOME}/base"),
        ("model.safetensors", "spoilt", "model.safetensors"),
        ("config.json", "{}", "config.json"),
    ],
)
def test_what_must_not_be_published_is_named(made: Path, model: Path, file: str, text: str, message: str) -> None:
    (model / file).write_text(text)
    with pytest.raises(UserError, match=message):
        prepare_model(model, sources(made))


def _beside(name: str) -> Callable[[Path], object]:
    """Copy the weights to another name: what an earlier save left, or an adapter."""
    return lambda model: shutil.copy(model / "model.safetensors", model / name)


def _with(name: str, **values: Any) -> Callable[[Path], object]:
    """Add keys to a file of settings."""
    return lambda model: (model / name).write_text(json.dumps(json.loads((model / name).read_text()) | values))


def _says(text: str) -> Callable[[Path], object]:
    return lambda model: (model / "notes.txt").write_text(text)


def _with_nan(model: Path) -> None:
    tensors = load_file(model / "model.safetensors")
    tensors["model.norm.weight"][3] = float("nan")
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})


RUBBISH: dict[str, tuple[Callable[[Path], object], str]] = {
    "a stale shard": (_beside("model-00001-of-00002.safetensors"), "model-00001-of-00002.safetensors is no part of"),
    "an adapter": (_beside("adapter_model.safetensors"), "adapter_model.safetensors is no part of the model"),
    "cut weights": (lambda model: os.truncate(model / "model.safetensors", 9000), "not a complete safetensors file"),
    "NaN": (_with_nan, r"model\.norm\.weight holds values that are not finite"),
    "code": (_with("config.json", auto_map={"AutoModel": "modeling.Mine"}), "asks for code .*auto_map"),
    "no tokenizer": (lambda model: (model / "tokenizer.json").unlink(), "no such file: tokenizer.json"),
    "half a tokenizer": (lambda model: (model / "tokenizer.json").write_text("{}"), "is not a tokenizer"),
    "half a file": (lambda model: (model / "generation_config.json").write_text("{"), "not valid JSON"),
    "a pickle by another name": (lambda model: (model / "x.json").write_bytes(b"\x80\x04\x95"), "not valid JSON"),
    "a link": (lambda model: (model / "x.json").symlink_to(model / "config.json"), "links .* are not published"),
    "a linked folder": (lambda model: (model / "x").symlink_to(model.parent), "links .* are not published"),
    "an address": (_says(f"see file://{HOME}/marie/x"), f"{HOME}/marie/x"),
    "a cluster": (_says("on /linkhome/rech/genabc01/uab12cd/run"), "/linkhome/rech/genabc01/uab12cd/run"),
    "another machine": (_says(f"from cluster:{HOME}/mdupont/run"), f"notes.txt: {HOME}/mdupont"),
    "Windows": (_says("in C:\\Users\\marie\\x"), "Users.*marie"),
    "where it was": (_with("config.json", _name_or_path=f"{HOME}/marie/base"), f"config.json: {HOME}/marie/base"),
    "who made it": (
        _with("generation_config.json", made_by="mdupont"),
        "generation_config.json: the user name mdupont",
    ),
}


@pytest.mark.parametrize("kind", RUBBISH)
def test_a_folder_with_rubbish_is_refused(made: Path, model: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Each in a folder without recorded hashes, such as one that was put together by hand."""
    monkeypatch.setattr(getpass, "getuser", lambda: "mdupont")
    (model / "manifest.json").unlink(missing_ok=True)
    spoil, message = RUBBISH[kind]
    prepare_model(model, sources(made))
    spoil(model)
    with pytest.raises(UserError, match=f"(?s){message}"):
        prepare_model(model, sources(made))


def test_hidden_files_stay_where_they_are(made: Path, model: Path) -> None:
    """Such as what a download has left in `.cache`, with names of this machine."""
    (model / ".cache/huggingface").mkdir(parents=True)
    (model / ".cache/huggingface/download.json").write_text(f"{HOME}/marie")
    (model / ".git").mkdir()
    (model / ".git/HEAD").write_text("ref")
    assert not [name for name in prepare_model(model, sources(made)).files if name.startswith(".")]


def test_a_configuration_for_one_line_of_transformers_is_refused(made: Path, model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({key: config[key] for key in config if key != "rope_theta"}))
    with pytest.raises(UserError, match=r"the configuration lacks .*rope_theta"):
        prepare_model(model, sources(made))


@pytest.mark.parametrize("option", ["run", "corpus", "report"])
def test_an_incomplete_card_is_refused(made: Path, option: str) -> None:
    with pytest.raises(UserError, match=f"the card would be incomplete: --{option} is missing"):
        prepare_model(made / "model", sources(made, **{option: None}))


def test_a_data_set_goes_with_its_own_card(made: Path, tmp_path: Path) -> None:
    publication = prepare_dataset(made / "data-set")
    upload(publication, "owner/data", public=False, api=(api := Recorded()))
    assert api.calls[0][1]["repo_type"] == "dataset"
    assert publication.card == (made / "data-set/README.md").read_text()
    assert {"croissant.json", "ATTRIBUTION.txt", "index.html"} < set(publication.files)
    assert "manifest.json" not in publication.files
    spoilt = shutil.copytree(made / "data-set", tmp_path / "spoilt")
    (spoilt / "croissant.json").unlink()
    with pytest.raises(UserError, match=r"croissant\.json is missing"):
        prepare_dataset(spoilt)
    with pytest.raises(UserError, match="not a data set to publish"):
        prepare_dataset(made / "model")


def test_a_dry_run_shows_files_and_card_and_calls_nobody(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(publish_hub, "upload", lambda *_, **__: pytest.fail("nothing is uploaded"))
    options = [f"--{name}={made / name}" for name in ("run", "corpus", "report")]
    words = ["publish", "model", made / "model", "--repo", "owner/name", "--base", BASE, "--dry-run", *options]
    shown = pdapt_json(*words)
    assert (shown["visibility"], shown["uploaded"]) == ("private", False)
    assert shown["files"]["model.safetensors"] == (made / "model/model.safetensors").stat().st_size
    assert "## Evaluation" in shown["card"]


@pytest.mark.parametrize("repo", ["name", "a/b/c", "owner/na me", "owner/"])
def test_a_repository_is_owner_and_name(made: Path, repo: str) -> None:
    with pytest.raises(UserError, match="OWNER/NAME"):
        publish(Publication(made, [], "", Kind.MODEL), repo, public=False, dry_run=True)


def test_a_card_that_is_not_utf_8_is_taken_over_with_marks(made: Path, model: Path) -> None:
    (model / "README.md").write_bytes(b"# cpt \xff\n\nExported.\n")
    assert "### cpt \ufffd\n\nExported." in prepare_model(model, sources(made)).card


def test_fuzz_config(fuzz: Callable[..., None], made: Path, model: Path) -> None:
    fuzz(model / "config.json", lambda: prepare_model(model, sources(made)), share=4)
