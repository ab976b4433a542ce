"""The files of the paper's figures: `tables.json`, its Tables 1 to 11, and `stated.json`, what its text states."""

from dataclasses import dataclass
from pathlib import Path

from ...core.errors import UserError
from ...core.files import read_object
from ...core.jsonio import JsonObject

TABLES_FILE = Path(__file__).with_name("tables.json")
STATED_FILE = Path(__file__).with_name("stated.json")
GROUPS = {"FR-MEDICAL": "table3", "EN-MEDICAL": "table4", "FR-OTHER": "table5", "EN-OTHER": "table6"}


@dataclass(frozen=True)
class Cell:
    """A score and its standard error, in percent, as printed."""

    score: float
    stderr: float

    @staticmethod
    def parse(value: JsonObject) -> "Cell":
        """Read a cell.

        Raises:
            UserError: it is not a percentage with its error.
        """
        cell = Cell(value.number("score"), value.number("stderr"))
        if not (0 <= cell.score <= 100 and 0 <= cell.stderr <= 100):
            raise UserError(f"{value.values} is not a percentage with its error", where=value.where)
        return cell


CellTable = dict[str, dict[str, dict[str, Cell]]]
"""Model -> topic -> variant or language -> cell."""


@dataclass(frozen=True)
class Size:
    """Numbers of documents and words: of a source, or of an edition of the corpus."""

    documents: int
    words: int

    @staticmethod
    def parse(value: JsonObject) -> "Size":
        """Read `n_docs` and `n_words`."""
        return Size(value.integer("n_docs"), value.integer("n_words"))


@dataclass(frozen=True)
class Source:
    """A row of Table 1."""

    name: str
    document_type: str
    commercial: bool
    size: Size


@dataclass(frozen=True)
class Topic:
    """A row of Table 2: a topic of the MEDICAL or the OTHER groups."""

    groups: str
    name: str
    abbreviation: str
    questions: int


@dataclass(frozen=True)
class Reading:
    """A place at which the text of the PDF was damaged, and how it was read."""

    where: str
    printed: str
    value: str
    why: str


@dataclass(frozen=True)
class TablesFile:
    """The contents of `tables.json`.

    Attributes:
        provenance: where the figures come from, a sentence.
        sources: Table 1.
        editions: commercial, research -> the totals that Table 1 states.
        topics: Table 2.
        results: group -> Tables 3 to 6, by variant.
        ranks: Table 7: model -> printed mean rank.
        baselines: Tables 8 to 11, by language.
        model_types: model of Tables 8 to 11 -> Base, or what it is else.
        readings: the damaged places.
    """

    provenance: str
    sources: list[Source]
    editions: dict[str, Size]
    topics: list[Topic]
    results: dict[str, CellTable]
    ranks: dict[str, float]
    baselines: CellTable
    model_types: dict[str, str]
    readings: list[Reading]

    @staticmethod
    def read(path: Path) -> "TablesFile":
        """Read a file of tables.

        Raises:
            UserError: a table or a value is missing, or is not what it should be; the message names it.
        """
        return TablesFile.parse(read_object(path))

    @staticmethod
    def parse(file: JsonObject) -> "TablesFile":
        """Read tables from an object in the form of `tables.json`; see `read`."""
        corpus, baselines = file.object("table1"), file.object("table8_11")
        return TablesFile(
            provenance=file.object("meta").text("source"),
            sources=[_source(row) for row in _rows(corpus, "rows")],
            editions={name: Size.parse(value) for name, value in corpus.objects("stated_totals").items()},
            topics=[_topic(row) for row in _rows(file, "table2")],
            results={group: _results(file, group, table) for group, table in GROUPS.items()},
            ranks={row.text("model"): row.number("avg_rank") for row in _rows(file, "table7")},
            baselines=_scores(baselines),
            model_types=baselines.texts("model_type"),
            readings=[_reading(row) for row in _rows(file, "notes")],
        )


def _rows(file: JsonObject, key: str) -> list[JsonObject]:
    return [JsonObject(row, f"{file.where}: {key}: {number}") for number, row in enumerate(file.list(key))]


def _source(row: JsonObject) -> Source:
    return Source(row.text("source"), row.text("doc_type"), commercial=row.flag("commercial"), size=Size.parse(row))


def _topic(row: JsonObject) -> Topic:
    return Topic(row.text("group_suffix"), row.text("topic"), row.text("abbrev"), row.integer("n_questions"))


def _reading(row: JsonObject) -> Reading:
    return Reading(row.text("where"), row.text("raw"), row.text("fixed"), row.text("why"))


def _results(file: JsonObject, group: str, table: str) -> CellTable:
    stated = file.object(table).text("group")
    if stated != group:
        raise UserError(f"{table} is {stated}, not {group}", where=file.where)
    return _scores(file.object(table))


def _scores(table: JsonObject) -> CellTable:
    return {
        model: {
            topic: {column: Cell.parse(value) for column, value in topics.objects(topic).items()}
            for topic in topics.values
        }
        for model, topics in table.objects("results").items()
    }


@dataclass(frozen=True)
class Stated:
    """The figures and names that the paper's text states, section by section (`stated.json`)."""

    # 3.1 to 3.3: the corpus
    sources: list[str]
    scientific_percent: int
    documents: int
    training_documents_thousand: int
    # 4 and 4.1: the base and its training
    base_beats: list[str]
    best_base: str
    tokens: int
    tokens_over: int
    words_under: int
    steps: int
    batch: int
    sequence: int
    overlap: int
    epochs: float
    checkpoint_every: int
    # 6: the results
    checkpoint: int
    comparisons: int
    fr_medical_changes: int
    fr_medical_negative: int
    positive_elsewhere: int
    positive: tuple[str, str, str, str]  # group, model, variant, topic
    # the appendix
    ranked_models: int
    ranked_tasks: int
    best_ranked: list[str]
    overlaps: int

    @staticmethod
    def read() -> "Stated":
        """Read the packaged file."""
        file = read_object(STATED_FILE)
        base, training, results = file.object("4"), file.object("4.1"), file.object("6")
        appendix, positive = file.object("A"), results.object("positive")
        return Stated(
            sources=file.object("3.1").list("sources"),
            scientific_percent=file.object("3.2").integer("scientific_percent"),
            documents=file.object("3.3").integer("documents"),
            training_documents_thousand=file.object("3.3").integer("training_documents_thousand"),
            base_beats=base.list("base_beats"),
            best_base=base.text("best_base"),
            tokens=training.integer("tokens"),
            tokens_over=training.integer("tokens_over"),
            words_under=training.integer("words_under"),
            steps=training.integer("steps"),
            batch=training.integer("batch"),
            sequence=training.integer("sequence"),
            overlap=training.integer("overlap"),
            epochs=training.number("epochs"),
            checkpoint_every=training.integer("checkpoint_every"),
            checkpoint=results.integer("checkpoint"),
            comparisons=results.integer("comparisons"),
            fr_medical_changes=results.integer("fr_medical_changes"),
            fr_medical_negative=results.integer("fr_medical_negative"),
            positive_elsewhere=results.integer("positive_elsewhere"),
            positive=(positive.text("group"), positive.text("model"), positive.text("variant"), positive.text("topic")),
            ranked_models=appendix.integer("models"),
            ranked_tasks=appendix.integer("tasks"),
            best_ranked=appendix.list("best"),
            overlaps=appendix.integer("overlaps"),
        )
