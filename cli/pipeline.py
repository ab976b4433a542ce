"""The whole way once: text -> documents -> tokens -> base -> checkpoints -> Hugging Face -> merged -> scores -> report.

Each stage keeps its own manifest in its own folder of the run, so a run that was interrupted goes on at the stage, and
within it at the place, where it stopped. A room is imported when its stage comes: torch would take this process to
0.8 GB beside the ranks that train.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import log
from ..core.checkpoint import CHECKPOINTS
from ..core.errors import UserError
from ..core.files import read_json, write_json
from ..core.manifest import NAME, Manifest, run_stage
from ..core.qwen3 import read_config
from ..recipes.load import load
from ..recipes.run_folder import METRICS, checkpoints, iteration
from ..recipes.schema import SAVED, Part, Recipe, Shape, shape_of
from ..recipes.validate import validate

if TYPE_CHECKING:
    from ..data_prep.corpus import Source
    from ..data_prep.tokens import Options
    from ..eval.scores import Model

GENERAL = "general"
PRETRAIN = "qwen3_tiny_pretrain_2xcpu"
CPT = "qwen3_tiny_cpt_2xcpu"
VALID_FRACTION = 0.05
REQUEST = "request.json"


@dataclass(frozen=True)
class Request:
    """What a run of the whole is asked for.

    Attributes:
        title: heading of the report.
        domain: what the domain is called: prefix of its sources, and a domain of the evaluation.
        data: `[NAME=]PATH` of the domain's text; empty for the embedded sample's medical part.
        general: the same of general text, which the base is trained and judged on; empty for the embedded sample's.
        base: Hugging Face Qwen3 folder; None to train a tiny base on the general text.
        recipe: name or file of the recipe of the continued pre-training.
        overrides: `key=value` for it.
        t: how far the merged model is from the base to the last checkpoint.
    """

    title: str
    domain: str
    data: list[str]
    general: list[str]
    base: str | None
    recipe: str
    overrides: list[str]
    t: float


def run_whole(request: Request, out: Path) -> None:
    """Run every stage into `out`, and say on standard error what happened.

    Raises:
        UserError: an input is unusable, or `out` holds a run of another request.
    """
    from ..recipes.train import train

    recipe = _recipe(request)
    _claim(request, out)
    tokens = _data(request, recipe, out)
    base = _base(request, recipe, tokens, out)
    cpt = replace(recipe, data=replace(recipe.data, blend=[Part(sources=[f"{request.domain}-*"])]))
    train(cpt, tokens, out / "cpt", base=base)
    models = _models(request, out)
    _evaluate(request, recipe, models, out)
    log.info("report")
    report_run(out, out / "report")


def report_run(run: Path, out: Path) -> Manifest:
    """Write the report of a run of the whole.

    Raises:
        UserError: the folder holds no such run, or a stage of it is not finished.
    """
    from ..eval.report import build_report

    request = read_json(run / REQUEST)
    recipe = Manifest.read(run / "cpt").config
    trained = [folder / METRICS for folder in (run / "base", run / "cpt") if (folder / METRICS).is_file()]
    stages = ["sample", "corpus", "tokenizer", "tokens", "base", "cpt", "hf/base"]
    stages += [f"hf/{path.name}" for path in sorted((run / "hf").glob("cpt-*"))] + ["hf/merged", "tasks"]
    finished = [run / name for name in stages if (run / name / NAME).is_file()]
    return build_report(request["title"], run / "scores", trained, finished, out, _settings(request, recipe))


def summary(out: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The final table's rows, and the sentences that say what happened."""
    from ..eval.verdict import summary_table, verdict

    return summary_table(out / "scores"), verdict(out / "scores")


def _settings(request: dict[str, Any], recipe: dict[str, Any]) -> dict[str, Any]:
    parallel, optimizer = recipe["parallel"], recipe["optimizer"]
    return {
        "recipe": request["recipe"],
        "overrides": ", ".join(request["overrides"]) or "none",
        "base": request["base"] or f"trained here on the {GENERAL} text ({PRETRAIN})",
        "domain": request["domain"],
        "steps": recipe["steps"],
        "sequences a step": recipe["batch"]["global_size"],
        "tokens a sequence": recipe["data"]["seq_length"],
        "layout": recipe["data"]["layout"],
        "learning rate": f"{optimizer['lr']:g}, constant",
        "precision": recipe["model"]["precision"],
        "ranks": f"{parallel['nodes']} x {parallel['ranks_per_node']} (TP {parallel['tp']}, PP {parallel['pp']})",
        "merge": f"SLERP, t = {request['t']:g}",
        "seed": recipe["seed"],
    }


def _claim(request: Request, out: Path) -> None:
    """Make `out` this request's folder, or go on with it."""
    path = out / REQUEST
    if path.is_file():
        if read_json(path) != asdict(request):
            raise UserError(
                f"{out} holds a run of another request",
                where=str(path),
                mend="choose another --out, or remove this one",
            )
    elif out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} is not empty and holds no run", where="--out", mend="choose another folder")
    write_json(path, asdict(request))


def _recipe(request: Request) -> Recipe:
    """The recipe of the continued pre-training; with a base of the user's, that base's shape.

    Raises:
        UserError: the base is not a whole Qwen3, or its weights are not of the type that training saves: the merge of
            the two would be refused in the end.
    """
    recipe = load(request.recipe, request.overrides)
    if request.base is None:
        return recipe
    from ..conversion.hf_folder import check_weights
    from ..core.hf_weights import NAMES, Weights

    shape = read_config(Path(request.base))
    recipe = replace(recipe, model=replace(recipe.model, size=None, shape=Shape(**asdict(shape))))
    validate(recipe)
    found = NAMES[check_weights(Weights(Path(request.base)), shape)]
    if found != SAVED[recipe.model.precision]:
        raise UserError(
            f"the base's weights are {found}, and model.precision={recipe.model.precision} saves another type",
            where=request.base,
            allowed=", ".join(f"{saved} with model.precision={name}" for name, saved in SAVED.items()),
        )
    return recipe


def _data(request: Request, recipe: Recipe, out: Path) -> Path:
    """Documents and tokens of domain and general text together, so that no text is on two sides of the split."""
    from ..data_prep.corpus import build_corpus, discover
    from ..data_prep.tokens import build_tokens

    log.info("corpus: reading and cleaning")
    domain = request.data or _sample(out, "medical")
    general = request.general or _sample(out, GENERAL)
    sources = [*_named(discover(domain), request.domain), *_named(discover(general), GENERAL)]
    build_corpus(sources, out / "corpus")
    vocab = shape_of(recipe).vocab
    tokenizer = request.base or str(_tokenizer(request, out, vocab))
    options = _token_options(request)
    build_tokens([str(out / "corpus")], tokenizer, out / "tokens", options, vocab_size=vocab)
    return out / "tokens"


def _sample(out: Path, part: str) -> list[str]:
    """Files of one part of the embedded sample."""
    from ..data_prep.sample import write_sample

    def body(work: Path) -> dict[str, Any]:
        write_sample(work)
        return {"bytes": sum(path.stat().st_size for path in work.rglob("*.jsonl"))}

    run_stage("sample", {}, {}, out / "sample", body)
    return [str(path) for path in sorted((out / "sample" / part).glob("*.jsonl"))]


def _named(sources: "list[Source]", prefix: str) -> "list[Source]":
    """Sources whose names tell which side they belong to."""
    return [replace(source, name=f"{prefix}-{source.name}") for source in sources]


def _token_options(request: Request) -> "Options":
    """How the tokens are made: domain and general text are each held out from."""
    from ..data_prep.tokens import Options

    return Options(valid_fraction=VALID_FRACTION, domains=(f"{request.domain}-*", f"{GENERAL}-*"))


def _tokenizer(request: Request, out: Path, vocab: int) -> Path:
    """Train a tokenizer on the corpus, held-out documents left out."""
    from ..data_prep.tokenizer import train_tokenizer
    from ..data_prep.tokens import training_texts

    def body(work: Path) -> dict[str, Any]:
        train_tokenizer(training_texts([str(out / "corpus")], _token_options(request)), vocab, work)
        return {"vocabulary": vocab}

    log.info("tokenizer: training byte-level BPE on the training documents")
    run_stage("tokenizer", {"corpus": out / "corpus"}, {"vocab": vocab}, out / "tokenizer", body)
    return out / "tokenizer"


def _base(request: Request, recipe: Recipe, tokens: Path, out: Path) -> Path:
    """The base as a Megatron checkpoint root: the user's imported, or a tiny one trained on the general text."""
    if request.base is not None:
        from ..conversion.convert import import_hf

        log.info("base: importing")
        import_hf(Path(request.base), out / "base")
        return out / "base"
    from ..recipes.train import train

    # On as many ranks as are asked for, without model parallelism.
    ranks = recipe.parallel.ranks_per_node
    pretrain = load(PRETRAIN, [f"parallel.ranks_per_node={ranks}", f"data.blend=[{{sources: ['{GENERAL}-*']}}]"])
    train(replace(pretrain, model=recipe.model), tokens, out / "base")
    return out / "base" / CHECKPOINTS


def _models(request: Request, out: Path) -> "list[Model]":
    """Hugging Face folders: the base, every checkpoint, and the last one merged with the base."""
    from ..conversion.convert import export_hf
    from ..eval.scores import Model
    from ..merge.run import merge

    base = Path(request.base) if request.base else out / "hf" / "base"
    if request.base is None:
        export_hf(out / "base" / CHECKPOINTS, base)
    models = [Model("base", "base", base)]
    for checkpoint in checkpoints(out / "cpt"):
        name = f"cpt-{iteration(checkpoint):05d}"
        export_hf(checkpoint, out / "hf" / name)
        models.append(Model(name, "checkpoint", out / "hf" / name))
    log.info(f"merge: SLERP of {models[-1].name} with its base, t = {request.t:g}")
    merge(base, models[-1].path, out / "hf" / "merged", t=request.t)
    return [*models, Model("merged", "merged", out / "hf" / "merged")]


def _evaluate(request: Request, recipe: Recipe, models: "list[Model]", out: Path) -> None:
    """Score every model on the held-out documents of domain and general text."""
    from ..eval.backends import Limits
    from ..eval.heldout import build_tasks
    from ..eval.run import evaluate

    heldout = out / "tokens" / "heldout"
    domains = {name: sorted(heldout.glob(f"{name}-*.jsonl")) for name in (request.domain, GENERAL)}
    log.info("tasks: from held-out documents")
    build_tasks(domains, out / "tasks")
    log.info(f"eval: {len(models)} models")
    evaluate(models, out / "tasks", out / "scores", limits=Limits(max_length=recipe.data.seq_length))
