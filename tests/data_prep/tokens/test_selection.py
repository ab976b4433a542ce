"""The plan: every document's side and data set, whatever the shards and threads."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading_helpers import shards_of

from pdapt.core.errors import UserError
from pdapt.data_prep.dedup.text_clusters import merge_near_duplicates
from pdapt.data_prep.documents.record import is_blank
from pdapt.data_prep.tokens.selection import selection as plan_module
from pdapt.data_prep.tokens.selection.scan import Key
from pdapt.data_prep.tokens.selection.selection import Choice, Plan, make_plan
from pdapt.data_prep.tokens.selection.shards import Shard
from pdapt.data_prep.tokens.selection.split import DEV, DROPPED, DUPLICATE, TEST, TRAIN, VALID, mark_duplicates, split

Row = dict[str, Any]
STATED = st.fixed_dictionaries(
    {"text": st.one_of(st.none(), st.sampled_from(["", "a", "b", " ", "é"]), st.integers(0, 30).map(str))},
    optional={
        "source": st.sampled_from(["a", "y", "", None]),
        "document_type": st.sampled_from(["note", "article", "", None]),
        "commercial": st.sampled_from([True, False, None]),
    },
)
NAMED = ("a", "b")
LEAFLET = (
    "Prendre {0} mg de paracétamol toutes les {1} heures pendant {2} jours, sans dépasser {3} mg par jour, soit {4} "
    "comprimés de {0} mg ; chez l'enfant de {5} kg, donner {6} mg toutes les {7} heures, sans dépasser {8} mg par jour "
    "ni {9} prises ; en cas de fièvre de plus de {10} °C après {11} jours, appeler le {12} ou consulter un médecin."
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plan")


def write(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def written_shards(folder: Path, sources: dict[str, list[Row]], shard_bytes: int = 10**9) -> list[Shard]:
    shards = []
    for name, rows in sources.items():
        write(folder / f"{name}.jsonl", rows)
        shards += shards_of(name, folder / f"{name}.jsonl", "text", shard_bytes)
    return shards


def texts(*texts: str | None) -> list[Row]:
    return [{"text": text} for text in texts]


def rank(text: str, seed: int) -> int:
    return int(hashlib.sha256(f"{seed}\n{text}".encode()).hexdigest()[:16], 16)


def documents(plan: Plan) -> list[tuple[str, Key, int, int]]:
    """Name and key of its data set, side and words of each document, in order."""
    return [
        (plan.names[group], plan.keys[group], int(side), int(words))
        for scan, sides in zip(plan.scans, plan.sides, strict=True)
        for group, side, words in zip(scan.group, sides, scan.words, strict=True)
    ]


@pytest.mark.slow
@given(
    st.dictionaries(st.sampled_from("abc"), st.lists(STATED, min_size=1, max_size=25), min_size=1),
    st.floats(0.01, 0.9),
    st.integers(0, 3),
    st.integers(1, 400),
    st.integers(1, 4),
)
@settings(max_examples=30, deadline=None)
def test_the_sides_are_those_of_the_split(
    folder: Path, sources: dict[str, list[Row]], fraction: float, seed: int, shard_bytes: int, workers: int
) -> None:
    found = documents(
        make_plan(written_shards(folder, sources, shard_bytes), Choice(fraction, seed), workers, named=NAMED)
    )
    rows = [(name, row) for name, rows in sources.items() for row in rows if (row["text"] or "").strip()]
    keys = [key_of(name, row) for name, row in rows]
    assert [key for _, key, _, _ in found] == keys
    assert [words for *_, words in found] == [len(row["text"].split()) for _, row in rows]

    ordered = sorted(set(keys), key=lambda key: (*key[:3], str(key.commercial)))
    wide_use_first = {True: 0, None: 1, False: 2}
    filled = sorted(range(len(rows)), key=lambda at: (wide_use_first[keys[at].commercial], at))
    hashes = np.array([rank(rows[at][1]["text"], seed) for at in filled], np.uint64)
    strata = np.array([ordered.index(keys[at]) for at in filled], np.int64)
    sides = split(hashes, strata, np.zeros(len(ordered), np.int64), fraction)
    mark_duplicates(sides, hashes)
    assert [found[at][2] for at in filled] == sides.tolist()


def key_of(name: str, row: Row) -> Key:
    part = "" if row.get("source") == name else row.get("source") or ""
    source = name if name in NAMED or not part else part
    return Key(source, part if name in NAMED else "", row.get("document_type") or "", row.get("commercial"))


@pytest.mark.slow
@given(
    st.dictionaries(st.sampled_from("abc"), st.lists(STATED, min_size=1, max_size=25), min_size=1), st.integers(1, 400)
)
@settings(max_examples=30, deadline=None)
def test_the_plan_depends_on_neither_shards_nor_threads(
    folder: Path, sources: dict[str, list[Row]], shard_bytes: int
) -> None:
    whole = make_plan(written_shards(folder, sources), Choice(0.3), 1)
    for workers in (1, 4):
        cut = make_plan(written_shards(folder, sources, shard_bytes), Choice(0.3), workers)
        assert (cut.keys, cut.names, documents(cut)) == (whole.keys, whole.names, documents(whole))


def test_blank_texts_are_rejected_with_their_lines(tmp_path: Path) -> None:
    rows = texts("", "un", None, "\x00\u2028", "deux mots", "un")
    for shard_bytes in (10**9, 40):
        plan = make_plan(written_shards(tmp_path, {"a": rows, "b": texts("", "")}, shard_bytes), Choice(0.5), 1)
        assert plan.names == ["a"]
        assert [(Path(one.file).name, one.line) for one in plan.rejected] == [
            *(("a.jsonl", line) for line in (1, 3, 4)),
            *(("b.jsonl", line) for line in (1, 2)),
        ]
        assert {one.reason for one in plan.rejected} == {"the text 'text' is empty"}
        assert sum(plan.count(0, side) for side in (TRAIN, VALID, DROPPED, DUPLICATE)) == 3
        assert sum(plan.words(0, side) for side in (TRAIN, VALID, DROPPED, DUPLICATE)) == 4


def test_types_and_editions_are_data_sets_of_their_own(tmp_path: Path) -> None:
    def row(number: int, **stated: object) -> Row:
        return {"text": f"{number}", **stated}

    sources = {
        "typed": [row(1, document_type="note"), row(2, document_type="article"), row(3)],
        "editions": [row(4, commercial=True), row(5, commercial=False), row(6)],
        "both": [
            row(7, document_type="note", commercial=True),
            row(8, document_type="article", commercial=False),
            row(9, document_type="note", commercial=False),
        ],
        "plain": [row(10, document_type="note", commercial=True), row(11, document_type="note", commercial=True)],
        "several": [row(12, source="named"), row(13, source="other")],
    }
    plan = make_plan(written_shards(tmp_path, sources), Choice(0.3), 1)
    assert [name for name, *_ in documents(plan)] == [
        *("typed.note", "typed.article", "typed.untyped"),
        *("editions.commercial", "editions.research", "editions.unstated"),
        *("both.note.commercial", "both.article.research", "both.note.research"),
        *("plain", "plain"),
        *("named", "other"),
    ]


@given(st.lists(st.one_of(st.text(), st.text("a/-. \0\\1234", max_size=5)), min_size=1, max_size=12))
@settings(max_examples=50, deadline=None)
def test_whatever_a_source_is_called_its_files_have_a_safe_name(folder: Path, sources: list[str]) -> None:
    names = ["../../evil", "a/b", "a-b", "", "..", ".", "/etc/passwd", "a\0b", "a b", "a b-2", "é" * 500, *sources]
    rows = [{"text": f"{number}", "source": name} for number, name in enumerate(names)]
    plan = make_plan(written_shards(folder, {"given": rows}), Choice(0.3), 1)
    assert len(set(plan.names)) == len(plan.keys) == len({"given" if is_blank(name) else name for name in names})
    assert all(len(name.encode()) < 200 for name in plan.names)
    for name in plan.names:
        assert (folder / "train" / f"{name}.bin").resolve().parent == folder / "train"
        assert not name.startswith(".")
        assert "\0" not in name


def test_a_number_in_a_name_takes_no_other_name(tmp_path: Path) -> None:
    rows = [{"text": name, "source": name} for name in ("a b", "a b-2", "a-b", "a/b")]
    names = make_plan(written_shards(tmp_path, {"given": rows}), Choice(0.3), 1).names
    assert len(set(names)) == 4


def test_an_input_may_have_no_document(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name, table in {
        "none": pa.table({"text": pa.array([], pa.string())}),
        "some": pa.table({"text": ["a"]}),
    }.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
    (tmp_path / "blank.jsonl").write_text("\n\n")
    none = [
        *shards_of("none", tmp_path / "none.parquet", "text"),
        *shards_of("blank", tmp_path / "blank.jsonl", "text"),
    ]
    assert documents(make_plan(none, Choice(0.3), 1)) == []
    plan = make_plan([*none, *shards_of("some", tmp_path / "some.parquet", "text"), *none], Choice(0.3), 2)
    assert [(name, side) for name, _, side, _ in documents(plan)] == [("some", TRAIN)]


def notes(count: int, seed: int) -> list[list[str]]:
    """Documents of 80 words each that have nothing in common."""
    draw = np.random.default_rng(seed)
    return [[f"mot{number}" for number in draw.integers(0, 10**6, 80)] for _ in range(count)]


def test_near_duplicates_are_on_one_side(tmp_path: Path) -> None:
    originals = notes(60, 0)
    changed = [[*words[:40], "autre", *words[41:]] for words in originals]
    sources = {
        "a": texts(*(" ".join(words) for words in originals)),
        "b": texts(*(" ".join(words).upper() for words in changed), "quatre mots, pas plus", "", "court"),
        "short": texts("un", "deux mots", "trois mots ici"),
    }
    shards = written_shards(tmp_path, sources, 20_000)
    assert len(shards) > 5
    exact = make_plan(shards, Choice(0.2), 2)
    near = make_plan(shards, Choice(0.2), 2, merge=lambda scans: merge_near_duplicates(scans, 2))
    split_pairs = [mixed(documents(plan), 60) for plan in (exact, near)]
    assert split_pairs[0] > 10
    assert split_pairs[1] == 0
    sides = Counter(side for *_, side, _ in documents(near))
    assert sides[VALID] == sides[DROPPED] + 1  # the second of each pair, and one text of `short`
    assert sides[VALID] > 10
    again = make_plan(
        written_shards(tmp_path, sources), Choice(0.2), 1, merge=lambda scans: merge_near_duplicates(scans, 1)
    )
    assert documents(again) == documents(near)


def mixed(found: list[tuple[str, Key, int, int]], pairs: int) -> int:
    """Count the pairs of documents, `pairs` apart, with one in training and the other held out."""
    return sum((found[at][2] == TRAIN) != (found[at + pairs][2] == TRAIN) for at in range(pairs))


def test_leaflets_that_differ_in_their_numbers_are_not_near_duplicates(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    leaflets = [LEAFLET.format(*draw.integers(1, 10**4, 13)) for _ in range(20)]
    reworded = [leaflet.replace("consulter", "voir") for leaflet in leaflets]
    plan = make_plan(written_shards(tmp_path, {"a": texts(*leaflets), "b": texts(*reworded)}), Choice(0.2), 1)
    (first, second) = (scan.clusters for scan in merge_near_duplicates(plan.scans, 1))
    assert len(set(first.tolist())) == 20
    assert (first == second).sum() >= 12


def test_near_duplicates_in_training_stay(tmp_path: Path) -> None:
    originals = notes(40, 1)
    changed = [[*words[:40], "autre", *words[41:]] for words in originals]
    written = [" ".join(words) for words in (*originals, *changed, *originals)]
    shards = written_shards(tmp_path, {"a": texts(*written)})
    plan = make_plan(shards, Choice(0.1), 1, merge=lambda scans: merge_near_duplicates(scans, 1))
    sides = [side for *_, side, _ in documents(plan)]
    assert (sides.count(VALID), sides.count(DUPLICATE)) == (4, 36)
    assert sides.count(TRAIN) == 2 * 36
    kept = make_plan(shards, Choice(0.1, deduplicate=False), 1)
    assert [side for *_, side, _ in documents(kept)].count(DUPLICATE) == 0


def test_publishers_test_parts_are_left_out_with_their_copies(tmp_path: Path) -> None:
    rows = [
        {"text": f"question {n}", "original_split": ["train", "test", "Validation", None][n % 4]} for n in range(40)
    ]
    rows += [{"text": "question 1"}, {"text": "question 0"}]
    shards = written_shards(tmp_path, {"a": rows})
    sides = [side for *_, side, _ in documents(make_plan(shards, Choice(0.1), 1))]
    assert all(sides[n] == TEST for n in range(1, 40, 4))
    assert all(sides[n] == DEV for n in range(2, 40, 4))
    assert sides[40] == DROPPED
    assert (sides.count(VALID), sides.count(TRAIN)) == (2, 18)
    everything = [side for *_, side, _ in documents(make_plan(shards, Choice(0.1, withhold=False), 1))]
    assert (everything.count(VALID), everything.count(TRAIN)) == (4, 36)


def test_of_copies_the_one_with_the_widest_use_is_kept(tmp_path: Path) -> None:
    sources = {
        "a": [{"text": f"texte {n}", "commercial": False} for n in range(20)],
        "b": [{"text": f"texte {n}", "commercial": True} for n in range(20)],
    }
    plan = make_plan(written_shards(tmp_path, sources), Choice(0.1), 1)
    assert {name for name, _, side, _ in documents(plan) if side in (TRAIN, VALID)} == {"b"}


def test_domains_are_named_by_patterns(tmp_path: Path) -> None:
    sources = {f"{name}-{n}": texts(f"{name} {n}", f"{name} {n} encore") for name in ("med", "gen") for n in range(30)}
    shards = written_shards(tmp_path, sources)
    for domains in (("med-*", "gen-*"), ("gen-*",)):
        found = documents(make_plan(shards, Choice(0.04, domains=domains), 1))
        assert Counter(name[:3] for name, _, side, _ in found if side == VALID) == {"med": 2, "gen": 2}
    with pytest.raises(UserError, match="no source belongs to the domain 'legal-"):
        make_plan(shards, Choice(0.02, domains=("legal-*",)), 1)


def test_a_name_that_was_given_stays_and_the_column_divides_it(tmp_path: Path) -> None:
    rows = [{"text": f"{n}", "source": source} for n, source in enumerate(["HAL", "HAL", "web/b", "given", None])]
    shards = written_shards(tmp_path, {"given": rows})
    divided = make_plan(shards, Choice(0.1), 1, named=["given"])
    assert [name for name, *_ in documents(divided)] == ["given.HAL", "given.HAL", "given.web-b", "given", "given"]
    assert {(key.source, key.part) for key in divided.keys} == {("given", part) for part in ("HAL", "web/b", "")}
    assert {key.source for key in make_plan(shards, Choice(0.1), 1).keys} == {"HAL", "web/b", "given"}


def test_a_column_of_documents_names_is_no_division(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plan_module, "MOST_PARTS", 9)
    rows = [{"text": f"{n}", "source": f"https://site/{n}"} for n in range(10)]
    shards = written_shards(tmp_path, {"web": rows, "few": rows[:9]})
    assert Counter(name.split(".")[0] for name in make_plan(shards, Choice(0.02), 1, named=["web", "few"]).names) == {
        "web": 1,
        "few": 9,
    }
    assert "web: the column `source` has 10 values" in capsys.readouterr().err
