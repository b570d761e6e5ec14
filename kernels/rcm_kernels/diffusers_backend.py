"""A backend for diffusers: unmodified transformers run this attention.

    backend = register()
    model.set_attention_backend(backend)          # or: with attention_backend(backend): ...

diffusers has no public way to add a backend: its registry and its list of names are extended here,
and a version that keeps them elsewhere is refused. Tested with diffusers 0.42.
"""

from typing import Any, cast

from torch import Tensor

from rcm_kernels.api import attention
from rcm_kernels.choice import Impl
from rcm_kernels.ulysses import ulysses_attention

_PREFIX = "rcm_kernels"


def register(impl: Impl = "auto") -> str:
    """Make this attention known to diffusers; registering again is harmless.

    Args:
        impl: Which implementation runs, as in ``attention``.

    Returns:
        The name for ``model.set_attention_backend`` and diffusers' ``attention_backend``.

    Raises:
        RuntimeError: diffusers is not installed, or keeps its backends elsewhere.
    """
    try:
        from diffusers.models import attention_dispatch as dispatch

        registry, names = dispatch._AttentionBackendRegistry, dispatch.AttentionBackendName
    except ImportError:
        raise RuntimeError(
            "diffusers is not installed, mend it with `pip install diffusers`"
        ) from None
    except AttributeError as fault:
        raise RuntimeError(f"this version of diffusers cannot be extended: {fault}") from None
    name = _PREFIX if impl == "auto" else f"{_PREFIX}_{impl}"
    if name not in names._value2member_map_:
        registry.register(_new_member(names, name), supports_context_parallel=True)(_backend(impl))
    return name


def _new_member(names: Any, value: str) -> Any:
    """Add a member to an enumeration of strings, which Python has no public way to do."""
    member = str.__new__(names, value)
    member._name_ = value.upper()
    member._value_ = value
    names._member_map_[member._name_] = member
    names._member_names_.append(member._name_)
    names._value2member_map_[value] = member
    return member


def _backend(impl: Impl) -> Any:
    # diffusers reads the names of the arguments: no **kwargs, and none but those it passes.
    def attend(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
        _parallel_config: Any = None,
    ) -> Tensor:
        """Attend in diffusers' layout (B, S, H, D), by views."""
        if dropout_p:
            raise ValueError(f"dropout_p must be 0 in this backend, got {dropout_p}")
        q, k, v = (x.transpose(1, 2) for x in (query, key, value))
        if _parallel_config is not None:
            if attn_mask is not None:
                raise ValueError("attn_mask must be None under context parallelism, got a mask")
            group = _ulysses_group(_parallel_config)
            out = ulysses_attention(
                q, k, v, group=group, scale=scale, is_causal=is_causal, impl=impl
            )
        else:
            out = attention(
                q, k, v, attn_mask=attn_mask, is_causal=is_causal, scale=scale,
                enable_gqa=enable_gqa, impl=impl,
            )  # fmt: skip
        return out.transpose(1, 2)

    return attend


def _ulysses_group(config: Any) -> Any:
    context = config.context_parallel_config
    if context.ring_degree > 1:
        raise ValueError(
            f"ring_degree must be 1 (Ulysses carries tangents, a ring does not), "
            f"got {context.ring_degree}"
        )
    return cast(Any, context._ulysses_mesh).get_group()
