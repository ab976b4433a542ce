"""Which held-out files belong to which domain: no text is judged as two, and no two are taken for one."""

from collections import defaultdict
from pathlib import Path

from ...core import log
from ...core.errors import UserError
from ...core.integrity import check, stage_files

SHARED = 0.5
"""Share of a domain's documents that, met in another domain as well, makes them one text under two names."""
OPTION = "--heldout"


def read_domains(given: list[str], *, verify: bool = True) -> dict[str, list[Path]]:
    """The files that `DOMAIN=PLACE` stand for, a place being a folder, a file, or a pattern such as `heldout/med-*`.

    A folder that is given under several names is split by its files' names, where those tell the domain as
    `pdapt run` writes them: `medical-notes.jsonl` belongs to `medical`.

    Args:
        given: see above.
        verify: whether files that a stage wrote, as `tokens build` writes `heldout/`, are compared with its hashes.

    Returns:
        Domain -> its files.

    Raises:
        UserError: a file is damaged or missing, an item names no domain, a place holds nothing, a file is given twice,
            or one of several domains as far as their names tell.
    """
    files: dict[str, list[Path]] = defaultdict(list)
    places: list[Path] = []
    for item in given:
        domain, equals, place = item.partition("=")
        if not equals or not domain:
            raise UserError(f"{item!r} names no domain", where=OPTION, allowed="DOMAIN=FOLDER")
        places.append(Path(place))
        files[domain] += _files(places[-1])
    check("tasks", stage_files(places), verify=verify)
    for domain, its in files.items():
        if len({path.resolve() for path in its}) < len(its):
            raise UserError(f"{domain}: the same file is given twice", where=OPTION, mend="give each place once")
    found = {domain: _own(domain, its, files) for domain, its in files.items()}
    check_names({domain: {path.stem for path in its} for domain, its in found.items()})
    for domain, its in found.items():
        log.info(f"tasks: {domain}: {len(its)} held-out files: {_some([path.stem for path in its])}")
    return found


def _files(place: Path) -> list[Path]:
    if place.is_dir():
        found = sorted(path for path in place.glob("*.jsonl") if not path.name.startswith("."))
    elif place.is_file():
        found = [place]
    elif not set(place.name) & set("*?["):
        raise UserError(f"no such file or folder: {place.name}", where=str(place), mend="check the path")
    else:
        found = sorted(path for path in place.parent.glob(place.name) if path.is_file())
    if not found:
        raise UserError(
            "no held-out documents here",
            where=str(place),
            allowed="<source>.jsonl files: a folder, one of them, or a pattern such as 'heldout/medical-*.jsonl'",
        )
    return found


def _own(domain: str, its: list[Path], files: dict[str, list[Path]]) -> list[Path]:
    """Of a domain's files those that no other domain has, and of the others those that bear its name."""
    others = {path.resolve() for name, paths in files.items() if name != domain for path in paths}
    shared = [path for path in its if path.resolve() in others]
    unclear = [path.stem for path in shared if len(_owners(path.stem, files)) != 1]
    if unclear:
        raise UserError(
            f"the same text is given as {' and '.join(files)}: {_some(unclear)}",
            where=OPTION,
            allowed=f"files whose names tell the domain, as {domain}-NAME.jsonl, or other places for each",
            mend=f"say which files are whose: --heldout '{domain}={shared[0].parent}/PATTERN'",
        )
    kept = [path for path in its if path not in shared or _belongs(path.stem, domain)]
    if not kept:
        raise UserError(
            f"no file there is called {domain}-…: {_some([path.stem for path in its])}", where=f"{OPTION} {domain}="
        )
    return kept


def check_names(sources: dict[str, set[str]]) -> None:
    """Check that no domain holds what by its name is another's.

    Args:
        sources: domain -> names of its sources.

    Raises:
        UserError: one does: some of its sources bear its name and some do not, or one bears the name of another domain.
    """
    for domain, names in sources.items():
        own = {name for name in names if _belongs(name, domain)}
        others = {name for name in names - own if own or _owners(name, sources)}
        if others:
            raise UserError(
                f"{domain} holds several domains, by their sources' names: {_some(sorted(own)) or 'none'} of its own, "
                f"and {_some(sorted(others))}",
                where=OPTION,
                allowed="the sources of one domain under a name",
                mend=f"give each its own: --heldout '{domain}=FOLDER/{domain}-*.jsonl' --heldout 'OTHER=FOLDER/WORD*'; "
                "or give all of them under a name that none of them bears",
            )


def check_texts(texts: dict[str, set[str]]) -> None:
    """Check that domains are of different texts, wherever they were copied from.

    Args:
        texts: domain -> the texts that are asked about, or hashes of them.

    Raises:
        UserError: two domains are mostly of the same texts.
    """
    for domain, its in texts.items():
        for other, theirs in texts.items():
            both = len(its & theirs)
            if other == domain or not both:
                continue
            if both >= SHARED * len(its):
                raise UserError(
                    f"{both} of {len(its)} documents of {domain} are {other}'s, too: the same text under two names",
                    where=OPTION,
                    mend="give each domain text of its own",
                )
            log.warn(f"tasks: {both} of {len(its)} documents of {domain} are {other}'s, too")


def _belongs(source: str, domain: str) -> bool:
    return source == domain or source.startswith(f"{domain}-")


def _owners(source: str, domains: dict[str, list[Path]] | dict[str, set[str]]) -> list[str]:
    return [domain for domain in domains if _belongs(source, domain)]


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
