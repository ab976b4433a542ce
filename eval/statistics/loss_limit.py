"""The loss in general that a merge may have; apart from the trade-off, which loads libraries that draw."""

from ...core.errors import UserError


def check_max_loss(max_loss: float) -> None:
    """Check the loss that a rule allows.

    Raises:
        UserError: it is below 0, or everything.
    """
    if not 0 <= max_loss < 100:
        raise UserError(f"--max-loss is {max_loss} %", where="--max-loss", allowed="from 0 to below 100")
