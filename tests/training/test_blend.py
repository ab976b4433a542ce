"""Blends: shares, caps, and what is said when they cannot be."""

import json
from pathlib import Path

import pytest

from pdapt.core.errors import UserError
from pdapt.data_prep.tokens.build import Options, build_tokens
from pdapt.recipes.load import load
from pdapt.recipes.schema import Data, Part
from pdapt.training.blend import train_blend, valid_blend

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
    with pytest.raises(UserError, match=r"the run needs 100,000 sequences, and max_epochs allows [\d,]+"):
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
