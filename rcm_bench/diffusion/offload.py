"""Where weights stay while they are not used: on the device, or in the machine's memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rcm_bench.diffusion.memory import Mode


class Placement:
    """A transformer and an autoencoder, and which of them is on the device.

    Args:
        mode: ``resident`` keeps both there, ``model`` the one at work, ``group`` one block of the
            transformer after the other (diffusers' group offloading).
        device: The device.
        net: The transformer, on the CPU.
        autoencoder: The autoencoder, on the CPU.
    """

    def __init__(self, *, mode: Mode, device: str, net: Any, autoencoder: Any) -> None:
        self.mode, self._device = mode, device
        self._net, self._vae = net, autoencoder
        if mode == "resident":
            net.to(device)
            autoencoder.to(device)
        elif mode == "group":
            import torch

            net.enable_group_offload(
                onload_device=torch.device(device),
                offload_device=torch.device("cpu"),
                offload_type="block_level",
                num_blocks_per_group=1,
            )

    def held_bytes(self) -> int:
        """Return the bytes of the weights that are on the device now."""
        tensors = [t for net in (self._net, self._vae) for t in (*net.parameters(), *net.buffers())]
        where = self._device.partition(":")[0]
        return sum(t.nbytes for t in tensors if t.device.type == where)

    @contextmanager
    def transformer(self) -> Iterator[Any]:
        """Give the transformer, ready to work."""
        with self._on_device(self._net, moves=self.mode == "model"):
            yield self._net

    @contextmanager
    def vae(self) -> Iterator[Any]:
        """Give the autoencoder, ready to work."""
        with self._on_device(self._vae, moves=self.mode != "resident"):
            yield self._vae

    @contextmanager
    def _on_device(self, net: Any, *, moves: bool) -> Iterator[None]:
        if moves:
            net.to(self._device)
        try:
            yield
        finally:
            if moves:
                net.to("cpu")
