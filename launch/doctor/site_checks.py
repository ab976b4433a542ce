"""Whether a site's file is valid, and the names in it exist in this machine's Slurm."""

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator

from ...core.errors import UserError
from ...core.slurm import seconds_of
from ..slurm_site import SlurmSite, read_site, site_path
from .check import Check, Verdict

NEEDED = ("sbatch", "srun", "scontrol", "squeue", "scancel")
"""Programs that `pdapt launch` and its batch scripts call."""
PATIENCE = 20.0
"""Seconds for an answer: a busy slurmctld is asked again by its own programs."""
LOOK = "compare the site's file with the cluster's documentation, and with `sinfo` and `sacctmgr show assoc`"


def check_site(site: str) -> Iterator[Check]:
    """Check a site.

    Args:
        site: name or path, as `read_site` takes it.
    """
    try:
        cluster = read_site(site)
    except UserError as error:
        what, *more = str(error).splitlines()
        yield Check(
            "site",
            Verdict.WRONG,
            what,
            meaning="; ".join(map(str.strip, more)) or "it cannot be read",
            fix="correct it",
        )
        return
    yield Check("site", Verdict.OK, f"{cluster.title} ({site_path(site)})")
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if len(missing) == len(NEEDED):
        meaning = "the file alone was checked, not whether its names exist"
        yield Check(
            "Slurm",
            Verdict.UNTESTED,
            "not on this machine",
            meaning=meaning,
            fix="run this on the cluster's login node",
        )
    elif missing:
        meaning = "batch scripts call them"
        yield Check(
            "Slurm", Verdict.WRONG, f"{', '.join(missing)} not on PATH", meaning=meaning, fix="load Slurm's module"
        )
    else:
        yield from _check_on_slurm(cluster)


def _check_on_slurm(site: SlurmSite) -> Iterator[Check]:
    rows = _ask(["sinfo", "--noheader", "--format=%R|%l|%f|%G|%D"])
    if isinstance(rows, Check):
        yield rows
        return
    cells = [row.split("|") for row in rows]
    names = sorted({row[0] for row in cells})
    yield Check("Slurm", Verdict.OK, f"partitions: {', '.join(names)}")
    if site.partition is not None:
        yield _known("partition", site.partition, names)
    if site.cpu is not None and site.cpu.partition is not None:
        yield _known("cpu.partition", site.cpu.partition, names)
    features = sorted({feature for row in cells for feature in row[2].split(",")} - {"(null)", ""})
    for feature in re.findall(r"[A-Za-z_][\w.-]*", site.constraint or ""):
        yield _known("constraint", feature, features)
    chosen = [row for row in cells if site.partition in (None, row[0])]
    yield from _check_gpus(site, [row[3] for row in chosen])
    yield from _check_time(site, [row[1] for row in chosen])
    yield from _check_accounting(site)


def _known(kind: str, name: str, names: list[str]) -> Check:
    if name in names:
        return Check(kind, Verdict.OK, name)
    there = f"Slurm knows {', '.join(names)}" if names else f"Slurm knows no {kind}"
    return Check(
        kind, Verdict.WRONG, name, meaning=f"{there}: jobs would be refused", fix=f"{kind} in the site's file; {LOOK}"
    )


def _check_gpus(site: SlurmSite, gres: list[str]) -> Iterator[Check]:
    """Check that some node has as many GPUs as the site says; `gres` as sinfo writes it: `gpu:h100:4(S:0-1)`."""
    if not site.gpus_per_node:
        return
    counts = [sum(map(int, re.findall(r"gpu(?::[\w.-]+)??:(\d+)", text))) for text in gres]
    most = max(counts, default=0)
    value = f"{site.gpus_per_node} a node"
    if most < site.gpus_per_node:
        meaning = f"no node of these partitions has more than {most}: jobs would be refused"
        yield Check(
            "GPUs of a node", Verdict.WRONG, value, meaning=meaning, fix=f"gpus_per_node in the site's file; {LOOK}"
        )
    else:
        yield Check("GPUs of a node", Verdict.OK, value)


def _check_time(site: SlurmSite, limits: list[str]) -> Iterator[Check]:
    """Check the longest time of a job against those of the partitions, as sinfo writes them: `1-00:00:00`."""
    wanted = seconds_of(site.longest)
    if not limits or any(not limit[:1].isdigit() or seconds_of(limit) >= wanted for limit in limits):
        yield Check("time", Verdict.OK, site.longest)
        return
    meaning = f"the partitions allow {', '.join(sorted(set(limits)))}: longer jobs wait for ever, or are refused"
    yield Check("time", Verdict.WRONG, site.longest, meaning=meaning, fix=f"longest in the site's file; {LOOK}")


def _check_accounting(site: SlurmSite) -> Iterator[Check]:
    """Check account and QoS against those of this user, where Slurm keeps accounts."""
    wanted = [name for name in (site.qos, *site.qos_limits) if name is not None]
    if not (wanted or site.account or site.account_ends):
        return
    user = pwd.getpwuid(os.getuid()).pw_name
    rows = _ask(["sacctmgr", "--noheader", "--parsable2", "show", "assoc", f"user={user}", "format=account,qos"])
    if isinstance(rows, Check):
        yield rows
        return
    cells = [row.split("|") for row in rows if "|" in row]
    accounts = sorted({row[0] for row in cells})
    granted = sorted({name for row in cells for name in row[1].split(",")} - {""})
    if site.account is not None:
        yield _known("account", site.account, accounts)
    elif site.account_ends is not None:
        mine = [name for name in accounts if name.endswith(site.account_ends)]
        if mine:
            yield Check("account", Verdict.OK, ", ".join(mine))
        else:
            meaning = (
                f"the site requires one that ends in {site.account_ends}; you have {', '.join(accounts) or 'none'}"
            )
            yield Check(
                "account", Verdict.WRONG, "none that fits", meaning=meaning, fix="ask for hours on this partition"
            )
    for name in dict.fromkeys(wanted):
        yield _known("qos", name, granted)


def _ask(command: list[str]) -> list[str] | Check:
    """The lines that a program of Slurm's answers with, or the check that says why it does not."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    else:
        if not done.returncode:
            return done.stdout.split()
        problem = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
    meaning = "what the site names could not be compared with the cluster's"
    fix = f"run `{' '.join(command)}` yourself; a cluster without accounting has no accounts and QoS to compare with"
    return Check(command[0], Verdict.UNTESTED, problem, meaning=meaning, fix=fix)
