"""Blends: shares, caps, and what is said when they cannot be."""

import json
from pathlib import Path

import pytest
from commands import pdapt_json

from pdapt.core.errors import UserError
from pdapt.data_prep.corpus import build_corpus
from pdapt.data_prep.documents.discover import discover
from pdapt.data_prep.tokens.build import Options, build_tokens
from pdapt.data_prep.topics.shares import topic_shares
from pdapt.recipes.load import load
from pdapt.recipes.schema import Data, Part
from pdapt.training import blend as blend_module
from pdapt.training.blend import as_megatron, train_blend, valid_blend
from pdapt.training.megatron import seams
from pdapt.training.megatron.datasets import build, tokens_read
from pdapt.training.megatron.sequences import megatron_ids

SEQ = 64


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    """Tokens of four data sets: HAL (scientific, commercial), CAS (clinical, research), and two types in one source."""
    folder = tmp_path_factory.mktemp("mixed")
    kinds = [("HAL", "Scientific", True, 400), ("CAS", "Clinical", False, 100)]
    kinds += [("web", "Forum", True, 60), ("web", "News", True, 40)]
    with (folder / "all.jsonl").open("w") as file:
        for source, kind, commercial, count in kinds:
            for n in range(count):
                row = {"text": f"{source} {kind} {n} : " + f"le patient {n} reçoit {n} mg. " * (1 + n % 7)}
                row |= {"source": source, "document_type": kind, "commercial": commercial}
                file.write(json.dumps(row) + "\n")
    build_tokens([str(folder / "all.jsonl")], tokenizer_folder, folder / "tokens", Options(valid_fraction=0.1))
    return folder / "tokens"


def shares(tokens: Path, blend: list[Part], layout: str = "packed", samples: int = 1000) -> dict[str, float]:
    """Part of the real tokens that each data set gives."""
    members = train_blend(tokens, Data(seq_length=SEQ, layout=layout, blend=blend), samples)
    assert sum(member.samples for member in members) == pytest.approx(samples)
    read = {member.name: member.samples * member.tokens / member.sequences for member in members}
    return {name: value / sum(read.values()) for name, value in read.items()}


def test_without_weights_all_are_read_equally_often(mixed: Path) -> None:
    members = train_blend(mixed, Data(seq_length=SEQ), 500)
    assert {member.name for member in members} == {"HAL", "CAS", "web.Forum", "web.News"}
    assert len({round(member.epochs, 9) for member in members}) == 1


@pytest.mark.parametrize("layout", ["packed", "concat", "paper"])
def test_weights_are_shares_of_the_real_tokens(mixed: Path, layout: str) -> None:
    """In the paper's layout rows are of very different fill: shares of sequences would not be shares of tokens."""
    found = shares(mixed, [Part(sources=["HAL"], weight=3), Part(weight=1)], layout)
    assert found["HAL"] == pytest.approx(0.75)
    assert sum(found.values()) == pytest.approx(1)


def test_parts_are_chosen_by_document_type_and_by_edition(mixed: Path) -> None:
    found = shares(mixed, [Part(document_types=["Forum", "News"], weight=0.5), Part(weight=0.5)])
    assert found["web.Forum"] + found["web.News"] == pytest.approx(0.5)
    found = shares(mixed, [Part(edition="commercial", weight=0.9), Part(edition="research", weight=0.1)])
    assert found["CAS"] == pytest.approx(0.1)


def test_within_a_part_the_sizes_decide(mixed: Path) -> None:
    members = train_blend(mixed, Data(seq_length=SEQ, blend=[Part(sources=["web"], weight=1)]), 300)
    assert [member.name for member in members] == ["web.Forum", "web.News"]
    assert members[0].epochs == pytest.approx(members[1].epochs)


def test_a_data_set_belongs_to_the_first_part_that_matches(mixed: Path) -> None:
    found = shares(mixed, [Part(sources=["H*"], weight=1), Part(sources=["*"], weight=1)])
    assert found["HAL"] == pytest.approx(0.5)


def test_a_cap_goes_to_the_others_in_their_proportion(mixed: Path) -> None:
    blend = [
        Part(sources=["web"], weight=8, max_epochs=2),
        Part(sources=["HAL"], weight=1),
        Part(sources=["CAS"], weight=1),
    ]
    found = {member.name: member for member in train_blend(mixed, Data(seq_length=SEQ, blend=blend), 2000)}
    assert found["web.Forum"].epochs == pytest.approx(2)
    assert found["web.News"].epochs == pytest.approx(2)
    tokens = {name: member.samples * member.tokens / member.sequences for name, member in found.items()}
    assert tokens["HAL"] == pytest.approx(tokens["CAS"])
    assert sum(member.samples for member in found.values()) == pytest.approx(2000)


def test_caps_that_leave_too_little_say_how_much_there_is(mixed: Path) -> None:
    with pytest.raises(UserError, match=r"the run needs 100,000 sequences, but max_epochs allows only [\d,]+"):
        train_blend(mixed, Data(seq_length=SEQ, blend=[Part(max_epochs=1)]), 100_000)


@pytest.mark.parametrize(
    "part", [Part(sources=["nothing"]), Part(document_types=["Poetry"]), Part(sources=["CAS"], edition="commercial")]
)
def test_a_part_that_matches_nothing_is_named(mixed: Path, part: Part) -> None:
    with pytest.raises(
        UserError, match=r"(?s)no data set is left.*where: data\.blend\[1\].*allowed: .*CAS \(Clinical\)"
    ):
        train_blend(mixed, Data(seq_length=SEQ, blend=[Part(sources=["HAL"]), part]), 10)


def test_validation_is_that_of_the_data_sets_that_are_trained_on(mixed: Path) -> None:
    prefixes, weights = valid_blend(mixed, Data(seq_length=SEQ, blend=[Part(sources=["web", "CAS"])]))
    assert [Path(prefix).name for prefix in prefixes] == ["CAS", "web.Forum", "web.News"]
    assert weights is None, "each sequence is read once"


def test_the_layout_decides_whether_documents_are_masked(mixed: Path) -> None:
    from pdapt.recipes.schema import masked

    assert masked(Data(layout="packed"))
    assert masked(Data(layout="concat"))
    assert not masked(Data(layout="concat", document_masks=False))
    assert not masked(Data(layout="paper"))
    with pytest.raises(UserError, match="nothing to mask"):
        load("qwen3_tiny_cpt_2xcpu", ["data.layout=paper", "data.document_masks=true"])


@pytest.fixture(scope="module")
def by_topic(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    """Tokens of a corpus by the topics that terms give: 40 cardiology documents and 300 others, of two sources."""
    folder = tmp_path_factory.mktemp("by_topic")
    kinds = {"Infarctus du myocarde": 20, "Cataracte de l'œil": 50, "Le train de la gare": 100}
    for source in ("notes", "avis"):
        doses = [f"il reçoit {n} mg. " * (1 + n % 7) for n in range(100)]
        rows = [f"{kind}, {source} {n} : {doses[n]}" for kind, count in kinds.items() for n in range(count)]
        (folder / f"{source}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in rows))
    build_corpus(discover([str(folder / "notes.jsonl"), str(folder / "avis.jsonl")]), folder / "corpus")
    topic_shares(folder / "corpus", out=folder / "topics.tsv")
    options = Options(valid_fraction=0.1)
    build_tokens([str(folder / "corpus")], tokenizer_folder, folder / "tokens", options, topics=folder / "topics.tsv")
    return folder / "tokens"


ADAPTED = [Part(topics=["cardiology"], weight=0.8), Part(weight=0.2)]


@pytest.mark.parametrize("layout", ["packed", "concat", "paper"])
def test_a_topic_gets_its_share_of_the_real_tokens_from_all_sources(by_topic: Path, layout: str) -> None:
    found = shares(by_topic, ADAPTED, layout)
    assert found["notes.cardiology"] + found["avis.cardiology"] == pytest.approx(0.8)
    assert {name.partition(".")[2] for name in found} == {"cardiology", "ophthalmology", "none"}


def test_what_megatron_draws_of_a_topic_is_its_share(
    by_topic: Path, recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in the samples that a run of the recipe would read, which is given the blend as a user gives it."""
    from megatron.core.datasets import utils

    monkeypatch.setattr(utils, "compile_helpers", utils.compile_helpers)  # put back afterwards
    seams.use_compiled_helpers()
    recipe = load(str(recipe_file), ["data.blend=[{topics: [cardio*], weight: 0.8}, {weight: 0.2}]", "steps=50"])
    samples = recipe.steps * recipe.batch.global_size
    members = train_blend(by_topic, recipe.data, samples)
    ids = megatron_ids(by_topic)
    blends = as_megatron(members), None
    train, _ = build(recipe.data, blends, samples, seed=1, cache=str(tmp_path), tokenizer=ids, reads=lambda: True)
    (read,) = tokens_read(train, members, recipe.data, [samples])
    drawn = {name: source["tokens"] for name, source in read.items()}
    share = sum(count for name, count in drawn.items() if name.endswith(".cardiology")) / sum(drawn.values())
    assert share == pytest.approx(0.8, abs=0.01)


def test_validation_is_that_of_the_topics_that_are_trained_on(by_topic: Path) -> None:
    prefixes, _ = valid_blend(by_topic, Data(seq_length=SEQ, blend=[Part(topics=["none", "ophth*"])]))
    assert {Path(prefix).name.partition(".")[2] for prefix in prefixes} == {"none", "ophthalmology"}


def test_a_topic_that_is_not_there_is_named_with_those_that_are(by_topic: Path) -> None:
    with pytest.raises(
        UserError,
        match=r"(?s)no data set is left.*topics \['urology'\].*data\.blend\[0\].*avis.none \(no type, none\).*choose",
    ):
        train_blend(by_topic, Data(seq_length=SEQ, blend=[Part(topics=["urology"]), Part()]), 10)


def test_of_many_data_sets_some_are_named_and_all_topics(by_topic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blend_module, "SHOWN", 2)
    with pytest.raises(UserError, match="and 4 more, of the topics cardiology, none, ophthalmology; each belongs"):
        train_blend(by_topic, Data(seq_length=SEQ, blend=[Part(topics=["urology"])]), 10)


def test_topics_of_tokens_that_have_none_say_how_to_build_them(mixed: Path) -> None:
    with pytest.raises(
        UserError, match=r"(?s)HAL \(Scientific, no topic\).*fix: build the tokens by topic: .*--topics"
    ):
        train_blend(mixed, Data(seq_length=SEQ, blend=ADAPTED), 10)


def test_a_dry_run_with_tokens_checks_the_topics(by_topic: Path, mixed: Path, recipe_file: Path) -> None:
    given = ["train", recipe_file, "data.blend=[{topics: [cardiology], weight: 4}, {weight: 1}]", "--dry-run"]
    assert pdapt_json(*given, "--tokens", by_topic)["recipe"]["data"]["blend"][0]["topics"] == ["cardiology"]
    with pytest.raises(UserError, match="build the tokens by topic"):
        pdapt_json(*given, "--tokens", mixed)
