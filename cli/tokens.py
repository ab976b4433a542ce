"""`pdapt tokens …`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.log import counted
from .options import (
    Commercial,
    DocumentType,
    Encoding,
    Json,
    KeepDuplicates,
    Licence,
    MaxRejected,
    OutFolder,
    Overrides,
    Slurm,
    Splits,
    TextColumn,
    Topics,
    json_text,
)

if TYPE_CHECKING:
    from ..data_prep.tokens.stats import AnswerCounts, LayoutStats
    from ..launch.show_sequence import DecodedSequence, Piece

tokens = typer.Typer()

Folder = Annotated[Path, typer.Argument(metavar="TOKENS", help="Folder made by `pdapt tokens build`.")]
Layout = Annotated[str, typer.Option(help="Layout: packed, concat or paper.")]
Paths = Annotated[
    list[str],
    typer.Argument(metavar="PATH...", help="[NAME=]PATH: a folder of `pdapt corpus build`, or local files."),
]
Compared = Annotated[
    str,
    typer.Option("--verify", help="Texts whose ids are compared with the reference: sample (of every shard) or all."),
]
Domains = Annotated[
    list[str] | None,
    typer.Option(
        "--domain", help="Pattern of the names of sources that form one domain; may be repeated. By default all do."
    ),
]
NearDuplicates = Annotated[
    bool, typer.Option("--near-duplicates", help="Also keep near-duplicates on one side of the split (MinHash; slow).")
]
TokensFormat = Annotated[
    str | None,
    typer.Option(
        help="As in `pdapt corpus build`, for all paths; or messages or instruction-tuning: conversations, of which "
        "only the answers are learned."
    ),
]
SeqLength = Annotated[int, typer.Option(help="Slots of a sequence.")]


@tokens.command("build")
def build(
    paths: Paths,
    tokenizer: Annotated[str, typer.Option(help="Folder with tokenizer.json, or hub:OWNER/NAME.")],
    out: OutFolder,
    layout: Layout = "packed",
    seq_length: SeqLength = 2048,
    verify: Compared = "sample",
    backend: Annotated[str, typer.Option(help="Tokenizer library: fast, or hf (the reference).")] = "fast",
    text_column: TextColumn = "text",
    format: TokensFormat = None,
    encoding: Encoding = None,
    document_type: DocumentType = "",
    licence: Licence = "",
    commercial: Commercial = None,
    max_rejected: MaxRejected = None,
    valid_fraction: Annotated[float, typer.Option(help="Part of each domain's texts held out.")] = 0.02,
    domain: Domains = None,
    splits: Splits = "train",
    keep_duplicates: KeepDuplicates = False,
    near_duplicates: NearDuplicates = False,
    topics: Topics = None,
    seed: Annotated[int, typer.Option(help="Seed of the draw of held-out documents.")] = 0,
    vocab_size: Annotated[int | None, typer.Option(help="Rows of the model's embedding.")] = None,
    tasks: Annotated[
        int,
        typer.Option(
            min=1,
            help="Divide the text into at most this many parts, which are scanned and tokenized side by side, each as "
            "a task. A kill loses only the parts in progress; the output is the same.",
        ),
    ] = 1,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Threads, or with --tasks processes that work on them; by default one for each core."),
    ] = None,
    slurm: Slurm = None,
    as_json: Json = False,
) -> None:
    """Tokenize documents, or conversations, into Megatron's .bin/.idx files, and hold some out.

    The files serve every layout and length: the recipe chooses, and --layout and --seq-length only decide which figures
    are printed.
    """
    from ..data_prep.tasks.task_options import slurm_options
    from ..data_prep.tokens.build import Options, build_tokens
    from ..data_prep.tokens.layouts import check_layout
    from ..data_prep.tokens.stats import layout_stats

    check_layout(layout, seq_length)
    options = Options(
        valid_fraction=valid_fraction,
        seed=seed,
        text_column=text_column,
        near_duplicates=near_duplicates,
        backend=backend,
        verify=verify,
        format=format,
        encoding=encoding,
        document_type=document_type,
        licence=licence,
        commercial=commercial,
        max_rejected=max_rejected,
        splits=splits,
        keep_duplicates=keep_duplicates,
        domains=tuple(domain or ()),
    )
    manifest = build_tokens(
        paths,
        tokenizer,
        out,
        options,
        vocab_size=vocab_size,
        workers=workers,
        topics=topics,
        tasks=tasks,
        slurm=slurm_options(slurm) if slurm else None,
    )
    stats = layout_stats(out, layout, seq_length)
    if as_json:
        counts = stats.overall.to_json()
        values = {**counts, "seconds": manifest.seconds, **stats.to_json(), "manifest": asdict(manifest)}
        print(json_text(values))
    else:
        _print_stats(stats)


@tokens.command("stats")
def stats(
    folder: Folder,
    layout: Layout = "packed",
    seq_length: SeqLength = 2048,
    batch: Annotated[int | None, typer.Option(help="Sequences a step.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the run.")] = None,
    as_json: Json = False,
) -> None:
    """Show what a layout makes of the tokens: slots, real tokens, padding, tokens per word, and epochs of a run."""
    from ..core.errors import UserError
    from ..data_prep.tokens.stats import layout_stats

    if (batch is None) != (steps is None) or any(value is not None and value < 1 for value in (batch, steps)):
        raise UserError(
            "epochs need both --batch and --steps",
            where="pdapt tokens stats",
            allowed="whole numbers from 1, or neither",
        )
    stats = layout_stats(folder, layout, seq_length, batch=batch, steps=steps)
    if as_json:
        print(json_text(stats.to_json()))
    else:
        _print_stats(stats)


COLUMNS = ("documents", "words", "tokens", "tokens_per_word", "sequences", "slots", "real_tokens", "padding", "fill")


def _print_stats(stats: "LayoutStats") -> None:
    from .terminal import print_table

    names = ["data set", *(name.replace("_", " ").replace("per", "a") for name in COLUMNS)]
    rows = [(f"{row.split}/{row.name}", row.counts) for row in stats.datasets]
    rows += [(f"{split}, all", counts) for split, counts in stats.splits.items()]
    shown = [[name, *(_figure(column, getattr(row, column)) for column in COLUMNS)] for name, row in rows]
    title = f"Layout {stats.layout}, {stats.seq_length} slots a sequence"
    print_table(title, names, shown, section=len(stats.datasets))
    if any(stats.left_out.values()):
        print("documents left out: " + ", ".join(f"{why} {count:,}" for why, count in stats.left_out.items() if count))
    if stats.answers is not None:
        _print_answers(stats.answers, stats)
    if stats.steps is not None and stats.batch is not None:
        steps = counted(stats.steps, "step reads", "steps read")
        batch = counted(stats.batch, "sequence")
        print(f"{steps} the training documents {stats.epochs:.2f} times, at {batch} a step")


def _print_answers(answers: "AnswerCounts", stats: "LayoutStats") -> None:
    total = sum(row.counts.tokens for row in stats.datasets)
    print(f"answers: {answers.tokens:,} of {total:,} tokens; only these are learned")
    if answers.cut:
        left_out = f"; {answers.left_out:,} left out, without an answer before" if answers.left_out else ""
        conversations = counted(answers.cut, "conversation")
        print(
            f"cut at {stats.seq_length:,} tokens: {conversations}, with {answers.lost:,} tokens of answers lost"
            f"{left_out}"
        )


def _figure(column: str, value: float) -> str:
    return {"fill": f"{value:.2%}", "tokens_per_word": f"{value:.2f}"}.get(column, f"{value:,}")


@tokens.command("show")
def show(
    folder: Folder,
    number: Annotated[int, typer.Argument(metavar="N", help="Number of the sequence in the stream, from 0.")],
    overrides: Overrides = None,
    *,
    recipe: Annotated[
        str | None, typer.Option(help="Recipe whose stream is shown; by default one epoch of everything.")
    ] = None,
    layout: Annotated[str | None, typer.Option(help="Without a recipe: packed, concat or paper.")] = None,
    seq_length: Annotated[int | None, typer.Option(help="Without a recipe: slots of a sequence.")] = None,
    split: Annotated[str, typer.Option(help="Split: train or valid.")] = "train",
    as_json: Json = False,
) -> None:
    """Show what the model sees: sequence N decoded, with document borders, positions, loss mask and sources."""
    from ..launch.show_sequence import read_sequence

    sequence = read_sequence(folder, number, recipe, overrides or [], layout=layout, seq_length=seq_length, split=split)
    if as_json:
        print(json_text(asdict(sequence)))
    else:
        _print_sequence(sequence)


def _print_sequence(sequence: "DecodedSequence") -> None:
    print(f"sequence {sequence.number} of {sequence.samples} ({sequence.split}), layout {sequence.layout}")
    print(f"data set {sequence.dataset}: {sequence.real_tokens} of {sequence.slots} slots hold a token")
    for piece in sequence.pieces:
        first, last = piece.positions
        slots = f"{piece.start}-{piece.stop - 1}"
        print(f"\n── slots {slots}, positions {first}-{last}, {_counted(piece)} " + "─" * 12)
        if not piece.padding:
            print(piece.text)


def _counted(piece: "Piece") -> str:
    if piece.padding:
        return "padding"
    rest = piece.uncounted_slots
    shown = ", ".join(map(str, rest[:4])) + (", …" if len(rest) > 4 else "")
    labels = counted(piece.counted_labels, "label counts", "labels count")
    return f"{labels} in the loss" + (f", not that of slot {shown}" if rest else "")
