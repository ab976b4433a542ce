"""`pdapt tokens build` compared with what a user would otherwise use: the same ids from the same Parquet files.

Each way runs as a process of its own, start-up included. It writes every document's ids, ended by `<|endoftext|>`, as
int32 files.
"""

import string
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from ...core import log
from ...core.errors import UserError, check_known, nearest
from ...core.qwen3 import END_OF_DOCUMENT
from ...data_prep.tokens.layouts import OVERLAP
from ...data_prep.tokens.selection.shards import utf8
from ...recipes.published_recipes import SEQ_LENGTH
from ..processes import run_logged

PROCESSES = 2


@dataclass(frozen=True)
class Result:
    """Speed and memory of one way to tokenize.

    Attributes:
        way: its name, a key of WAYS.
        seconds: wall time.
        mb_per_second: 10^6 bytes of text per second.
        peak_mb: peak memory of all its processes, shared pages counted once, in 10^6 bytes.
        ids: number of ids that it wrote.
        documents: a checksum that equals another way's if both wrote the same documents, in any order; None if their
            ends are not marked.
    """

    way: str
    seconds: float
    mb_per_second: float
    peak_mb: float
    ids: int
    documents: int | None


def _pdapt(backend: str) -> Callable[[list[str], str, Path], list[str]]:
    def command(paths: list[str], tokenizer: str, out: Path) -> list[str]:
        options = ["--tokenizer", tokenizer, "--out", str(out), "--backend", backend]
        options += ["--keep-duplicates", "--splits", "all"]  # as the others, which are compared document by document
        return ["-m", "pdapt.cli.main", "tokens", "build", *paths, *options]

    return command


def _peer(name: str) -> Callable[[list[str], str, Path], list[str]]:
    def command(paths: list[str], tokenizer: str, out: Path) -> list[str]:
        return ["-m", "pdapt.bench.corpus.tokens", name, tokenizer, str(out), *paths]

    return command


MAP = "datasets.map"
WAYS: dict[str, Callable[[list[str], str, Path], list[str]]] = {
    "pdapt": _pdapt("fast"),
    MAP: _peer("map"),
    "datasets.map, rows of the paper": _peer("rows"),
    "datatrove DocumentTokenizer": _peer("datatrove"),
    "pdapt, back end hf": _pdapt("hf"),
}


@dataclass(frozen=True)
class LongText:
    """Time and memory that `pdapt tokens build` takes for one long document.

    Attributes:
        kind: kind of its characters, a key of LONG_TEXTS.
        characters: number of characters.
        seconds: wall time.
        peak_mb: peak memory of the process, in 10^6 bytes.
        ids: number of ids that it wrote.
    """

    kind: str
    characters: int
    seconds: float
    peak_mb: float
    ids: int


LONG_TEXTS = {
    "French words": ["le ", "patient ", "reçoit ", "5 ", "mg ", "de ", "paracétamol, ", "puis ", "l’été.\n"],
    "random letters": list(string.ascii_lowercase),
    "base64": list(string.ascii_letters + string.digits + "+/"),
    "digits": list(string.digits),
    "one sign": ["-"],
    "blanks": [" "],
    "line ends": ["\n"],
    "emoji": ["🙂", "👍", "😀", "🎉"],
    "Greek letters": list("αβγδεζηθικλμνξοπρστυφχψωάέή"),
    "Chinese": list("日本語文字漢日本語文字漢。、"),
    "decomposed letters": ["e\u0301"],
    "combining marks": ["\u0301"],
}
"""Kind -> the pieces that are drawn at random until the text is long enough."""
DRAWN = 100_000
"""Number of drawn pieces after which a long text repeats."""


def bench_long(kinds: list[str], characters: int, tokenizer: str) -> list[LongText]:
    """Tokenize one document of a number of characters, for each kind.

    Args:
        kinds: keys of LONG_TEXTS; none for all.
        characters: characters of each document.
        tokenizer: folder with `tokenizer.json`.

    Raises:
        UserError: there is no such kind.
    """
    for kind in kinds:
        check_known(kind, LONG_TEXTS, "kind", "--kind")
    return [_run_long(kind, characters, tokenizer) for kind in kinds or LONG_TEXTS]


def _run_long(kind: str, characters: int, tokenizer: str) -> LongText:
    log.info(f"bench: {characters:,} characters, {kind}")
    drawn = "".join(np.random.default_rng(0).choice(LONG_TEXTS[kind], DRAWN))
    with TemporaryDirectory() as name:
        folder, out = Path(name), Path(name) / "out"
        with (folder / "long.txt").open("w", encoding="utf-8", newline="") as file:
            file.write("Un texte : ")
            for begin in range(0, characters, len(drawn)):
                file.write(drawn[: characters - begin])
        (folder / "short.txt").write_text("Un autre, pour la validation.", encoding="utf-8")
        texts = [str(folder / "long.txt"), str(folder / "short.txt")]
        command = [sys.executable, *WAYS["pdapt"](texts, str(Path(tokenizer).absolute()), out)]
        begin = time.monotonic()
        peak = run_logged(command, folder / "log", _peak, name=kind, cwd=folder)
        seconds = time.monotonic() - begin
        ids, _ = _written(out, tokenizer)
    return LongText(kind=kind, characters=characters, seconds=seconds, peak_mb=peak / 1e6, ids=ids)


def bench(paths: list[str], tokenizer: str, ways: list[str]) -> list[Result]:
    """Run some ways one after the other.

    Args:
        paths: Parquet files with a column `text`.
        tokenizer: folder with `tokenizer.json`.
        ways: keys of WAYS; none for all.

    Raises:
        UserError: there is no such way, or a path is not a Parquet file.
    """
    for way in ways:
        if way not in WAYS:
            raise UserError(
                f"no way to tokenize is called {way!r}",
                where="--way",
                allowed="; ".join(WAYS),
                fix=nearest(way, list(WAYS)),
            )
    for path in paths:
        if not path.endswith(".parquet") or not Path(path).is_file():
            raise UserError(f"{path} is not a Parquet file", where="PATH", allowed="Parquet files with a column 'text'")
    size = _text_bytes(paths)
    return [_run(way, paths, tokenizer, size) for way in ways or WAYS]


def _text_bytes(paths: list[str]) -> int:
    import pyarrow.parquet as pq

    batches = (batch for path in paths for batch in pq.ParquetFile(path).iter_batches(columns=["text"]))
    return sum(len(utf8(batch.column(0).cast("string"))[0]) for batch in batches)


def _run(way: str, paths: list[str], tokenizer: str, size: int) -> Result:
    log.info(f"bench: {way}")
    with TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        absolute = [str(Path(path).absolute()) for path in paths]
        command = [sys.executable, *WAYS[way](absolute, str(Path(tokenizer).absolute()), out)]
        begin = time.monotonic()
        peak = run_logged(command, Path(folder) / "log", _peak, name=way, cwd=Path(folder))
        seconds = time.monotonic() - begin
        ids, documents = _written(out, tokenizer)
    return Result(
        way=way,
        seconds=seconds,
        mb_per_second=size / 1e6 / seconds,
        peak_mb=peak / 1e6,
        ids=ids,
        documents=documents,
    )


def _peak(process: "subprocess.Popen[bytes]") -> int:
    """Wait for a process, and return the largest observed memory of it and its children in bytes."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, _memory(process.pid))
        time.sleep(0.1)
    return peak


def _memory(pid: int) -> int:
    """Bytes that a process and its children hold now."""
    import psutil

    try:
        root = psutil.Process(pid)
        return sum(process.memory_full_info().pss for process in [root, *root.children(recursive=True)])
    except psutil.Error:
        return 0  # one of them has just ended


def _written(out: Path, tokenizer: str) -> tuple[int, int | None]:
    """Number of ids that a way wrote, and a sum over its documents that does not depend on their order."""
    from ...data_prep.tokens.tokenizer import load_tokenizer

    end = load_tokenizer(tokenizer).eod_id
    arrays = [np.fromfile(path, "<i4") for path in sorted(out.rglob("*.bin"))]
    marked = all(len(ids) and ids[-1] == end for ids in arrays)
    return sum(map(len, arrays)), sum(_fold(ids, end) for ids in arrays) % 2**64 if marked else None


def _fold(ids: npt.NDArray[np.int32], end: int) -> int:
    """Sum of the documents' hashes."""
    ends = np.flatnonzero(ids == end) + 1
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    place = np.arange(len(ids)) - np.repeat(starts, ends - starts)
    mixed = (ids.astype(np.uint64) + 1) * (place.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(1))
    sums = np.add.reduceat(mixed ^ (mixed >> np.uint64(31)), starts)
    return int((sums ^ (sums >> np.uint64(29))).sum(dtype=np.uint64))


def _map(paths: list[str], tokenizer: str, out: Path) -> None:
    """Tokenize as a user of `datasets` would."""
    dataset, encode, end = _loaded(paths, tokenizer, out)

    def to_ids(batch: dict[str, Any]) -> dict[str, Any]:
        encoded = encode(batch["text"], add_special_tokens=False, return_attention_mask=False)
        return {"input_ids": [[*ids, end] for ids in encoded["input_ids"]]}

    _write(dataset.map(to_ids, batched=True, num_proc=PROCESSES, remove_columns=dataset.column_names), out)


def _rows(paths: list[str], tokenizer: str, out: Path) -> None:
    """Tokenize as the paper's code does: rows of at most 2,048 tokens, which overlap by 4."""
    dataset, encode, _ = _loaded(paths, tokenizer, out)

    def to_rows(batch: dict[str, Any]) -> dict[str, Any]:
        encoded = encode(
            batch["text"], max_length=SEQ_LENGTH, stride=OVERLAP, truncation=True, return_overflowing_tokens=True
        )
        return {"input_ids": encoded["input_ids"]}

    _write(dataset.map(to_rows, batched=True, num_proc=PROCESSES, remove_columns=dataset.column_names), out)


def _loaded(paths: list[str], tokenizer: str, out: Path) -> tuple[Any, Any, int]:
    from datasets import load_dataset
    from transformers import AutoTokenizer

    encode = AutoTokenizer.from_pretrained(tokenizer)
    dataset = load_dataset("parquet", data_files=paths, split="train", cache_dir=str(out / "cache"))
    return dataset, encode, encode.convert_tokens_to_ids(END_OF_DOCUMENT)


def _write(dataset: Any, out: Path) -> None:
    with (out / "all.bin").open("wb") as file:
        for batch in dataset.with_format("arrow").iter(1000):
            file.write(batch.column("input_ids").combine_chunks().flatten().to_numpy().astype("<i4").data)


def _datatrove(paths: list[str], tokenizer: str, out: Path) -> None:
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.tokens import DocumentTokenizer

    (folder,) = {str(Path(path).parent) for path in paths}
    (out / "names").write_text("\n".join(Path(path).name for path in paths), encoding="utf-8")
    reader = ParquetReader(folder, paths_file=str(out / "names"), text_key="text")
    file = str(Path(tokenizer) / "tokenizer.json")
    writer = DocumentTokenizer(str(out), file, eos_token=END_OF_DOCUMENT, shuffle_documents=False)
    LocalPipelineExecutor([reader, writer], tasks=len(paths), workers=PROCESSES, logging_dir=str(out / "logs")).run()
    for path in out.glob("*.ds"):  # for small vocabularies it writes two bytes per id
        np.fromfile(path, f"<u{writer.token_size}").astype("<i4").tofile(path.with_suffix(".bin"))


PEERS = {"map": _map, "rows": _rows, "datatrove": _datatrove}

if __name__ == "__main__":
    target = Path(sys.argv[3])
    target.mkdir()
    PEERS[sys.argv[1]](sys.argv[4:], sys.argv[2], target)
