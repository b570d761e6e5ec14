import math

import numpy as np
import pytest
import torch
from scipy import stats

from rcm_distill.lab import layout
from rcm_distill.lab.dispersion import corresponding_gap
from rcm_distill.lab.grammar import (
    COLORS,
    PAD,
    RELATIONS,
    SHAPES,
    TASKS,
    VOCAB,
    all_prompts,
    parse,
    prompt_set,
)
from rcm_distill.lab.pool import Pool
from rcm_distill.lab.render import DATA_SCALE
from rcm_distill.lab.world import (
    BACKGROUND,
    MAX_ANGLE,
    demand,
    sample_scenes,
    sample_training,
    true_dispersion,
)

ALPHA = 1e-7  # chance of a false alarm per distribution test


def test_layouts_always_keep_gap_frame_size_and_relation(generator):
    scenes = sample_training(4000, generator).scenes
    present = scenes.cls >= 0
    count = present.sum(1)
    border = torch.minimum(scenes.xy, layout.SIZE - scenes.xy).amin(-1) - scenes.radius
    assert (border[present] >= layout.MARGIN - 1e-4).all()
    for i in range(4):
        for j in range(i):
            both = present[:, i] & present[:, j]
            away = (scenes.xy[:, i] - scenes.xy[:, j]).norm(dim=-1)
            gap = away - scenes.radius[:, i] - scenes.radius[:, j]
            assert (gap[both] >= layout.GAP - 1e-4).all()
    low = torch.where(count <= 2, layout.RADII_FEW[0], layout.RADII_MANY[0])[:, None]
    high = torch.where(count <= 2, layout.RADII_FEW[1], layout.RADII_MANY[1])[:, None]
    assert ((scenes.radius >= low) & (scenes.radius <= high))[present].all()
    assert (scenes.radius[~present] == 0).all()
    assert (scenes.color[~present] == -1).all()


@pytest.mark.parametrize("relation", RELATIONS)
def test_positions_hold_with_a_margin(relation, generator):
    prompts = [p for p in all_prompts("position") if p.include[1].position == (relation, 0)]
    scenes = sample_scenes(prompts * 10, generator)
    names = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}
    axis, sign = names[relation]
    offset = scenes.xy[:, 0] - scenes.xy[:, 1]
    along, across = sign * offset[:, axis], offset[:, 1 - axis].abs()
    assert (along >= layout.DOMINANCE * across - 1e-4).all()
    # GenEval's rule on boxes as large as the circumscribed squares can be.
    dead = 0.1 * 2 * (scenes.radius[:, 0] + scenes.radius[:, 1])
    assert ((along - dead) / offset.norm(dim=-1) > 0.5).all()


def test_scenes_hold_what_the_prompt_says(generator):
    prompts = prompt_set(40)
    scenes = sample_scenes(prompts, generator)
    for row, prompt in enumerate(prompts):
        found = [(k, c) for k, c in zip(scenes.cls[row], scenes.color[row], strict=True) if k >= 0]
        clauses = prompt.include[::-1] if prompt.task == "position" else prompt.include
        wanted = [clause for clause in clauses for _ in range(clause.count)]
        assert len(found) == len(wanted)
        for (cls, color), clause in zip(found, wanted, strict=True):
            assert SHAPES[cls] == clause.name
            assert clause.color is None or COLORS[color] == clause.color


def test_training_tokens_describe_their_scenes(generator):
    pairs = sample_training(600, generator)
    texts = [" ".join(VOCAB[t] for t in row if t != PAD) for row in pairs.tokens.tolist()]
    fixed = demand([parse(text) for text in texts])
    assert torch.equal(fixed.cls, pairs.scenes.cls)
    given = fixed.color >= 0
    assert torch.equal(fixed.color[given], pairs.scenes.color[given])


def test_training_gives_tasks_equal_mass(generator):
    tokens = sample_training(6000, generator).tokens
    texts = [" ".join(VOCAB[t] for t in row if t != PAD) for row in tokens.tolist()]
    tasks = [parse(text).task for text in texts]
    assert stats.chisquare([tasks.count(task) for task in TASKS]).pvalue > ALPHA
    colors = [text for text, task in zip(texts, tasks, strict=True) if task == "colors"]
    counts = [colors.count(prompt.text) for prompt in all_prompts("colors")]
    assert stats.chisquare(counts).pvalue > ALPHA


def test_free_colours_are_uniform_and_independent(generator):
    scenes = sample_scenes([parse("a photo of two stars")] * 8000, generator)
    pairs = scenes.color[:, 0] * 10 + scenes.color[:, 1]
    assert stats.chisquare(np.bincount(pairs, minlength=100)).pvalue > ALPHA


def test_angles_and_backgrounds_are_uniform(generator):
    scenes = sample_training(4000, generator).scenes
    angle = (scenes.angle[scenes.cls >= 0] / MAX_ANGLE + 1) / 2
    assert stats.kstest(angle.numpy(), "uniform").pvalue > ALPHA
    for column, (low, high) in zip(scenes.background.T, BACKGROUND.values(), strict=True):
        assert stats.kstest(((column - low) / (high - low)).numpy(), "uniform").pvalue > ALPHA


def test_layout_law_is_the_uniform_law_conditioned_on_validity(seed):
    """Against plain rejection, one scene at a time, in numpy."""
    rng = np.random.default_rng(seed)
    slow = []
    while len(slow) < 1500:
        r = rng.uniform(*layout.RADII_MANY, 3)
        xy = rng.uniform(
            (r + layout.MARGIN)[:, None], (layout.SIZE - r - layout.MARGIN)[:, None], (3, 2)
        )
        away = [np.hypot(*(xy[i] - xy[j])) - r[i] - r[j] for i, j in ((0, 1), (0, 2), (1, 2))]
        if min(away) >= layout.GAP:
            slow.append((xy[0, 0], r[2], min(away), np.hypot(*(xy[0] - xy[1]))))
    generator = torch.Generator().manual_seed(seed)
    count = torch.full((3000,), 3)
    fast = layout.sample_layouts(count, torch.full_like(count, -1), generator)
    xy, r = fast.xy.double(), fast.radius.double()
    pairs = [
        (xy[:, i] - xy[:, j]).norm(dim=-1) - r[:, i] - r[:, j] for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    quick = (xy[:, 0, 0], r[:, 2], torch.stack(pairs).amin(0), (xy[:, 0] - xy[:, 1]).norm(dim=-1))
    for a, b in zip(zip(*slow, strict=True), quick, strict=True):
        assert stats.ks_2samp(a, b.numpy()).pvalue > ALPHA


def test_a_generator_decides_everything(seed):
    def draw():
        return sample_training(300, torch.Generator().manual_seed(seed))

    torch.manual_seed(0)
    first = draw()
    torch.rand(7)
    second = draw()
    assert torch.equal(first.tokens, second.tokens)
    assert all(torch.equal(a, b) for a, b in zip(first.scenes, second.scenes, strict=True))
    other = sample_training(300, torch.Generator().manual_seed(seed + 1))
    assert not torch.equal(first.scenes.xy, other.scenes.xy)


def test_dispersion_agrees_with_fresh_pairs(generator):
    for text in (
        "a photo of a star",
        "a photo of a star left of a moon",
        "a photo of four rings",
        "a photo of a red star and a blue moon",
    ):
        prompt = parse(text)
        truth = true_dispersion(prompt)
        n = sum(clause.count for clause in prompt.include)
        a, b = (sample_scenes([prompt] * 3000, generator) for _ in range(2))
        gap = corresponding_gap(
            a.xy[:, :n],
            a.radius[:, :n],
            b.xy[:, :n],
            b.radius[:, :n],
            exchangeable=prompt.task == "counting",
        )
        tone = (a.background[:, 0] - b.background[:, 0]).abs()
        for values, expected in (
            (gap.place, truth.place),
            (gap.size, truth.size),
            (tone, truth.background),
        ):
            # Both are simulations: 5.5 joint standard errors.
            tolerance = 5.5 * float(values.std()) * (1 / 3000 + 1 / 6000) ** 0.5
            assert float(values.mean()) == pytest.approx(expected, abs=tolerance)
        differ = float((a.color[:, 0] != b.color[:, 0]).double().mean())
        if prompt.task == "color_attr":
            assert math.isnan(truth.color)
            assert differ == 0
        else:
            assert differ == pytest.approx(truth.color, abs=5.5 * (0.09 / 3000) ** 0.5)


def test_exchangeable_objects_correspond_by_the_best_assignment(generator):
    xy = torch.rand(50, 4, 2, generator=generator) * 40
    radius = torch.rand(50, 4, generator=generator)
    order = torch.randperm(4, generator=generator)
    gap = corresponding_gap(xy, radius, xy[:, order], radius[:, order], exchangeable=True)
    assert gap.place.abs().max() == 0
    assert gap.size.abs().max() == 0
    one = corresponding_gap(xy, radius, xy + torch.tensor([3.0, 4.0]), radius, exchangeable=False)
    torch.testing.assert_close(one.place, torch.full((50,), 5.0))


def test_pool_is_scaled_and_deterministic(seed, generator):
    pool = Pool(500, seed)
    assert torch.equal(pool.images, Pool(500, seed).images)
    batch = pool.batch(64, generator)
    assert batch.x0.shape == (64, 3, 40, 40)
    assert batch.x0.dtype == torch.float32
    assert batch.tokens.shape == (64, 12)
    assert float(batch.x0.abs().max()) <= DATA_SCALE
    levels = (batch.x0 / DATA_SCALE + 1) * 127.5
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="num_images must be at least 1, got 0"):
        Pool(0, seed)
