"""The 35 models of the paper's appendix (Tables 7 to 11), by their names on the Hub."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from ...core import log
from ...core.errors import UserError, nearest
from ...core.manifest import Manifest, run_stage

Kind = Literal["Base", "Instruct", "BioMed"]
DOWNLOADED_FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "README.md", "LICENSE*"]
"""Patterns of files to download: no pickled weights, and no code."""


@dataclass(frozen=True)
class Baseline:
    """A model: its name in the paper, its kind there, its name on the Hub."""

    name: str
    kind: Kind
    hub: str


HUB_NAMES: dict[Kind, dict[str, str]] = {
    "Base": {
        "Gemma3-270m-pt": "google/gemma-3-270m",
        "Baguettotron": "PleIAs/Baguettotron",
        "Qwen3-0.6B-Base": "Qwen/Qwen3-0.6B-Base",
        "Llama3.2-1B": "meta-llama/Llama-3.2-1B",
        "Gemma3-1B-pt": "google/gemma-3-1b-pt",
        "Gaperon-1B": "almanach/Gaperon-1125-1B",
        "Qwen3-1.7B-Base": "Qwen/Qwen3-1.7B-Base",
        "Qwen3-4B-Base": "Qwen/Qwen3-4B-Base",
        "Olmo3-7B": "allenai/Olmo-3-1025-7B",
        "Mistral-7B-v0.3": "mistralai/Mistral-7B-v0.3",
        "Qwen3-8B-Base": "Qwen/Qwen3-8B-Base",
        "Llama3.1-8B": "meta-llama/Llama-3.1-8B",
        "Apertus-8B": "swiss-ai/Apertus-8B-2509",
        "Gaperon-8B": "almanach/Gaperon-1125-8B",
        "EuroLLM-9B": "utter-project/EuroLLM-9B",
    },
    "Instruct": {
        "Gemma3-270m-it": "google/gemma-3-270m-it",
        "Qwen3-0.6B": "Qwen/Qwen3-0.6B",
        "Llama3.2-1B-Instruct": "meta-llama/Llama-3.2-1B-Instruct",
        "Gemma3-1B-it": "google/gemma-3-1b-it",
        "Qwen3-1.7B": "Qwen/Qwen3-1.7B",
        "SmolLM-3B": "HuggingFaceTB/SmolLM3-3B",
        "Qwen3-4B": "Qwen/Qwen3-4B",
        "Mistral-7B-Instruct-v0.3": "mistralai/Mistral-7B-Instruct-v0.3",
        "Qwen3-8B": "Qwen/Qwen3-8B",
        "Llama3.1-8B-Instruct": "meta-llama/Llama-3.1-8B-Instruct",
        "Apertus-8B-Instruct": "swiss-ai/Apertus-8B-Instruct-2509",
        "EuroLLM-9B-Instruct": "utter-project/EuroLLM-9B-Instruct",
        # The paper's scripts name the FP8 weights of these two: Qwen/Qwen3-14B-FP8, Qwen/Qwen3-32B-FP8.
        "Qwen3-14B": "Qwen/Qwen3-14B",
        "GPT-OSS-20B": "openai/gpt-oss-20b",
        "Qwen3-32B": "Qwen/Qwen3-32B",
    },
    "BioMed": {
        "MedGemma-4B-pt": "google/medgemma-4b-pt",
        "MedGemma-4B-it": "google/medgemma-4b-it",
        "Apollo-7B": "FreedomIntelligence/Apollo-7B",
        "BioMistral-7B": "BioMistral/BioMistral-7B",
        "MedGemma-27B-it": "google/medgemma-27b-text-it",
    },
}
"""Kind -> name in the paper -> name on the Hub."""
BASELINES = tuple(Baseline(name, kind, hub) for kind, models in HUB_NAMES.items() for name, hub in models.items())


def find_baseline(name: str) -> Baseline:
    """A baseline by its name in the paper, or on the Hub.

    Raises:
        UserError: there is none.
    """
    for baseline in BASELINES:
        if name in (baseline.name, baseline.hub):
            return baseline
    raise UserError(
        f"no baseline is called {name!r}",
        allowed="`pdapt eval baselines` lists them",
        fix=nearest(name, [baseline.name for baseline in BASELINES]),
    )


def fetch_baseline(baseline: Baseline, out: Path, *, revision: str = "main") -> Manifest:
    """Download a baseline (stage `baseline`); the manifest states its commit.

    Raises:
        UserError: the Hub refuses it, or has its weights only as pickles.
    """
    commit = _download(baseline, revision=revision, allow_patterns=["config.json"]).name

    def body(work: Path) -> dict[str, Any]:
        log.info(f"fetch: {baseline.hub} at {commit}")
        _download(baseline, revision=commit, allow_patterns=DOWNLOADED_FILES, local_dir=work)
        if not any(work.glob("*.safetensors")):
            raise UserError(
                f"{baseline.hub} has no safetensors",
                where=f"revision {commit}",
                allowed="weights as safetensors: pickles can run code",
                fix="convert them elsewhere, and give that folder to `pdapt eval run`",
            )
        return {"bytes": sum(path.stat().st_size for path in work.rglob("*") if path.is_file())}

    return run_stage("baseline", {}, {"hub": baseline.hub, "revision": commit}, out=out, body=body)


def _download(baseline: Baseline, **options: Any) -> Path:
    """The folder of a model's files; in the Hub's own cache it is named after the commit."""
    try:
        return Path(snapshot_download(baseline.hub, **options))
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise UserError(
            f"{baseline.hub} cannot be downloaded from the Hub: {str(error).splitlines()[0]}",
            where=baseline.name,
            fix="accept its licence on the Hub and log in (`hf auth login`), where there is internet",
        ) from None
