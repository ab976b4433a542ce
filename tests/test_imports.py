"""Who may import whom, and what no file of the repository may name."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ROOMS = {name.split(".")[1] for name in PROJECT["tool"]["setuptools"]["packages"]}
STAGES = ROOMS - {"core", "cli"}
EXCEPTIONS = {("recipes", "data_prep"), ("scaling", "recipes")}
DOORS = {("eval", "data_prep.documents")}
"""What a room lets another one use of it."""


def may_import(room: str, module: str) -> bool:
    """Everyone imports core, cli imports everyone, nobody imports cli, a stage imports no other but for exceptions."""
    other = module.split(".")[0]
    allowed = room == other or other == "core" or room == "cli" or (room, other) in EXCEPTIONS
    return allowed or any(room == user and f"{module}.".startswith(f"{door}.") for user, door in DOORS)


def imported_modules(source: str, package: str) -> Iterator[str]:
    """Absolute names of the modules that a source file of `package` imports, wherever in the file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*start, *filter(None, [node.module])])
            # `from .. import merge` imports a module that only the name after `import` tells.
            yield from (f"{module}.{alias.name}" for alias in node.names)


def violations(source: str, package: str) -> list[str]:
    """What a source file of `package` (such as `pdapt.eval`) imports and may not."""
    room, found = package.split(".")[1], []
    for module in imported_modules(source, package):
        first, *rest = module.split(".")
        if first in ROOMS:
            found.append(f"{module}: the import name is pdapt.{first}")
        elif first == "pdapt" and not (rest and may_import(room, ".".join(rest))):
            found.append(f"{module}: not for {room}")
    return found


def sources() -> list[Path]:
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def package_of(path: Path) -> str:
    return ".".join(["pdapt", *path.relative_to(ROOT).parts[:-1]])


def test_rooms_import_only_what_they_may() -> None:
    assert len(sources()) > len(ROOMS), "the rooms were not found"
    found = {
        str(path.relative_to(ROOT)): violations(path.read_text(encoding="utf-8"), package_of(path))
        for path in sources()
    }
    assert not {path: wrong for path, wrong in found.items() if wrong}


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("pdapt.eval", "from ..merge.run import merge"),
        ("pdapt.eval", "from ..data_prep.tokens import build_tokens"),
        ("pdapt.merge", "from ..data_prep.documents.reading import read_source"),
        ("pdapt.eval", "from .. import merge"),
        ("pdapt.eval", "from pdapt.merge import run"),
        ("pdapt.eval", "import pdapt.merge.run"),
        ("pdapt.eval", "def late():\n    from ..conversion.export import export"),
        ("pdapt.data_prep", "from ..recipes.schema import Recipe"),
        ("pdapt.data_prep.sample", "from ...eval.run import evaluate"),
        ("pdapt.merge", "from ..cli.main import main"),
        ("pdapt.core", "from ..merge.run import merge"),
        ("pdapt.cli", "from merge.run import merge"),
        ("pdapt.recipes", "import eval"),
    ],
)
def test_a_forbidden_import_is_seen(package: str, line: str) -> None:
    assert len(violations(line, package)) == 1


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("pdapt.eval", "from ..core.errors import UserError"),
        ("pdapt.eval", "from ..core import log"),
        ("pdapt.eval", "from .run import evaluate"),
        ("pdapt.eval", "from ..data_prep.documents.reading import read_source"),
        ("pdapt.data_prep.sample", "from ..clean import clean"),
        ("pdapt.data_prep.sample", "from ...core import log"),
        ("pdapt.recipes", "from ..data_prep.layout import Layout"),
        ("pdapt.cli", "from ..merge.run import merge"),
        ("pdapt.merge", "import mergekit.merge"),
    ],
)
def test_an_allowed_import_is_let_through(package: str, line: str) -> None:
    assert violations(line, package) == []


# Put together here, so that this file does not hold what it looks for.
HOSTS = [
    "pypi" + ".org",
    "python" + "hosted.org",
    "pypi.nvidia" + ".com",
    "download.pytorch" + ".org",
    "anaconda" + ".org",
    "npmjs" + ".org",
]
FORBIDDEN = re.compile("|".join([*map(re.escape, HOSTS), r"(?<![\w.}/-])/(?:work|root|tmp|home)/\w"]), re.IGNORECASE)


def repository_files() -> list[Path]:
    """Every file that git tracks or would track."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


def named(content: str) -> list[str]:
    return [match.group() for match in FORBIDDEN.finditer(content)]


def test_no_file_names_a_package_registry_or_a_machine_path() -> None:
    found = {
        str(path.relative_to(ROOT)): named(path.read_text(encoding="utf-8", errors="replace"))
        for path in repository_files()
    }
    assert found, "git listed no file"
    assert not {path: wrong for path, wrong in found.items() if wrong}


@pytest.mark.parametrize(
    "text", [f"https://{HOSTS[0]}/simple", f"--index-url={HOSTS[3]}", "cd /" + "work/main", '("/' + 'root/x")']
)
def test_a_forbidden_name_is_seen(text: str) -> None:
    assert named(text)


@pytest.mark.parametrize("name", ["base", "test", "dev", "gpu", "slurm"])
def test_requirements_hold_versions_and_hashes_and_no_address(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    assert "://" not in text
    entries = text.replace("\\\n", " ").splitlines()
    assert len(entries) > 50
    wrong = [
        entry
        for entry in entries
        if not re.fullmatch(r"[\w.-]+(\[[^\]]+\])?==\S+( ; [^-]+)?(\s+--hash=sha256:[0-9a-f]{64})+", entry.strip())
    ]
    assert not wrong


def test_the_build_requirements_are_stated_once_more_and_alike() -> None:
    locked = (ROOT / "requirements" / "build.in").read_text(encoding="utf-8").split()
    assert locked == ["pip>=25", *PROJECT["build-system"]["requires"]]  # pip: older ones fail on these files
