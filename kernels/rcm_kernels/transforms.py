"""Which kinds of differentiation are active around a call."""

from typing import Literal

import torch
from torch import Tensor
from torch.autograd import forward_ad

Around = Literal["nothing", "forward", "reverse", "nested"]


def transform_is_active() -> bool:
    """Tell whether a forward-mode level or any functorch transform is active.

    torch.compile folds this into a constant and guards on it.
    """
    # Both are needed: dual_level leaves the functorch stack empty, torch.func.grad has no level.
    if forward_ad._current_level >= 0:
        return True
    # Not peek_interpreter_stack: torch.compile wraps its None, which is then "not None".
    level: object | None = torch._C._functorch.maybe_current_level()
    return level is not None


def has_interpreter() -> bool:
    """Tell whether a functorch transform is active."""
    return torch._C._functorch.peek_interpreter_stack() is not None


# What torch.compiler.assume_constant_result sets, without importing the compiler: a trace asks the
# function itself. Traced, its None comes wrapped and is "not None" (torch 2.11 and 2.14).
has_interpreter._dynamo_marked_constant = True  # type: ignore[attr-defined]


def refuse_a_level_around_a_trace() -> None:
    """Raise while torch.compile traces inside ``dual_level``: compiled code may drop tangents.

    Without ``fullgraph=True`` PyTorch then runs the function uncompiled, with the right tangents.
    """
    if forward_ad._current_level >= 0 and not has_interpreter():
        raise RuntimeError(
            "compiled code may drop the tangents of a surrounding dual_level; call torch.func.jvp "
            "inside the compiled function instead"
        )


def around() -> Around:
    """Name what surrounds an eager call.

    Returns:
        ``"nothing"``; ``"forward"``: one forward-mode level, innermost, perhaps within
        torch.func.grad; ``"reverse"``: torch.func.grad only; ``"nested"``: anything else, such as
        vmap, forward within forward or forward over reverse.
    """
    kinds = torch._C._functorch
    stack = kinds.get_interpreter_stack() or []
    keys = [interpreter.key() for interpreter in stack]
    num_forward = keys.count(kinds.TransformType.Jvp)
    if any(key not in (kinds.TransformType.Jvp, kinds.TransformType.Grad) for key in keys):
        return "nested"
    if forward_ad._current_level < 0:
        return "reverse" if keys else "nothing"
    innermost = not keys or (num_forward == 1 and keys[-1] == kinds.TransformType.Jvp)
    return "forward" if innermost else "nested"


def unpack(dual: Tensor) -> tuple[Tensor, Tensor | None]:
    """Split a tensor that may be dual into primal and tangent; None where it does not move."""
    if forward_ad._current_level < 0:
        return dual, None
    primal, tangent = forward_ad.unpack_dual(dual)  # type: ignore[no-untyped-call]
    return primal, tangent


def pack(primal: Tensor, tangent: Tensor | None) -> Tensor:
    """Undo ``unpack``."""
    if tangent is None:
        return primal
    dual: Tensor = forward_ad.make_dual(primal, tangent)  # type: ignore[no-untyped-call]
    return dual
