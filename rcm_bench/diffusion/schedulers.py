"""diffusers' schedulers for teachers: UniPC as Wan2.1 ships it, or the one of the folder."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rcm_bench.diffusion.quiet import quiet
from rcm_bench.diffusion.source import read_json
from rcm_bench.errors import UserError
from rcm_bench.suite import SchedulerSampler, UnipcSampler

if TYPE_CHECKING:
    from rcm_bench.diffusion.model import DiffusionModel

_CLASSES = ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler")
# What diffusers' Cosmos-Predict2 pipelines write into their scheduler's configuration.
_COSMOS = {
    "sigma_max": 80.0,
    "sigma_min": 0.002,
    "sigma_data": 1.0,
    "final_sigmas_type": "sigma_min",
}


def scheduler_maker(model: "DiffusionModel", place: str) -> Callable[[], Any]:
    """Return what makes a fresh scheduler: they keep the state of one batch.

    Raises:
        UserError: The folder names a scheduler that is not known here.
    """

    def make() -> Any:
        import diffusers

        if isinstance(model.sampler, UnipcSampler):
            unipc: Any = diffusers.UniPCMultistepScheduler
            return unipc(
                num_train_timesteps=1000,
                solver_order=2,
                prediction_type="flow_prediction",
                use_flow_sigmas=True,
                flow_shift=model.sampler.shift,
            )
        assert isinstance(model.sampler, SchedulerSampler)
        if model.weights.root is None:
            raise UserError(f"{place}.sampler: random weights have no scheduler of their own")
        path = model.weights.root / "scheduler" / "scheduler_config.json"
        config = read_json(path, place)
        name = str(config.get("_class_name"))
        if name not in _CLASSES:
            known = " or ".join(_CLASSES)
            raise UserError(f"{place}.sampler: {path}: expected {known}, got {name}")
        with quiet():  # it warns of what its own pipelines register
            scheduler = getattr(diffusers, name).from_config(config)
            if model.family.name == "cosmos":
                scheduler.register_to_config(**_COSMOS)
        return scheduler

    return make
