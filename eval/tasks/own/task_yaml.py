"""Task files of lm-eval, read without running anything: keys that name code, and what else is not a task of text."""

import os
import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from ....core.errors import UserError, check_known
from ....core.files import sha256
from ....core.jsonio import shorten
from ....core.reading.yaml_mapping import read_mapping
from ..task_suite import RequestKind
from .own_task import DEFAULT_ANSWER_TOKENS
from .text_file import lies_within

MOST_BYTES = 2**20
"""Bytes of a task file."""
CODE = {
    "class": "a Python class",
    "custom_dataset": "a Python function",
    "process_docs": "a Python function",
    "process_results": "a Python function",
    "use_prompt": "templates of another package",
    "unsafe_code": "code of a model's answers",
    "doc_to_image": "images",
    "doc_to_audio": "sound",
}
"""Refused keys of lm-eval -> what they would do."""
TEMPLATES = ("description", "doc_to_text", "doc_to_target", "doc_to_choice", "gen_prefix")
SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")
NOT_ASKED = ("should_decontaminate", "doc_to_decontamination_query", "tag", "task_alias", "group")
"""Keys that do not change what is asked; the second names the column of the questions, for a search in a corpus."""
DATA = ("dataset_path", "dataset_name", "dataset_kwargs")
KEYS = (
    *("task", "include", "output_type", "metric_list", "filter_list", "generation_kwargs", "num_fewshot", "repeats"),
    *("fewshot_config", "fewshot_delimiter", "target_delimiter", "metadata"),
    *DATA,
    *TEMPLATES,
    *SPLITS,
    *NOT_ASKED,
)
SHOT_KEYS = ("sampler", "split", "fewshot_indices", "samples", "fewshot_delimiter", "target_delimiter", *TEMPLATES[1:])
METRICS = {"multiple_choice": ("acc", "acc_norm", "acc_bytes", "exact_match"), "generate_until": ("exact_match",)}
"""Kind of task -> metrics that are a share of right answers."""
METRIC_KEYS = ("metric", "aggregation", "higher_is_better")
METRIC_OPTIONS = ("ignore_case", "ignore_punctuation", "ignore_numbers", "regexes_to_ignore")
FILTERS = ("take_first", "regex", "regex_pos", "multi_choice_regex", "remove_whitespace", "lowercase", "uppercase")
GREEDY = {"do_sample": False, "temperature": 0}
FEWSHOT_DELIMITER = "\n\n"
"""lm-eval's default separator of worked examples, which also ends an answer."""
ELSEWHERE = "run lm-eval itself, and give its results to `pdapt report build`"


@dataclass(frozen=True)
class TaskYaml:
    """A task file with the files that it includes.

    Attributes:
        path: the file.
        config: its keys.
        hashes: `task`, and the name of each file that is included -> SHA-256.
    """

    path: Path
    config: dict[str, Any]
    hashes: dict[str, str] = field(default_factory=dict)

    @property
    def is_task(self) -> bool:
        """Whether it defines one task; it may also be a template, or a group."""
        return isinstance(self.config.get("task"), str) and "group" not in self.config

    @property
    def group(self) -> tuple[str, list[str]] | None:
        """A group's name and members, where it is one."""
        group, members = self.config.get("group"), self.config.get("task")
        return (group, members) if isinstance(group, str) and isinstance(members, list) else None


def read_task_yaml(path: Path) -> TaskYaml:
    """Read a task file and the files that it includes.

    Raises:
        UserError: one is no YAML mapping, holds `!function` or another tag, or lies elsewhere, or they include each
            other in a circle.
    """
    hashes = {"task": sha256(path)} if path.is_file() else {}
    return TaskYaml(path, _with_included(path, path.parent, hashes, ()), hashes)


def _with_included(path: Path, folder: Path, hashes: dict[str, str], above: tuple[Path, ...]) -> dict[str, Any]:
    config = read_mapping(path, MOST_BYTES, refuse_tag=partial(_refuse_tag, path=path))
    names = config.pop("include", [])
    merged: dict[str, Any] = {}
    for name in names if isinstance(names, list) else [names]:
        where = f"{path}: include"
        if not isinstance(name, str) or not lies_within(name, path.parent, folder):
            raise UserError(
                f"include: {shorten(name)} is not in the folder of the task file",
                where=where,
                allowed="a file beside it, or below",
                fix="copy it there",
            )
        included = path.parent / name
        if not included.is_file():
            raise UserError(f"include: {name} is missing", where=where)
        here = Path(os.path.realpath(included))
        if here in (*above, Path(os.path.realpath(path))):
            raise UserError(f"{name} includes itself, in a circle", where=where)
        hashes[f"include {here.relative_to(os.path.realpath(folder))}"] = sha256(included)
        merged |= _with_included(included, folder, hashes, (*above, Path(os.path.realpath(path))))
    return merged | config


def _refuse_tag(token: yaml.TagToken, path: Path) -> None:
    """Refuse every YAML tag: `!function` is code, and others are nothing that lm-eval knows."""
    name = "".join(part or "" for part in token.value)
    raise UserError(
        f"{name} is a tag; with !function lm-eval runs Python code",
        where=f"{path}:{token.start_mark.line + 1}",
        allowed="text, numbers, lists and mappings",
        fix=f"write it as a template, or into the data; else {ELSEWHERE}, if you trust the code",
    )


def check_task(task: TaskYaml) -> dict[str, Any]:
    """lm-eval's keys of a task for a run, without those of its data, all of them allowed and complete.

    Raises:
        UserError: a key is unknown, asks for code, or has a value that does not make a task of text with right answers.
    """
    where, config = str(task.path), task.config
    _check_keys(config, where)
    kind = config.get("output_type", "generate_until")
    check_known(kind if isinstance(kind, str) else shorten(kind), METRICS, "kind of task", f"{where}: output_type")
    if config.get("repeats", 1) != 1:
        raise UserError("a question is asked several times", where=f"{where}: repeats", allowed="1")
    missing = [key for key in ("doc_to_text", "doc_to_target") if key not in config]
    missing += ["doc_to_choice"] if kind != RequestKind.GENERATE and "doc_to_choice" not in config else []
    if missing:
        raise UserError(f"{missing[0]} is missing", where=where, allowed="a column, or a template of columns")
    kept = {key: value for key, value in config.items() if key not in (*DATA, *NOT_ASKED, "task", "num_fewshot")}
    kept |= {"output_type": kind, "metric_list": _metrics(config.get("metric_list"), kind, where)}
    if kind == RequestKind.GENERATE:
        kept["generation_kwargs"] = _generation(config, where)
        kept["filter_list"] = _filters(config.get("filter_list"), where)
    elif "generation_kwargs" in config or "filter_list" in config:
        raise UserError("generation_kwargs and filter_list are for tasks that generate", where=where)
    return {key: value for key, value in kept.items() if value is not None}


def _check_keys(config: dict[str, Any], where: str) -> None:
    for key in config:
        if key in CODE:
            raise UserError(
                f"{key} asks for {CODE[key]}", where=where, allowed="data and templates, nothing that is run",
                fix=f"leave it out, or {ELSEWHERE}, if you trust it",
            )  # fmt: skip
        if key == "trust_remote_code":
            raise UserError("trust_remote_code runs code of others", where=where, fix="leave it out")
        check_known(str(key), KEYS, "key of a task", where)
    for key in TEMPLATES:
        _check_template_type(config.get(key), f"{where}: {key}")
    shots = config.get("fewshot_config") or {}
    if not isinstance(shots, dict):
        raise UserError(f"fewshot_config is {shorten(shots)}", where=where, allowed="a mapping")
    for key in shots:
        check_known(str(key), SHOT_KEYS, "key", f"{where}: fewshot_config")
    if shots.get("sampler", "default") not in ("default", "first_n"):
        raise UserError(f"sampler is {shorten(shots['sampler'])}", where=where, allowed="default, first_n")
    samples = shots.get("samples", [])
    if not isinstance(samples, list) or not all(isinstance(row, dict) for row in samples):
        raise UserError(
            f"samples is {shorten(samples)}", where=f"{where}: fewshot_config", allowed="a list of mappings"
        )
    if not isinstance(config.get("metadata") or {}, dict):
        raise UserError(f"metadata is {shorten(config['metadata'])}", where=where, allowed="a mapping")


def _check_template_type(value: Any, where: str) -> None:
    texts = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else [value]
    if not all(isinstance(text, str | int | None) for text in texts):
        raise UserError(f"{shorten(value)} is neither text nor a list of texts", where=where)


def _metrics(metrics: Any, kind: str, where: str) -> list[dict[str, Any]]:
    rows = [{"metric": METRICS[kind][0]}] if metrics is None else metrics
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"metric_list is {shorten(metrics)}", where=where, allowed="a list such as `- metric: acc`")
    made = []
    for row in rows:
        name = row.get("metric")
        if (
            name not in METRICS[kind]
            or row.get("aggregation", "mean") != "mean"
            or not row.get("higher_is_better", True)
        ):
            raise UserError(
                f"{shorten(name)} is not a mean share of right answers, or lm-eval would load it from elsewhere",
                where=f"{where}: metric_list",
                allowed=f"{', '.join(METRICS[kind])}, with aggregation: mean and higher_is_better: true",
                fix=ELSEWHERE,
            )
        for key in row:
            check_known(str(key), (*METRIC_KEYS, *METRIC_OPTIONS), "key of a metric", f"{where}: metric_list")
        made.append({**row, "aggregation": "mean", "higher_is_better": True})
    return made


def _generation(config: dict[str, Any], where: str) -> dict[str, Any]:
    """Options of generating: greedy, to a limit. transformers would run code for some of the others."""
    options, where = config.get("generation_kwargs") or {}, f"{where}: generation_kwargs"
    if not isinstance(options, dict):
        raise UserError(f"generation_kwargs is {shorten(options)}", where=where, allowed="a mapping")
    for key, value in options.items():
        check_known(str(key), ("until", "max_gen_toks", *GREEDY), "option", where)
        if key in GREEDY and value != GREEDY[key]:
            raise UserError(f"{key} is {shorten(value)}", where=where, allowed="greedy answers: do_sample: false")
    until = options.get("until", config.get("fewshot_delimiter", FEWSHOT_DELIMITER))
    tokens = options.get("max_gen_toks", DEFAULT_ANSWER_TOKENS)
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1:
        raise UserError(f"max_gen_toks is {shorten(tokens)}", where=where, allowed="1 or more")
    stops = until if isinstance(until, list) else [until]
    if not all(isinstance(stop, str) and stop for stop in stops):
        raise UserError(
            f"until is {shorten(until)}", where=where, allowed='a list of texts that end an answer: ["\\n"]'
        )
    return {"until": stops, "max_gen_toks": tokens, "do_sample": False}


def _filters(filters: Any, where: str) -> list[dict[str, Any]] | None:
    if filters is None:
        return None
    where = f"{where}: filter_list"
    for each in filters if isinstance(filters, list) and filters else [None]:
        steps = each.get("filter") if isinstance(each, dict) else None
        named = isinstance(each, dict) and isinstance(each.get("name"), str) and "," not in each["name"]
        if not named or not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
            raise UserError(
                f"filter_list is {shorten(filters)}",
                where=where,
                allowed="a list of `name` and `filter`, a list of `function`",
            )
        for step in steps:
            check_known(str(step.get("function")), FILTERS, "filter", where)
            _check_pattern(step.get("regex_pattern", ""), where)
    return filters


def _check_pattern(pattern: Any, where: str) -> None:
    try:
        re.compile(pattern)
    except (re.error, TypeError, OverflowError, RecursionError) as error:
        raise UserError(f"regex_pattern is {shorten(pattern)}: {error}", where=where) from None
