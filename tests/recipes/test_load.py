"""Recipes: precedence, and the messages a mistake gets."""

from dataclasses import replace
from pathlib import Path

import pytest

from pdapt.core.errors import UserError
from pdapt.core.qwen3 import SIZES
from pdapt.data_prep.tokens.layouts import Layout
from pdapt.recipes import schema, validate
from pdapt.recipes.load import from_dict, load, names, to_dict, to_yaml
from pdapt.recipes.schema import data_parallel, shape_of, world_size
from pdapt.recipes.validate import check_device

BIG = "qwen3_8b_cpt_48xh100_packed"


def test_every_recipe_builds_and_reads_back(tmp_path: Path, subtests: pytest.Subtests) -> None:
    for name in names():
        with subtests.test(recipe=name):
            recipe = load(name)
            copy = tmp_path / "copy.yaml"
            copy.write_text(to_yaml(recipe))
            assert load(str(copy)) == recipe
            assert from_dict(to_dict(recipe)) == recipe


def test_the_command_line_wins_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("model: {size: 0p6b}\nbatch: {global_size: 8}\nsteps: 3\noptimizer: {lr: 1e-4}\n")
    recipe = load(str(path), ["steps=4"])
    assert (recipe.steps, recipe.optimizer.lr, recipe.optimizer.beta2) == (4, 1e-4, 0.999)


def test_the_paper_run_is_spread_over_48_gpus() -> None:
    recipe = load(BIG)
    assert (world_size(recipe), data_parallel(recipe)) == (48, 48)
    assert shape_of(recipe) == SIZES["8b"]
    # 2.53 epochs of PARCOMED: 576 x 2,048 packed tokens a step over 1,955,165,272 tokens.
    assert recipe.steps * 576 * 2048 / 1_955_165_272 == pytest.approx(2.53, abs=0.005)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimiser.lr=1e-5", "unknown key 'optimiser'.*\n.*\n.*\n.*did you mean 'optimizer'"),
        ("optimizer.learning=1e-5", "unknown key 'optimizer.learning'"),
        ("batch.global_sise=4", "did you mean 'global_size'"),
        ("steps=many", "steps"),
        ("steps", "not key=value"),
        ("steps=0", "steps is 0"),
        ("optimizer.lr=2", "optimizer.lr is 2"),
        ("model.size=9b", "model.size is '9b'"),
        ("model.precision=fp8", "allowed: bf16 or fp32"),
        ("parallel.tp=5", "TP 5 x PP 1 x CP 1 = 5 does not divide the world of 48"),
        ("parallel.cp=7", "TP 1 x PP 1 x CP 7 = 7 does not divide the world of 48"),
        ("parallel.sp=true", "parallel.sp is true with TP 1.*parallel.tp=2"),
        ("parallel.cp=2", "parallel.cp is 2 with the layout packed and masks.*parallel.tp=2"),
        ("optimizer.grads=fp16", "optimizer.grads is 'fp16'.*fp32 or bf16"),
        ("batch.micro_size=4", "a GPU would need .* GiB .*predicted.*batch.micro_size=2 fits"),
        ("checkpoint.keep_every=1000", "saved every 720 steps.*checkpoint.keep_every=720"),
        ("checkpoint.keep_last=0", "checkpoint.keep_last is 0"),
        ("guard.nonfinite=ignore", "guard.nonfinite is 'ignore'.*stop, skip, rewind"),
        ("guard.spike=rewin", "did you mean 'rewind'"),
        ("guard.window=3", "guard.window is 3"),
        ("guard.straggler=0.5", "guard.straggler is 0.5"),
        ("megatron={lr: 0.5}", r"megatron\.lr sets an argument"),
        ("megatron={--log-params-norm: true}", "is not an argument's name"),
        ("megatron={log-params-norm: false}", "megatron.log-params-norm is False"),
        ("optimizer.warmup_steps=4194", "optimizer.warmup_steps is 4,194 of 4,194 steps"),
        ("optimizer.clip=0", "optimizer.clip is 0.*1e9"),
        ("log.profile_ranks=[]", "0 to 47"),
        ("log.profile=[5]", r"log.profile is \[5\]"),
        ("log.profile_ranks=[48]", "0 to 47"),
        ("parallel.tp=16", "parallel.tp = 16 does not divide the model's 8 key/value heads"),
        ("parallel.pp=8", "parallel.pp = 8 does not divide the model's 36 layers"),
        ("batch.micro_size=5", "DP 48 x micro-batch 5 = 240 does not divide the global batch of 576"),
        ("data.seq_length=40000", "but the model has only 32768 positions"),
        ("batch.global_size=500", "fix: batch.global_size=480"),
        ("data.blend=[]", "data.blend is empty"),
        ("data.blend=[{weight: 1}, {}]", "1 of 2 parts have a weight"),
        ("data.blend=[{weight: 0}]", r"data\.blend\[0\]\.weight is 0"),
        ("data.blend=[{max_epochs: -1}]", r"data\.blend\[0\]\.max_epochs is -1"),
        ("data.blend=[{edition: comercial}]", "did you mean 'commercial'"),
        ("data.blend=[{source: [a]}]", "unknown key .*\n.*\n.*\n.*did you mean 'sources'"),
        ("data.layout=pack", "no layout is called 'pack'.*did you mean 'packed'"),
        ("data.document_masks=false", "masks separate packed documents"),
        ("data.seq_length=0", "data.seq_length"),
    ],
)
def test_a_mistake_gets_a_message_that_says_what_is_allowed(override: str, message: str) -> None:
    with pytest.raises(UserError, match=f"(?s){message}"):
        load(BIG, [override])


def test_what_needs_bf16_is_refused_in_fp32(recipe_file: Path) -> None:
    for override in ("model.fp8=true", "optimizer.grads=bf16"):
        with pytest.raises(UserError, match=override):
            load(str(recipe_file), ["model.precision=fp32", override])


def test_context_parallelism_is_not_for_the_papers_rows() -> None:
    with pytest.raises(UserError, match=r"parallel\.cp is 2 with the layout paper"):
        load("qwen3_8b_cpt_48xh100_paper", ["parallel.cp=2"])
    concat = ["parallel.cp=2", "data.layout=concat", "data.document_masks=false", "batch.micro_size=1"]
    assert data_parallel(load(BIG, concat)) == 24
    with pytest.raises(UserError, match=r"data\.seq_length=2048"):
        load(BIG, [*concat, "data.seq_length=2049"])


def test_a_save_that_a_node_has_no_memory_for_is_refused() -> None:
    """8B at TP 1: 98 GB a rank are gathered, 393 GB a node of four."""
    load(BIG, ["checkpoint.reshardable=true"])
    with pytest.raises(UserError, match=r"need 375 GiB of a node's memory \(91\.5 gathered"):
        load(BIG, ["checkpoint.reshardable=true", "machine.host_gib=360"])
    load(BIG, ["machine.host_gib=20"])


def test_megatron_fsdp_has_no_reshardable_format_of_its_own() -> None:
    with pytest.raises(UserError, match="format of its own"):
        load(BIG, ["parallel.fsdp=true", "checkpoint.reshardable=true", "machine.host_gib=5000"])


@pytest.mark.parametrize(
    "overrides",
    [["model.fp8=true", "optimizer.grads=bf16"], ["parallel.fsdp=true"], ["parallel.tp=2", "parallel.sp=true"]],
)
def test_what_needs_a_gpu_is_refused_without_one(overrides: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load(BIG, overrides)
    monkeypatch.setattr(validate, "has_transformer_engine", lambda: True)
    check_device(recipe, gpu=True)
    with pytest.raises(UserError, match="needs Transformer Engine, and so a GPU"):
        check_device(recipe, gpu=False)
    monkeypatch.setattr(validate, "has_transformer_engine", lambda: False)
    with pytest.raises(UserError, match="needs Transformer Engine, which is not installed here"):
        check_device(recipe, gpu=True)
    with pytest.raises(UserError, match=r"needs Transformer Engine, and model\.transformer_impl is local"):
        load(BIG, [*overrides, "model.transformer_impl=local"])


def test_layers_are_chosen_by_name_or_by_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a GPU plans for others, which are taken to have Transformer Engine."""
    for gpu, installed, expected in (
        (False, False, "transformer_engine"),
        (True, True, "transformer_engine"),
        (True, False, "local"),
    ):
        monkeypatch.setattr(schema, "has_gpu", lambda gpu=gpu: gpu)
        monkeypatch.setattr(schema, "has_transformer_engine", lambda installed=installed: installed)
        wide = load(BIG, ["parallel.tp=2"])
        assert schema.transformer_impl(wide, gpu=True) == expected
        assert schema.sequence_parallel(wide, gpu=True) is (expected == "transformer_engine")
        assert schema.transformer_impl(wide, gpu=False) == "local"
    local = load(BIG, ["parallel.tp=2", "model.transformer_impl=local"])
    assert schema.transformer_impl(local, gpu=True) == "local"
    assert not schema.sequence_parallel(local, gpu=True)
    with pytest.raises(UserError, match="did you mean 'local'"):
        load(BIG, ["model.transformer_impl=locl"])
    check_device(local, gpu=True)
    check_device(local, gpu=False)
    with pytest.raises(UserError, match=r"model\.transformer_impl needs Transformer Engine"):
        check_device(load(BIG, ["model.transformer_impl=transformer_engine"]), gpu=False)


def test_packed_pipelines_take_one_sequence_at_once() -> None:
    with pytest.raises(UserError, match="pipeline stages exchange unflattened"):
        load(BIG, ["parallel.pp=2", "batch.micro_size=2"])


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(UserError, match=f"did you mean '{BIG}'"):
        load("qwen3_8b_cpt_48xh100_pakced")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: 1\na: [", r"not valid YAML: line \d: "),
        ("steps: 1\nsteps: 2\n", "line 2: found duplicate key steps"),
        ("- 1\n", "not a mapping"),
        ("steps: 1\n", "batch.global_size"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        load(str(path))
    assert "broken.yaml" in str(error.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("job.time=banana", "job.time is 'banana'"),
        ("job.time=1:99", "job.time is '1:99'"),
        ("job.time=2-24:00:00", "job.time is '2-24:00:00'"),
        ("job.time=0:00:00", "takes for no limit"),
        ("job.time=-1", "job.time is '-1'"),
        ("job.cpus_per_rank=0", "job.cpus_per_rank is 0"),
        ("job.partition='gpu; rm'", "job.partition is 'gpu; rm'"),
        ("job.account=''", "job.account is ''"),
    ],
)
def test_what_slurm_would_not_take_is_refused_with_the_recipe(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(BIG, [override])


def test_limits_of_the_guard_are_taken_up_to_their_bounds(subtests: pytest.Subtests) -> None:
    """A whole number is allowed from 16 steps and 0 updates on, a fraction as long as it is more than its bound."""
    for name, bound, least in (
        ("deviations", 0, 0.01),
        ("window", 15, 16),
        ("limit", -1, 0),
        ("hang", 0, 0.01),
        ("straggler", 1, 1.01),
    ):
        with subtests.test(name=name):
            assert getattr(load(BIG, [f"guard.{name}={least}"]).guard, name) == least
            with pytest.raises(UserError, match=rf"guard\.{name} is {bound}(.|\n)*more than {bound}"):
                load(BIG, [f"guard.{name}={bound}"])


@pytest.mark.parametrize("time", ["30", "90:00", "10:00:00", "20:00:00", "2-12", "1-00:30", "7-23:59:59"])
def test_a_time_stays_as_it_was_written(time: str, tmp_path: Path) -> None:
    """YAML reads 10:00:00 as 36,000, which Slurm takes for minutes: 25 days."""
    assert load(BIG, [f"job.time={time}"]).job.time == time
    for spelled in (f"job: {{time: {time}, qos: a}}", f"job:\n  qos: a\n  time: {time}  # as long as allowed"):
        path = tmp_path / "mine.yaml"
        path.write_text(f"model: {{size: 0p6b}}\nbatch: {{global_size: 8}}\nsteps: 3\n{spelled}\n")
        assert load(str(path)).job.time == time


def test_names_of_enums_are_written_as_they_are_read(tmp_path: Path) -> None:
    """A recipe that is made in code holds an enum's members, where one that is read holds strings."""
    recipe = load("qwen3_tiny_cpt_2xcpu")
    made = replace(
        recipe,
        model=replace(recipe.model, transformer_impl=schema.Layers.LOCAL),
        data=replace(recipe.data, layout=Layout.CONCAT, blend=[schema.Part(edition=schema.BlendEdition.COMMERCIAL)]),
        optimizer=replace(recipe.optimizer, schedule=schema.Schedule.COSINE),
        guard=replace(recipe.guard, nonfinite=schema.GuardAction.SKIP, spike=schema.GuardAction.REWIND),
    )
    (tmp_path / "made.yaml").write_text(to_yaml(made))
    read = load(str(tmp_path / "made.yaml"))
    assert read == made
    assert to_dict(read) == to_dict(made)
    values = to_dict(made)
    named = [values["model"]["transformer_impl"], values["data"]["layout"], values["data"]["blend"][0]["edition"]]
    named += [values["optimizer"]["schedule"], values["guard"]["nonfinite"], values["guard"]["spike"]]
    assert named == ["local", "concat", "commercial", "cosine", "skip", "rewind"]
    assert {type(name) for name in named} == {str}
