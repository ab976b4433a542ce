"""Fixtures that several rooms' tests share."""

import gc
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fuzzing import Effort, survives
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

ROOT = Path(__file__).resolve().parent.parent
PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // PROCESSES)))
"""Threads of one test process: more of them than cores wait for each other."""
gc.disable()  # until all is imported: see `imports_are_no_garbage`
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")  # a change is judged by the same examples as the one before it; see CONTRIBUTING.md


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a campaign kill more often than a test run does."""
    parser.addoption(
        "--kills", type=int, default=20, help="how often tests/data_prep/tokens/test_kills.py kills the stage"
    )
    parser.addoption(
        "--train-kills", type=int, default=5, help="how often tests/training/test_train_kills.py kills a run"
    )
    parser.addoption("--fuzz", type=int, default=200, help="how many damaged copies of a file each reader is given")
    parser.addoption("--fuzz-seed", type=int, default=0, help="of the damages")
    parser.addoption("--fuzz-minutes", type=float, default=0, help="how long each reader is given more of them")
    parser.addoption("--train-kills-seed", type=int, help="repeat the kills of an earlier run")


INPUTS = "fuzz inputs"
SLURM = ROOT / "tests/launch/slurm"
"""Tests that share one Slurm: two would have the same ports, and jobs of one number ranks that meet at one port."""
LONGEST = (
    *("test_pipeline.py", SLURM.name, "test_train.py", "test_training.py", "test_guards_train.py", "test_stops.py"),
    *("test_exports.py", "test_bench_train.py", "test_first_look.py", "test_first_cause.py", "test_train_kills.py"),
    *("test_bench_scaling.py", "test_layouts_train.py", "test_kills.py", "test_run_to_report.py", "test_tasks_run.py"),
)
"""Files or folders whose slow tests take minutes. They begin first, so that none ends beside an idle process."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, and give a reader hundreds of damaged files in the slow layer only."""
    for item in items:
        if "fuzz" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)

    def place(item: pytest.Item) -> int:
        name = SLURM.name if item.path.is_relative_to(SLURM) else item.path.name
        return LONGEST.index(name) if name in LONGEST else len(LONGEST)

    items.sort(key=place)


class OneSlurm(LoadFileScheduling):
    """Give the tests of a file to one process, and to one process all those that share a Slurm."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return str(SLURM) if (ROOT / file).is_relative_to(SLURM) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneSlurm | None:
    """Share the slow tests out among processes (`--dist loadfile`)."""
    return OneSlurm(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(autouse=True, scope="module")
def imports_are_no_garbage() -> None:
    """Spare every later collection the million objects of the libraries: statsmodels alone asks for one a call."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)  # a file's syntax tree alone is tens of thousands of objects
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def nothing_is_flushed() -> Iterator[None]:
    """Leave files to the page cache: an fsync takes milliseconds, and no test cuts the power.

    What is no open file is still refused.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: os.fstat(file if isinstance(file, int) else file.fileno()))
        yield


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Check a reader on damaged copies of a file: `fuzz(path, read)`; see `fuzzing.survives`.

    `share=4` takes a quarter of the copies, where one costs more than 5 ms.
    """
    count, seed, minutes = (
        float(str(request.config.getoption(name))) for name in ("--fuzz", "--fuzz-seed", "--fuzz-minutes")
    )

    def check(path: Path, read: Callable[[], Any], share: int = 1, **options: Any) -> None:
        inputs = survives(path, read, Effort(int(count) // share, int(seed), minutes), **options)
        request.node.user_properties.append((INPUTS, inputs))

    return check


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Count the inputs of a campaign."""
    if config.getoption("--fuzz-minutes"):
        reports = [report for report in terminalreporter.getreports("passed") if report.when == "call"]
        counts = {report.nodeid: n for report in reports for name, n in report.user_properties if name == INPUTS}
        for target, inputs in sorted(counts.items()):
            terminalreporter.write_line(f"{inputs:>9,} inputs  {target}")
        terminalreporter.write_line(f"{sum(counts.values()):>9,} inputs of {len(counts)} targets")


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """Path of a file of the shared evidence. Skips where there is no such folder; a file that it lacks is a failure."""
    named = os.environ.get("PDAPT_SHARED")
    folder = Path(named or ROOT.parent / "shared")
    assert folder.is_dir() or not named, f"PDAPT_SHARED names no folder: {named}"

    def find(relative: str) -> Path:
        if not folder.is_dir():
            pytest.skip(f"shared evidence is absent: {relative} (PDAPT_SHARED names its folder)")
        path = folder / relative
        assert path.exists(), f"the shared evidence holds no {relative}"
        return path

    return find


@pytest.fixture(scope="session")
def programs() -> Callable[..., list[str]]:
    """Paths of programs that `make system-packages` installs. Skips only where that cannot: without root, or apt."""
    may_install = os.geteuid() == 0 and shutil.which("apt-get") is not None

    def find(*names: str) -> list[str]:
        found = {name: shutil.which(name) for name in names}
        missing = [name for name, path in found.items() if path is None]
        if missing and not may_install:
            pytest.skip(f"{', '.join(missing)} not installed, and this user may not install it")
        assert not missing, f"{', '.join(missing)} not there: run `make system-packages`"
        return [str(path) for path in found.values()]

    return find


@pytest.fixture(scope="session")
def forked_ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., None]]:
    """Run a script as the ranks of a job, and wait for it: `forked_ranks(2, script, argument)`."""
    command = [sys.executable, str(ROOT / "tests/training/megatron/forked_ranks.py")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_DEVICE_MAX_CONNECTIONS": "1"}
    log = tmp_path_factory.mktemp("forked-ranks") / "log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        ) as server,
    ):
        assert server.stdin is not None
        assert server.stdout is not None
        jobs, answers = server.stdin, server.stdout

        def run(ranks: int, script: Path, *arguments: object) -> None:
            jobs.write(json.dumps({"ranks": ranks, "words": [str(script), *map(str, arguments)]}) + "\n")
            jobs.flush()
            answer = answers.readline()
            assert answer == '{"failed": null}\n', answer + log.read_text(errors="replace")[-3000:]

        yield run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount a file system of a given size, such as `4m`. Skips where mounting is forbidden; other failures fail."""
    folder = tmp_path / "small-disk"

    def mount(size: str, access: str = "rw") -> Path:
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size},{access}", "none", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"LC_ALL": "C"})
        forbidden = any(word in done.stderr for word in ("superuser", "permission denied", "not permitted"))
        if done.returncode and forbidden:
            pytest.skip(f"this user may not mount a file system: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE tokenizer of 1,000 ids with Qwen3's pre-tokenizer, as a Hugging Face folder."""
    from pdapt.data_prep.tokens.tokenizer import train_tokenizer

    folder = tmp_path_factory.mktemp("tokenizer") / "tokenizer"
    lines = [
        f"Le patient {n} reçoit {n * 5} mg de paracétamol ; température {36 + n % 4},{n % 10} °C." for n in range(300)
    ]
    lines += [
        f"La ville compte {n * 311} habitants, une gare et {n % 7} écoles près de la rivière." for n in range(300)
    ]
    train_tokenizer(iter(lines), 1000, folder)
    return folder


@pytest.fixture(scope="session")
def chat_tokenizer(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same tokenizer with a chat template that writes turns as Qwen3's does."""
    folder = Path(shutil.copytree(tokenizer_folder, tmp_path_factory.mktemp("chat") / "tokenizer"))
    turn = "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    (folder / "chat_template.jinja").write_text("{%- for message in messages %}" + turn + "{%- endfor %}")
    return folder


@pytest.fixture(scope="session")
def chat_tokens(tmp_path_factory: pytest.TempPathFactory, chat_tokenizer: Path) -> Path:
    """A small tokens folder of conversations; `chats.jsonl` beside it holds them."""
    from pdapt.data_prep.tokens.build import Options, build_tokens

    folder, draw = tmp_path_factory.mktemp("chats"), random.Random(0)
    words = ["le", "patient", "reçoit", "mg", "de", "paracétamol", "puis", "la", "ville", "compte", "des", "écoles"]

    def said(most: int) -> str:
        return " ".join(draw.choices(words, k=draw.randint(3, most)))

    rows = []
    for number in range(60):
        contents = [f"{said(30)} {number} ?", said(40), f"{said(8)} ?", said(90)][: draw.choice((2, 4))]
        turns = zip(("user", "assistant") * 2, contents, strict=False)
        rows.append({"messages": [{"role": role, "content": content} for role, content in turns]})
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (folder / "chats.jsonl").write_text("".join(lines), encoding="utf-8")
    options = Options(format="messages", valid_fraction=0.1)
    build_tokens([str(folder / "chats.jsonl")], chat_tokenizer, folder / "tokens", options)
    return folder / "tokens"


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    """A small tokens folder: two sources of French-looking lines of very different lengths."""
    from pdapt.data_prep.corpus import Source, build_corpus
    from pdapt.data_prep.tokens.build import Options, build_tokens

    folder = tmp_path_factory.mktemp("tokens")
    draw = random.Random(0)
    words = ["le", "patient", "reçoit", "mg", "de", "paracétamol", "puis", "la", "ville", "compte", "des", "écoles"]
    sources = []
    for name, documents in (("soins", 300), ("ville", 200)):
        lines = [" ".join(draw.choices(words, k=draw.randint(5, 90))) + f" {n}" for n in range(documents)]
        (folder / name).mkdir()
        for number, line in enumerate(lines):
            (folder / name / f"{number:04d}.txt").write_text(line, encoding="utf-8")
        sources.append(Source(name, folder / name))
    build_corpus(sources, folder / "corpus")
    build_tokens([str(folder / "corpus")], tokenizer_folder, folder / "tokens", Options(valid_fraction=0.1))
    return folder / "tokens"


@pytest.fixture(scope="session")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of ten steps for the tiny model of `tiny_qwen3`."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(
        "model:\n"
        "  shape: {layers: 2, hidden: 64, ffn: 160, heads: 4, kv_heads: 2, head_dim: 16, vocab: 1024, tied: true,"
        " max_positions: 512}\n"
        "data: {seq_length: 128}\n"
        "batch: {global_size: 8, micro_size: 2}\n"
        "optimizer: {lr: 1e-3}\n"
        "checkpoint: {every: 2, reshardable: true}\n"
        "validation: {every: 5, batches: 1}\n"
        "steps: 10\n"
    )
    return path


@pytest.fixture(scope="session")
def qwen3_at(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """As `tiny_qwen3`, in a folder that is given. Each model is made once; torch's draws go on as if it were again."""
    made: dict[str, tuple[Path, Any]] = {}

    def save(folder: Path, seed: int, tied: bool, dtype: str, **overrides: Any) -> None:
        import torch
        from transformers import Qwen3Config, Qwen3ForCausalLM

        shape: dict[str, Any] = {
            "vocab_size": 1024,
            "hidden_size": 64,
            "intermediate_size": 160,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": 512,
        }
        rope = {"rope_type": "default", "rope_theta": 1e6}
        values: Any = shape | overrides
        config = Qwen3Config(**values, rope_parameters=rope, tie_word_embeddings=tied)
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config)
        for name, parameter in model.named_parameters():
            # Norm weights of exactly 1 would hide a norm that is left out or swapped with another.
            if "norm" in name:
                torch.nn.init.uniform_(parameter, 0.5, 1.5)
        model.to(getattr(torch, dtype)).save_pretrained(folder)
        for file in tokenizer_folder.iterdir():
            shutil.copy(file, folder / file.name)

    def make(folder: Path, seed: int = 0, tied: bool = True, dtype: str = "float32", **overrides: Any) -> Path:
        import torch

        key = repr((seed, tied, dtype, sorted(overrides.items())))
        if key not in made:
            path = tmp_path_factory.mktemp("qwen3")
            save(path, seed, tied, dtype, **overrides)
            made[key] = path, torch.get_rng_state()
        path, state = made[key]
        torch.set_rng_state(state)
        return shutil.copytree(path, folder, copy_function=shutil.copyfile, dirs_exist_ok=True)

    return make


@pytest.fixture
def tiny_qwen3(tmp_path: Path, qwen3_at: Callable[..., Path]) -> Callable[..., Path]:
    """Make a tiny random Qwen3 as a Hugging Face folder: `tiny_qwen3(seed=0, tied=True, dtype="float32", **config)`."""

    def make(seed: int = 0, tied: bool = True, dtype: str = "float32", **overrides: Any) -> Path:
        folder = tmp_path / f"qwen3-{seed}-{'tied' if tied else 'untied'}-{dtype}-{len(list(tmp_path.iterdir()))}"
        return qwen3_at(folder, seed, tied, dtype, **overrides)

    return make
