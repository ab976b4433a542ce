"""The container files, as far as they can be checked without building them."""

import os
import re
import shlex
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from pdapt.training.preflight.kept_code import BUILT_FROM

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "containers"
SOURCE, VENV = "/opt/pdapt/source", "/opt/pdapt/venv"
INSTALLS = [f"{SOURCE}/containers/install {what} {SOURCE} {VENV}" for what in ("requirements", "code")]
PLATFORM = {"platform_machine": "x86_64", "extra": ""}


def docker() -> list[tuple[str, list[str]]]:
    """The Dockerfile's instructions, each with its words."""
    lines = (FOLDER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    rows = [line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("#")]
    return [(name, shlex.split(rest)) for name, rest in rows]


def apptainer() -> dict[str, list[str]]:
    """The definition's sections, each with its lines; the head's is called head."""
    sections: dict[str, list[str]] = {"head": []}
    name = "head"
    for line in (FOLDER / "pdapt.def").read_text(encoding="utf-8").splitlines():
        if line.startswith("%"):
            name = line[1:]
            sections[name] = []
        elif line.strip() and not line.startswith("#"):
            sections[name].append(line.strip())
    return sections


def image() -> dict[str, str]:
    """Package of the image -> its version there; `of CUDA` for what lies outside of pip."""
    lines = (FOLDER / "image.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split(maxsplit=1) for line in lines if not line.startswith("#"))


def locked(text: str) -> dict[str, str]:
    """Package -> version of a file of requirements."""
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[^\]]*\])?==([^ ;]+)", text, re.MULTILINE))


def needed() -> str:
    done = subprocess.run([FOLDER / "needed", ROOT], capture_output=True, text=True, check=True)
    return done.stdout


def test_both_files_are_of_one_image_and_their_heads_say_that_nobody_has_built_them() -> None:
    base = image()["IMAGE"]
    assert [words for name, words in docker() if name == "FROM"] == [[base]]
    assert apptainer()["head"] == ["Bootstrap: docker", f"From: {base}"]
    for name in ("Dockerfile", "pdapt.def"):
        text = (FOLDER / name).read_text(encoding="utf-8")
        assert "NOT BUILT BY US" in text.partition("FROM" if name == "Dockerfile" else "Bootstrap")[0]


def test_the_dockerfile_holds_only_known_instructions_and_the_definition_only_known_sections() -> None:
    assert [name for name, _ in docker() if name not in {"FROM", "COPY", "RUN", "ENV"}] == []
    assert list(apptainer()) == ["head", "files", "post", "environment"]


def test_what_is_copied_is_there_and_is_all_that_an_installation_is_made_of() -> None:
    rooms = {folder.name for folder in ROOT.iterdir() if (folder / "__init__.py").is_file()}
    copies = [words for name, words in docker() if name == "COPY"]
    by_docker = {source for *sources, _ in copies for source in sources}
    by_apptainer = dict(line.split() for line in apptainer()["files"])
    for sources in (by_docker, set(by_apptainer)):
        assert {source for source in sources if not (ROOT / source).exists()} == set()
        assert rooms | set(BUILT_FROM) | {"containers"} <= sources
    # Docker copies a folder's content: each goes into one of its name.
    assert all(words[-1] == f"{SOURCE}/{words[0]}" for words in copies if (ROOT / words[0]).is_dir())
    assert all(target == f"{SOURCE}/{source}" for source, target in by_apptainer.items())


def test_both_run_the_same_two_steps_and_what_these_read_is_copied_before() -> None:
    steps = [" ".join(words) for name, words in docker() if name == "RUN"]
    assert steps == apptainer()["post"] == INSTALLS
    order = [name for name, _ in docker() if name in ("COPY", "RUN")]
    before = [words for name, words in docker()][: order.index("RUN") + 1]
    assert {"requirements/build.txt", "requirements/base.txt", "containers"} <= {
        word for words in before for word in words
    }


def test_what_pip_is_given_is_the_lock_without_the_packages_of_the_image() -> None:
    lock = (ROOT / "requirements/base.txt").read_text(encoding="utf-8")
    whole, rest = locked(lock), locked(needed())
    assert rest == {name: version for name, version in whole.items() if name not in image()}
    assert len(rest) > 100
    assert needed().count("--hash") > len(rest)
    assert [name for name in rest if name.startswith(("nvidia-cu", "nvidia-nccl", "torch", "triton"))] == []


def test_the_locked_packages_fit_each_other_and_those_of_the_image() -> None:
    """By the metadata of the packages that are installed here, which have the locked versions."""
    rest, there = locked(needed()), image()
    assert {name: metadata.version(name) for name in rest} == rest, "make setup again"
    unmet = {
        f"{name} requires {text}"
        for name in (*rest, "pdapt")
        for text in metadata.requires(name) or []
        if not _met(Requirement(text), rest, there)
    }
    # NVIDIA's build of 2.14 is called a pre-release of it: `pdapt doctor` calls it untested.
    assert unmet == {"pdapt requires torch==2.14.1"}


def _met(requirement: Requirement, rest: dict[str, str], there: dict[str, str]) -> bool:
    if requirement.marker and not requirement.marker.evaluate(PLATFORM):
        return True
    name = re.sub(r"[-_.]+", "-", requirement.name).lower()
    version = rest.get(name) or there.get(name)
    return version == "of CUDA" or bool(version and requirement.specifier.contains(version, prereleases=True))


@pytest.mark.parametrize("step", ["requirements", "code"])
def test_the_steps_run_pip_of_the_environment_with_locked_hashes_and_without_the_image_s_constraints(
    tmp_path: Path, step: str
) -> None:
    """With programs that write down how they are called, in place of Python and pip."""
    venv, calls = tmp_path / "venv", tmp_path / "calls"
    (venv / "bin").mkdir(parents=True)
    for path in (tmp_path / "python3", venv / "bin/pip", venv / "bin/pdapt"):
        path.write_text(f'#!/bin/sh\necho "$(basename $0) $* [${{PIP_CONSTRAINT-none}}]" >>{calls}\n')
        path.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PIP_CONSTRAINT": "/etc/pip/constraint.txt"}
    subprocess.run([FOLDER / "install", step, ROOT, venv], env=environment, check=True)
    lines = calls.read_text().splitlines()
    locked_only = "pip install --no-cache-dir --no-deps --require-hashes -r"
    expected = {
        "requirements": [
            f"python3 -m venv --system-site-packages {venv} [none]",
            f"{locked_only} {ROOT}/requirements/build.txt [none]",
            f"{locked_only} {venv}/needed.txt [none]",
        ],
        "code": [f"pip install --no-cache-dir --no-deps --no-build-isolation {ROOT} [none]", "pdapt --version [none]"],
    }
    assert lines == expected[step]
    if step == "requirements":
        assert (venv / "needed.txt").read_text() == needed()


def test_an_unknown_step_is_refused(tmp_path: Path) -> None:
    done = subprocess.run([FOLDER / "install", "all", ROOT, tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "install: all is neither requirements nor code\n")
