"""Tables of a benchmark report on settings and cost: answers, versions, hours, and training's time and energy."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core.training_cost import Spent
from ..benchmark.read_results import Answers, Runs
from ..harness.result_files import AnswerSettings
from .benchmark_tables import EMPTY_ENTRY
from .table_formats import Entry, Row, Table, number_entry
from .texts import Words, format_number


def training_cost_tables(training: dict[str, Spent], w: Words) -> list[Table]:
    """Cost of each family's training, and damage to the record of it."""
    if not training:
        return []
    rows = [Row(name, [Entry(w.remark(fault))]) for name, spent in training.items() for fault in spent.record_faults]
    faults = Table("record-faults", w("record_faults_caption"), [w("model"), w("record_faults")], rows)
    return [_training_cost_table(training, w), *([faults] if rows else [])]


def _training_cost_table(training: dict[str, Spent], w: Words) -> Table:
    """Steps, tokens, time and energy of each family's training."""
    columns = ("steps", "tokens", "hours", "rank_hours", "goodput_percent")
    digits = (",d", ",d", ".2f", ",.1f", ".1f")
    rows = []
    for name, spent in training.items():
        values = (spent.steps, spent.tokens, spent.hours, spent.rank_hours, 100 * spent.goodput)
        shown = [
            EMPTY_ENTRY if v is None else number_entry(v, w.language, d) for v, d in zip(values, digits, strict=True)
        ]
        if spent.lost:
            shown[:2] = [Entry(f"≥ {entry.text}") for entry in shown[:2]]
        if spent.unknown:
            shown[4] = Entry(
                f"{shown[4].text} – {number_entry(100 * (spent.goodput + spent.unknown), w.language, '.1f').text}"
            )
        energy = EMPTY_ENTRY if spent.joules is None else number_entry(spent.joules / 3.6e6, w.language, ",.1f")
        rows.append(Row(name, [*shown, energy]))
    return Table("train-cost", w("training_caption"), [w("model"), *map(w, columns), "kWh"], rows)


def answer_settings_tables(runs: Sequence[Runs], w: Words) -> list[Table]:
    """How each model's answers were made: batch sizes, cuts, chat template, warnings; unused generation settings."""
    answers = {
        f"{of_folder.name}: {member.name}": [a for (model, _), a in of_folder.answers.items() if model == member.name]
        for of_folder in runs
        for member in of_folder.members
    }
    columns = ("batch_choices", "batch_text", "prompts_cut", "texts_cut", "chat_template", "warnings")
    rows = [Row(head, _settings_entries(of_model, w)) for head, of_model in answers.items()]
    settings = Table("making", w("making_caption"), [w("model"), *map(w, columns)], rows)
    unused = {head: _unused_generation_settings(of_model) for head, of_model in answers.items()}
    rows = [Row(head, [Entry(text)]) for head, text in unused.items() if text]
    return [settings, *([Table("advice", w("advice_caption"), [w("model"), w("advice")], rows)] if rows else [])]


def _settings_entries(answers: Sequence[Answers], w: Words) -> list[Entry]:
    settings = [of_task.settings for of_task in answers if of_task.settings]
    warnings = sum(warning.times for of_task in settings for warning in of_task.warnings)
    return [
        _listed({_batch_size(of_task) for of_task in settings if of_task.generation is None}),
        _listed({_batch_size(of_task) for of_task in settings if of_task.generation is not None}),
        _counted([of_task.prompt_cut for of_task in answers], w),
        _counted([of_task.truncated for of_task in answers], w),
        _listed({w("yes_" if of_task.chat_template else "no_") for of_task in settings}),
        number_entry(warnings, w.language, ",d") if settings else EMPTY_ENTRY,
    ]


def _batch_size(settings: AnswerSettings) -> int | str:
    size = settings.batch_size.size
    return "–" if size is None else size


def _unused_generation_settings(answers: Sequence[Answers]) -> str:
    unused = [of_task.settings.generation_config_unused or {} for of_task in answers if of_task.settings]
    return ", ".join(sorted({f"{key}={value}" for settings in unused for key, value in settings.items()}))


def _listed(values: set[Any]) -> Entry:
    return Entry(", ".join(sorted(map(str, values)))) if values else EMPTY_ENTRY


def _counted(flags: Sequence[np.ndarray | None], w: Words) -> Entry:
    """Number of true flags among those that were noted."""
    noted = [of_task for of_task in flags if of_task is not None]
    if not noted:
        return EMPTY_ENTRY
    return Entry(w("n_of", count=sum(int(of_task.sum()) for of_task in noted), all=sum(map(len, noted))))


def run_settings_tables(runs: Sequence[Runs], versions: dict[str, str], w: Words) -> list[Table]:
    """Limits and versions of the runs, and their hours."""
    settings = [
        Row(_of(of_folder, _setting(key, w), w), [Entry(_value(value, w))])
        for of_folder in runs
        for key, value in of_folder.config.items()
    ]
    lm_eval = {answers.protocol.lm_eval or "–" for of_folder in runs for answers in of_folder.answers.values()}
    settings += [Row(w("lm_eval_of_answers"), [Entry(", ".join(sorted(lm_eval)))])]
    settings += [Row(w("version_of_page", package=k), [Entry(v)]) for k, v in versions.items()]
    hours = [
        Row(_of(of_folder, member.name, w), [number_entry(_hours(of_folder, member.name), w.language, ".2f")])
        for of_folder in runs
        for member in of_folder.members
    ]
    return [
        Table("settings", w("settings_caption"), [w("setting"), w("value")], settings),
        Table("cost", w("cost_caption"), [w("model"), w("hours")], hours),
    ]


def _of(runs: Runs, what: str, w: Words) -> str:
    return w("of", group=runs.name, what=what)


def _setting(key: str, w: Words) -> str:
    """A setting in words; one that is not ours by its name."""
    return w(f"runs_{key}") if f"runs_{key}" in w.texts else key


def _value(value: object, w: Words) -> str:
    """A setting's value; none for a limit that was not set."""
    if value is None:
        return "–"
    return format_number(value, ",d", w.language) if isinstance(value, int) else str(value)


def _hours(runs: Runs, model: str) -> float:
    return sum(answers.seconds for (name, _), answers in runs.answers.items() if name == model) / 3600
