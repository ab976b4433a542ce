"""The text of a run of the whole: documents, the tokenizer, tokens, and general text to evaluate on.

Without a base of the user's, general text is trained on: it is cleaned, split and tokenized together with the domain's,
so that no text is on two sides. With one, it is only evaluated on: it comes from a corpus of its own, less what
the domain's holds, and may be changed after training.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import log
from ..core.errors import UserError
from ..core.log import counted
from ..core.manifest import Manifest, renew, run_stage
from .preflight import GENERAL, NONE, SAMPLE, Base
from .request import Request

if TYPE_CHECKING:
    from ..data_prep.corpus import Source
    from ..data_prep.tasks.task_options import Tasks
    from ..data_prep.tokens.build import Options

CORPUS, DECONTAMINATED, TOKENIZER, TOKENS = "corpus", "decontaminated", "tokenizer", "tokens"
GENERAL_CORPUS, UNSEEN = "general-corpus", "general"
"""Folders of general documents, and of those that are only evaluated on."""
CONTAMINATION = "contamination"
"""Folder of the questions of a run's tasks that are in its training documents."""


@dataclass(frozen=True)
class TextBuild:
    """Where a run's text is made.

    Attributes:
        request: what the run is asked for.
        base: the user's; None where a tiny one is trained on the general text.
        out: the run's folder.
        fresh: whether nothing has been trained yet, so that all of it may be made again.
        parts: how the text is divided, and who works on it; None where it is not.
    """

    request: Request
    base: Base | None
    out: Path
    fresh: bool
    parts: "Tasks | None" = None

    @property
    def divided(self) -> dict[str, Any]:
        """The same, as arguments of a stage."""
        parts = self.parts
        return {"tasks": parts.most, "workers": parts.workers, "slurm": parts.slurm} if parts else {}

    def training(self, name: str, run: Callable[[Path], Manifest]) -> None:
        """Run a stage that training depends on."""
        folder = self.out / name
        if self.fresh:
            renew(folder, lambda _: run(folder))
        else:
            run(folder)

    @property
    def corpus(self) -> Path:
        """The documents that are trained on."""
        return self.out / (DECONTAMINATED if self.request.decontaminate else CORPUS)


def build_documents(place: TextBuild) -> None:
    """Read and clean what is trained on.

    Raises:
        UserError: an input is unusable.
        Outdated: training has begun on other text.
    """
    from ..data_prep.corpus import build_corpus

    log.info("corpus: reading and cleaning")
    domain, general, request = _domain_sources(place), _general_sources(place), place.request
    whole, share = [source.name for source in general], request.max_rejected
    place.training(
        CORPUS,
        lambda folder: build_corpus(
            domain + general,
            folder,
            max_rejected=share,
            edition=request.edition,
            profile=request.profile,
            duplicates=request.duplicates,
            masked=request.mask,
            whole=whole,
            **place.divided,
        ),
    )


def decontaminate_documents(place: TextBuild) -> None:
    """Leave out of training the documents that have questions of the tasks, or text of a data set's own test part.

    Raises:
        UserError: the questions cannot be read, or every document has some.
        Outdated: training has begun on other text.
    """
    from ..data_prep.decontaminate.decontaminate import DROP, decontaminate
    from ..eval.tasks.data_index import tasks_with_data
    from ..eval.tasks.questions import read_questions

    assert place.request.decontaminate
    data = Path(place.request.decontaminate)
    tasks = tasks_with_data(data)
    log.info(f"decontamination: looking for the questions of {counted(len(tasks), 'task')}")
    questions, parts = read_questions(data, tasks), place.parts
    place.training(
        DECONTAMINATED,
        lambda folder: decontaminate(place.out / CORPUS, questions, folder, treatment=DROP, tasks=parts),
    )


def search_contamination(place: TextBuild) -> None:
    """List the questions of the run's tasks that are in the training documents."""
    from ..data_prep.decontaminate.decontaminate import decontaminate
    from ..eval.tasks.select_tasks import select_questions

    runs = place.request.benchmark
    assert runs is not None
    log.info("contamination: looking for the tasks' questions in the training documents")
    questions, parts = select_questions(runs.tasks, Path(runs.data) if runs.data else None), place.parts
    renew(
        place.out / CONTAMINATION,
        lambda _: decontaminate(place.corpus, questions, place.out / CONTAMINATION, tasks=parts),
    )


def build_run_tokens(place: TextBuild, vocab: int) -> None:
    """Tokenize, with the base's tokenizer or with that of the step before.

    Args:
        place: see `TextBuild`.
        vocab: rows of the model's embedding.

    Raises:
        UserError: an input is unusable, or general text is needed and missing.
        Outdated: training has begun on other text.
    """
    from ..data_prep.tokens.build import build_tokens

    out, options = place.out, _options(place)
    topics = Path(place.request.topics) if place.request.topics else None
    tokenizer = place.base.folder if place.base else out / TOKENIZER
    place.training(
        TOKENS,
        lambda folder: build_tokens(
            [str(place.corpus)],
            tokenizer,
            folder,
            options,
            vocab_size=vocab,
            topics=topics,
            **place.divided,
        ),
    )
    if place.base is None:
        _say_left_out(place)


def build_general(place: TextBuild) -> None:
    """Make general text to evaluate on, with a base of the user's; if that text has changed, it is made again."""
    from ..data_prep.corpus import build_corpus, discover
    from ..data_prep.unseen import build_unseen

    _say_left_out(place)
    paths = _general(place)
    if not paths:
        return
    corpus, out = place.out / GENERAL_CORPUS, place.out / UNSEEN
    request = place.request
    sources, documents = _named(discover(paths, out=place.out), GENERAL), request.documents
    cleaning = {"max_rejected": request.max_rejected, "profile": request.profile, "masked": request.mask}
    renew(corpus, lambda _: build_corpus(sources, corpus, **cleaning))
    renew(out, lambda _: build_unseen(corpus, place.out / CORPUS, out, documents=documents))


def general_files(place: TextBuild) -> list[Path]:
    """Held-out documents of general text; none where it is left out."""
    if place.base is None:
        return sorted((place.out / TOKENS / "heldout").glob(f"{GENERAL}-*.jsonl"))
    return sorted((place.out / UNSEEN / "heldout").glob("*.jsonl")) if _general(place) else []


def _domain_sources(place: TextBuild) -> "list[Source]":
    """Sources of the domain's text."""
    from ..data_prep.corpus import discover

    request = place.request
    given = request.data or _sample(place.out, "medical")
    return _named(discover(given, out=place.out, **asdict(request.reading)), request.domain)


def _general_sources(place: TextBuild) -> "list[Source]":
    """Sources of the general text that is trained on: none with a base of the user's."""
    from ..data_prep.corpus import discover

    return [] if place.base else _named(discover(_general_paths(place), out=place.out), GENERAL)


def _general_paths(place: TextBuild) -> list[str]:
    """Paths of general text: those that are asked for, or the embedded sample's."""
    given = place.request.general
    return _sample(place.out, GENERAL) if given in ([], [SAMPLE]) else given


def _general(place: TextBuild) -> list[str]:
    """Paths of general text that is only evaluated on, once the domain's language is known; may be none."""
    alone = place.base is not None and place.request.general != [NONE]
    return _general_paths(place) if alone and _unlike_sample(place) is None else []


def _unlike_sample(place: TextBuild) -> str | None:
    """The domain's language, if the embedded sample would serve as general text but is in another language."""
    request = place.request
    return _language(place) if request.data and not request.general else None


def _say_left_out(place: TextBuild) -> None:
    """Warn of general text that is left out.

    Raises:
        UserError: it is needed, and the embedded sample is of another language.
    """
    language = _unlike_sample(place)
    if language is None:
        return
    if place.base is None:
        raise UserError(
            f"most of the domain's documents are not in French ({language}), and the embedded general text, on which a "
            "tiny base would be trained, is French",
            where="--data",
            fix=f"give --general PATH with general text in that language, or --base; --general {SAMPLE} uses the "
            "French text anyway",
        )
    log.warn(
        f"general text is left out: most of the domain's documents are not in French ({language}), and the embedded "
        "general text is. The cost of adaptation outside the domain is not measured; --general PATH measures it"
    )


def _language(place: TextBuild) -> str | None:
    """The commonest language of the domain's documents where most of them are not in the embedded sample's."""
    prefix = f"{place.request.domain}-"
    counts = Manifest.read(place.out / CORPUS).counts
    return other_language([of_source for name, of_source in counts.items() if name.startswith(prefix)])


def other_language(sources: list[Any]) -> str | None:
    """The commonest other language, by the counts of sources, where most documents that show one are not in French."""
    from ..data_prep.screening.language import NOT_TOLD

    languages: Counter[str] = Counter()
    for counts in sources:
        languages.update(counts["screened"]["languages"])
    not_told = languages.pop(NOT_TOLD, 0)
    documents = sum(counts["kept"] for counts in sources)
    return languages.most_common(1)[0][0] if 2 * languages.total() > documents - not_told else None


def _sample(out: Path, part: str) -> list[str]:
    """Files of one part of the embedded sample."""
    from ..data_prep.sample import write_sample

    def body(work: Path) -> dict[str, Any]:
        write_sample(work)
        return {"bytes": sum(path.stat().st_size for path in work.rglob("*.jsonl"))}

    run_stage("sample", {}, {}, out=out / "sample", body=body)
    return [str(path) for path in sorted((out / "sample" / part).glob("*.jsonl"))]


def _named(sources: "list[Source]", prefix: str) -> "list[Source]":
    """Sources whose names tell which side they belong to."""
    return [replace(source, name=f"{prefix}-{source.name}") for source in sources]


def _options(place: TextBuild) -> "Options":
    """How the tokens are made: domain and general text are each held out from."""
    from ..data_prep.tokens.build import Options

    request = place.request
    return Options(
        valid_fraction=request.valid_fraction,
        splits=request.splits,
        keep_duplicates=request.keep_duplicates,
        domains=() if place.base else (f"{request.domain}-*", f"{GENERAL}-*"),
    )


def build_tokenizer(place: TextBuild, vocab: int) -> None:
    """Train a tokenizer on the corpus, held-out documents left out; `vocab` as of `build_run_tokens`."""
    from ..data_prep.tokens.build import training_texts
    from ..data_prep.tokens.tokenizer import train_tokenizer

    corpus, options = place.corpus, _options(place)

    def body(work: Path) -> dict[str, Any]:
        train_tokenizer(training_texts([str(corpus)], options), vocab, work)
        return {"vocabulary": vocab}

    log.info("tokenizer: training byte-level BPE on the training documents")
    config = {"vocab": vocab, "tokens": asdict(options)}
    place.training(TOKENIZER, lambda out: run_stage("tokenizer", {"corpus": corpus}, config, out=out, body=body))
