"""Sites: what comes with the project, what a file of one's own may say, and what wins over what."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pdapt.core.errors import UserError
from pdapt.core.slurm import SlurmOptions, as_time, seconds_of
from pdapt.launch.slurm_site import FOLDER, longest_seconds, options_at, read_site, site_names, speed_path
from pdapt.scaling.constants import FITTED, read_fit
from pdapt.scaling.score_predictions import score_predictions

JEAN_ZAY = read_site("jean_zay_h100")
OWN = "title: mine\nlongest: '4:00:00'\n"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    def written(text: str) -> str:
        (tmp_path / "mine.yaml").write_text(text)
        return str(tmp_path / "mine.yaml")

    return written


def test_every_site_that_comes_with_the_project_is_read() -> None:
    assert site_names() == ["generic", "jean_zay_h100", "local_cpu"]
    assert all(read_site(name).title for name in site_names())


def test_jean_zay_is_as_its_pages_say() -> None:
    assert (JEAN_ZAY.constraint, JEAN_ZAY.hint, JEAN_ZAY.cpus_per_rank) == ("h100", "nomultithread", 24)
    assert longest_seconds(JEAN_ZAY, None) == 20 * 3600
    assert longest_seconds(JEAN_ZAY, "qos_gpu_h100-dev") == 2 * 3600
    assert all(variable.reason for variable in JEAN_ZAY.network.values())
    assert JEAN_ZAY.network["HF_HUB_OFFLINE"].value == "1"


def test_the_speeds_of_jean_zay_are_nearer_by_its_own_constants_than_by_the_published_ones() -> None:
    path = FOLDER / "jean_zay_h100.json"
    assert speed_path("jean_zay_h100") == path
    assert all(row["source"].startswith("OpenLLM-France/") for row in json.loads(path.read_text())["rows"])
    own, published = (score_predictions(path, constants).errors.mean for constants in (path, FITTED))
    assert own < 4 < 10 < published


def test_a_site_of_ones_own_names_its_constants_beside_itself(write: Callable[[str], str], tmp_path: Path) -> None:
    site = write(f"{OWN}speed: mine.json\n")
    (tmp_path / "mine.json").write_text(json.dumps(read_fit().to_json()))
    assert speed_path(site) == tmp_path / "mine.json"
    assert speed_path(str(tmp_path / "mine.json")) == tmp_path / "mine.json"
    assert speed_path("generic") == FITTED


def test_a_recipe_wins_over_the_site_and_the_site_over_nothing() -> None:
    site = replace(read_site("generic"), account="lab", partition="gpu", cpus_per_rank=8)
    job = SlurmOptions(partition="other", qos="fast")
    chosen = options_at(site, job, nodes=1, gpus_per_node=4)
    assert (chosen.account, chosen.partition, chosen.qos, chosen.constraint) == ("lab", "other", "fast", None)
    assert chosen.cpus_per_rank == 8
    assert options_at(site, replace(job, cpus_per_rank=3), nodes=1, gpus_per_node=4).cpus_per_rank == 3


@pytest.mark.parametrize(
    ("job", "nodes", "gpus", "message"),
    [
        (SlurmOptions(), 1, 4, r"no account is given(.|\n)*ends in @h100(.|\n)*job\.account=PROJECT@h100"),
        (SlurmOptions(account="abc@v100"), 1, 4, r"'abc@v100'(.|\n)*@h100"),
        (SlurmOptions(account="abc@h100", qos="qos_gpu_h100-dve"), 1, 4, "did you mean 'qos_gpu_h100-dev'"),
        (SlurmOptions(account="abc@h100"), 1, 8, r"8 ranks a node(.|\n)*has 4 GPUs"),
        (SlurmOptions(account="abc@h100", qos="qos_gpu_h100-dev"), 12, 4, "asks for 48 GPUs(.|\n)*allows 32"),
    ],
)
def test_what_the_site_would_not_take_is_refused(job: SlurmOptions, nodes: int, gpus: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        options_at(JEAN_ZAY, job, nodes=nodes, gpus_per_node=gpus)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("acount: a", "did you mean 'account'"),
        ("cpus_per_rank: many", "cpus_per_rank"),
        ("cpus_per_rank: 0", "cpus_per_rank is 0"),
        ("modules: [a b]", "modules is 'a b'"),
        ("tmp: $(touch injected)", "tmp is"),
        ("venv: '`id`'", "venv is"),
        ("scratch: ${oc.env:HOME}", "takes its value from elsewhere"),
        ("container: {runtime: docker, image: a}", "docker"),
        ("container: {runtime: apptainer}", "no value for container.image"),
        ("container: {runtime: pyxis, image: a b}", r"container\.image is"),
        ("network: {NCCL_X: {value: '1'}}", "no value for network.NCCL_X.reason"),
        ("network: {NCCL_X: {value: '1', reason: ' '}}", "has no reason"),
        ("env: {A B: '1'}", "not a name for an environment variable"),
        ('env: {A: "1\\nB=2"}', "line break"),
        ("qos_limits: {dev: {longest: soon}}", r"qos_limits\.dev\.longest is 'soon'"),
        ("gpu_option: gpus", "gpus-per-node, gres"),
        ("speed: ../other.json", "beside the site's"),
        ("watts: .nan", "watts is nan"),
        ("- a", "YAML|mapping"),
    ],
)
def test_what_a_site_cannot_say_is_refused_with_its_key_and_file(
    write: Callable[[str], str], line: str, message: str
) -> None:
    path = write(f"{OWN}{line}\n")
    with pytest.raises(UserError, match=message) as refused:
        read_site(path)
    assert "mine.yaml" in str(refused.value)


def test_a_site_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match="did you mean 'jean_zay_h100'"):
        read_site("jean_zay_h10")
    with pytest.raises(UserError, match="no such site file"):
        read_site("gone.yaml")


def test_fuzz_site(fuzz: Callable[..., None], write: Callable[[str], str]) -> None:
    path = Path(write((FOLDER / "jean_zay_h100.yaml").read_text()))
    fuzz(path, lambda: read_site(str(path)), share=4)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 1800), ("90:30", 5430), ("20:00:00", 72_000), ("2-12", 216_000), ("1-00:30", 88_200), ("1-2:3:4", 93_784)],
)
def test_a_time_limit_in_seconds(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds
    assert seconds_of(as_time(seconds)) == seconds
