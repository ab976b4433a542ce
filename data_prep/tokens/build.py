"""The stage that turns documents into token ids, split into training and validation, as Megatron reads them.

It decides what becomes of every document (`selection/`), tokenizes shard by shard on all cores (`shard_tokens.py`), and
puts the shards' parts together. A finished shard is kept through an interruption; what is written depends neither on
the number of threads nor on interruptions.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core import log
from ...core.errors import UserError
from ...core.files import atomic_path, remove, write_json
from ...core.integrity import checking
from ...core.log import counted
from ...core.manifest import Manifest, run_stage
from ...core.slurm import SlurmOptions
from ..documents.faults import check_share, printable
from ..documents.survey import Survey
from ..sources.formats.conversations import CONVERSATIONS
from ..sources.registry import identity_of
from ..tasks.at_work import TASKS, remove_tasks, tasks_at_work
from ..tasks.task_options import tasks_of
from ..topics.assignments import Assignments, read_assignments
from .assemble import assemble, for_all, make_record
from .chat.template import ChatTemplate, read_template
from .check_encoder import SAMPLE, VERIFICATIONS, Verifier
from .encoders import FAST, make_encoder
from .selection.given_paths import REBUILD, find_sources, fingerprints, named_by_user, recorded_files
from .selection.say_plan import list_rejected, say_plan, without_topic
from .selection.scan import Scan
from .selection.selection import Choice, Plan, chosen, make_plan
from .selection.shards import SHARD_BYTES, Shard, plan_shards, read_shard
from .selection.split import TRAIN
from .shard_tasks import Tokenizing, assemble_by_tasks, tokenize_by_tasks
from .shard_tokens import finish_shard, tokenize_shard, verified
from .tokenizer import Vocabulary, load_tokenizer
from .tokens_record import RECORD

if TYPE_CHECKING:
    from ..tasks.executor import TaskRunner

TOKENIZER = "tokenizer"
PARTS = ".shards"
"""Folder of the shards' parts while the stage is at work."""
CUT = "cut"
"""File in it, and in that of tasks, that says which shards they are of: without it they are incomplete."""
SPLITS = TRAINING, ALL_SPLITS = "train", "all"
"""Parts of a publisher's data set that are used: the training part, or also those for tests and validation."""


@dataclass(frozen=True)
class Options:
    """Options that decide a tokens folder, beside its inputs.

    Attributes:
        valid_fraction: part of each domain's distinct texts that is held out for validation (see `split`).
        seed: of the draw.
        text_column: the field that holds the text.
        near_duplicates: whether near-duplicates stay on one side, too (see `near_duplicates.py`).
        backend: one of `encoders.BACKENDS`.
        verify: which documents are compared with the reference: one of `check_encoder.VERIFICATIONS`.
        splits: TRAINING to leave out the test and validation parts of publishers, ALL_SPLITS to take them.
        keep_duplicates: whether a training text is kept as often as it is given.
        domains: patterns of sources' names, each a domain that texts are held out from; by default all are one.
        format, encoding, document_type, licence, commercial: of what is read, see `documents.sources.Source`.
        max_rejected: share of the documents that may be damaged; see `corpus.build_corpus`.
    """

    valid_fraction: float = 0.02
    seed: int = 0
    text_column: str = "text"
    near_duplicates: bool = False
    backend: str = FAST
    verify: str = SAMPLE
    splits: str = TRAINING
    keep_duplicates: bool = False
    domains: tuple[str, ...] = ()
    format: str | None = None
    encoding: str | None = None
    document_type: str = ""
    licence: str = ""
    commercial: bool | None = None
    max_rejected: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.valid_fraction < 1:
            raise UserError(
                f"{self.valid_fraction} is not a fraction", where="valid_fraction", allowed="between 0 and 1"
            )
        check_share(self.max_rejected)
        if self.verify not in VERIFICATIONS:
            allowed = ", ".join(VERIFICATIONS)
            raise UserError(f"{self.verify!r} is not a way to verify", where="--verify", allowed=allowed)
        if self.splits not in SPLITS:
            raise UserError(f"{self.splits!r} is not a choice of splits", where="--splits", allowed=", ".join(SPLITS))

    @property
    def conversations(self) -> bool:
        """Whether conversations are read, of which the answers alone are learned."""
        return self.format in CONVERSATIONS

    @property
    def choice(self) -> Choice:
        """The options that a plan needs."""
        return Choice(
            fraction=self.valid_fraction,
            seed=self.seed,
            withhold=self.splits == TRAINING,
            deduplicate=not self.keep_duplicates,
            domains=self.domains,
        )


def build_tokens(
    paths: list[str],
    tokenizer: str | Path,
    out: Path,
    options: Options | None = None,
    *,
    vocab_size: int | None = None,
    workers: int | None = None,
    shard_bytes: int = SHARD_BYTES,
    topics: Path | None = None,
    tasks: int = 1,
    slurm: SlurmOptions | None = None,
) -> Manifest:
    """Tokenize documents, each ended by `<|endoftext|>`, or conversations as the model's chat template writes them.

    Writes, for each data set (a source, or a part, document type, edition and topic of a source that has several),
    `train/<name>.{bin,idx}` and `valid/<name>.{bin,idx}` (int32, a sequence a document), `heldout/<name>.jsonl` (the
    validation documents as text), and for the whole `tokens.json` and `tokenizer/`. A data set that has no document on
    one side has no files there. Conversations have `train/<name>.answers` and `valid/<name>.answers`, too (see
    `index.py`), and `messages` for text.

    Args:
        paths: `[NAME=]PATH` each: a corpus stage's folder, or whatever `corpus.discover` takes of local files.
        tokenizer: a folder with `tokenizer.json`, or `hub:OWNER/NAME` on the Hugging Face Hub.
        out: the folder to make.
        options: see `Options`.
        vocab_size: rows of the model's embedding, which every id has to fit in.
        workers: threads, or processes that run tasks; None for one a core, or for as many as Slurm runs.
        shard_bytes: see `plan_shards`; decides how much an interruption loses, and nothing else.
        topics: file that gives texts their topics (see `topics.assignments`), each of which is a data set then.
        tasks: parts that the shards, and in the end the data sets, are divided into, at most: each is a task of
            datatrove's. What is written does not depend on it. 1: threads of this process do it all.
        slurm: options of Slurm's jobs, which run the tasks; None to run them on this machine.

    Raises:
        UserError: there are no documents, the tokenizer or its chat template cannot be used, no text is in the file of
            topics, or there are options of Slurm without tasks.
        Failed: a worker was killed, or a job failed; the same call continues with the unfinished tasks.
        VerificationError: the back end's ids are not the reference's.
    """
    options = options or Options()
    divided = tasks_of(tasks, workers if tasks > 1 else None, slurm)
    surveys = find_sources(paths, options, out)
    shards = [shard for survey in surveys for shard in plan_shards(survey, shard_bytes)]
    vocabulary = load_tokenizer(tokenizer, vocab_size)
    template = read_template(vocabulary) if options.conversations else None
    given = read_assignments(topics) if topics else None
    hashes: dict[str, str] = {}

    def body(work: Path) -> dict[str, Any]:
        if divided:
            _keep(work / TASKS, _states(shards))
        with tasks_at_work("tokens", work / TASKS, divided) as runner:
            crew = Crew(workers or len(os.sched_getaffinity(0)), runner)
            counts = _fill(
                work,
                shards,
                options,
                Writing(vocabulary, template),
                crew=crew,
                surveys=surveys,
                hashes=hashes,
                topics=given,
            )
        return counts | {"sources": _about(surveys)}

    # A source may be called `topics`, but not like an option.
    inputs = fingerprints(surveys) | {"tokenizer": vocabulary.files[0]} | ({"--topics": topics} if topics else {})
    if template:
        inputs["--chat-template"] = template.where
    names = [survey.source.name for survey in surveys]  # those of the data sets, in order
    config = asdict(options) | {"format": identity_of(options.format), "sources": names}
    return run_stage("tokens", inputs, config, out, body=body, resumes=True, hashes=hashes)


@dataclass(frozen=True)
class Crew:
    """Who does the work: a number of threads of this process or, if there is a runner, its tasks."""

    threads: int
    runner: "TaskRunner | None" = None


@dataclass(frozen=True)
class Writing:
    """How texts become ids: the tokenizer, and of conversations the chat template."""

    vocabulary: Vocabulary
    template: ChatTemplate | None


def _fill(
    work: Path,
    shards: list[Shard],
    options: Options,
    writing: Writing,
    *,
    crew: Crew,
    surveys: list[Survey],
    hashes: dict[str, str],
    topics: Assignments | None,
) -> dict[str, Any]:
    """Fill the stage's folder; its counts. SHA-256 of what is hashed as it is written go to `hashes`."""
    vocabulary = writing.vocabulary
    with ThreadPoolExecutor(1) as background:  # a back end takes a second to load, and the reference half of one
        loading = background.submit(make_encoder, options.backend, vocabulary)
        background.submit(lambda: vocabulary.tokenizer)
        # Beside the scan, and before the first shard is written: an interrupted run continues with what it wrote.
        with checking("tokens", recorded_files(surveys), fix=REBUILD) as checked:
            plan = make_plan(
                shards,
                options.choice,
                crew.threads,
                named=named_by_user(surveys),
                merge=_merger(options, crew),
                topics=topics,
                runner=crew.runner,
            )
        verifier = Verifier(loading.result(), vocabulary, options.verify)
    list_rejected(plan, surveys, options.max_rejected, work)
    say_plan(plan, options.domains)
    if topics and (documents := without_topic(plan)):
        log.info(f"tokens: the file of topics does not list {counted(documents, 'document')}: these have no topic")
    parts = _keep(work / PARTS, _cut(shards))
    _copy_tokenizer(vocabulary, work / TOKENIZER)
    if crew.runner:
        tokenizing = Tokenizing(
            parts,
            work / TOKENIZER,
            backend=options.backend,
            verify=options.verify,
            chats=options.conversations,
        )
        tokenize_by_tasks(plan, tokenizing, crew.runner)
        hashes.update(assemble_by_tasks(plan, parts, work, crew.runner))
    else:
        _tokenize(plan, verifier, parts, crew.threads, template=writing.template)
        hashes.update(assemble(plan, parts, work, crew.threads))
    written = make_record(plan, vocabulary, work).to_json()
    write_json(work / RECORD, written)
    compared = sum(verified(parts / str(number)) for number in range(len(shards)))
    remove_tasks(work)
    _discard(parts)
    names = ("totals", "withheld", "training_duplicates", "dropped_duplicates")
    return {name: written[name] for name in names} | {
        **checked,
        "rejected": len(plan.rejected),
        "verified_documents": compared,
        "screened": plan.screened,
        **({"without_topic": without_topic(plan)} if topics else {}),
    }


def _about(surveys: list[Survey]) -> dict[str, Any]:
    """For each source its path, its files by format, and what is left unread of it by reason."""
    return {
        each.source.name: {
            "path": printable(each.source.path),
            "files": each.formats(),
            "unread": each.unread_by_reason(),
        }
        for each in surveys
    }


def training_texts(paths: list[str], options: Options) -> Iterator[str]:
    """The texts that `build_tokens` with the same options puts into training: what a tokenizer may be trained on."""
    surveys = find_sources(paths, options)
    shards = [shard for survey in surveys for shard in plan_shards(survey)]
    plan = make_plan(shards, options.choice, 1, named=named_by_user(surveys), merge=_merger(options, Crew(1)))
    for scan, sides in zip(plan.scans, plan.sides, strict=True):
        at = 0
        for batch in read_shard(scan.shard):
            yield from chosen(batch, sides[at : at + len(batch)] == TRAIN).to_pylist()
            at += len(batch)


def _merger(options: Options, crew: Crew) -> Callable[[list[Scan]], list[Scan]]:
    if not options.near_duplicates:
        return lambda scans: scans
    from ..dedup.text_clusters import merge_near_duplicates

    return lambda scans: merge_near_duplicates(scans, crew.threads, crew.runner)


def _cut(shards: Sequence[Shard]) -> str:
    """A text that two cuts of inputs have in common only if they are the same."""
    return "".join(
        f"{shard.source} {shard.name} {len(shard.files)} {shard.start} {shard.stop} {shard.rows}\n" for shard in shards
    )


def _states(shards: Sequence[Shard]) -> str:
    """A text as of `_cut`, and that changes with every change of a file: scans come before a corpus is verified."""
    paths = dict.fromkeys(file.path for shard in shards for file in shard.files)
    changed = [(path, path.stat()) for path in paths]
    return _cut(shards) + "".join(f"{path} {state.st_size} {state.st_ctime_ns}\n" for path, state in changed)


def _keep(folder: Path, cut: str) -> Path:
    """The folder of the shards' parts; emptied if an earlier run made them from other shards."""
    if not (folder / CUT).is_file() or (folder / CUT).read_text(encoding="utf-8") != cut:
        _discard(folder)
        folder.mkdir()
        (folder / CUT).write_text(cut, encoding="utf-8")
    return folder


def _discard(folder: Path) -> None:
    """Remove the shards' parts; what an interruption leaves of them is not taken for complete."""
    (folder / CUT).unlink(missing_ok=True)
    remove(folder)


def _tokenize(plan: Plan, verifier: Verifier, parts: Path, workers: int, *, template: ChatTemplate | None) -> None:
    """Tokenize the shards that no earlier run finished."""
    left = [number for number in range(len(plan.scans)) if not (parts / str(number)).is_dir()]
    total = len(plan.scans)
    log.info(
        f"tokens: {len(left)} of {counted(total, 'shard')} to do, {counted(workers, 'thread')}, back end "
        f"{type(verifier.encoder).__name__}"
    )

    flushes: list[Future[None]] = []

    def tokenize_one(number: int) -> None:
        seconds = time.monotonic()
        size = tokenize_shard(plan.of_shard(number), verifier, parts / str(number), template)
        flushes.append(flushing.submit(finish_shard, parts / str(number)))
        seconds = time.monotonic() - seconds
        log.info(f"tokens: shard {number + 1} of {total}, {size / 1e6:.1f} MB of text in {seconds:.1f} s")

    with ThreadPoolExecutor(1) as flushing:  # waits for the disk while the next shards are tokenized
        for_all(tokenize_one, left, workers)
        for flush in flushes:
            flush.result()


def _copy_tokenizer(vocabulary: Vocabulary, folder: Path) -> None:
    for file in vocabulary.files:
        with atomic_path(folder / file.name) as partial:
            shutil.copyfile(file, partial)
