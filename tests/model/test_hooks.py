"""Points of a model: which there are, what they are called, and what replacing one does."""

from __future__ import annotations

import torch

from model.hooks import Hooks, Point, layers_of


class Block(torch.nn.Module):
    """A residual layer whose sum is code of its own, and a parameter that is handed to a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)
        self.norm = torch.nn.LayerNorm(4)
        self.query = torch.nn.Parameter(torch.ones(1, 4))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        summed = x + self.linear(x)
        return self.norm(summed) + summed, self.norm(self.query)


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.ModuleList([Block(), Block()])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x, _ = layer(x)
        return x


def points(model: Model) -> list[Point]:
    seen: list[Point] = []
    with Hooks(model, lambda point, tensor: seen.append(point), deep=True), torch.inference_mode():
        model(torch.ones(1, 4))
    return seen


def test_points_come_in_the_order_in_which_they_are_computed_and_say_whose_code_made_them() -> None:
    assert [point.name for point in points(Model())][:9] == [
        "model > layers.0",
        "layers.0 > linear",
        "layers.0.linear",
        "layers.0 > norm",
        "layers.0.norm",
        "layers.0 > norm",
        "layers.0.norm",
        "layers.0",
        "layers.0",
    ]


def test_a_layer_that_runs_twice_has_two_points_and_every_pass_counts_anew() -> None:
    model = Model()
    once, again = points(model), points(model)
    assert once == again
    assert len({point.key for point in once}) == len(once)
    assert {point.call for point in once if point.layer == "layers.0.norm"} == {0, 1}


def test_kinds_are_the_same_for_every_layer_of_a_list() -> None:
    found = points(Model())
    kinds = {i: [point.kind for point in found if point.layer.startswith(f"layers.{i}")] for i in (0, 1)}
    assert kinds[0] == kinds[1]
    assert "Model > layers.N" in kinds[0]


def test_what_is_put_in_reaches_the_residual_stream_too() -> None:
    model = Model()
    wanted = torch.full((1, 4), 7.0)
    reached: list[torch.Tensor] = []

    def put(point: Point, tensor: torch.Tensor) -> torch.Tensor | None:
        if point.layer == "layers.0.linear":
            return wanted if point.edge == "into" else torch.zeros(1, 4)
        if point.layer == "layers.0.norm" and point.edge == "into" and point.call == 0:
            reached.append(tensor.clone())
        return None

    with Hooks(model, put, deep=True), torch.inference_mode():
        model(torch.ones(1, 4))
    assert torch.equal(reached[0], wanted)  # x + linear(x), both replaced


def test_a_parameter_that_is_handed_to_a_layer_is_never_written() -> None:
    model = Model()
    with Hooks(model, lambda point, tensor: torch.zeros_like(tensor), deep=True), torch.inference_mode():
        model(torch.ones(1, 4))
    assert torch.equal(model.get_parameter("layers.0.query"), torch.ones(1, 4))


def test_an_expanded_tensor_is_looked_at_and_left_alone() -> None:
    model = Model()
    with Hooks(model, lambda point, tensor: torch.zeros_like(tensor), deep=True), torch.inference_mode():
        model(torch.ones(1, 4).expand(3, 4))


def test_no_hook_stays_behind() -> None:
    model = Model()
    points(model)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_of_a_large_model_only_parts_of_layers_are_watched() -> None:
    deeper = Model()
    deeper.layers[0].linear = torch.nn.Sequential(torch.nn.Linear(4, 4))
    assert "layers.0.linear.0" in layers_of(deeper, deep=True)
    assert set(layers_of(deeper, deep=False)) == {
        "", "layers", "layers.0", "layers.0.linear", "layers.0.norm", "layers.1", "layers.1.linear", "layers.1.norm",
    }  # fmt: skip
