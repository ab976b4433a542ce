"""Tables of the held-out report, and the changes that its answer is made of."""

from collections.abc import Mapping
from math import expm1

from ..models import Role
from ..scores import Comparison, Metric, Scores
from ..statistics.compare import FamilyRole
from ..statistics.verdict import MAIN_METRICS, Change, change_of
from .headline import AreaChange, Unit
from .table_formats import Entry, Mark, Row, Table, number_entry
from .texts import Words, format_number

ROLE_KEYS = {Role.BASE: "base", Role.CHECKPOINT: "tuned", Role.MERGED: "merged", Role.OTHER: "other"}
FAMILY_ROLES = {Role.CHECKPOINT: FamilyRole.ADAPTED, Role.MERGED: FamilyRole.MERGED}


def domain_changes(scores: Scores, w: Words, *, domain: str = "", chosen: str = "") -> list[AreaChange]:
    """Changes of the perplexity by the last checkpoint and the merged model, against the base.

    Of several merged models it is the one that was `chosen`, if one was, else the last one. `domain` is the one that
    training was for, where that is known.
    """
    bases, checkpoints, merged = (scores.with_role(role) for role in (Role.BASE, Role.CHECKPOINT, Role.MERGED))
    shown = [name for name in merged if name == chosen] if chosen else merged[-1:]
    pairs = [(name, Role.CHECKPOINT) for name in checkpoints[-1:]] + [(name, Role.MERGED) for name in shown]
    changes = []
    for name, role in pairs:
        for base in bases[:1]:
            for of_domain in sorted(scores.domains, key=lambda each: each != domain):
                compared = scores.comparison(name, base, of_domain, Metric.BYTE_PERPLEXITY)
                value, low, high = (100 * expm1(nats) for nats in _ends(compared))
                changes.append(
                    AreaChange(
                        family=base,
                        role=FAMILY_ROLES[role],
                        model=name,
                        area=w("area_text", domain=of_domain),
                        label=of_domain,
                        change=value,
                        low=low,
                        high=high,
                        p=compared.p_holm,
                        units=compared.documents,
                        unit=Unit.PERPLEXITY,
                        target=of_domain == domain,
                        colour=scores.domains.index(of_domain),
                    )
                )
    return changes


def _ends(compared: Comparison) -> tuple[float, float, float]:
    return compared.difference, compared.low, compared.high


def documents_of(scores: Scores, domain: str) -> int:
    """Documents that a domain's perplexity is computed from."""
    return max(scores.score(name, domain, Metric.BYTE_PERPLEXITY).documents for name, _ in scores.models)


def documents_text(scores: Scores, w: Words) -> str:
    """Each domain with its number of documents."""
    parts = (w("domain_documents", domain=name, documents=documents_of(scores, name)) for name in scores.domains)
    return w("semicolon").join(parts)


def scores_table(scores: Scores, w: Words) -> Table:
    """Perplexity and accuracy of each model in each domain, marked by how they compare with the base."""
    columns = [(domain, metric) for domain in scores.domains for metric in MAIN_METRICS]
    heads = {Metric.BYTE_PERPLEXITY: "column_perplexity", Metric.ACCURACY: "column_accuracy"}
    rows = []
    for name, role in scores.models:
        named = name if name in (role, w(ROLE_KEYS[role])) else w("model_and_role", model=name, role=w(ROLE_KEYS[role]))
        rows.append(Row(named, [_score_entry(scores, name, *column, w) for column in columns]))
    caption = w("scores_caption", documents=documents_text(scores, w))
    return Table("scores", caption, [w("model"), *(w(heads[m], domain=domain) for domain, m in columns)], rows)


def _score_entry(scores: Scores, model: str, domain: str, metric: Metric, w: Words) -> Entry:
    score = scores.score(model, domain, metric)
    scale, digits = (100, 1) if metric == Metric.ACCURACY else (1, 3)
    value, stderr = scale * score.value, None if score.stderr is None else scale * score.stderr
    text = format_number(value, f".{digits}f", w.language)
    text += "" if stderr is None else f" ± {format_number(stderr, f'.{digits}f', w.language)}"
    entry = Entry(text, value, stderr)
    for base in scores.with_role(Role.BASE):
        if base != model:
            compared = scores.comparison(model, base, domain, metric)
            change, mark = change_words(compared, w), MARKS_OF_CHANGES[change_of(compared)]
            words = w("marked", mark=w(f"told_{mark}"), change=change) if mark else ""
            entry = Entry(text, value, stderr, mark=mark, mark_words=words)
    return entry


MARKS_OF_CHANGES = {Change.BETTER: Mark.BETTER, Change.WORSE: Mark.WORSE, Change.UNCLEAR: Mark.NONE}


def change_words(compared: Comparison, w: Words) -> str:
    """Change of the perplexity in per cent, or of the accuracy in points, with its 95 % interval."""
    values = dict(zip(("change", "low", "high"), _ends(compared), strict=True))
    if compared.metric == Metric.BYTE_PERPLEXITY:
        return w("evidence_perplexity", **{key: 100 * expm1(value) for key, value in values.items()})
    return w("evidence_points", **{key: 100 * value for key, value in values.items()})


def sources_table(scores: Scores, w: Words) -> Table:
    """Perplexity by source, a column for each model."""
    names = [name for name, _ in scores.models]
    of_sources = [score for score in scores.scores if score.metric == Metric.BYTE_PERPLEXITY and score.source]
    documents = {(score.domain, score.source): score.documents for score in of_sources}
    rows = []
    for (domain, source), count in documents.items():
        cells = [scores.score(name, domain, Metric.BYTE_PERPLEXITY, source) for name in names]
        entries = [Entry(_with_error(cell.value, cell.stderr, w), cell.value, cell.stderr) for cell in cells]
        rows.append(Row(source, [Entry(domain), number_entry(count, w.language, ",d"), *entries]))
    return Table("sources", w("sources_caption"), [w("source"), w("domain"), w("documents"), *names], rows)


def _with_error(value: float, stderr: float | None, w: Words) -> str:
    text = format_number(value, ".3f", w.language)
    return text if stderr is None else f"{text} ± {format_number(stderr, '.3f', w.language)}"


def _setting(value: object, w: Words) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return format_number(value, ",d" if isinstance(value, int) else "g", w.language)


def settings_table(settings: Mapping[str, object], w: Words) -> Table:
    """How the models were made: a heading in the page's words, and a value."""
    rows = [Row(name, [Entry(_setting(value, w))]) for name, value in settings.items()]
    return Table("run-settings", w("run_settings_caption"), [w("setting"), w("value")], rows)
