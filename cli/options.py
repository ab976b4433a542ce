"""Options that many verbs have, and how their results are printed."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..core.manifest import Manifest

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
AllowEnv = Annotated[
    bool, typer.Option("--allow-env", help="Allow values from the environment in the recipe, such as ${oc.env:NAME}.")
]
Verify = Annotated[
    bool,
    typer.Option("--verify/--no-verify", help="Compare the input with the hashes that were written with it."),
]
OutFolder = Annotated[Path, typer.Option("--out", help="Folder to make.")]

RecipeName = Annotated[str, typer.Argument(help="Name of a recipe, or a YAML file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Values that replace the recipe's.")
]
LimitQuestions = Annotated[
    int | None, typer.Option("--limit", help="Largest number of questions of each task; by default all.")
]
BatchSize = Annotated[int, typer.Option(help="Sequences in a forward pass.")]
MaxLength = Annotated[
    int | None, typer.Option(help="Context window in tokens, prompt and answer together; by default the model's own.")
]
Heldout = Annotated[
    list[str],
    typer.Option(
        help="DOMAIN=PLACE of held-out documents: a folder (TOKENS/heldout), a file, or a pattern such as "
        "'TOKENS/heldout/medical-*.jsonl'; may be repeated."
    ),
]
Tasks = Annotated[
    list[str] | None,
    typer.Option(
        help="A task, a group (FR-MEDICAL, FR-NUMBERS, ...) or a pattern; may be repeated. By default all 28."
    ),
]
AnyTasks = Annotated[
    list[str] | None,
    typer.Option(
        "--tasks",
        help="A task, a group (FR-MEDICAL, FR-NUMBERS, ...) or a pattern; or a path, with / or an ending, to tasks of "
        "your own: FILE.csv or FILE.jsonl with question, A, B, C, ... and answer (a letter, or the right option's "
        "text), a task file of lm-eval (FILE.yaml), or a folder of either. May be repeated; by default all 28. "
        "docs/howto-own-tasks.md says more.",
    ),
]

Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes that work on the parts; by default one for each core.")
]
Slurm = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="Run the parts as Slurm jobs and wait for them: partition, time, account, qos or constraint; may be "
        "repeated. All nodes must see --out and the input.",
    ),
]
TextColumn = Annotated[str, typer.Option(help="Field or column that holds the text.")]
Format = Annotated[
    str | None,
    typer.Option(
        help="text (a document a file), lines (a document a line), jsonl, json, csv (TSV too) or parquet; a source of "
        "`pdapt corpus sources`, or a YAML file that defines one; by default detected from each file's content."
    ),
]
Encoding = Annotated[
    str | None, typer.Option(help="Encoding of files that are not UTF-8 and have no byte order mark, such as cp1252.")
]
DocumentType = Annotated[str, typer.Option(help="Document type, for records that do not state one.")]
Licence = Annotated[str, typer.Option(help="Licence, for records that do not state one.")]
Commercial = Annotated[bool | None, typer.Option(help="Whether records that do not say so may be used commercially.")]
Splits = Annotated[
    str, typer.Option(help="Parts to use: train, or all (the publishers' test and validation parts, too).")
]
KeepDuplicates = Annotated[
    bool, typer.Option("--keep-duplicates", help="Keep repeated texts: train on a text as often as it is given.")
]
MaxRejected = Annotated[
    float | None,
    typer.Option(
        help="Largest share of damaged documents to leave out (rejected.parquet lists them); by default none, or one "
        "in 1,000 of each registered source."
    ),
]

CleaningProfile = Annotated[
    str,
    typer.Option(
        "--profile",
        help="clinical: changes no number, unit, sign, table or letter, and checks that in every document; paper and "
        "partages_llm: as published, which changes doses. docs/cleaning.md lists the steps.",
    ),
]
Duplicates = Annotated[
    str,
    typer.Option(
        help="Equal and similar documents, within a source and across sources. keep: do not search for them; flag: "
        "list exact and near duplicates in duplicates.parquet; exact: drop equal texts; near: drop near-duplicates "
        "as well. Documents that differ in a number, or in a name throughout, are not near-duplicates. `pdapt tokens "
        "build` drops equal texts in any case."
    ),
]
Mask = Annotated[
    list[str] | None,
    typer.Option(
        help="Personal data to mask: email, telephone, nir, rpps, iban, address or all; may be repeated. By "
        "default none: pdapt only counts what looks personal, and `pdapt corpus personal` shows examples."
    ),
]
Topics = Annotated[
    Path | None,
    typer.Option(
        help="File with each text's topic, from `pdapt corpus topics --out` or from a classifier of your own: pdapt "
        "divides each source by topic, and a recipe's data.blend can choose among topics."
    ),
]
Decontaminate = Annotated[
    Path | None,
    typer.Option(
        help="Folder of `pdapt eval fetch`: leave out of training the documents that contain questions of its tasks, "
        "or text of a data set's own test part. docs/duplicates.md says more."
    ),
]
MaxLoss = Annotated[
    float,
    typer.Option(
        help="Largest loss on general text that the rule allows a merge, in percent of the perplexity per byte."
    ),
]

Edition = Annotated[
    str | None,
    typer.Option(
        help="commercial: documents that may be used commercially; strict: those of them whose licence is known and "
        "undisputed; research: all documents, as by default; paper: the sources of the paper's Table 1, which also "
        "decides what is commercial."
    ),
]


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON as verbs print it, with any letters: `terminal` escapes those that an encoding lacks."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def show(manifest: "Manifest", as_json: bool) -> None:
    """Print a finished stage's counts, or its whole manifest as JSON."""
    from dataclasses import asdict

    print(json_text(asdict(manifest)) if as_json else json_text(manifest.counts, indent=2))
