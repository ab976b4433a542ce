"""Collection of sources, each into a folder named by its key, resumable after an interruption."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...core import log
from ...core.errors import Failed, StoppedEarly, UserError
from ...core.files import sha256
from ...core.log import counted
from ...core.manifest import digest
from ...core.system.disk import disk_errors
from ...core.system.lock import locked
from ..documents.folders import Unread, walk
from ..sources.collection import Collection, Step
from ..sources.definition import Definition
from ..sources.registry import find_source
from .hosts import Astray, Hosts
from .listings import collect_files, collect_listing, collect_row_pages
from .paging import collect_scroll, collect_solr
from .raw_folder import Answer, Raw, now
from .transport import Transport, user_agent
from .visit import Visit
from .wiki import collect_mediawiki


def collect(wanted: Sequence[str], out: Path, *, limit: int | None = None, contact: str = "") -> dict[str, Any]:
    """Collect sources, one after the other; what is there already is not fetched again.

    Args:
        wanted: each a source's key, or a file that defines one; `SOURCE=FOLDER` takes the files of a folder of the
            user's, such as a source that needs an agreement.
        out: holds a folder for each source, called by its key.
        limit: entries and files that are taken of each list, for a first look; None for all.
        contact: an e-mail address or page that the User-Agent names.

    Returns:
        Key -> counts of a source: files, bytes, and what was left out, by reason.

    Raises:
        UserError: a source is unknown, cannot be fetched without an agreement, or was collected with other settings.
        Failed: a server does not deliver what it should; everything that came is kept.
        StoppedEarly: a server asks to come back later.
    """
    if limit is not None and limit < 1:
        raise UserError(f"--limit is {limit}", where="--limit", allowed="a whole number from 1 on")
    agent = user_agent(contact)
    chosen = [_chosen(each) for each in wanted]
    _check(chosen, contact)
    counts: dict[str, Any] = {}
    failures: list[Failed | StoppedEarly] = []
    for source, folder in chosen:
        try:
            counts[source.key] = _collect(source, folder, out / source.key, limit=limit, agent=agent)
        except (Failed, StoppedEarly) as error:
            failures.append(error)
            log.warn(f"collect: {source.key}: {error}")
    if failures:
        raise failures[0] if len(failures) == 1 else Failed("\n".join(map(str, failures)))
    return counts


def _chosen(name: str) -> tuple[Definition, Path | None]:
    """A source, and the user's folder of it."""
    key, given, folder = name.partition("=")
    source = find_source(key)
    if given and not Path(folder).is_dir():
        raise UserError(f"no such folder: {folder}", where=name, allowed="SOURCE=FOLDER", fix="check the path")
    return source, Path(folder) if given else None


def _check(chosen: Sequence[tuple[Definition, Path | None]], contact: str) -> None:
    """Check that all of the sources can be collected, before anything is fetched.

    Raises:
        UserError: some cannot; says what each needs, and where.
    """
    faults = []
    keys = [source.key for source, _ in chosen]
    faults += [UserError(f"{key} is given twice", where=key) for key in dict.fromkeys(keys) if keys.count(key) > 1]
    for source, folder in chosen:
        if folder is not None:
            continue
        if source.collect is None:
            access = source.access or "to be obtained by hand: its definition has no `collect`"
            fix = f"obtain it, then give its folder: {source.key}=FOLDER"
            faults.append(UserError(f"{source.key} needs {access}", where=", ".join(source.endpoints), fix=fix))
        elif source.collect.contact and not contact:
            fix = "give an e-mail address or page that its operators can write to: --contact you@example.org"
            faults.append(UserError(f"{source.key}'s rules ask programs for a contact", where=source.key, fix=fix))
    if len(faults) > 1:
        places = "\n    ".join(["", *(f"{fault.what} ({fault.where}): {fault.fix}" for fault in faults)])
        raise UserError(f"{len(faults)} sources cannot be collected as they are given", where=places)
    if faults:
        raise faults[0]


def _collect(source: Definition, given: Path | None, folder: Path, *, limit: int | None, agent: str) -> dict[str, Any]:
    how: Any = _hashes(given) if given else asdict(source)["collect"]
    header = {"source": source.key, "collection": digest(how), "limit": limit}
    with locked(folder, "collecting into"), disk_errors(folder):
        raw = Raw(folder, header)
        if raw.complete():
            log.info(f"collect: {folder} is there already, nothing to do")
            return raw.counts or {}
        if given is not None:
            left_out = _copy(given, raw)
            return _finish(raw, left_out)
        assert source.collect is not None
        return _visit(source, source.collect, raw, limit=limit, agent=agent)


def _visit(source: Definition, how: Collection, raw: Raw, *, limit: int | None, agent: str) -> dict[str, Any]:
    """Fetch all steps of a source; its counts."""
    try:
        hosts = Hosts(_addresses(how), how.hosts)
    except Astray as error:
        raise UserError(str(error), where=source.key) from None
    transport = Transport(hosts, how.delay, agent)
    visit = Visit(raw, transport, limit)
    log.info(f"collect: {source.key}: {counted(len(how.steps), 'step')}; {how.delay:g} s between requests")
    if how.withheld:
        log.info(f"collect: {source.key}: not fetched: {how.withheld}")
    try:
        for step in how.steps:
            _take(step, visit)
    finally:
        transport.close()
    if visit.failures:
        raise Failed(
            f"{source.key}: {counted(len(visit.failures), 'file')} not fetched; the first: {visit.failures[0]}\n"
            "  the others are kept; run the same command again"
        )
    counts = _finish(raw, {kind: count for kind, count in visit.counts.items() if count})
    # Repeated requests are not recorded: the folder must be the same after an interruption.
    return counts | ({"requests repeated": dict(transport.retries)} if transport.retries else {})


def _addresses(how: Collection) -> list[str]:
    """The addresses that a collection begins at."""
    schemes = [value for step in how.steps for value in vars(step).values() if value is not None]
    return [url for scheme in schemes for url in getattr(scheme, "urls", None) or (scheme.url,)]


def _take(step: Step, visit: Visit) -> None:
    """Fetch one step."""
    for kind in ("datagouv", "zenodo", "hub"):
        listing = getattr(step, kind)
        if listing:
            collect_listing(kind, listing, visit)
    if step.files:
        collect_files(step.files, visit)
    if step.solr:
        collect_solr(step.solr, visit)
    if step.scroll:
        collect_scroll(step.scroll, visit)
    if step.mediawiki:
        collect_mediawiki(step.mediawiki, visit)
    if step.row_pages:
        collect_row_pages(step.row_pages, visit)


def _hashes(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 of the files of a user's folder."""
    return {str(path.relative_to(folder)): sha256(path) for path, _ in walk(folder, [])}


def _copy(folder: Path, raw: Raw) -> dict[str, Any]:
    """Take the files of a user's folder; what is not taken, by reason."""
    unread: list[Unread] = []
    count = 0
    for path, _ in walk(folder, unread, raw.folder):
        name = str(path.relative_to(folder))
        count += 1
        if not raw.find(name, name):
            partial = raw.place(name).with_name(f".{path.name}.partial")
            shutil.copyfile(path, partial)
            raw.keep([(partial, Answer(name, name, now(), status=0))])
    if not count:
        raise UserError(f"the folder is empty: {folder}", where=raw.header["source"], fix="check the path")
    return {"files not taken": [f"{each.name}: {each.reason}" for each in unread]} if unread else {}


def _finish(raw: Raw, counts: dict[str, Any]) -> dict[str, Any]:
    """Note a collection's end; its counts."""
    files = [answer for answer in raw.answers.values() if answer.file]
    whole = {"files": len(files), "bytes": sum(answer.bytes for answer in files)} | counts
    raw.finish(whole)
    return whole
