"""`pdapt bench …`."""

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from ..core.exit_codes import ExitCode
from ..core.log import counted
from .options import Json, Overrides, json_text

bench = typer.Typer()


def temporary_folder(parent: Path | None) -> "TemporaryDirectory[str]":
    """A folder to work in, by its absolute path; its parent is made where it is not there, and stays."""
    if parent is not None:
        parent.mkdir(parents=True, exist_ok=True)
    return TemporaryDirectory(dir=parent and parent.absolute())


@bench.command("packing")
def packing(
    seq_length: Annotated[int, typer.Option(help="Slots of a sequence.")] = 2048,
    spread: Annotated[
        float | None, typer.Option(help="Standard deviation of the logarithm of the documents' lengths.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure how full the layouts' sequences are on documents like those of PARCOMED's 17 commercial sources."""
    from ..bench.packing import bench
    from ..data_prep.tokens.layouts import check_layout
    from ..data_prep.tokens.parcomed import SPREAD

    check_layout("paper", seq_length)
    results = bench(seq_length, SPREAD if spread is None else spread)
    if as_json:
        print(json_text({"layouts": [asdict(row) for row in results]}))
        return
    for row in results:
        print(
            f"{row.layout}: {counted(row.sequences, 'sequence')}, {counted(row.real_tokens, 'real token')} in "
            f"{counted(row.slots, 'slot')}, {row.fill:.3%} full, {row.seconds:.2f} s"
        )


@bench.command("tokens")
def tokens(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Parquet files with a column `text`.")],
    tokenizer: Annotated[Path, typer.Option(help="Folder with tokenizer.json.")],
    way: Annotated[
        list[str] | None, typer.Option(help="Way to tokenize that is measured; may be repeated. By default all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare `pdapt tokens build` with `datasets.map` and others: wall time, memory, and the ids."""
    from ..bench.corpus.tokens import MAP, bench

    results = bench(paths, str(tokenizer), way or [])
    if as_json:
        print(json_text({"ways": [asdict(result) for result in results]}))
        return
    slow = next((result for result in results if result.way == MAP), None)
    for result in results:
        times = f", {slow.seconds / result.seconds:.1f} x {MAP}" if slow else ""
        same = ", the same documents" if slow and result.documents == slow.documents else ""
        print(
            f"{result.way}: {result.seconds:.1f} s, {result.mb_per_second:.1f} MB/s{times}, "
            f"{result.peak_mb:,.0f} MB at the highest, {result.ids:,} ids{same}"
        )


@bench.command("long-text")
def long_text(
    *,
    tokenizer: Annotated[Path, typer.Option(help="Folder with tokenizer.json.")],
    characters: Annotated[int, typer.Option(min=1, help="Characters of the document.")] = 50_000_000,
    kind: Annotated[list[str] | None, typer.Option(help="Kind of characters; may be repeated. By default all.")] = None,
    as_json: Json = False,
) -> None:
    """Measure what `pdapt tokens build` takes for one long document, of letters, blanks, emoji and others."""
    from ..bench.corpus.tokens import bench_long

    results = bench_long(kind or [], characters, str(tokenizer))
    if as_json:
        print(json_text({"kinds": [asdict(result) for result in results]}))
        return
    for result in results:
        print(f"{result.kind}: {result.peak_mb:,.0f} MB at the highest, {result.seconds:.1f} s, {result.ids:,} ids")


@bench.command("clean")
def clean(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PATH]...", help="Documents, as for `pdapt corpus build`; by default the sample."),
    ] = None,
    turns: Annotated[int, typer.Option(min=1, help="Runs of each way to clean; the fastest counts.")] = 3,
    as_json: Json = False,
) -> None:
    """Compare the cleaning of `pdapt corpus build` with the paper's expressions: MB of UTF-8 a second on one core."""
    from ..bench.corpus.cleaning import bench

    speeds = bench(paths or [], turns)
    if as_json:
        print(json_text({"ways": [asdict(speed) for speed in speeds]}))
        return
    for speed in speeds:
        print(f"{speed.way}: {speed.mb_per_second:.2f} MB/s, {speed.ratio:.1f} x {speeds[0].way}")


@bench.command("corpus")
def corpus(
    words: Annotated[int, typer.Option(min=1000, help="Approximate number of words in the corpus.")] = 1_000_000,
    seed: Annotated[int, typer.Option(help="Seed of the corpus.")] = 0,
    tasks: Annotated[int, typer.Option(min=2, help="Parts of each source, and of the corpus, at most.")] = 8,
    workers: Annotated[int, typer.Option(min=1, help="Processes that work on them.")] = 2,
    nodes: Annotated[int, typer.Option(min=1, help="Nodes to extrapolate the times to.")] = 12,
    cores: Annotated[int, typer.Option(min=1, help="Cores per node.")] = 48,
    tokenizer: Annotated[
        str | None, typer.Option(help="As `pdapt tokens build` takes it; by default nothing is tokenized.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Folder to work in, some 40 bytes a word; by default a temporary one.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure building a corpus in tasks: words/s by step and memory, on text of the paper's sources and lengths.

    A tenth of the words is measured as well, to see how times grow. The times for all of the paper's words on several
    nodes assume cores as fast as these, and a disk that is not the bottleneck.
    """
    from ..bench.corpus.corpus import Nodes, Plan, bench, rows, sentences
    from .terminal import print_table

    with temporary_folder(folder) as work:
        plan = Plan(words, seed, tasks=tasks, workers=workers, tokenizer=tokenizer)
        result = bench(Path(work), plan, Nodes(nodes, cores))
    if as_json:
        print(json_text(asdict(result)))
        return
    hours = f"hours on {nodes} x {cores} cores"
    print_table("a corpus in tasks", ["command", "step", "seconds", "words/s", hours, "on"], rows(result))
    for sentence in sentences(result):
        print(sentence)


@bench.command("dedup")
def dedup(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Parquet files with a column `text`.")],
    words: Annotated[int, typer.Option(min=1, help="Number of words to take, from the beginning of the documents.")] = (
        1_000_000
    ),
    turns: Annotated[int, typer.Option(min=1, help="Runs of each way to search; the fastest counts.")] = 3,
    as_json: Json = False,
) -> None:
    """Compare the search for near-duplicates with datatrove's MinHash: words/s a core, and what each would drop.

    Copies are planted among the documents, and some that differ from one in a number.
    """
    from ..bench.corpus.dedup import PEER, bench

    results = bench(paths, words, turns)
    if as_json:
        print(json_text({"ways": [asdict(result) for result in results]}))
        return
    slow = next(result for result in results if result.way == PEER)
    for result in results:
        times = result.words_per_second / slow.words_per_second
        recall = ", ".join(f"{kind} {share:.1%}" for kind, share in result.recall.items())
        print(
            f"{result.way}: {result.words_per_second:,.0f} words/s a core, {times:.1f} x {PEER}; drops "
            f"{result.dropped:,} documents, {result.precision:.1%} of them rightly; of the planted ones: {recall}"
        )


@bench.command("train")
def train(
    overrides: Overrides = None,
    *,
    recipe: Annotated[str, typer.Option(help="Name of a recipe, or a YAML file.")] = "qwen3_tiny_cpt_2xcpu",
    tokens: Annotated[Path | None, typer.Option(help="Folder of tokens; by default the embedded sample's.")] = None,
    steps: Annotated[int, typer.Option(help="Steps of each process; the first three are not counted.")] = 30,
    repeats: Annotated[int, typer.Option(min=1, help="Repeats of each process.")] = 3,
    part: Annotated[
        list[str] | None,
        typer.Option(help="Part to measure: throughput, overhead, own_time or saves; may be repeated. By default all."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare `pdapt train` with transformers.Trainer and with Megatron's trainer alone, on this machine's cores."""
    from ..bench.train import Bench, check, run, sample_tokens
    from ..bench.train_results import table
    from ..recipes.load import load

    loaded = load(recipe, [*(overrides or []), f"steps={steps}"])
    check(loaded, part or [])
    with TemporaryDirectory() as work:
        (Path(work) / "sample-tokens").mkdir()
        folder = tokens or sample_tokens(loaded, Path(work) / "sample-tokens")
        results = run(Bench(loaded, folder, Path(work), repeats), part or [])
    if as_json:
        print(json_text(results.to_json()))
        return
    for line in table(results):
        print(line)


@bench.command("gradients")
def gradients(
    overrides: Overrides = None,
    *,
    recipe: Annotated[str, typer.Option(help="Name of a recipe, or a YAML file.")] = "qwen3_tiny_cpt_2xcpu",
    world: Annotated[
        list[int] | None, typer.Option(min=1, help="Number of ranks; may be repeated. By default 2, 4, 8.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps of each run.")] = 300,
    as_json: Json = False,
) -> None:
    """Compare BF16 with FP32 gradients: loss and gradient norm of the same run on several numbers of CPU ranks."""
    from ..bench.gradients import bench, lines
    from ..bench.train import sample_tokens
    from ..recipes.load import load

    loaded = load(recipe, [*(overrides or []), f"steps={steps}"])
    with TemporaryDirectory() as work:
        (Path(work) / "sample-tokens").mkdir()
        folder = sample_tokens(loaded, Path(work) / "sample-tokens")
        result = bench(loaded, sorted(set(world or [2, 4, 8])), folder, Path(work))
    print(json_text(result.to_json()) if as_json else "\n".join(lines(result)))


@bench.command("convert")
def convert(
    *,
    size: Annotated[str, typer.Option(help="Size of the model: 0p6b, 1p7b, 4b or 8b.")] = "0p6b",
    source: Annotated[
        str, typer.Option("--from", help="Weights to convert: parameters (BF16) or master (FP32).")
    ] = "parameters",
    work: Annotated[
        Path | None, typer.Option(help="Folder with space for three models; by default the system's temporary folder.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each step, in turn with cp's.")] = 3,
    as_json: Json = False,
) -> None:
    """Convert random weights of a published size to Megatron and back: compare bits, speed with that of `cp`, memory.

    Exit code 1 if the bits differ.
    """
    from ..bench.convert import bench, table

    with temporary_folder(work) as folder:
        result = bench(size, source, Path(folder), repeats)
    print(json_text(result.to_json()) if as_json else "\n".join(table(result)))
    raise typer.Exit(ExitCode.DONE if result.identical else ExitCode.FAILED)


@bench.command("merge")
def merge(
    size: Annotated[str, typer.Option(help="Size of the models: 0p6b, 1p7b, 4b or 8b.")] = "0p6b",
    t: Annotated[str, typer.Option(help="Points of the sweep; must include 0.1, 0.5 and 0.9.")] = "0.1:0.9:0.1",
    folder: Annotated[Path | None, typer.Option(help="Folder with space for the models: 17 GB at 0p6b.")] = None,
    as_json: Json = False,
) -> None:
    """Compare `pdapt merge sweep` with mergekit's command on random models: time, memory, and every value.

    Exit code 1 if the sweep takes more than twice as long as one merge, or a value differs by more than one BF16 unit.
    """
    from ..bench.merge import bench, table

    with temporary_folder(folder) as work:
        result = bench(size, t, Path(work))
    print(json_text(asdict(result)) if as_json else "\n".join(table(result)))
    raise typer.Exit(ExitCode.DONE if result.passes() else ExitCode.FAILED)


@bench.command("scaling")
def scaling(
    overrides: Overrides = None,
    *,
    out: Annotated[Path, typer.Option(help="Folder for the page, the CSV and the site file.")],
    recipe: Annotated[str, typer.Option(help="Name of a recipe, or a YAML file.")] = "qwen3_tiny_cpt_2xcpu",
    world: Annotated[
        list[int] | None, typer.Option(help="Number of ranks; may be repeated. By default 1, 2, 4.")
    ] = None,
    way: Annotated[
        list[str] | None, typer.Option(help="Scaling to measure: weak or strong; may be repeated. By default both.")
    ] = None,
    tokens: Annotated[Path | None, typer.Option(help="Folder of tokens; by default the embedded sample's.")] = None,
    steps: Annotated[int, typer.Option(help="Steps of each run; the first three are not counted.")] = 15,
    repeats: Annotated[int, typer.Option(min=1, help="Repeats of each number of ranks.")] = 3,
    gpu: Annotated[bool, typer.Option("--gpu", help="Train on GPUs; by default on CPU cores.")] = False,
    on: Annotated[str | None, typer.Option(help="slurm: submit each run as a job, and one that collects them.")] = None,
    nodes: Annotated[str | None, typer.Option(help="Numbers of nodes in place of --world: 1,2,4.")] = None,
    site: Annotated[str | None, typer.Option(help="Site of the jobs, as `pdapt launch` takes it.")] = None,
    only_print: Annotated[bool, typer.Option("--print", help="Print the script that submits the jobs.")] = False,
    collect: Annotated[bool, typer.Option("--collect", help="Report the runs of jobs that have ended.")] = False,
    as_json: Json = False,
) -> None:
    """Train a recipe on several numbers of ranks: compare weak and strong efficiency with the plan, and adjust it."""
    from ..bench.scaling import run_all
    from ..bench.scaling_chain import Launch, launch_scaling, make_plan

    changed = [*(overrides or []), f"steps={steps}"]
    plan = make_plan(recipe, changed, world=world, nodes=nodes, way=way, repeats=repeats, gpu=gpu, site=site)
    if on or only_print or (site and not collect):
        print("\n".join(launch_scaling(plan, Launch(on, tokens, out, only_print=only_print, as_json=as_json))))
        return
    for line in run_all(plan, tokens, out, collecting=collect, as_json=as_json):
        print(line)


Repeats = Annotated[int, typer.Option(min=1, help="Repeats of each measurement.")]
SiteOut = Annotated[Path | None, typer.Option(help="Site file to write or extend (GPUs only).")]


@bench.command("gemm")
def gemm(
    recipe: Annotated[str, typer.Option(help="Recipe whose matrix products are measured.")] = "qwen3_tiny_cpt_2xcpu",
    repeats: Repeats = 20,
    fp8: Annotated[bool, typer.Option("--fp8", help="Measure FP8 instead of BF16.")] = False,
    site_out: SiteOut = None,
    as_json: Json = False,
) -> None:
    """Measure the operations per second of a recipe's matrix products."""
    from ..bench import ceilings
    from ..recipes.load import load

    result = ceilings.gemm(load(recipe), repeats, fp8=fp8)
    if site_out is not None:
        ceilings.site(site_out, {"fp8" if fp8 else "bf16": result.share})
    if as_json:
        print(json_text(asdict(result)))
        return
    print(result.device)
    for row in result.products:
        print(f"{row.name}: {row.m} x {row.n} x {row.k}, {row.tflops:.3g} TFLOP/s")


@bench.command("copy")
def copy(
    megabytes: Annotated[int, typer.Option(min=1, help="Megabytes to copy.")] = 256,
    repeats: Repeats = 20,
    site_out: SiteOut = None,
    as_json: Json = False,
) -> None:
    """Measure the bytes per second within memory, and between host and GPU."""
    from ..bench import ceilings

    result = ceilings.copy(megabytes, repeats)
    if site_out is not None:
        ceilings.site(site_out, {"memory": result.share})
    if as_json:
        print(json_text(asdict(result)))
        return
    print(result.device)
    for name, speed in result.copies.items():
        print(f"{name}: {speed:.1f} GB/s")


@bench.command("nccl")
def nccl(
    ranks: Annotated[int, typer.Option(min=2, help="Number of ranks, all on this machine.")] = 2,
    megabytes: Annotated[list[float] | None, typer.Option(help="Sizes of the messages; may be repeated.")] = None,
    repeats: Repeats = 10,
    as_json: Json = False,
) -> None:
    """Measure collectives: NCCL between this machine's GPUs, or gloo between processes if there are none."""
    from ..bench import ceilings

    result = ceilings.nccl(ranks, megabytes or [1.0, 16.0, 64.0], repeats)
    if as_json:
        print(json_text(asdict(result)))
        return
    shared = ", more ranks than cores" if result.oversubscribed else ""
    print(f"{result.device}; {result.backend}, {counted(result.ranks, 'rank')}{shared}")
    for row in result.collectives:
        print(f"{row.name}: {row.megabytes:.1f} MB in {row.seconds * 1000:.2f} ms, busbw {row.busbw:.2f} GB/s")


@bench.command("data")
def data(
    tokens: Annotated[Path, typer.Argument(help="Folder made by `pdapt tokens build`.")],
    recipe: Annotated[str, typer.Option(help="Recipe whose layout and blend are read.")] = "qwen3_tiny_cpt_2xcpu",
    samples: Annotated[int, typer.Option(min=2, help="Samples to read.")] = 2000,
    as_json: Json = False,
) -> None:
    """Measure how many slots of a recipe's data one process reads per second."""
    from ..bench import ceilings
    from ..recipes.load import load

    result = ceilings.data(load(recipe), tokens, samples)
    if as_json:
        print(json_text(asdict(result)))
        return
    print(f"{result.samples_per_second:,.0f} samples, {result.slots_per_second:,.0f} slots a second")
