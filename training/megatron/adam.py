"""The optimizer of Megatron's trainer without Transformer Engine and Apex."""

from typing import Any, cast

import torch
from torch.optim.adamw import adamw


class GroupStepAdam(torch.optim.Optimizer):
    """AdamW that keeps `step` in the param group, as Apex's and Transformer Engine's fused Adam do.

    torch's own AdamW keeps `step` per parameter, and Megatron's distributed optimizer cannot load what it then saves.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        adam_w_mode: bool = True,
        bias_correction: bool = True,
        capturable: bool = False,
    ) -> None:
        assert adam_w_mode, "only decoupled weight decay is used here"
        assert bias_correction
        del capturable  # whether a CUDA graph may hold the step
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            if group["params"]:
                group["step"] = int(group.get("step", 0)) + 1
                updated = [parameter for parameter in group["params"] if parameter.grad is not None]
                if updated:
                    self._update(updated, group)

    def _update(self, parameters: list[torch.Tensor], group: dict[str, Any]) -> None:
        """Update one or more parameters."""
        for parameter in parameters:
            if not self.state[parameter]:
                names = ("exp_avg", "exp_avg_sq")
                self.state[parameter].update({name: torch.zeros_like(parameter) for name in names})
        states = [self.state[parameter] for parameter in parameters]
        # The function increments it. It is on the parameters' device, where the fused kernel reads it.
        steps = torch.full((len(parameters),), group["step"] - 1.0, device=parameters[0].device)
        adamw(
            parameters,
            [cast(torch.Tensor, parameter.grad) for parameter in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            list(steps.unbind()),
            fused=True,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )
