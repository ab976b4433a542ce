"""The doctor's verdicts: each one on a machine, an environment or a cluster that deserves it."""

import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from commands import pdapt_json
from typer.testing import CliRunner

from pdapt.cli.main import app
from pdapt.launch.doctor import gpu_checks, machine_checks, network_checks, site_checks
from pdapt.launch.doctor.check import Check, Verdict
from pdapt.launch.doctor.package_checks import check_packages, check_python

OK, SLOW, UNTESTED, WRONG = Verdict
SINFO = "gpu|1-00:00:00|h100,ib|gpu:h100:4(S:0-1)|8\ncpu|infinite|(null)|(null)|2"
ASSOC = "abc@h100|fast,long\nabc@v100|fast"


def verdicts(checks: Iterator[Check]) -> dict[str, Verdict]:
    return {check.name: check.verdict for check in checks}


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a program on PATH that prints a text and ends with a code."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def write(name: str, text: str = "", code: int = 0) -> None:
        (folder / name).write_text(f"#!/bin/sh\ncat <<'TEXT'\n{text}\nTEXT\nexit {code}\n")
        (folder / name).chmod(0o755)

    return write


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install the metadata of packages: `packages("name", "1.0", *requirements)`."""
    monkeypatch.syspath_prepend(str(tmp_path / "site"))

    def install(name: str, version: str, *requirements: str) -> None:
        folder = tmp_path / "site" / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir(parents=True)
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", "Requires-Python: >=3.12"]
        lines += [f"Requires-Dist: {text}" for text in requirements]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")

    return install


@pytest.mark.slow
def test_this_environment_fits_itself() -> None:
    assert verdicts(check_python()) == {"Python": OK}
    (check,) = check_packages()
    assert check.verdict == OK
    assert int(check.value.split()[0]) > 100, "the requirements were not followed"


def test_another_python_is_wrong(packages: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    packages("pdapt", "0.1")
    monkeypatch.setattr("platform.python_version", lambda: "3.11.9")
    (check,) = check_python()
    assert (check.verdict, check.meaning) == (WRONG, "pdapt requires Python >=3.12")


def test_packages_that_are_missing_or_do_not_fit_are_named_with_who_requires_them(
    packages: Callable[..., None],
) -> None:
    packages("pdapt", "0.1", "fit-a>=2", "fit-b", "fit-extra; extra == 'gpu'", "fit-c[more]==1.*")
    packages("fit-a", "1.5")
    packages("fit-c", "1.2", "fit-d<3; extra == 'more'", "fit-e; python_version < '3'")
    packages("fit-d", "3.1")
    (check,) = check_packages()
    assert check.verdict == WRONG
    assert sorted(check.value.split("; ")) == [
        "fit-a 1.5 is installed, pdapt requires fit-a>=2",
        "fit-d 3.1 is installed, fit-c requires fit-d<3",
        "no fit-b is installed, pdapt requires fit-b",
    ]


def test_a_torch_of_nvidias_image_is_untested_and_not_wrong(
    packages: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    packages("pdapt", "0.1", "torch==2.14.1")
    packages("torch", "2.14.0a0+abc")
    assert verdicts(check_packages()) == {"packages": WRONG}
    monkeypatch.setenv("NVIDIA_PYTORCH_VERSION", "26.10")
    (check,) = check_packages()
    assert check.verdict == UNTESTED
    assert "2.14.0a0+abc" in check.value


def test_more_threads_than_cores_and_a_single_core_are_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert verdicts(machine_checks.check_cores()) == {"cores": OK}
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    (check,) = machine_checks.check_cores()
    assert (check.verdict, check.meaning) == (SLOW, "64 threads wait for each other on 2 cores")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert verdicts(machine_checks.check_cores()) == {"cores": SLOW}


def test_docker_s_64_mb_of_shared_memory_stop_a_run_on_gpus(
    small_disk: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_disk("64m")
    assert verdicts(machine_checks.check_shared_memory(folder)) == {"shared memory": SLOW}
    monkeypatch.setattr(machine_checks, "has_gpu", lambda: True)
    (check,) = machine_checks.check_shared_memory(folder)
    assert (check.verdict, "--shm-size" in check.fix) == (WRONG, True)
    assert verdicts(machine_checks.check_disk(folder)) == {"disk": WRONG}


@pytest.mark.parametrize(("limit", "verdict"), [(256, WRONG), (1024, OK), (resource.RLIM_INFINITY, OK)])
def test_open_files(monkeypatch: pytest.MonkeyPatch, limit: int, verdict: Verdict) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, 4096))
    assert verdicts(machine_checks.check_open_files()) == {"open files": verdict}


def test_a_disk_is_measured_and_nothing_is_left_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "PROBE", 2**20)
    monkeypatch.setattr(machine_checks, "CHUNK", 2**18)
    (check,) = machine_checks.check_disk(tmp_path)
    assert check.verdict in (OK, SLOW)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(machine_checks, "_speeds", lambda _: (1e9, 100e6))
    (check,) = machine_checks.check_disk(tmp_path)
    assert (check.verdict, "(115 GB) takes 19 minutes" in check.meaning) == (SLOW, True)
    assert verdicts(machine_checks.check_disk(tmp_path / "gone")) == {"disk": WRONG}


def test_a_folder_that_may_not_be_written_is_wrong(small_disk: Callable[..., Path]) -> None:
    (check,) = machine_checks.check_disk(small_disk("2g", "ro"))
    assert (check.verdict, "Read-only" in check.value) == (WRONG, True)


class _Answer(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(403)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_hub_that_answers_does_not_answer_or_is_not_to_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with HTTPServer(("127.0.0.1", 0), _Answer) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        Thread(target=server.handle_request, daemon=True).start()
        assert verdicts(network_checks.check_network()) == {"network": OK}
    (check,) = network_checks.check_network()
    assert (check.verdict, "refused" in check.value) == (SLOW, True)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(network_checks, "PATIENCE", 0.2)
        assert verdicts(network_checks.check_network()) == {"network": SLOW}
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert verdicts(network_checks.check_network()) == {"network": OK}


def test_a_driver_whose_gpus_torch_cannot_use_is_wrong(
    program: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_checks, "has_gpu", lambda: True)
    program("nvidia-smi", "0, NVIDIA H100, 550.54, 81559 MiB")
    assert verdicts(gpu_checks.check_driver()) == {"driver": OK}
    program("nvidia-smi", "0, NVIDIA H100, 550.54, 81559 MiB\n1, NVIDIA A100, 550.54, 40960 MiB")
    assert verdicts(gpu_checks.check_driver()) == {"driver": SLOW}
    program("nvidia-smi", "NVIDIA-SMI 550.54   CUDA Version: 12.4")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (check,) = gpu_checks.check_torch()
    assert (check.verdict, check.meaning) == (WRONG, "torch finds no GPU; the driver supports CUDA up to 12.4")
    program("nvidia-smi", code=9)
    assert verdicts(gpu_checks.check_driver()) == {"driver": WRONG}


def test_torch_is_compared_with_nvidia_smi_in_the_number_of_gpus(
    program: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_checks, "has_gpu", lambda: True)
    program("nvidia-smi", "0\n1\n2\n3")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert verdicts(gpu_checks.check_torch()) == {"torch": OK, "GPUs": SLOW, "NCCL": OK}
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    assert verdicts(gpu_checks.check_torch())["GPUs"] == OK


def test_missing_fast_paths_of_a_gpu_are_slow(monkeypatch: pytest.MonkeyPatch, packages: Callable[..., None]) -> None:
    monkeypatch.setattr(gpu_checks, "has_gpu", lambda: True)
    monkeypatch.setattr(gpu_checks, "can_compile", lambda: False)
    monkeypatch.setattr(gpu_checks, "has_transformer_engine", lambda: False)
    assert verdicts(gpu_checks.check_transformer_engine()) == {"Transformer Engine": SLOW, "compiler": SLOW}
    monkeypatch.setattr(gpu_checks, "can_compile", lambda: True)
    monkeypatch.setattr(gpu_checks, "has_transformer_engine", lambda: True)
    packages("transformer-engine", "2.13.0+abc")
    assert verdicts(gpu_checks.check_transformer_engine()) == {"Transformer Engine": UNTESTED, "compiler": OK}


def test_a_cpu_without_kernels_for_bf16_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_checks, "has_gpu", lambda: False)
    for kernels, verdict in ((True, OK), (False, SLOW)):
        monkeypatch.setattr("pdapt.core.system.bf16_products.multiplies_bf16", lambda kernels=kernels: kernels)
        assert verdicts(gpu_checks.check_cpu_kernels()) == {"BF16": verdict}


def test_a_driver_that_does_not_answer_and_a_torch_that_does_not_load_end_no_check(
    program: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_checks, "has_gpu", lambda: True)
    program("nvidia-smi", code=9)
    for usable, verdict in ((0, WRONG), (2, UNTESTED)):
        monkeypatch.setattr("torch.cuda.is_available", lambda usable=usable: bool(usable))
        monkeypatch.setattr("torch.cuda.device_count", lambda usable=usable: usable)
        assert verdicts(gpu_checks.check_torch()) == {"torch": verdict}
    monkeypatch.setattr(gpu_checks, "has_gpu", lambda: False)
    for name in ("torch", "pdapt.core.system.bf16_products"):
        monkeypatch.setitem(sys.modules, name, None)
    assert verdicts(gpu_checks.check_torch()) == {"torch": WRONG}
    assert verdicts(gpu_checks.check_cpu_kernels()) == {}


@pytest.fixture
def cluster(program: Callable[..., None], tmp_path: Path) -> Callable[[str], dict[str, Verdict]]:
    """A Slurm of two partitions; checks a site of these lines on it."""
    for name in site_checks.NEEDED:
        program(name)
    program("sinfo", SINFO)
    program("sacctmgr", ASSOC)

    def check(lines: str) -> dict[str, Verdict]:
        path = tmp_path / "mine.yaml"
        longest = "" if "longest: '48" in lines else "longest: '20:00:00'\n"
        path.write_text(f"title: mine\n{longest}{lines}")
        return verdicts(site_checks.check_site(str(path)))

    return check


def test_a_site_that_fits_its_cluster(cluster: Callable[[str], dict[str, Verdict]]) -> None:
    lines = "partition: gpu\nconstraint: h100&ib\ngpus_per_node: 4\naccount_ends: '@h100'\nqos: fast\n"
    lines += "cpu: {partition: cpu}\n"
    names = {"site", "Slurm", "partition", "cpu.partition", "constraint", "GPUs of a node", "time", "account", "qos"}
    assert cluster(lines) == dict.fromkeys(names, OK)


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ("partition: gpux", "partition"),
        ("cpu: {partition: prepost}", "cpu.partition"),
        ("constraint: a100", "constraint"),
        ("gpus_per_node: 8", "GPUs of a node"),
        ("partition: gpu\nlongest: '48:00:00'", "time"),
        ("account: other", "account"),
        ("account_ends: '@a100'", "account"),
        ("qos: slow", "qos"),
        ("qos_limits: {slow: {longest: '1:00:00'}}", "qos"),
        ("partitoin: gpu", "site"),
    ],
)
def test_what_a_site_names_and_the_cluster_lacks_is_wrong(
    cluster: Callable[[str], dict[str, Verdict]], lines: str, name: str
) -> None:
    wrong = {which for which, verdict in cluster(f"{lines}\n").items() if verdict == WRONG}
    assert wrong == {name}


def test_where_slurm_is_not_or_does_not_answer_only_the_file_is_checked(
    cluster: Callable[[str], dict[str, Verdict]], program: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    program("sacctmgr", code=1)
    assert cluster("qos: fast")["sacctmgr"] == UNTESTED
    program("sinfo", code=1)
    assert cluster("partition: gpu") == {"site": OK, "sinfo": UNTESTED}
    monkeypatch.setenv("PATH", "")
    assert cluster("partition: gpu") == {"site": OK, "Slurm": UNTESTED}


def test_the_first_line_comes_before_torch_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from pdapt.launch.doctor.diagnose import diagnose; "
        "print(next(diagnose(pathlib.Path())).name, 'torch' in sys.modules, 'httpx' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Python", "False", "False"]


@pytest.mark.slow
def test_the_command_prints_each_check_and_ends_with_2_where_one_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PATH", "")  # no Slurm
    monkeypatch.setattr(machine_checks, "PROBE", 2**20)
    report = pdapt_json("doctor", "--folder", tmp_path, "--site", "local_cpu")
    assert report["usable"]
    names = [check["name"] for check in report["checks"]]
    assert names[:3] == ["Python", "packages", "site"]
    assert {"cores", "shared memory", "open files", "disk", "network", "driver", "torch"} <= set(names)
    done = CliRunner().invoke(app, ["doctor", "--folder", str(tmp_path / "gone")])
    assert done.exit_code == 2
    lines = done.stdout.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith("wrong")]
    assert "disk" in lines[at]
    assert lines[at + 1].strip().startswith("meaning: ")
    assert lines[at + 2].strip().startswith("fix: ")
    assert lines[-1].startswith("a run cannot start here")
