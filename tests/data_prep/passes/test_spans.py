"""A file in parts: together they hold what the file holds, line by line and row by row."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdapt.core.errors import UserError
from pdapt.data_prep.corpus import build_corpus, discover
from pdapt.data_prep.documents.formats import read_lines
from pdapt.data_prep.documents.sources import Source
from pdapt.data_prep.documents.streams import SourceFile
from pdapt.data_prep.passes import spans
from pdapt.data_prep.passes.spans import divided
from pdapt.data_prep.sources.readers import NATIVE

OBJECT = '{{"text": "Patient {0}, é, 5 mg", "licence": "L{0}"}}'
ENDS = ("\r\n", "\n", "\n\n", "\r", ' \n{"text": ""}\n\ufeff{}\n')
JSONL = "\ufeff" + "".join(OBJECT.format("x" * 500 * (n == 20)) + ENDS[n % 5] for n in range(60)) + OBJECT.format("end")


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "é", "\r", "\n", "\r\n", "\x85", "bcd", ""]), max_size=60), st.integers(1, 30))
def test_lines_and_their_numbers_are_those_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[str], most: int
) -> None:
    path = tmp_path_factory.mktemp("in") / "a.txt"
    path.write_bytes("".join(pieces).encode())
    file = SourceFile(path, "a.txt", "lines", size=path.stat().st_size)
    source = Source("a", path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spans, "BLOCK", 5)
        parts = divided(file, most)
    assert len(parts) <= most
    assert sum(part.size for part in parts) == file.size
    assert [item for part in parts for item in read_lines(part, source)] == [*read_lines(file, source)]


def test_formats_that_are_divided_have_no_reader_of_a_source() -> None:
    assert not {*spans.BY_LINES, "parquet"} & NATIVE.keys()


def write_parquet(path: Path) -> None:
    texts = [OBJECT.format(number) if number % 7 else " " for number in range(90)]
    pq.write_table(pa.table({"text": texts, "licence": [str(n) for n in range(90)]}), path, row_group_size=11)


@pytest.mark.usefixtures("tasks_in_this_process")
@pytest.mark.parametrize("kind", ["jsonl", "parquet", "lines"])
def test_one_file_is_many_tasks(tmp_path: Path, tasks_in_this_process: list[tuple[str, int]], kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        write_parquet(path)
    else:
        path.write_bytes(JSONL.encode())
    sources = discover([str(path)], format=kind)
    whole = build_corpus(sources, tmp_path / "whole", max_rejected=0.5)
    assert not tasks_in_this_process
    most = 9 if kind == "parquet" else 20
    for tasks in (2, 5, 40):
        parts = build_corpus(sources, tmp_path / str(tasks), max_rejected=0.5, tasks=tasks)
        assert (parts.outputs, parts.counts) == (whole.outputs, whole.counts)
        finish, join = tasks_in_this_process[-2:]
        assert finish == ("finish", tasks) if tasks < most else finish[1] >= most
        assert join == ("join", 1)


@pytest.mark.usefixtures("tasks_in_this_process")
def test_faults_of_parts_of_one_file_are_said_once_as_of_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = (b'{"text": "%s"}\n' % (b"\xff" if number % 9 == 8 else b"a") for number in range(50))
    path.write_bytes(b"".join(lines))
    said = []
    for tasks in (1, 4):
        with pytest.raises(UserError) as error:
            build_corpus([Source("a", path)], tmp_path / "out", tasks=tasks)
        said.append(str(error.value))
    assert said[0] == said[1]
    assert "byte 0xff at line 9," in said[0]


@pytest.mark.usefixtures("tasks_in_this_process")
def test_what_cannot_be_divided_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    pa.CompressedOutputStream(str(tmp_path / "in" / "a.jsonl.gz"), "gzip").write(JSONL.encode() * 3)
    (tmp_path / "in" / "b.jsonl").write_text('{"text": "b"}\n')
    build_corpus([Source("a", tmp_path / "in")], tmp_path / "out", max_rejected=0.5, tasks=4)
    assert "a/a.jsonl.gz (gzip jsonl) is not divided, and larger than other parts" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_fuzz_divided(fuzz: Callable[..., None], tmp_path: Path, kind: str) -> None:
    """Whatever a file states of itself: parts follow each other, and one that cannot be read is the user's error."""
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        write_parquet(path)
    else:
        path.write_bytes(JSONL.encode())

    def read() -> None:
        parts = divided(SourceFile(path, path.name, kind, size=path.stat().st_size), 4)
        spans = [part.span for part in parts if part.span]
        assert len(spans) == (len(parts) if len(parts) > 1 else 0)
        assert all(before.stop == after.start for before, after in pairwise(spans))

    fuzz(path, read)
