"""docs/options.md against the schema, the arguments that recipes become, and Megatron's parser and configuration."""

import re
from argparse import Action
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from megatron_parser import megatron_parser

from pdapt.recipes import published_recipes
from pdapt.recipes.load import load, names
from pdapt.recipes.megatron_args import Places, megatron_args
from pdapt.recipes.schema import Checkpoint, Data, Log, Model, Optimizer, Parallel, Recipe, Shape
from pdapt.training.options_page import document, options
from pdapt.training.options_page_names import BRIDGE, COMMAND, DECIDES, NOT_RUN, READ_BY, SET

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9_-]*")
TABLES = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in TEXT.splitlines() if line[:3] == "| `"
]
OPTIONS = {row[0].strip("`"): row for row in TABLES if len(row) == 6}
ALWAYS = {row[0].strip("`"): row for row in TABLES if len(row) == 5}

RENAMED = {
    "untie_embeddings_and_output_weights": "share_embeddings_and_output_weights",
    "max_position_embeddings": "seq_length",
    "padded_vocab_size": "vocab_size",
    "grad_reduce_in_bf16": "grad_reduce_in_fp32",
    "dataloader_inter_document_masking": "inter_document_masking",
    "create_attention_mask_in_dataloader": "create_attention_mask",
    "data_cache_path": "path_to_cache",
    "profile": "use_pytorch_profiler",
    "group_query_attention": "num_query_groups",
    "swiglu": "gated_linear_unit",
    "bias_swiglu_fusion": "bias_activation_fusion",
    "no_persist_layer_norm": "persist_layer_norm",
    "check_for_nan_in_loss_and_grad": "check_for_nan_in_grad",
}
"""Where Megatron's parser puts an argument -> the field of the configuration, where that has another name."""

BRIDGES_OWN = {
    "dataset.num_workers",
    "dataset.seq_length",
    "dataset.skip_getting_attention_mask_from_dataset",
    "logger.mlflow_tracking_uri",
    "mixed_precision.bf16",
    "mixed_precision.fp8",
    "mixed_precision.fp8_recipe",
    "mixed_precision.grad_reduce_in_fp32",
    "model",
    "nvrx_straggler.gpu_relative_perf_threshold",
    "rerun_state_machine.spiky_loss_factor",
}
"""Fields that the Bridge adds to Megatron's configuration classes, on which its own are built."""


@pytest.fixture(scope="module")
def parser() -> dict[str, Action]:
    """Megatron's arguments by name."""
    return megatron_parser()._option_string_actions


def leaves(value: Any, name: str = "") -> Iterator[str]:
    """Dotted names of the values of nested dictionaries, `[]` for what is in a list of them."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield from leaves(value[0], f"{name}[]")
    else:
        yield name


def everything(recipe: Recipe) -> list[Recipe]:
    """The recipe, and with every optional feature, whether or not they go together."""
    model = replace(recipe.model, fp8=True)
    parallel = Parallel(nodes=2, ranks_per_node=8, tp=2, pp=2, cp=2, sp=True, fsdp=True)
    checkpoint = Checkpoint(reshardable=True, keep_every=720, asynchronous=True)
    log = Log(wandb="project", mlflow="uri", profile=[1, 2], profile_ranks=[0, 1])
    rest = {"checkpoint": checkpoint, "log": log, "data": Data(layout="concat"), "optimizer": Optimizer(grads="bf16")}
    return [recipe, replace(recipe, model=model, parallel=parallel, **rest)]


def unknown(flags: set[str], parser: dict[str, Action]) -> set[str]:
    """Those that Megatron would not accept."""
    return flags - parser.keys()


def test_the_page_is_what_the_schema_says_now() -> None:
    assert document() == TEXT, f"docs/options.md is not up to date: run {COMMAND}"


def test_every_option_is_in_the_table_once() -> None:
    expected = list(leaves(asdict(Recipe(model=Model(shape=Shape())))))
    assert len(expected) > 60
    assert [row[0].strip("`") for row in TABLES if len(row) == 6] == expected
    assert list(BRIDGE) == expected, "say in BRIDGE what Megatron-Bridge calls it"


def test_every_option_says_what_it_decides_and_who_reads_it() -> None:
    for name, (_, kind, reader, bridge, decides, _) in OPTIONS.items():
        assert decides, f"{name}: comment it in recipes/schema.py"
        assert bridge, name
        assert re.fullmatch(r".+, (required|`[^`]+`)", kind), name
        assert reader.startswith("— ") is not bool(FLAG.search(reader)), f"{name}: say in READ_BY who reads it"
    for path in re.findall(r"`(\w+/\w+\.py)`", TEXT):
        assert (ROOT / path).is_file(), path


def test_nothing_is_said_twice_or_of_what_is_not_there() -> None:
    assert DECIDES.keys() | READ_BY.keys() | published_recipes.SOURCES.keys() <= OPTIONS.keys()
    assert not NOT_RUN - OPTIONS.keys() - ALWAYS.keys()
    assert SET.keys() == ALWAYS.keys()
    commented = {option.name for option in options() if option.decides != DECIDES.get(option.name, option.decides)}
    assert not commented, "these have a comment in recipes/schema.py: take them out of DECIDES"


def test_the_published_values_say_where_they_come_from() -> None:
    assert {name: row[5] for name, row in OPTIONS.items() if row[5]} == published_recipes.SOURCES


@pytest.mark.slow
def test_every_argument_that_a_recipe_becomes_is_on_the_page(subtests: pytest.Subtests) -> None:
    on_page = set(FLAG.findall(TEXT))
    for name, gpu in product(names(), (False, True)):
        with subtests.test(recipe=name, gpu=gpu):
            places = Places(Path("ckpt"), Path("base"), Path("tb"), Path("cache"), Path("achieved"), eod=7)
            for recipe in everything(load(name)):
                given = {text for text in megatron_args(recipe, places, gpu=gpu) if text.startswith("--")}
                assert len(given) > 40
                assert not given - on_page


def test_the_page_has_the_arguments_in_the_code_and_no_others() -> None:
    """Whatever a recipe has to say to get them."""
    files = ("recipes/megatron_args.py", "recipes/schedule.py", "training/megatron/engine.py")
    sources = [(ROOT / name).read_text(encoding="utf-8") for name in files]
    assert set(re.findall(r'"(--[a-z0-9_-]+)"', "".join(sources))) == set(FLAG.findall(TEXT))


def test_megatron_has_every_argument_on_the_page(parser: dict[str, Action]) -> None:
    assert not unknown(set(FLAG.findall(TEXT)), parser)
    assert unknown({"--lr", "--learning-rate"}, parser) == {"--learning-rate"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("optimizer.lr", ["--lr", "--min-lr"]),
        ("steps", ["--train-iters", "--lr-decay-iters"]),
        ("guard.hang", ["--distributed-timeout-minutes"]),
        ("parallel.tp", ["--tensor-model-parallel-size", "--sequence-parallel"]),
        ("checkpoint.asynchronous", ["--async-save", "--async-strategy", "--use-persistent-ckpt-worker"]),
        ("data.document_masks", ["--dataloader-inter-document-masking", "--eod-mask-loss"]),
        ("log.profile_ranks", ["--profile-ranks"]),
        ("machine.gpu_gib", []),
        ("data.blend[].weight", []),
    ],
)
def test_an_option_becomes_these_arguments(name: str, expected: list[str]) -> None:
    assert FLAG.findall(OPTIONS[name][2]) == expected


def test_a_row_names_the_fields_that_its_arguments_set(parser: dict[str, Action]) -> None:
    """Megatron's parser is made from the same classes: where it puts an argument is the field's name, or nearly."""
    rows = [(row[0], row[2], row[3]) for row in OPTIONS.values()] + [
        (row[0], row[0], row[4]) for row in ALWAYS.values()
    ]
    checked = 0
    for what, arguments, cell in rows:
        known = {name.rpartition(".")[2] for name in re.findall(r"`([\w.]+)`", cell)}
        for flag in FLAG.findall(arguments) if known != {"model"} else []:
            destination = parser[flag].dest
            assert RENAMED.get(destination, destination) in known, f"{what}: {flag} sets {destination}, not {known}"
            checked += 1
    assert checked > 100


def test_the_bridges_names_are_those_of_megatrons_classes_or_its_own() -> None:
    from megatron.core.datasets.gpt_dataset import GPTDatasetConfig
    from megatron.core.transformer import TransformerConfig
    from megatron.training.config import container
    from megatron.training.models import GPTModelConfig

    classes = {
        "checkpoint": [container.CheckpointConfig],
        "dataset": [GPTDatasetConfig],
        "ddp": [container.DistributedDataParallelConfig],
        "dist": [container.DistributedInitConfig],
        "logger": [container.LoggerConfig],
        "model": [TransformerConfig, GPTModelConfig],
        "optimizer": [container.OptimizerConfig],
        "profiling": [container.ProfilingConfig],
        "rerun_state_machine": [container.RerunStateMachineConfig],
        "rng": [container.RNGConfig],
        "scheduler": [container.SchedulerConfig],
        "straggler": [container.StragglerDetectionConfig],
        "tokenizer": [container.TokenizerConfig],
        "train": [container.TrainingConfig],
        "validation": [container.ValidationConfig],
    }
    known = {f"{section}.{item.name}" for section, of in classes.items() for one in of for item in fields(one)}
    said = {name for text in [*BRIDGE.values(), *(bridge for _, bridge in SET.values())] for name in text.split()}
    assert said - known == BRIDGES_OWN
