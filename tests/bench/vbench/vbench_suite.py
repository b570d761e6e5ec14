"""A small suite of VBench's groups of prompts, for the stand-in."""

from rcm_bench.statistics.vbench_dimensions import GROUPS
from rcm_bench.vbench import dimensions as known

PER_GROUP = 5
AUXILIARY = {
    "object_class": {"object": "cat"},
    "color": {"color": "red"},
    "appearance_style": {"appearance_style": "oil"},
}


def small_info():
    """Some prompts of each of VBench's groups, one of them in two groups."""
    rows = []
    for _, names in GROUPS:
        for i in range(PER_GROUP):
            auxiliary = {n: AUXILIARY.get(n, {n: "x"}) for n in names if n in known.WITH_AUXILIARY}
            rows.append({"prompt_en": f"{names[0]} number {i}", "dimension": list(names),
                         **({"auxiliary_info": auxiliary} if auxiliary else {})})  # fmt: skip
    rows[-1]["prompt_en"] = rows[0]["prompt_en"]
    return rows


SUITE = """\
suite: video
models:
  teacher: {kind: fake, role: teacher, sampler: flow, steps: [4]}
  student: {kind: fake, sampler: few, level: 0.9, steps: [1]}
samplers:
  flow: {kind: euler}
  few: {kind: consistency}
steps: [1]
prompts: {set: vbench, info: info.json, preset: five-unfiltered}
benchmarks:
  vbench: {device: cpu, delegated: [NATIVE]}
""".replace("NATIVE", ", ".join(known.NATIVE))


def numbers(outcome, model="student"):
    table = outcome.measurements
    own = table[(table["benchmark"] == "vbench") & (table["model"] == model)]
    return own.set_index("metric")
