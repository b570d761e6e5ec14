"""A study's tables and its plot of curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from rcm_bench.method_study.answers import QUESTIONS, Answer
from rcm_bench.method_study.measure import EQUAL_UPDATES, METRICS, Measured
from rcm_bench.method_study.page import Trained
from rcm_bench.statistics import value_of


def values(trained: Sequence[Trained], measured: Measured) -> pd.DataFrame:
    """Return every value: one row for each model, metric and number of steps."""
    methods = {one.name: one.method for one in trained}
    rows = [
        {
            "model": model,
            "method": methods.get(model.removesuffix(EQUAL_UPDATES), model),
            "metric": metric,
            "steps": steps,
            "value": value_of(clusters),
        }
        for (metric, model, steps), clusters in measured.items()
        if metric in METRICS
    ]
    return pd.DataFrame(rows)


def comparisons(found: Mapping[str, Sequence[Answer]]) -> pd.DataFrame:
    """Return every comparison with its interval."""
    return pd.DataFrame(
        [
            {
                "budget": name,
                "question": QUESTIONS[each.question].text,
                **{"prompts": each.prompts, "dropped": each.dropped},
                **{"metric": each.metric, "first": each.first, "other": each.other},
                **{"steps": each.steps, "value": each.found.value},
                **{"reference": each.found.reference, "difference": each.found.difference},
                **{"low": each.found.low, "high": each.found.high, "p": each.found.p},
                **{"p_holm": each.p_holm, "df": each.found.df},
                **{"seed_share": each.found.seed_share, "scope": each.found.scope},
                **{"ranked": each.ranked, "says": each.verdict},
            }
            for name, own in found.items()
            for each in own
        ]
    )


def plot_curves(trained: Sequence[Trained], path: Path) -> None:
    """Draw validation over compute and over student updates, one colour for each method."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    methods = list(dict.fromkeys(one.method for one in trained))
    with mpl.rc_context({"svg.hashsalt": "rcm_bench", "font.size": 8}):
        figure = Figure(figsize=(9, 4), layout="constrained")
        for place in range(2):
            axes = figure.add_subplot(1, 2, place + 1)
            for one in trained:
                if one.curve.empty:
                    continue
                x = one.curve["step"] * one.passes if place == 0 else one.curve["student_updates"]
                number = methods.index(one.method)
                first = one.name == next(t.name for t in trained if t.method == one.method)
                axes.plot(
                    x,
                    one.curve["accuracy"],
                    color=f"C{number % 10}",
                    linestyle="-" if number < 5 else ":",
                    lw=1,
                    label=one.method if first else None,
                )
            axes.set_xlabel("compute, passes over a batch" if place == 0 else "student updates")
            axes.set_ylabel("right images, mean over numbers of steps")
            axes.set_ylim(0, 1)
        if any(not one.curve.empty for one in trained):
            figure.axes[0].legend(fontsize=6)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
