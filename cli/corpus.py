"""`pdapt corpus …`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.log import counted
from .options import (
    AnyTasks,
    CleaningProfile,
    Commercial,
    DocumentType,
    Duplicates,
    Edition,
    Encoding,
    Json,
    Licence,
    Mask,
    MaxRejected,
    OutFolder,
    Slurm,
    TextColumn,
    Workers,
    json_text,
    show,
)

if TYPE_CHECKING:
    from ..data_prep.clean.compare_profiles import Comparison
    from ..data_prep.licences.report import Licensed
    from ..data_prep.sources.listing import ListedSource

corpus = typer.Typer()


@corpus.command("build")
def build(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="[NAME=]PATH, or hub:OWNER/NAME[:CONFIG].")],
    out: OutFolder,
    format: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FORMAT",
            help="text (a document a file), lines (a document a line), jsonl, json, csv (TSV too) or parquet; a source "
            "of `pdapt corpus sources`, or a YAML file that defines one; by default detected from each file's "
            "content. With NAME= for one of several sources; may be repeated.",
        ),
    ] = None,
    encoding: Encoding = None,
    document_type: DocumentType = "",
    licence: Licence = "",
    commercial: Commercial = None,
    text_column: TextColumn = "text",
    max_rejected: MaxRejected = None,
    edition: Edition = None,
    profile: CleaningProfile = "clinical",
    duplicates: Duplicates = "keep",
    mask: Mask = None,
    tasks: Annotated[
        int,
        typer.Option(
            min=1,
            help="Divide each source into at most this many parts, which are cleaned and searched side by side: by "
            "files, lines and row groups. A kill loses only the parts in progress; the output is the same.",
        ),
    ] = 1,
    workers: Workers = None,
    slurm: Slurm = None,
    as_json: Json = False,
) -> None:
    """Read and clean text: JSON lines and arrays, Parquet, CSV, TSV, text; in gzip, zstd, xz, bzip2; or a Hub data set.

    A registered source (`pdapt corpus sources`) is recognised by what is in its folder, and read from its native
    format; another file's format follows from its content. docs/documents.md says which text is a document.
    """
    from ..data_prep.corpus import build_corpus, discover
    from ..data_prep.documents.discover import split_formats
    from ..data_prep.tasks.task_options import slurm_options

    of_all, of_some = split_formats(format or [])
    sources = discover(
        paths,
        format=of_all,
        formats=of_some,
        document_type=document_type,
        licence=licence,
        commercial=commercial,
        text_column=text_column,
        encoding=encoding,
        out=out,
    )
    manifest = build_corpus(
        sources,
        out,
        max_rejected=max_rejected,
        edition=edition,
        profile=profile,
        duplicates=duplicates,
        masked=mask or [],
        tasks=tasks,
        workers=workers,
        slurm=slurm_options(slurm) if slurm else None,
    )
    show(manifest, as_json)


@corpus.command("clean")
def clean(profile: CleaningProfile = "clinical") -> None:
    """Clean texts: one JSON string a line on standard input, one a line on standard output.

    Each text is cleaned by itself: only `pdapt corpus build` finds lines that repeat across a source.
    """
    import sys

    from ..data_prep.clean.json_filter import clean_lines
    from ..data_prep.clean.profiles import profile_of

    for line in clean_lines(sys.stdin.buffer, profile_of(profile)):
        print(line, flush=True)  # the writer of the lines may wait for each answer


@corpus.command("diff")
def diff(
    document: Annotated[str, typer.Argument(metavar="DOC", help="FILE, or FILE#LINE where it holds several.")],
    profiles: Annotated[
        list[str] | None,
        typer.Option("--profile", help="Cleaning profile; give the option twice. By default paper and clinical."),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            help="File or folder of the document's source, which is searched for repeated lines; by default FILE."
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="HTML file to write, in place of the table.")] = None,
    as_json: Json = False,
) -> None:
    """Show a document under two cleaning profiles, side by side, and which of its values each changes."""
    from ..data_prep.clean.compare_profiles import compare_profiles, write_page

    compared = compare_profiles(document, profiles or ["paper", "clinical"], source)
    if html is not None:
        write_page(compared, html)
    if as_json:
        print(json_text(compared.as_json()))
    elif html is None:
        _print_comparison(compared)


@corpus.command("personal")
def show_personal_data(
    folder: Annotated[Path, typer.Argument(metavar="CORPUS", help="Folder of `pdapt corpus build`.")],
    samples: Annotated[int, typer.Option(min=0, help="Examples of each kind.")] = 5,
    as_json: Json = False,
) -> None:
    """Count what looks personal in a corpus, and show examples with the words around them.

    E-mail addresses, French telephone, social security (NIR), health professionals' (RPPS) and bank account (IBAN)
    numbers, postal addresses. `pdapt corpus build --mask` masks them. docs/privacy.md says what is found and missed.
    """
    from ..data_prep.screening.samples import personal_data
    from .terminal import print_table

    data = personal_data(folder, samples)
    if as_json:
        print(json_text(asdict(data)))
        return
    rows = [[kind, source, f"{count:,}"] for kind, sources in data.counts.items() for source, count in sources.items()]
    print_table("personal data", ["kind", "source", "times"], rows)
    shown = [[each.kind, each.doc_id, f"{each.before}>>{each.text}<<{each.after}"] for each in data.samples]
    print_table("examples", ["kind", "document", "text"], shown)


@corpus.command("decontaminate")
def find_contamination(
    folder: Annotated[Path, typer.Argument(metavar="CORPUS", help="Folder of `pdapt corpus build`.")],
    out: OutFolder,
    data: Annotated[
        Path | None, typer.Option(help="Folder of `pdapt eval fetch`, whose questions are looked for.")
    ] = None,
    tasks: AnyTasks = None,
    treatment: Annotated[
        str, typer.Option(help="flag: list what is contaminated; drop: write a corpus without it as well.")
    ] = "flag",
    parts: Annotated[
        int,
        typer.Option(
            min=1,
            help="Divide the corpus into at most this many parts, which are searched side by side, each as a task. A "
            "kill loses only the parts in progress; the output is the same.",
        ),
    ] = 1,
    workers: Workers = None,
    slurm: Slurm = None,
    as_json: Json = False,
) -> None:
    """Search a corpus for the tasks' questions, and for text of its own test and validation parts.

    A document that shares 13 consecutive words with one of them is contaminated; short questions are looked for as a
    whole, or with their choices. `pdapt report build --contaminated OUT/contaminated.jsonl` shows the scores without
    the questions that were found. docs/duplicates.md says more.
    """
    from ..data_prep.decontaminate.decontaminate import decontaminate
    from ..data_prep.tasks.task_options import slurm_options, tasks_of
    from ..eval.tasks.select_tasks import select_questions

    divided = tasks_of(parts, workers, slurm_options(slurm) if slurm else None, "--parts")
    questions = select_questions(tasks or [], data)
    show(decontaminate(folder, questions, out, treatment=treatment, tasks=divided), as_json)


@corpus.command("collect")
def collect_sources(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Keys of `pdapt corpus sources`, or YAML files that define sources; SOURCE=FOLDER uses files that you "
            "have.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Folder to make, with a folder for each source, named by its key.")
    ],
    limit: Annotated[
        int | None, typer.Option(help="Fetch only this many entries and files of each list, for a first look.")
    ] = None,
    contact: Annotated[
        str, typer.Option(help="E-mail address or page that the User-Agent names, so that a site can write to you.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Download sources from their publishers, and record the address, date and SHA-256 of each file.

    After an interruption, or if a server refused, repeat the command: it continues. docs/sources.md says what is
    downloaded.
    """
    from ..data_prep.collect.collect import collect

    counts = collect(sources, out, limit=limit, contact=contact)
    print(json_text({"sources": counts}, indent=None if as_json else 2))


@corpus.command("publish")
def publish(
    folder: Annotated[Path, typer.Argument(metavar="CORPUS", help="Folder of `pdapt corpus build`.")],
    out: OutFolder,
    title: Annotated[str, typer.Option(help="Title of the data set.")] = "French biomedical corpus",
    description: Annotated[str | None, typer.Option(help="A sentence or two for its card.")] = None,
    url: Annotated[str | None, typer.Option(help="Address of its page, such as that on the Hub.")] = None,
    data_version: Annotated[str, typer.Option("--data-version", help="Version of the data.")] = "1.0.0",
    citation: Annotated[str, typer.Option(help="Work to cite.")] = "",
    shard_mb: Annotated[int, typer.Option(help="Text of a shard, in millions of bytes, before compression.")] = 500,
    as_json: Json = False,
) -> None:
    """Turn a corpus into a data set for the Hugging Face Hub: Parquet shards, card, Croissant, credits, overview page.

    Nothing is uploaded. docs/publish.md describes the folder.
    """
    from ..launch.publish.publish_corpus import DatasetFacts, publish_corpus

    stated = {"title": title, "description": description, "url": url, "version": data_version, "citation": citation}
    facts = DatasetFacts(**{name: value for name, value in stated.items() if value is not None})
    show(publish_corpus(folder, out, facts, shard_megabytes=shard_mb), as_json)


@corpus.command("sources")
def list_registered(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Folder with one folder per source; shows which it has."),
    ] = None,
    further: Annotated[
        list[Path] | None, typer.Option("--define", help="File that defines another source; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the registered sources: licence, edition, documents and words in the paper, and which are on this machine.

    `pdapt corpus build --format SOURCE` reads a folder of one. docs/sources.md says which files are read, and how.
    """
    from ..data_prep.sources.listing import list_sources
    from .terminal import print_table

    registered = list_sources(folder, further or [])
    if as_json:
        print(json_text({"sources": [each.to_json() for each in registered]}))
        return
    columns = ["source", "document type", "edition", "licence", "commercial use", "documents", "words", "at hand"]
    print_table("sources", columns, [_source_row(each) for each in registered])


def _source_row(source: "ListedSource") -> list[str]:
    """A source as a row of the table."""
    stated, at_hand = source.definition, source.at_hand
    may = {True: "yes", False: "no", None: "depends"}[stated.licence.commercial]
    may += " (disputed)" if stated.licence.conflict else ""
    counts = ["" if count is None else f"{count:,}" for count in (stated.documents, stated.words)]
    files = "" if at_hand is None else f"{counted(at_hand.files, 'file')}, {counted(at_hand.bytes, 'byte')}"
    spdx = stated.licence.spdx or "none in SPDX"
    return [stated.key, stated.document_type, stated.edition, spdx, may, *counts, files]


@corpus.command("licences")
def report_licences(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[CORPUS]", help="Folder of `pdapt corpus build`; by default the registered sources."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List licences, and what contradicts them, with documents and words: of a corpus, or as the paper counts them."""
    from ..data_prep.licences.report import report_licences as report
    from .terminal import print_table

    reported = report(folder)
    if as_json:
        print(json_text(asdict(reported)))
        return
    columns = ["source", "licence", "in SPDX", "commercial use", "disputed", "documents", "words"]
    print_table("licences", columns, [_licence_row(each) for each in reported.licences])
    rows = [[each.source, f"{each.documents:,}", f"{each.words:,}"] for each in reported.conflicts]
    print_table("conflicts", ["source", "documents", "words"], rows)
    for each in reported.conflicts:
        print(f"{each.source}: {each.conflict}")


def _licence_row(row: "Licensed") -> list[str]:
    """A licence as a row of the table."""
    may = {True: "yes", False: "no", None: "not known"}[row.commercial]
    disputed = "yes" if row.conflict else "no"
    return [row.source, row.licence or "not known", row.spdx, may, disputed, f"{row.documents:,}", f"{row.words:,}"]


@corpus.command("attribution")
def write_attribution(
    folder: Annotated[Path, typer.Argument(metavar="CORPUS", help="Folder of `pdapt corpus build`.")],
    out: Annotated[Path, typer.Option("--out", help="Text file to write.")],
    as_json: Json = False,
) -> None:
    """Write the credits that CC BY and its like ask for: title, authors, source, licence with its address, changes."""
    from ..data_prep.licences.attribution import write_attribution as write

    written = write(folder, out)
    if as_json:
        print(json_text(written))
    else:
        credited = counted(written["documents"], "document")
        print(f"{counted(written['credits'], 'credit')} of {credited}: {written['file']}")
        if written["without_licence"]:
            unknown = counted(written["without_licence"], "document")
            print(f"no licence is known of {unknown}: credits alone do not allow their use")


def _print_comparison(compared: "Comparison") -> None:
    """Both texts, and below them what each profile changed."""
    from .terminal import print_side_by_side, print_table

    both = (compared.left, compared.right)
    lines = (
        [[(part.text, part.same) for part in side] for side in (line.left, line.right)] for line in compared.lines()
    )
    print_side_by_side(
        (str(compared.left.profile), str(compared.right.profile)), ((first, second) for first, second in lines)
    )
    for title, attribute in (("changes", "changes"), ("changed values", "changed_values")):
        kinds = sorted({kind for side in both for kind in getattr(side, attribute)})
        rows = [[kind, *(f"{getattr(side, attribute)[kind]:,}" for side in both)] for kind in kinds]
        print_table(title, ["kind", *(str(side.profile) for side in both)], rows)
