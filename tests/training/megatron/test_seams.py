"""The parts of Megatron that we replace are still what they were when the replacement was written."""

import hashlib
import inspect
import subprocess
import sys
from contextlib import suppress
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest

from pdapt.training.megatron import seams
from pdapt.training.megatron.hooks import HOOKED, hooked
from pdapt.training.megatron.seams import SEAMS

OPTIMIZER = "megatron.core.optimizer.distrib_optimizer.DistributedOptimizer"
# The functions and names that `seams` and `cpu_backend` replace or rest on -> SHA-256 of their source, first 16 digits.
SOURCES = {
    "megatron.core.datasets.utils.compile_helpers": "84029a50ae8cfac1",
    "megatron.training.initialize.initialize_megatron": "d9b467adcaed1325",
    "megatron.core.dist_checkpointing.strategies.filesystem_async.get_write_results_queue": "e395fb0e86a062e2",
    "megatron.training.models.gpt.default_layer_spec": "5d3ef624992d436a",
    "megatron.core.utils.flatten_batch_for_packed_sequences": "48e60b28b9cafd55",
    "megatron.core.datasets.gpt_dataset.GPTDataset.__getitem__": "fc9cde713ea87aed",
    "megatron.core.models.common.embeddings.rope_utils.apply_rotary_pos_emb": "6ebc796813c1ef91",
    f"{OPTIMIZER}._set_main_param_and_optimizer_states": "40cab784659711a8",
    "megatron.core.dist_checkpointing.strategies.async_utils.PersistentAsyncCaller.async_loop": "8511da332fcc8172",
    "megatron.core.optimizer.optimizer.ChainedOptimizer.step": "c2b301e02ec29f4e",
    "megatron.training.training.train": "3c2299658ae7928b",
    "megatron.training.training.train_step": "68989d425b2300aa",
    "megatron.training.training.training_log": "5e34a182d566e325",
    "megatron.training.training.evaluate_and_print_results": "699dfbe69cf22ec4",
    "megatron.training.training.save_checkpoint_and_time": "f72b7873e1709b5e",
    "megatron.training.training.checkpoint_and_decide_exit": "a581d0350f89e3d5",
    "megatron.training.async_utils.maybe_finalize_async_save": "403a01e56d5a3462",
}


def has_file(module: str) -> bool:
    """Whether a name is a module's, and not a class's in one."""
    with suppress(ModuleNotFoundError):
        return find_spec(module) is not None
    return False


def source_of(path: str) -> str:
    """The text of a function in its module's file: another test of this process may have replaced the function."""
    module, _, name = path.rpartition(".")
    while not has_file(module):
        module, _, parent = module.rpartition(".")
        name = f"{parent}.{name}"
    file = inspect.getsourcefile(import_module(module))
    assert file is not None
    todo = [compile(Path(file).read_text(), file, "exec")]
    for code in todo:
        if code.co_qualname == name:
            return inspect.getsource(code)
        todo += [value for value in code.co_consts if isinstance(value, CodeType)]
    raise AssertionError(path)


def test_the_version_is_the_one_that_was_read() -> None:
    assert metadata.version("megatron-core") == "0.19.2"


def test_every_seam_is_watched() -> None:
    assert set(SEAMS) <= set(SOURCES)


def test_every_function_that_is_hooked_is_watched_and_has_the_parameters_that_are_read() -> None:
    from megatron.training import training

    watched = {path.rsplit(".", 1)[1] for path in SOURCES if path.startswith("megatron.training.")}
    assert set(HOOKED) <= watched
    for name, parameters in HOOKED.items():
        assert hooked(training, name, parameters, lambda call: call.proceed())


def test_the_trainer_calls_what_is_hooked_by_the_names_in_its_module() -> None:
    """A function that it imported into another one's closure would not be seen there."""
    from megatron.training import training

    for caller, names in (("pretrain", {"train"}), ("train", set(HOOKED) - {"train"})):
        assert names <= set(getattr(training, caller).__code__.co_names), caller


@pytest.mark.parametrize("path", SOURCES)
def test_megatron_has_not_changed_what_is_replaced(path: str) -> None:
    source = source_of(path)
    assert hashlib.sha256(source.encode()).hexdigest()[:16] == SOURCES[path]


def test_the_trainer_takes_the_names_that_the_cpu_backend_sets() -> None:
    from megatron.core import optimizer
    from megatron.core.optimizer import distrib_optimizer
    from megatron.training import training

    assert "allow_no_cuda" in inspect.signature(training.initialize_megatron).parameters
    assert optimizer.USING_PYTORCH_OPTIMIZER is True
    assert distrib_optimizer.HAVE_APEX_OR_TE is False
    assert distrib_optimizer.USING_APEX_OPTIMIZER is False
    assert hasattr(optimizer, "Adam")
    assert hasattr(distrib_optimizer, "Adam")


@pytest.mark.slow
def test_the_cpu_backend_is_imported_only_without_a_gpu() -> None:
    """In processes of their own: the backend changes torch for good."""
    script = """
import sys, torch
torch.cuda.is_available = lambda: {gpu}
from pdapt.training.megatron.engine import prepare
assert prepare() is {gpu}
assert "wandb" not in sys.modules, "takes a second, and is of use to Megatron's own writer alone"
print("pdapt.training.megatron.cpu_backend" in sys.modules)
"""
    for gpu, expected in ((False, "True"), (True, "False")):
        code = script.format(gpu=gpu)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.stdout.strip().splitlines()[-1:] == [expected], done.stderr


def test_the_trainers_tokenizers_are_imported_without_transformers_unless_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That Megatron does without it, every training shows."""
    imported: list[tuple[str, Any]] = []
    monkeypatch.setattr(seams, "import_module", lambda name: imported.append((name, sys.modules["transformers"])))
    monkeypatch.delitem(sys.modules, "transformers", raising=False)
    seams.import_tokenizers()
    assert "transformers" not in sys.modules
    library = ModuleType("transformers")
    monkeypatch.setitem(sys.modules, "transformers", library)
    seams.import_tokenizers()
    assert sys.modules["transformers"] is library
    assert imported == [("megatron.core.tokenizers.text", absent) for absent in (None, library)]
