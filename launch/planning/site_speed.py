"""`pdapt plan fit ROWS --for SITE`: a site's constants, written where its file names them."""

from collections.abc import Iterator
from pathlib import Path

from ...core.errors import UserError
from ...core.files import write_json, write_text
from ...scaling.site_fit import FREE, SiteFit, fit_site
from ..slurm_site import read_site, site_path


def fit_for_site(rows: Path, site: str) -> tuple[SiteFit, Path]:
    """Fit a site's constants, and write them beside its file; a site that names no such file is made to.

    Args:
        rows: see `fit_site`.
        site: a name or the path of a YAML file, as `read_site` takes it.

    Returns:
        The fit, and the file that it was written to.

    Raises:
        UserError: there is no such site, the rows cannot be, or a file that the site does not name is in the way.
    """
    path, named = site_path(site), read_site(site).speed
    out = path.parent / (named or f"{path.stem}.json")
    if named is None and out.exists():
        raise UserError(
            f"{out} exists, but {path} does not name it as its `speed`", where="--for", fix=f"add `speed: {out.name}`"
        )
    result = fit_site(rows)
    write_json(out, result.to_json())
    if named is None:
        text = path.read_text(encoding="utf-8")
        write_text(path, f"{text}{'' if text.endswith(chr(10)) else chr(10)}speed: {out.name}\n")
    return result, out


def lines(result: SiteFit) -> Iterator[str]:
    """A fit's lines, for people."""
    for name in FREE:
        yield f"{name}: {getattr(result.fit.constants, name):.4g}"
    for row in result.rows:
        yield (
            f"{row.id} {row.model}, {row.gpus} GPUs: error {row.before:+.1f} % with the published fit, "
            f"{row.after:+.1f} % with the site's, {row.left_out:+.1f} % with a fit to the other rows"
        )
    yield f"each row predicted from the others: {_sizes([row.left_out for row in result.rows])}"
    for assumption in result.assumptions:
        yield f"assuming {assumption.name}: {_sizes(assumption.left_out)}"
    low, high = result.fit.interval
    yield f"interval over all of these: {low:.2f} to {high:.2f} times the predicted speed"


def _sizes(errors: list[float]) -> str:
    sizes = [abs(error) for error in errors]
    return f"mean error {sum(sizes) / len(sizes):.1f} %, largest {max(sizes):.1f} %"
