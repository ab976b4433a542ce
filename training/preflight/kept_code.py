"""A copy of the running code in the run's folder, if no commit holds that code.

A commit is enough to restore the code. If the checkout has changes, an archive is kept: a source tree that
`pip install --no-deps` takes, without git. It is made in tenths of a second; a wheel would take ten seconds and a build
folder.
"""

import os
import subprocess
import tempfile
from pathlib import Path

from ...core import log
from ...core.system.disk import disk_errors

CODE = "code"
CHECKOUT = Path(__file__).resolve().parents[2]
BUILT_FROM = ("pyproject.toml", "setup.py", "README.md", "LICENSE")
"""Files that an installation is made of, besides the packages."""


def commit(checkout: Path = CHECKOUT) -> str | None:
    """Name the commit of a checkout; if files differ from it, followed by `+` and the beginning of the tree's hash.

    None if the code is not in a checkout of its own: installed packages may lie within the checkout of another project.
    """
    try:
        _git(checkout, "ls-files", "--error-unmatch", "pyproject.toml")
        head = _git(checkout, "rev-parse", "HEAD")
        changed = bool(_git(checkout, "status", "--porcelain", "--", *_paths(checkout)))
    except (FileNotFoundError, subprocess.CalledProcessError):  # no git, or no checkout
        return None
    return f"{head}+{_tree(checkout)[:12]}" if changed else head


def keep_code(out: Path, checkout: Path = CHECKOUT) -> str | None:
    """Keep an archive of a checkout that differs from its commit.

    Args:
        out: the run's folder.
        checkout: the folder of the code.

    Returns:
        Path of the archive in the run's folder; None if the commit is enough, or if there is no checkout.
    """
    name = commit(checkout)
    if name is None or "+" not in name:
        return None
    path = out / CODE / f"pdapt-{name.partition('+')[2]}.tar.gz"
    if not path.is_file():
        path.parent.mkdir(exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        with disk_errors(path):
            _tree(checkout, archive=partial)
            partial.rename(path)
        log.info(f"train: the code has uncommitted changes: a copy is kept in {path}")
    return str(path.relative_to(out))


def _paths(checkout: Path) -> list[str]:
    """List what an installation is made of: the rooms, and the files that say how to build it."""
    rooms = sorted(folder.name for folder in checkout.iterdir() if (folder / "__init__.py").is_file())
    return [*rooms, *(name for name in BUILT_FROM if (checkout / name).is_file())]


def _tree(checkout: Path, archive: Path | None = None) -> str:
    """Hash the tree of the present files, new ones included, and archive it if asked; nothing is left in git."""
    paths = _paths(checkout)
    with tempfile.TemporaryDirectory() as folder:
        own = {
            "GIT_INDEX_FILE": f"{folder}/index",
            "GIT_OBJECT_DIRECTORY": folder,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(
                (checkout / _git(checkout, "rev-parse", "--git-path", "objects")).resolve()
            ),
        }
        _git(checkout, "add", "--all", "--", *paths, environment=own)
        tree = _git(checkout, "write-tree", environment=own)
        if archive is not None:
            options = ["--format=tar.gz", "--prefix=pdapt/", f"--output={archive.resolve()}"]
            _git(checkout, "archive", *options, tree, environment=own)
    return tree


def _git(checkout: Path, *arguments: str, environment: dict[str, str] | None = None) -> str:
    command = ["git", "-C", str(checkout), *arguments]
    given = os.environ | (environment or {})
    return subprocess.run(command, capture_output=True, text=True, check=True, env=given).stdout.strip()
