"""`pdapt bench …`: what is fast, measured against what a user would otherwise use."""

import json
from pathlib import Path
from typing import Annotated

import typer

bench = typer.Typer()


@bench.command("packing")
def packing(
    seq_length: Annotated[int, typer.Option(help="Slots of a sequence.")] = 2048,
    spread: Annotated[float | None, typer.Option(help="Of the logarithm of a document's length.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """How full the layouts' sequences are on documents as those of PARCOMED's 17 commercial sources."""
    from ..data_prep.layouts import check_layout
    from ..data_prep.parcomed import SPREAD
    from .bench_packing import bench

    check_layout("paper", seq_length)
    results = bench(seq_length, SPREAD if spread is None else spread)
    if as_json:
        print(json.dumps({"layouts": results}))
        return
    for row in results:
        print(
            f"{row['layout']}: {row['sequences']:,} sequences, {row['real_tokens']:,} real tokens in "
            f"{row['slots']:,} slots, {row['fill']:.3%} full, {row['seconds']:.2f} s"
        )


@bench.command("tokens")
def tokens(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Parquet files with a column `text`.")],
    tokenizer: Annotated[Path, typer.Option(help="Folder with tokenizer.json.")],
    way: Annotated[list[str] | None, typer.Option(help="Only this way; may be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """`pdapt tokens build` beside `datasets.map` and others: wall time, memory, and whether the ids are the same."""
    from dataclasses import asdict

    from .bench_tokens import MAP, bench

    results = bench(paths, str(tokenizer), way or [])
    if as_json:
        print(json.dumps({"ways": [asdict(result) for result in results]}))
        return
    slow = next((result for result in results if result.way == MAP), None)
    for result in results:
        times = f", {slow.seconds / result.seconds:.1f} x {MAP}" if slow else ""
        same = ", the same documents" if slow and result.documents == slow.documents else ""
        print(
            f"{result.way}: {result.seconds:.1f} s, {result.mb_per_second:.1f} MB/s{times}, "
            f"{result.peak_mb:,.0f} MB at the highest, {result.ids:,} ids{same}"
        )


@bench.command("train")
def train(
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Of the recipe.")] = None,
    *,
    recipe: Annotated[str, typer.Option(help="Name of a recipe, or a YAML file.")] = "qwen3_tiny_cpt_2xcpu",
    tokens: Annotated[Path | None, typer.Option(help="Tokens; by default of the embedded sample.")] = None,
    steps: Annotated[int, typer.Option(help="Steps of each process; the first three do not count.")] = 30,
    repeats: Annotated[int, typer.Option(min=1, help="How often each process has its turn.")] = 3,
    part: Annotated[list[str] | None, typer.Option(help="throughput, overhead or saves; may be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """`pdapt train` beside transformers.Trainer and Megatron's trainer alone, on this machine's cores."""
    from tempfile import TemporaryDirectory

    from ..recipes.load import load
    from .bench_train import Bench, check, run, sample_tokens, table

    loaded = load(recipe, [*(overrides or []), f"steps={steps}"])
    check(loaded, part or [])
    with TemporaryDirectory() as work:
        (Path(work) / "sample-tokens").mkdir()
        found_in = tokens or sample_tokens(loaded, Path(work) / "sample-tokens")
        found = run(Bench(loaded, found_in, Path(work), repeats), part or [])
    if as_json:
        print(json.dumps(found))
        return
    for line in table(found):
        print(line)


@bench.command("convert")
def convert(
    *,
    size: Annotated[str, typer.Option(help="0p6b, 1p7b, 4b or 8b.")] = "0p6b",
    source: Annotated[str, typer.Option("--from", help="parameters (BF16), or master (FP32).")] = "parameters",
    work: Annotated[
        Path | None, typer.Option(help="Folder with space for two models; by default the system's.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Random weights of a published size to Megatron and back: bits, speed beside `cp`, memory."""
    from tempfile import TemporaryDirectory

    from .bench_convert import bench, table

    with TemporaryDirectory(dir=work) as folder:
        found = bench(size, source, Path(folder))
    print(json.dumps(found) if as_json else "\n".join(table(found)))
    raise typer.Exit(0 if found["identical"] else 1)


@bench.command("merge")
def merge(
    size: Annotated[str, typer.Option(help="Qwen3's shapes: 0p6b, 1p7b, 4b, 8b.")] = "0p6b",
    t: Annotated[str, typer.Option(help="Points of the sweep, 0.1, 0.5 and 0.9 among them.")] = "0.1:0.9:0.1",
    folder: Annotated[Path | None, typer.Option(help="Where there is room for the models: 17 GB at 0p6b.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """`pdapt merge sweep` beside mergekit's command on random models: time, memory, and every value compared.

    Exit code 1 where the sweep takes more than twice one merge, or a value is further away than one BF16 unit.
    """
    from tempfile import TemporaryDirectory

    from .bench_merge import CHECKS, bench, table

    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as work:
        found = bench(size, t, Path(work))
    print(json.dumps(found) if as_json else "\n".join(table(found)))
    raise typer.Exit(0 if all(check(found) for check in CHECKS) else 1)
