"""False alarms on real samples: the laboratory's teacher against itself on other seeds.

``python -m rcm_bench.statistics_coverage.real RUN [OUT]`` takes a run of
``reports/gallery/aa/aa.yaml`` (one model, many seeds a prompt), makes students and teachers of
disjoint seeds, has them compared as any run is, and counts what is found.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from rcm_bench.aggregate import ALPHA, aggregate
from rcm_bench.benchmarks import detail, diversity, geneval
from rcm_bench.statistics import Clusters, estimate
from rcm_bench.statistics_coverage.measure import SEED
from rcm_bench.types import Reference

SEEDS = 4
PARTITIONS = 3
QUICKSTART = 10
GALLERY = Path("reports/gallery/aa")
BENCHMARKS = (geneval.Benchmark(), diversity.Benchmark(), detail.Benchmark())


class Experiment(NamedTuple):
    """One comparison of the teacher with itself.

    Attributes:
        prompts: Prompts of each task, or all that there are.
        partition: Which division of the seeds; experiments of one share no sample.
        seeds: (2, 4) seeds of the student and of the teacher.
    """

    prompts: str
    partition: int
    seeds: np.ndarray


def experiments(num_seeds: int, rng: np.random.Generator) -> Iterator[Experiment]:
    """Yield disjoint pairs of groups of seeds, for several random divisions of the seeds."""
    for partition in range(PARTITIONS):
        groups = rng.permutation(num_seeds)[: num_seeds // (2 * SEEDS) * 2 * SEEDS]
        for seeds in groups.reshape(-1, 2, SEEDS):
            for prompts in (f"{QUICKSTART} a task", "all"):
                yield Experiment(prompts, partition, seeds)


def _chosen(samples: pd.DataFrame, prompts: str, rng: np.random.Generator) -> pd.DataFrame:
    if prompts == "all":
        return samples
    kept: list[str] = []
    for _, own in samples.groupby("task", sort=True):
        names = np.sort(own["prompt_id"].unique())
        kept += list(rng.choice(names, min(QUICKSTART, len(names)), replace=False))
    return samples[samples["prompt_id"].isin(kept)]


def compared(
    samples: pd.DataFrame, scores: pd.DataFrame, experiment: Experiment, rng: np.random.Generator
) -> pd.DataFrame:
    """Return the table of paired differences of one experiment.

    Args:
        samples: The samples of the one model.
        scores: Their scores.
        experiment: Which seeds are whose.
        rng: Chooses the prompts.
    """
    pool = _chosen(samples, experiment.prompts, rng)
    sides = []
    for model, seeds in zip(("again", "teacher"), experiment.seeds, strict=True):
        own = pool[pool["seed_index"].isin(seeds)]
        sides.append(own.assign(model=model))
    both = pd.concat(sides, ignore_index=True)
    steps = int(both["steps"].iloc[0])
    used = scores[scores["item_id"].isin(both["item_id"])]
    reference = Reference(model="teacher", steps=steps)
    return aggregate(both, used, BENCHMARKS, reference, "").paired


def trials(samples: pd.DataFrame, scores: pd.DataFrame, seed: int = SEED) -> pd.DataFrame:
    """Return every test of every experiment: prompts, partition, number, metric, p, tied, held.

    ``held`` says whether the 95 % interval of the difference holds 0; None without an interval.
    """
    rng = np.random.default_rng(seed)
    found = []
    for number, experiment in enumerate(experiments(samples["seed_index"].nunique(), rng)):
        paired = compared(samples, scores, experiment, rng)
        found.append(outcomes(paired, experiment, number))
    return pd.concat(found, ignore_index=True)


def outcomes(paired: pd.DataFrame, experiment: Experiment, number: int) -> pd.DataFrame:
    """Return every test of one experiment, columns as in ``trials``."""
    there = paired["difference_low"].notna()
    inside = (paired["difference_low"] <= 0) & (paired["difference_high"] >= 0)
    return pd.DataFrame(
        {
            "prompts": experiment.prompts,
            "partition": experiment.partition,
            "experiment": number,
            "metric": paired["benchmark"] + "." + paired["metric"],
            "p": paired["p"],
            "tied": paired["tied"],
            "held": [bool(i) if t else None for i, t in zip(inside, there, strict=True)],
        }
    )


def _line(what: str, alarms: pd.DataFrame) -> dict[str, object]:
    """Summarise the column ``alarm``: the first partition with an interval, and all partitions."""
    first = alarms[alarms["partition"] == 0].groupby("experiment")["alarm"].agg(["sum", "count"])
    rate = estimate(
        Clusters(
            numerator=first[["sum"]].to_numpy(np.float64),
            denominator=first[["count"]].to_numpy(np.float64),
            strata=np.zeros(len(first), dtype=np.int64),
        ),
        kind="proportion",
    )
    return {
        "prompts": alarms["prompts"].iloc[0],
        "what": what,
        "alarms": int(first["sum"].sum()),
        "tests": int(first["count"].sum()),
        "rate": rate.value,
        "low": rate.low,
        "high": rate.high,
        "alarms_all": int(alarms["alarm"].sum()),
        "tests_all": len(alarms),
        "rate_all": float(alarms["alarm"].mean()),
    }


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each metric, for all single tests, and for families under Holm."""
    tested = table[table["p"].notna()].assign(alarm=lambda t: t["p"] <= ALPHA)
    lines = []
    for _, own in tested.groupby("prompts", sort=False):
        lines.append(_line("every test", own))
        lines += [_line(str(metric), rows) for metric, rows in own.groupby("metric", sort=True)]
        known = own[own["held"].notna()]
        outside = known.assign(alarm=~known["held"].astype(bool))
        lines.append(_line("interval of the difference without 0", outside))
        family = own.assign(alarm=own["tied"].map(lambda tied: tied is False))
        keys = ["prompts", "partition", "experiment"]
        whole = family.groupby(keys, sort=False)["alarm"].any().reset_index()
        lines.append(_line("any alarm of an experiment under Holm (4 families)", whole))
    return pd.DataFrame(lines)


def readme(found: pd.DataFrame, samples: pd.DataFrame) -> str:
    """Return the page."""
    seeds = samples["seed_index"].nunique()
    lines = [
        "# The teacher against itself: false alarms on real samples",
        "",
        f"`lab-teacher` at {samples['steps'].iloc[0]} steps, {samples['prompt_id'].nunique()} "
        f"prompts, {seeds} seeds each ({len(samples)} images). The seeds are",
        f"divided into {seeds // (2 * SEEDS)} disjoint pairs of {SEEDS} + {SEEDS}; of each "
        "pair one half plays the student, the other the teacher,",
        "and `rcm_bench.aggregate` compares them as it does in any run. Every difference found is",
        "a false alarm; 5 % of single tests is what they are made for.",
        "",
        f"| prompts | test | alarms | of | rate | 95 % | {PARTITIONS} divisions |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found.itertuples(index=False):
        lines.append(
            f"| {row.prompts} | {row.what} | {row.alarms} | {row.tests} | {row.rate:.1%} | "
            f"{row.low:.1%} to {row.high:.1%} | {row.rate_all:.1%} of {row.tests_all} |"
        )
    lines += [
        "",
        "**What it shows.** Experiments of one division share no image, so given the prompts they",
        "are independent, and the interval counts experiments, not tests (tests of one experiment",
        "read the same images). The prompts are the same ones throughout: this is about new seeds.",
        f"The last column pools {PARTITIONS} random divisions of the same images; they are not",
        "independent of each other, so it is steadier than the rate before it by an unknown amount",
        "and has no interval. Tests of accuracies near 1 alarm less often than 5 %: few prompts",
        "differ, and their sums are discrete. Holm keeps each of the four families (headlines, "
        "parts of",
        "three benchmarks) at 5 %; that any of them alarms may happen in 1 - 0.95^4 = 19 % of "
        "experiments.",
        "",
        "`alarms.csv` holds these lines, `aa.yaml` the suite. Made by",
        "",
        "    python -m rcm_bench run reports/gallery/aa/aa.yaml --out runs/aa",
        "    python -m rcm_bench.statistics_coverage.real runs/aa",
        "",
        f"Sampled and scored on an H100 (torch 2.11.0+cu130), commit dc6c34e; split seed {SEED}.",
    ]
    return "\n".join(lines) + "\n"


def write(samples: pd.DataFrame, scores: pd.DataFrame, out: Path) -> None:
    """Count, and write ``alarms.csv`` and ``README.md``."""
    found = summary(trials(samples, scores))
    out.mkdir(parents=True, exist_ok=True)
    found.to_csv(out / "alarms.csv", index=False, float_format="%.4f", lineterminator="\n")
    (out / "README.md").write_text(readme(found, samples), encoding="utf-8")


def main(run: Path, out: Path) -> None:
    """Count the false alarms of a run."""
    from rcm_bench.finish import open_run
    from rcm_bench.tables import run_tables

    opened = open_run(run)
    tables = run_tables(opened.plan, opened.store.index(), opened.benchmarks)
    write(tables.samples, tables.scores, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else GALLERY)
