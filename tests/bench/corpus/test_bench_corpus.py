"""`pdapt bench corpus`: the shape of what it makes, what it measures, and what it carries over to nodes."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import typer
from commands import pdapt_json

from pdapt.bench.corpus import synthetic
from pdapt.bench.corpus.corpus import Memory, Nodes, Plan, Result, Spread, Step, _steps, rows, sentences
from pdapt.bench.corpus.synthetic import Made, write_corpus
from pdapt.cli.main import app
from pdapt.core.files import sha256
from pdapt.data_prep.tokens.parcomed import table

WORDS = 60_000
sample_sentences = synthetic._sentences


@pytest.fixture(scope="module", autouse=True)
def few_sentences() -> Iterator[None]:
    """Sentences of made-up words: drawing the sample's takes seconds."""
    sentences = [[f"mot{number + place}" for place in range(9)] + ["5", "mg."] for number in range(1000)]
    sentences += [["Hypertension", "artérielle", "traitée."], ["Amoxicilline", "500", "mg."]] * 300
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "_sentences", lambda: sentences)
        yield


@pytest.fixture(scope="module")
def made(few_sentences: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Made]:
    folder = tmp_path_factory.mktemp("made")
    return folder, write_corpus(folder, WORDS, 3)


def texts(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_each_source_has_the_papers_share_of_documents_and_their_length(made: tuple[Path, Made]) -> None:
    folder, counts = made
    paper = {source["source"]: source for source in table()["sources"]}
    scale = WORDS / sum(source["words"] for source in paper.values())
    assert counts.sources == len(paper) == len(list(folder.iterdir())) == 23
    documents = {path.stem: texts(path) for path in folder.iterdir()}
    assert counts.documents == sum(map(len, documents.values()))
    assert counts.words == sum(len(text.split()) for each in documents.values() for text in each)
    for name in ("HAL", "WMT16", "EMEA V3"):
        here = documents[name.replace(" ", "_")]
        assert len(here) == max(1, round(paper[name]["documents"] * scale))
        expected = paper[name]["words"] / paper[name]["documents"]
        assert mean(len(text.split()) for text in here) == pytest.approx(expected, rel=0.15), name


def test_the_text_gives_each_step_its_work(made: tuple[Path, Made]) -> None:
    """Repeated lines, cut words, tags, addresses, and copies; the seed decides all of it."""
    folder, _ = made
    lines = [text.split("\n") for text in texts(folder / "HAL.jsonl")]
    assert {each[0] for each in lines} == {"Source HAL : document de synthèse"}
    every = "\n".join(line for each in lines for line in each)
    assert all(sign in every for sign in ("-\n", "<p>", "https://"))
    copies = [count for count in Counter(texts(folder / "WMT16.jsonl")).values() if count > 1]
    assert copies
    assert len(set(texts(folder / "WMT16.jsonl"))) > 0.9 * len(texts(folder / "WMT16.jsonl"))


@pytest.mark.slow
def test_the_same_seed_makes_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_corpus(tmp_path / name, 2000, seed)
    hashes = {name: [sha256(path) for path in sorted((tmp_path / name).iterdir())] for name in "abc"}
    assert hashes["a"] == hashes["b"]
    assert all(first != second for first, second in zip(hashes["a"], hashes["c"], strict=True))


def test_times_on_nodes_follow_from_what_works_there() -> None:
    """Tasks are divided over all cores, threads over one node's, one task over none; a start is none of it."""
    nodes, words = Nodes(12, 48), (100, 1100, 576_000)
    assert nodes.seconds(Spread.CORES, 2, (3.0, 13.0), words) == pytest.approx(2 + 5760 / 288)
    assert nodes.seconds(Spread.CORE, 2, (3.0, 13.0), words) == pytest.approx(2 + 5760)
    assert nodes.seconds(Spread.FEW, 2, (3.0, 13.0), words) == pytest.approx(2 + 5760 / 8)
    share = max(source["words"] for source in table()["sources"]) / 900e6
    assert share == pytest.approx(0.782, abs=0.001), "that of HAL"
    one_source = nodes.seconds(Spread.SOURCES, 1, (3.0, 13.0), words)
    assert one_source == pytest.approx(2 + 5760 * share, rel=0.01)
    assert nodes.seconds(Spread.CORE, 2, (3.0, 2.5), words) == 2.5
    step = Step("corpus build", "look", Spread.CORES, 2.0, words_per_second=500_000, hours=0.25)
    memory = Memory("corpus build", 1_000_000, together=2_345_000_000, largest=678_000_000)
    result = Result(10, 1_000_000, paper_words=9 * 10**8, workers=2, nodes=nodes, steps=[step, step], memory=[memory])
    assert rows(result)[0] == ["corpus build", "look", "2.0", "500,000", "0.250", "all nodes"]
    assert sentences(result)[0] == "1,000,000 words in 10 documents, 2 workers"
    assert "corpus build, 1,000,000 words: 2,345 MB together, the largest process 678 MB" in sentences(result)
    assert "900,000,000 words on 12 nodes of 48 cores: 0.50 hours, if" in sentences(result)[-1]


def test_every_command_has_the_plans_parts_and_workers(tmp_path: Path) -> None:
    """As the command line itself reads the options."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "HAL.jsonl").touch()
    plan = Plan(words=1000, seed=1, tasks=3, workers=2)
    assert list(plan.commands(tmp_path)) == ["corpus build", "corpus decontaminate"]
    read: dict[str, dict[str, Any]] = {}
    for command, options in replace(plan, tokenizer="hub:org/model").commands(tmp_path).items():
        verb: Any = typer.main.get_command(app)
        for name in command.split():
            verb = verb.get_command(None, name)
        read[command] = verb.make_context(command, options).params
    build, search, tokens = read["corpus build"], read["corpus decontaminate"], read["tokens build"]
    corpus = tmp_path / "corpus"
    assert build["paths"] == [f"HAL={tmp_path / 'in' / 'HAL.jsonl'}"]
    assert (build["out"], build["duplicates"], build["tasks"], build["workers"]) == (corpus, "near", 3, 2)
    assert (search["folder"], search["out"]) == (corpus, tmp_path / "contamination")
    assert (search["parts"], search["workers"]) == (3, 2)
    assert (tokens["paths"], tokens["out"]) == ([str(corpus)], tmp_path / "tokens")
    assert (tokens["tasks"], tokens["workers"], tokens["tokenizer"]) == (3, 2, "hub:org/model")
    here = replace(plan, tokenizer="folder").commands(tmp_path)["tokens build"]
    assert str(Path("folder").absolute()) in here, "the commands work in another folder"


def test_the_steps_that_a_command_names_are_read_from_its_messages() -> None:
    said = """[    1.2 s] corpus: look: 23 tasks done in 0.4 s
[    1.9 s] corpus: join: 1 task done in 0.7 s
[    2.0 s] corpus: 23 sources, 1,000 words
[    9.0 s] corpus: pair: 1 task done in 1.5 s
[   12.0 s] corpus: compare: 1,008 tasks done in 2.5 s
"""
    assert _steps(said) == [
        ("look", Spread.CORES, 0.4),
        ("join", Spread.SOURCES, 0.7),
        ("pair", Spread.CORE, 1.5),
        ("compare", Spread.FEW, 2.5),
    ]


@pytest.mark.slow
def test_the_steps_of_a_small_corpus_are_measured(tmp_path: Path) -> None:
    assert len(sample_sentences()) > 10_000
    measured = pdapt_json(
        "bench", "corpus", "--words", "20000", "--tasks", "2", "--workers", "1", "--folder", tmp_path / "disk"
    )
    assert not list((tmp_path / "disk").iterdir())  # is made, and left as it was
    steps = {(step["command"], step["name"]): step for step in measured["steps"]}
    built = ["look", "search", "finish", "join", "sign", "pair", "shingle", "compare", "choose", "drop", "rest"]
    searched = [("corpus decontaminate", name) for name in ("search", "rest")]
    assert [*steps] == [*(("corpus build", name) for name in built), *searched]
    assert min(step["seconds"] for step in steps.values()) >= 0
    words = [step["words_per_second"] * max(step["seconds"], 0.01) for step in steps.values()]
    assert words == pytest.approx([measured["words"]] * len(words))
    assert sum(step["seconds"] for step in steps.values()) > 2
    assert {name for (_, name), step in steps.items() if step["spread"] == "one core"} >= {"pair", "choose", "rest"}
    assert {name for (_, name), step in steps.items() if step["spread"] == "a core a source"} == {"join", "drop"}
    assert len({memory["words"] for memory in measured["memory"]}) == 2
    for memory in measured["memory"]:
        assert 50e6 < memory["largest"] < memory["together"] < 8e9
    assert measured["paper_words"] == pytest.approx(sum(source["words"] for source in table()["sources"]), rel=1e-6)
