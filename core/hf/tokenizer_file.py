"""A folder's `tokenizer.json`, opened without trusting it."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..files import read_object, require_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def open_tokenizer(path: Path, *, checked: bool = False) -> "Tokenizer":
    """Open a `tokenizer.json`.

    Args:
        path: the file.
        checked: whether `read_object` has already accepted it; that costs as much as opening it.

    Raises:
        UserError: it is missing, or the tokenizers library does not accept it.
    """
    from tokenizers import Tokenizer

    if not checked:
        read_object(require_file(path))  # for its limits: beyond the library's own limits, the process aborts
    try:
        return Tokenizer.from_file(str(path))
    except BaseException as error:  # the library raises Exception itself, and a panic in Rust is not even one
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise UserError(
            f"{path.name} is not a tokenizer: {str(error)[:200]}", where=str(path), fix="fetch the tokenizer again"
        ) from None
