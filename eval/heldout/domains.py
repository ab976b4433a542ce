"""The held-out files of each domain, and checks that no text belongs to two domains."""

from collections import defaultdict
from pathlib import Path

from ...core import log
from ...core.errors import UserError
from ...core.integrity import check, stage_files
from ...core.log import counted

SHARED_LIMIT = 0.5
"""Share of a domain's documents that occur in another domain from which the two are taken for the same text."""
HELDOUT_OPTION = "--heldout"


def read_domains(options: list[str], *, verify: bool = True) -> dict[str, list[Path]]:
    """Files of `DOMAIN=PLACE` options, a place being a folder, a file, or a pattern such as `heldout/med-*`.

    A folder that is given under several names is split by its files' names, where those tell the domain as
    `pdapt run` writes them: `medical-notes.jsonl` belongs to `medical`.

    Args:
        options: see above.
        verify: whether files that a stage wrote, as `tokens build` writes `heldout/`, are compared with its hashes.

    Returns:
        Domain -> its files.

    Raises:
        UserError: a file is damaged or missing, an item names no domain, a place holds nothing, a file is given twice,
            or a file belongs to several domains by its name.
    """
    files: dict[str, list[Path]] = defaultdict(list)
    places: list[Path] = []
    for option in options:
        domain, equals, place = option.partition("=")
        if not equals or not domain:
            raise UserError(f"{option!r} does not name a domain", where=HELDOUT_OPTION, allowed="DOMAIN=FOLDER")
        places.append(Path(place))
        files[domain] += _files(places[-1])
    check("tasks", stage_files(places), verify=verify)
    for domain, paths in files.items():
        if len({path.resolve() for path in paths}) < len(paths):
            raise UserError(f"{domain}: the same file is given twice", where=HELDOUT_OPTION, fix="give each place once")
    own = {domain: _own(domain, paths, files) for domain, paths in files.items()}
    check_names({domain: {path.stem for path in paths} for domain, paths in own.items()})
    for domain, paths in own.items():
        log.info(f"tasks: {domain}: {counted(len(paths), 'held-out file')}: {_some([path.stem for path in paths])}")
    return own


def _files(place: Path) -> list[Path]:
    if place.is_dir():
        paths = sorted(path for path in place.glob("*.jsonl") if not path.name.startswith("."))
    elif place.is_file():
        paths = [place]
    elif not set(place.name) & set("*?["):
        raise UserError(f"no such file or folder: {place.name}", where=str(place), fix="check the path")
    else:
        paths = sorted(path for path in place.parent.glob(place.name) if path.is_file())
    if not paths:
        raise UserError(
            "there are no held-out documents here",
            where=str(place),
            allowed="<source>.jsonl files: a folder, one of them, or a pattern such as 'heldout/medical-*.jsonl'",
        )
    return paths


def _own(domain: str, paths: list[Path], files: dict[str, list[Path]]) -> list[Path]:
    """A domain's files: those that no other domain has, and of the shared ones those that bear its name."""
    others = {path.resolve() for name, of_other in files.items() if name != domain for path in of_other}
    shared = [path for path in paths if path.resolve() in others]
    unclear = [path.stem for path in shared if len(_owners(path.stem, files)) != 1]
    if unclear:
        raise UserError(
            f"the same text is given as {' and '.join(files)}: {_some(unclear)}",
            where=HELDOUT_OPTION,
            allowed=f"files whose names begin with the domain, as {domain}-NAME.jsonl, or a place for each domain",
            fix=f"say which files belong to each domain: --heldout '{domain}={shared[0].parent}/PATTERN'",
        )
    kept = [path for path in paths if path not in shared or _belongs(path.stem, domain)]
    if not kept:
        raise UserError(
            f"no file there is called {domain}-…: {_some([path.stem for path in paths])}",
            where=f"{HELDOUT_OPTION} {domain}=",
        )
    return kept


def check_names(sources: dict[str, set[str]]) -> None:
    """Check that no domain holds a source that by its name is another's.

    Args:
        sources: domain -> names of its sources.

    Raises:
        UserError: some of a domain's sources bear its name and some do not, or one bears the name of another domain.
    """
    for domain, names in sources.items():
        own = {name for name in names if _belongs(name, domain)}
        others = {name for name in names - own if own or _owners(name, sources)}
        if others:
            raise UserError(
                f"{domain} contains sources of several domains, by their names: "
                f"{_some(sorted(own)) or 'none'} of its own, and {_some(sorted(others))}",
                where=HELDOUT_OPTION,
                allowed="the sources of one domain under each name",
                fix=f"give each domain its own files: --heldout '{domain}=FOLDER/{domain}-*.jsonl' "
                "--heldout 'OTHER=FOLDER/WORD*'; or give all of them under a name that none of them begins with",
            )


def check_texts(texts: dict[str, set[str]]) -> None:
    """Check that domains have different texts, wherever they were copied from.

    Args:
        texts: domain -> its texts, or hashes of them.

    Raises:
        UserError: two domains have mostly the same texts.
    """
    for domain, own_texts in texts.items():
        for other, other_texts in texts.items():
            both = len(own_texts & other_texts)
            if other == domain or not both:
                continue
            shares = f"{domain} shares {both} of its {counted(len(own_texts), 'document')} with {other}"
            if both >= SHARED_LIMIT * len(own_texts):
                raise UserError(
                    f"{shares}: one text has two names",
                    where=HELDOUT_OPTION,
                    fix="give each domain different text",
                )
            log.warn(f"tasks: {shares}")


def _belongs(source: str, domain: str) -> bool:
    return source == domain or source.startswith(f"{domain}-")


def _owners(source: str, domains: dict[str, list[Path]] | dict[str, set[str]]) -> list[str]:
    return [domain for domain in domains if _belongs(source, domain)]


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
