"""Time and deviation of every way to compute Wan2.1's decoder and network, side by side.

    python -m rcm_bench.diffusion.speed --out speed.json

Real shapes, random weights: one evaluation of the network, one decoding of a video, in
rounds after a warm-up; the deviation from float32 over that of diffusers as it comes. A way that
this device does not have, or that breaks, stands in the file with its reason.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rcm_bench.diffusion import loading
from rcm_bench.diffusion.decode import autotuned, video_of
from rcm_bench.diffusion.deviation import TIMES, exact_products, rms
from rcm_bench.diffusion.families import WAN
from rcm_bench.diffusion.kernels import check_kernels, kernels, use_kernels
from rcm_bench.diffusion.networks import WanVelocity
from rcm_bench.diffusion.settings import DiffusionSettings
from rcm_bench.environment import device_name, installed, pick_device
from rcm_bench.errors import UserError
from rcm_bench.throughput import Peak

Work = Callable[[], Tensor]
_TOKENS = 512
_WARM_UP = 2
DECODERS = [
    {"decoder": decoder, "autotune": autotune}
    for decoder in ("diffusers", "eager", "compiled", "triton")
    for autotune in (False, True)
]
NETWORKS = [
    {"attention": attention, "compile": compiled}
    for compiled in ("none", "blocks")
    for attention in ("native", "cudnn")
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a line for each way, and write the file."""
    parser = argparse.ArgumentParser(prog="python -m rcm_bench.diffusion.speed")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--architecture", choices=list(WAN.architectures), default="1.3B")
    parser.add_argument("--resolution", type=int, nargs=2, default=(480, 832))
    parser.add_argument("--frames", type=int, default=81)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--part", choices=("decode", "network"), action="append")
    given = parser.parse_args(arguments)
    settings = DiffusionSettings(
        weights="random",
        architecture=given.architecture,
        resolution=list(given.resolution),
        frames=given.frames,
        dtype=given.dtype,
        decode_dtype=given.dtype,
    )
    device = pick_device()
    rows = [
        row
        for part, ways, measure in (("decode", DECODERS, _decode), ("network", NETWORKS, _network))
        if part in (given.part or ("decode", "network"))
        for row in _rows(part, ways, measure, settings, device, given.rounds)
    ]
    about = {key: getattr(settings, key) for key in ("architecture", "resolution", "frames")}
    about |= {"dtype": given.dtype, "device": device_name(device), "torch": torch.__version__}
    about |= {"diffusers": installed("diffusers"), "rows": rows}
    given.out.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _rows(
    part: str,
    ways: Sequence[dict[str, Any]],
    measure: Callable[[DiffusionSettings, str], Work],
    settings: DiffusionSettings,
    device: str,
    rounds: int,
) -> Iterator[dict[str, Any]]:
    """Yield one row for each way; the first way is diffusers as it comes."""
    with exact_products():
        wide = settings.model_copy(update={"dtype": "float32", "decode_dtype": "float32"})
        exact = measure(wide, device)().cpu()
    loading.free(device)
    plain = None
    for way in ways:
        chosen = settings.model_copy(update=way)
        row: dict[str, Any] = {"part": part, "kernels": kernels(chosen)}
        try:
            check_kernels(chosen, device, part)
            with torch.inference_mode():
                work = measure(chosen, device)
                row |= _timed(work, device, rounds, len(TIMES) if part == "network" else 1)
                off = rms(work().cpu(), exact)
        except (UserError, RuntimeError) as fault:  # a way that is not there is a row with a reason
            row["missing"] = f"{type(fault).__name__}: {fault}".splitlines()[0]
        else:
            plain = off if plain is None else plain
            row |= {"deviation": off, "over_plain": off / plain if plain else None}
        work = None  # type: ignore[assignment]
        loading.free(device)
        print({k: v for k, v in row.items() if k != "rounds"}, flush=True)
        yield row


def _timed(work: Work, device: str, rounds: int, evaluations: int) -> dict[str, Any]:
    for _ in range(_WARM_UP if device == "cuda" else 1):
        work()
    peak = Peak(device)
    peak.start()
    seconds = []
    for _ in range(rounds):
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        seconds.append((time.perf_counter() - start) / evaluations)
    median = sorted(seconds)[len(seconds) // 2]
    return {"seconds": median, "rounds": seconds, "peak_bytes": peak.bytes(), "memory": peak.kind}


def _decode(settings: DiffusionSettings, device: str) -> Work:
    vae = loading.load_vae(None, settings.decode_dtype, "decode", settings.decoder).to(device)
    latents = _noise(settings).to(device)

    def work() -> Tensor:
        with autotuned(settings.autotune), torch.inference_mode():
            return video_of(vae, latents)

    return work


def _network(settings: DiffusionSettings, device: str) -> Work:
    config = WAN.architectures[settings.architecture or "1.3B"]
    net = loading.random_transformer(WAN, config, settings.dtype, device)
    net = use_kernels(net, settings, "resident", "network")
    rng = torch.Generator().manual_seed(1)
    text = torch.randn(1, _TOKENS, int(config["text_dim"]), generator=rng).to(device, net.dtype)
    noise, velocity = _noise(settings)[None].to(device), WanVelocity(net=net, text_BLD=text)

    def work() -> Tensor:
        with torch.inference_mode():
            return torch.stack([velocity(noise, t) for t in TIMES])

    return work


def _noise(settings: DiffusionSettings) -> Tensor:
    from rcm_bench.diffusion.shapes import latent_shape

    rng = torch.Generator().manual_seed(0)
    return torch.randn(latent_shape(settings, {"out_channels": 16}), generator=rng)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
