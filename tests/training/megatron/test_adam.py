"""The trainer's own AdamW against torch's, and where it keeps its step."""

from copy import deepcopy

import torch

from pdapt.training.megatron.adam import GroupStepAdam


def test_updates_are_those_of_torchs_adamw() -> None:
    torch.manual_seed(0)
    ours = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 3))
    theirs, halfway = deepcopy(ours), deepcopy(ours)
    settings = {"lr": 1e-2, "betas": (0.8, 0.9), "eps": 1e-6, "weight_decay": 0.1}
    found, expected = GroupStepAdam(ours.parameters(), **settings), torch.optim.AdamW(theirs.parameters(), **settings)
    for step in range(6):
        if step == 3:
            halfway.load_state_dict(ours.state_dict())
            resumed = GroupStepAdam(halfway.parameters(), **settings)
            resumed.load_state_dict(deepcopy(found.state_dict()))
            found, ours = resumed, halfway
        batch = torch.randn(5, 8)
        for model, optimizer in ((ours, found), (theirs, expected)):
            optimizer.zero_grad()
            model(batch).square().sum().backward()
            optimizer.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
    assert [group["step"] for group in found.param_groups] == [6]
    assert all(set(state) == {"exp_avg", "exp_avg_sq"} for state in found.state.values())


def test_parameters_without_a_gradient_stay() -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = GroupStepAdam([parameter], lr=1.0, weight_decay=0.5)
    optimizer.step()
    assert torch.equal(parameter, torch.ones(3))
    assert not optimizer.state
