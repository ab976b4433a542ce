"""Who may import whom, and what no file of the repository may name."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from syntax import nodes

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ROOMS = {folder.name for folder in ROOT.iterdir() if (folder / "__init__.py").is_file()}
STAGES = {"data_prep", "training", "conversion", "merge", "eval"}
MAY_IMPORT = {
    "core": set(),
    "recipes": set(),
    "training": {"recipes"},
    "scaling": {"recipes"},
    "launch": {"recipes", "scaling", *STAGES},
    "bench": {"recipes", "scaling", "launch", *STAGES},
    "cli": ROOMS,
} | {room: set() for room in STAGES - {"training"}}
"""Room -> the other rooms that it imports, beside core."""
TOKENS = ("data_prep.tokens.layouts", "data_prep.tokens.index", "data_prep.tokens.tokens_record")
LENGTHS = "data_prep.tokens.parcomed"
DOORS = {
    "eval": ("data_prep.documents",),
    "recipes": (*TOKENS, LENGTHS),
    "training": TOKENS,
}
"""Room -> the modules and sub-rooms that it imports of a room that is closed to it otherwise."""
UPWARDS = {"recipes/nemo.py": "training", "recipes/nemo2.py": "training"}
"""The modules of `recipes` that give a trainer's configuration -> the room that they import when they are called."""
RECIPES_WITHOUT = ("torch", "megatron")


def may_import(room: str, module: str) -> bool:
    """Whether code of a room imports a module of `pdapt`, such as `merge.run`."""
    other = module.split(".")[0]
    if other in {room, "core"} | MAY_IMPORT[room]:
        return True
    return any(f"{module}.".startswith(f"{door}.") for door in DOORS.get(room, ()))


def imported_modules(source: str, package: str) -> Iterator[str]:
    """Absolute names of the modules that a source file of `package` imports, wherever in the file."""
    for node in nodes(source):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*start, *filter(None, [node.module])])
            # `from .. import merge` imports a module that only the name after `import` tells.
            yield from (f"{module}.{alias.name}" for alias in node.names)


def violations(source: str, package: str) -> list[str]:
    """Imports of a source file of `package` (such as `pdapt.eval`) that its room may not make."""
    room, wrong = package.split(".")[1], []
    for module in imported_modules(source, package):
        first, *rest = module.split(".")
        if first in ROOMS:
            wrong.append(f"{module}: the import name is pdapt.{first}")
        elif first == "pdapt" and not (rest and may_import(room, ".".join(rest))):
            wrong.append(f"{module}: not for {room}")
        elif room == "recipes" and first in RECIPES_WITHOUT:
            wrong.append(f"{module}: a recipe is read without it")
    return wrong


def sources() -> list[Path]:
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def package_of(path: Path) -> str:
    return ".".join(["pdapt", *path.relative_to(ROOT).parts[:-1]])


def test_rooms_import_only_what_they_may() -> None:
    assert set(MAY_IMPORT) == ROOMS
    wrong = {
        str(path.relative_to(ROOT)): violations(path.read_text(encoding="utf-8"), package_of(path))
        for path in sources()
    }
    for path, room in UPWARDS.items():
        assert {which.partition(".")[2].partition(".")[0] for which in wrong.pop(path)} == {room}
        tops = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
        assert not [node for node in tops if isinstance(node, ast.ImportFrom) and room in str(node.module)]
    assert not {path: which for path, which in wrong.items() if which}


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("pdapt.eval", "from ..merge.run import merge"),
        ("pdapt.eval.heldout", "from ...data_prep.tokens.build import build_tokens"),
        ("pdapt.merge", "from ..data_prep.documents.reading import read_source"),
        ("pdapt.eval", "from .. import merge"),
        ("pdapt.eval", "from pdapt.merge import run"),
        ("pdapt.eval", "import pdapt.merge.run"),
        ("pdapt.eval", "def late():\n    from ..conversion.export import export"),
        ("pdapt.data_prep", "from ..recipes.schema import Recipe"),
        ("pdapt.data_prep.sample", "from ...eval.heldout.evaluate import evaluate"),
        ("pdapt.recipes", "from ..training.train import train"),
        ("pdapt.recipes", "from megatron.core import mpu"),
        ("pdapt.recipes", "def late():\n    import torch"),
        ("pdapt.training.run", "from ...data_prep.tokens.build import build_tokens"),
        ("pdapt.scaling", "from ..training.run.journal import read"),
        ("pdapt.launch", "from ..bench.train import bench"),
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
        ("pdapt.eval.heldout", "from .evaluate import evaluate"),
        ("pdapt.eval.heldout", "from ...data_prep.documents.reading import read_source"),
        ("pdapt.data_prep.sample", "from ..corpus import build_corpus"),
        ("pdapt.recipes", "from ..data_prep.tokens.layouts import PACKED"),
        ("pdapt.training.megatron", "import torch"),
        ("pdapt.training.run", "from ...recipes.schema import Recipe"),
        ("pdapt.bench", "from ..launch.recipe_job import script"),
        ("pdapt.cli", "from ..merge.run import merge"),
        ("pdapt.merge", "import mergekit.merge"),
    ],
)
def test_an_allowed_import_is_let_through(package: str, line: str) -> None:
    assert violations(line, package) == []


def imports() -> dict[str, set[str]]:
    """Each module of the rooms -> the modules of the rooms that it imports, wherever in its file."""
    modules = {".".join([package_of(path), path.stem]).removesuffix(".__init__"): path for path in sources()}
    return {
        name: {
            found
            for module in imported_modules(path.read_text(encoding="utf-8"), package_of(path))
            for found in (module, module.rpartition(".")[0])  # a module, or a name in one
            if found in modules and found != name
        }
        for name, path in modules.items()
    }


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Nodes that lead to each other; empty where nothing leads back."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = imports()
    assert sum(map(len, graph.values())) > len(graph), "the imports were not found"
    assert circle(graph) == []


def test_a_circle_of_files_is_seen() -> None:
    graph = imports()
    graph["pdapt.core.errors"] = {"pdapt.cli.main"}
    assert {"pdapt.core.errors", "pdapt.cli.main"} <= set(circle(graph))


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


@pytest.mark.parametrize("name", ["base", "test", "dev", "gpu", "nemo"])
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
