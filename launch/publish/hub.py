"""Uploading a folder to the Hugging Face Hub."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from ...core.errors import UserError


class Kind(StrEnum):
    """Kinds of repositories, as the Hub names them."""

    MODEL = "model"
    DATASET = "dataset"


CARD_FILE = "README.md"


class Api(Protocol):
    """The part of `huggingface_hub.HfApi` that an upload takes."""

    def create_repo(self, repo_id: str, *, repo_type: str, private: bool, exist_ok: bool) -> object:
        """Make a repository."""
        ...

    def upload_file(
        self, *, path_or_fileobj: bytes, path_in_repo: str, repo_id: str, repo_type: str, commit_message: str
    ) -> object:
        """Commit one file."""
        ...

    def upload_folder(
        self, *, repo_id: str, folder_path: Path, repo_type: str, allow_patterns: list[str], commit_message: str
    ) -> object:
        """Commit a folder's files, in several commits where they are many."""
        ...


@dataclass(frozen=True)
class Publication:
    """Files and card to publish.

    Attributes:
        folder: where the files are.
        files: their names, relative to the folder; the card is not among them.
        card: its Markdown.
        kind: of the repository.
    """

    folder: Path
    files: Sequence[str]
    card: str
    kind: Kind


def check_repo(repo: str) -> None:
    """Check the name of a repository.

    Raises:
        UserError: it is not OWNER/NAME.
    """
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UserError(f"{repo!r} cannot name a repository: {error}", where="--repo", allowed="OWNER/NAME") from None
    if repo.count("/") != 1:
        raise UserError(f"{repo!r} does not name its owner", where="--repo", allowed="OWNER/NAME")


def upload(publication: Publication, repo: str, *, public: bool, api: Api) -> None:
    """Make the repository, private unless it is to be public, and commit the files, and last the card.

    A repository that exists keeps its visibility. Called again after a failure, it continues: the Hub skips files that
    it has, and the card, without which a repository says nothing of itself, comes when all is there.

    Raises:
        UserError: the Hub refuses it, or is not reached.
    """
    import httpx
    from huggingface_hub.errors import HfHubHTTPError

    kind = publication.kind
    message = f"Upload {kind} with pdapt"
    # Names are patterns to the Hub's client: brackets stand for themselves only within brackets.
    names = [name.replace("[", "[[]") for name in publication.files]
    try:
        api.create_repo(repo, repo_type=kind, private=not public, exist_ok=True)
        api.upload_folder(
            repo_id=repo,
            folder_path=publication.folder,
            repo_type=kind,
            allow_patterns=names,
            commit_message=message,
        )
        api.upload_file(
            path_or_fileobj=publication.card.encode(),
            path_in_repo=CARD_FILE,
            repo_id=repo,
            repo_type=kind,
            commit_message=message,
        )
    except (HfHubHTTPError, httpx.HTTPError) as error:
        raise UserError(
            f"the Hub refused the upload: {error}",
            where=f"--repo {repo}",
            fix="log in with `hf auth login` and a token that may write there, and repeat the command: it continues",
        ) from error
