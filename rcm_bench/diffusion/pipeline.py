"""A diffusers pipeline at work: loaded safely, called as it is, its evaluations counted."""

import inspect
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from rcm_bench.diffusion.halves import in_halves
from rcm_bench.diffusion.loading import from_folder
from rcm_bench.diffusion.peer_lora import merge_into
from rcm_bench.diffusion.quiet import quiet
from rcm_bench.errors import UserError, unknown_name
from rcm_bench.faults import first_line
from rcm_bench.types import Media, WorkItem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rcm_bench.models.diffusers import Model

_NETWORKS = ("transformer", "transformer_2", "unet")
_OURS = {
    *("generator", "guidance_scale", "height", "negative_prompt", "num_frames"),
    *("num_inference_steps", "output_type", "prompt", "return_dict", "width"),
}


class Pipeline:
    """One pipeline on one device.

    Args:
        model: The model entry.
        device: Where to sample.
        place: For messages.

    Raises:
        UserError: There is no such pipeline, it cannot be loaded, or does not take an argument.
    """

    def __init__(self, model: "Model", device: str, place: str) -> None:
        self._model, self._device, self._place = model, device, place
        self._evaluations = 0
        kind = self._kind()
        self._arguments = self._checked(kind)
        self._pipe = self._loaded(kind)
        for name in _NETWORKS:
            if (net := getattr(self._pipe, name, None)) is not None:
                net.register_forward_pre_hook(self._count, with_kwargs=True)

    def generate(self, items: Sequence[WorkItem]) -> Iterator[Media]:
        """Make one batch; where memory does not suffice, its halves, down to single samples."""
        return in_halves(self._batch, items, self._device)

    def _batch(self, items: Sequence[WorkItem]) -> list[Media]:
        settings = self._model.settings
        self._evaluations = 0
        start = self._clock()
        with torch.inference_mode():
            made = self._pipe(
                prompt=[item.prompt_rewritten for item in items],
                num_inference_steps=items[0].steps,
                generator=[torch.Generator().manual_seed(item.seed) for item in items],
                output_type="np",
                return_dict=False,
                **self._arguments,
            )[0]
        seconds = (self._clock() - start) / len(items)
        height, width = settings.resolution
        frames = (settings.frames,) if settings.frames > 1 else ()
        expected = (len(items), *frames, height, width, 3)
        if made.shape != expected:
            raise UserError(
                f"{self._place}.resolution: the pipeline made {made.shape[1:]}, expected "
                f"{expected[1:]} ({'frames, ' if frames else ''}height, width, channels)"
            )
        return [
            Media(
                array=_pixels(each),
                nfe=round(self._evaluations / len(items)),
                seconds={"pipeline": seconds},
                fps=settings.fps,
                finite=_finite(each),
                made={"batch": len(items), "memory": settings.memory},
            )
            for each in made
        ]

    def _count(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Count one evaluation for each row that a network sees: guidance doubles the rows."""
        rows = next(v for v in (*args, *kwargs.values()) if isinstance(v, torch.Tensor))
        self._evaluations += len(rows)

    def _kind(self) -> Any:
        import diffusers

        assert self._model.files is not None
        name = self._model.files.pipeline
        kind = getattr(diffusers, name, None)
        if not (inspect.isclass(kind) and issubclass(kind, diffusers.DiffusionPipeline)):
            raise UserError(
                f"{self._place}.weights: {self._model.root}: expected a pipeline of diffusers "
                f"{diffusers.__version__}, got {name}; code from a folder never runs here"
            )
        return kind

    def _checked(self, kind: Any) -> dict[str, Any]:
        """Return the arguments of the call that are the same for all samples."""
        settings, sampler = self._model.settings, self._model.sampler
        takes = inspect.signature(kind.__call__).parameters
        given: dict[str, Any] = {
            "height": settings.resolution[0],
            "width": settings.resolution[1],
            "guidance_scale": sampler.guidance,
        }
        if settings.frames > 1 or "num_frames" in takes:
            given["num_frames"] = settings.frames
        if settings.negative_prompt is not None:
            given["negative_prompt"] = settings.negative_prompt
        why = {"num_frames": "frames", "guidance_scale": "sampler.guidance"}
        for name in [name for name in given if name not in takes]:
            if name == "guidance_scale" and sampler.guidance == 1:
                del given[name]
                continue
            raise UserError(f"{self._place}.{why.get(name, name)}: {kind.__name__} takes no {name}")
        if lost := [n for n in ("prompt", "generator", "num_inference_steps") if n not in takes]:
            raise UserError(
                f"{self._place}.weights: {kind.__name__} takes no {', '.join(lost)}: it is not a "
                "pipeline from text to images or videos"
            )
        free = sorted(set(takes) - _OURS - {"self", "kwargs"})
        for name in settings.arguments:
            if name not in free:
                raise unknown_name(f"{self._place}.arguments", "argument", name, free)
        return given | settings.arguments

    def _loaded(self, kind: Any) -> Any:
        settings, root = self._model.settings, self._model.root
        extra: dict[str, Any] = self._networks()
        if self._model.lora is not None:
            merge_into(extra, kind, self._model.lora, settings.lora_scale, f"{self._place}.lora")
        if "safety_checker" in inspect.signature(kind.__init__).parameters:
            # It would black out samples: prompts of a benchmark are measured, not published.
            extra |= {"safety_checker": None, "requires_safety_checker": False}
        try:
            with quiet():
                pipe = kind.from_pretrained(root, local_files_only=True, **extra)
        except (OSError, RuntimeError, TypeError, ValueError, ImportError) as fault:
            raise UserError(f"{self._place}.weights: {root}: {first_line(fault)}") from None
        pipe.set_progress_bar_config(disable=True)
        if settings.memory == "model" and self._device != "cpu":
            pipe.enable_model_cpu_offload(device=self._device)
            return pipe
        return pipe.to(self._device)

    def _networks(self) -> dict[str, Any]:
        """Load each network strictly: a pipeline would fill what a file lacks with noise."""
        import diffusers
        import transformers

        settings, found, encoders = self._model.settings, {}, {}
        single = self._model.single
        if single is not None:
            from rcm_bench.diffusion import single_file_weights as weights
        assert self._model.files is not None
        for part, (library, name) in self._model.files.kinds.items():
            where = diffusers if library == "diffusers" else transformers
            if (kind := getattr(where, name, None)) is None:
                raise UserError(
                    f"{self._place}.weights: {self._model.root / part}: {library} "
                    f"{where.__version__} has no {name}; code from a folder never runs here"
                )
            if single is not None and single.has(part, name, self._model.root):
                if part.startswith("text_encoder"):
                    encoders[part] = kind
                else:
                    found[part] = weights.read_network(
                        single, kind, self._model.root, part, settings.dtype
                    )
                continue
            arguments = (self._model.root, part, settings.dtype, self._place, settings.variant)
            found[part] = from_folder(kind, *arguments)
        if single is not None and single.names["text"]:
            root = self._model.root
            found |= weights.read_text_encoders(single, encoders, root, settings.dtype)
        return found

    def _clock(self) -> float:
        if self._device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter()


def _pixels(made: "NDArray[np.floating[Any]]") -> "NDArray[np.uint8]":
    import numpy as np

    whole = np.nan_to_num(made, nan=0.0, posinf=1.0, neginf=0.0)
    pixels: NDArray[np.uint8] = (whole.clip(0, 1) * 255).round().astype(np.uint8)
    return pixels


def _finite(made: "NDArray[np.floating[Any]]") -> bool:
    import numpy as np

    return bool(np.isfinite(made).all())
