"""Tables as the run store makes them, filled by hand."""

import json

import numpy as np
import pandas as pd


def make_samples(cells, prompts, seeds=4):
    """One row for every planned item; prompts are (prompt_id, task)."""
    return pd.DataFrame(
        [
            {
                "sample_key": f"{model}|{steps}|{prompt}|{k}",
                "item_id": f"{model}|{steps}|{prompt}|{k}",
                "model": model,
                "sampler": sampler,
                "steps": steps,
                "prompt_id": prompt,
                "prompt": prompt,
                "task": task,
                "seed_index": k,
                "seed": k,
                "blob": "",
                "nfe": steps,
                "status": "ok",
                "flags": "",
            }
            for model, sampler, steps in cells
            for prompt, task in prompts
            for k in range(seeds)
        ]
    )


def make_scores(samples, metric, values, details=None):
    """One row for each sample; values by position, NaN = unscored."""
    return pd.DataFrame(
        {
            "sample_key": samples["sample_key"],
            "item_id": samples["item_id"],
            "benchmark": "geneval",
            "scorer": "lab",
            "version": "1",
            "metric": metric,
            "value": np.asarray(values, dtype=float),
            "reason": None,
            "details": ["{}"] * len(samples) if details is None else list(map(json.dumps, details)),
        }
    )
