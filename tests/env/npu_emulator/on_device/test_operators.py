"""Operators of the emulated device give what the CPU gives, or what an NPU is known to give instead."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import torch_npu

Operation = Callable[[torch.Tensor], torch.Tensor]
LENGTHS = torch.tensor([3, 1, 4, 1])


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).to(dtype)


def beside(tensor: torch.Tensor, *shape: int) -> torch.Tensor:
    """Another drawn tensor, on the device and with the dtype of `tensor`."""
    return draw(*shape, dtype=tensor.dtype).to(tensor.device)


def scattered(x: torch.Tensor) -> torch.Tensor:
    mask = (torch.arange(x.numel()) % 3 == 0).view(x.shape).to(x.device)
    return x.masked_scatter(mask, beside(x, int(mask.sum())))


def written_in_place(x: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    x[1:, ::2] = 0
    x[0].add_(1)
    x.t()[2].mul_(3)
    return x


OPERATIONS: dict[str, Operation] = {
    "matmul": lambda x: x @ beside(x, 12, 7),
    "linear": lambda x: F.linear(x, beside(x, 5, 12), beside(x, 5)),
    "batched matmul": lambda x: torch.bmm(x.view(2, 4, 12), beside(x, 2, 12, 3)),
    "einsum": lambda x: torch.einsum("bcd,crd->bcr", x.view(2, 4, 12), beside(x, 4, 3, 12)),
    "conv1d": lambda x: F.conv1d(x.view(2, 4, 12), beside(x, 6, 2, 3), padding=1, groups=2),
    "depthwise conv1d": lambda x: F.conv1d(x.view(1, 8, 12), beside(x, 8, 1, 5), groups=8),
    "layer norm": lambda x: F.layer_norm(x, (12,), beside(x, 12), beside(x, 12)),
    "batch norm": lambda x: F.batch_norm(x, beside(x, 12), beside(x, 12).abs()),
    "glu": lambda x: F.glu(x, dim=0),
    "silu": F.silu,
    "gelu by tanh": lambda x: F.gelu(x, approximate="tanh"),
    "softmax": lambda x: F.softmax(x, dim=-1),
    "embedding": lambda x: F.embedding(LENGTHS.to(x.device), x),
    "index": lambda x: x[LENGTHS.to(x.device), LENGTHS.to(x.device)],
    "index with host indices": lambda x: x[LENGTHS, 1],
    "boolean mask": lambda x: x[x > 0],
    "masked_scatter": scattered,
    "in-place writes through views": written_in_place,
    "cat and pad": lambda x: F.pad(torch.cat([x, x.flip(0)]), (1, 2)),
    "cumsum": lambda x: x.cumsum(1),
    "topk": lambda x: x.topk(3, dim=-1).values,
    "argmax": lambda x: x.argmax(-1),
    "argmax of all": lambda x: x.argmax(),
    "where": lambda x: torch.where(x > 0, x, torch.finfo(x.dtype).min),
    "reduce to a number": lambda x: (x.float().pow(2).mean() + 1.5).sqrt(),
    "dtype changes": lambda x: x.to(torch.float16).float().to(torch.bfloat16),
    "empty": lambda x: x[:0] + 1,
}
ATTENTION: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"is_causal": True},
    "masked": {"attn_mask": torch.ones(9, 9, dtype=torch.bool).tril(2)},
    "scaled": {"scale": 0.3},
}


@pytest.fixture
def hf32_off() -> Iterator[None]:
    torch_npu.npu.conv.allow_hf32 = False
    yield
    torch_npu.npu.conv.allow_hf32 = True


@pytest.mark.usefixtures("hf32_off")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_operator_equals_the_cpu_bit_for_bit(name: str, dtype: torch.dtype) -> None:
    x = draw(8, 12, dtype=dtype)
    result = OPERATIONS[name](x.to("npu:0"))
    assert result.device == torch.device("npu:0")
    torch.testing.assert_close(result.cpu(), OPERATIONS[name](x), rtol=0, atol=0)


def test_float32_convolutions_are_in_hf32_until_that_is_switched_off_and_products_are_not() -> None:
    """IsAllowConvHF32 and IsAllowMatmulHF32 of torch-npu v7.3.1 (EnvVariables.cpp); 11 bits of mantissa."""
    x, weight = draw(2, 4, 12), draw(6, 4, 3)

    def error(operation: Operation) -> float:
        exact = operation(x.double()).double()
        return float((operation(x.to("npu")).cpu().double() - exact).norm() / exact.norm())

    convolve: Operation = lambda x: F.conv1d(x, weight.to(x))  # noqa: E731
    assert (torch_npu.npu.conv.allow_hf32, torch_npu.npu.matmul.allow_hf32) == (True, False)
    assert 2**-14 < error(convolve) < 2**-11
    assert error(lambda x: x @ beside(x, 12, 7)) < 2**-20
    torch_npu.npu.conv.allow_hf32, torch_npu.npu.matmul.allow_hf32 = False, True
    try:
        assert error(convolve) < 2**-20
        assert 2**-14 < error(lambda x: x @ beside(x, 12, 7)) < 2**-11
    finally:
        torch_npu.npu.conv.allow_hf32, torch_npu.npu.matmul.allow_hf32 = True, False


def in_a_process_of_its_own(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]  # torch-npu prints warnings of its own before


@pytest.mark.slow
@pytest.mark.parametrize("asked_first", [True, False], ids=["before the first gelu", "after it"])
def test_gelu_is_the_tanh_form_unless_the_compatible_one_was_asked_for_in_time(asked_first: bool) -> None:
    has_switch = hasattr(torch_npu.npu, "use_compatible_impl")
    ask = "torch_npu.npu.use_compatible_impl(True)" if has_switch else "None"
    order = [ask, "F.gelu(x.to('npu'))"] if asked_first else ["F.gelu(x.to('npu'))", ask]
    form = in_a_process_of_its_own(
        "import torch, torch_npu, torch.nn.functional as F; x = torch.linspace(-6, 6, 4096); "
        + "; ".join(order)
        + "; y = F.gelu(x.to('npu')).cpu()"
        "; print([form for form in ('none', 'tanh') if torch.equal(y, F.gelu(x, approximate=form))])"
    )
    assert form == ("['none']" if has_switch and asked_first else "['tanh']")


def test_of_equal_maxima_the_last_is_taken() -> None:
    x = torch.tensor([[1.0, 3.0, 3.0, 2.0], [5.0, 5.0, 5.0, 5.0]])
    assert x.to("npu").argmax(-1).tolist() == [2, 3]
    assert x.to("npu").argmax(-1, keepdim=True).tolist() == [[2], [3]]
    assert x.to("npu").argmax().item() == 7
    assert x.argmax(-1).tolist() == [1, 0]


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_takes_torch_npus_own_route_to_its_fused_operator(name: str) -> None:
    def attend(query: torch.Tensor) -> torch.Tensor:
        options = dict(ATTENTION[name])
        if "attn_mask" in options:
            options["attn_mask"] = options["attn_mask"].to(query.device)
        return F.scaled_dot_product_attention(query, query, query, **options)

    query = draw(2, 4, 9, 16)
    with torch.profiler.profile() as profile:
        result = attend(query.to("npu"))
    torch.testing.assert_close(result.cpu(), attend(query), rtol=0, atol=0)
    assert any(event.key.startswith("npu::npu_fusion_attention") for event in profile.key_averages())


def test_out_argument_grows_on_the_device() -> None:
    out = torch.empty(0, device="npu")
    torch.add(draw(3, 4).to("npu"), 1, out=out)
    assert torch.equal(out.cpu(), draw(3, 4) + 1)


def test_host_and_device_tensors_do_not_mix() -> None:
    with pytest.raises(RuntimeError, match=r"same device, but found at least two devices, npu:0 and cpu"):
        torch.zeros(3).to("npu") + torch.zeros(3)


def test_double_becomes_float_as_torch_npu_does_it() -> None:
    assert torch.zeros(2, device="npu").double().dtype == torch.float32


def test_an_operator_that_is_not_emulated_says_so() -> None:
    with pytest.raises(RuntimeError):
        torch_npu.npu_rms_norm(draw(2, 8).to("npu"), draw(8).to("npu"))
