import torch
from torch import nn

from mcn.segment.training.averaging import average_weights


def layer() -> nn.Linear:
    model = nn.Linear(3, 2)
    model.weight.requires_grad_(False)
    nn.init.zeros_(model.bias)
    return model


def move(average: nn.Module, model: nn.Linear, value: float) -> None:
    model.bias.data.fill_(value)
    average.update_parameters(model)  # type: ignore[operator]


def test_the_average_soon_forgets_the_first_weights() -> None:
    model = layer()
    average = average_weights(model, decay=0.999)
    move(average, model, 1.0)
    torch.testing.assert_close(average.module.bias, torch.ones(2))
    move(average, model, 2.0)
    torch.testing.assert_close(average.module.bias, torch.full((2,), 2 - 2 / 22))


def test_the_decay_ends_at_the_given_one() -> None:
    model = layer()
    average = average_weights(model, decay=0.5)
    move(average, model, 0.0)
    average.n_averaged.fill_(1000)
    move(average, model, 1.0)
    torch.testing.assert_close(average.module.bias, torch.full((2,), 0.5))


def test_frozen_parameters_are_shared_and_trained_ones_are_not() -> None:
    model = layer()
    average = average_weights(model, decay=0.5)
    assert average.module.weight is model.weight
    assert average.module.bias is not model.bias
    before = model.weight.clone()
    move(average, model, 1.0)
    assert torch.equal(model.weight, before)
    assert not average.training
    assert not any(parameter.requires_grad for parameter in average.module.parameters())
