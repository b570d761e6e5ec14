"""The device work of an iteration: draw a batch, compute the loss, take a step; a rehearsal."""

from typing import Any

import torch

from rcm_distill.lab.grammar import NULL
from rcm_distill.lab.pool import Pool
from rcm_distill.objectives.protocol import Batch, LossTerms
from rcm_distill.train.balance import gradient_balance
from rcm_distill.train.graphs import StepGraphs
from rcm_distill.train.recipe import Recipe
from rcm_distill.train.session import Session
from rcm_distill.train.training import Training

_REHEARSED = 64
"""Iterations that are looked ahead for kinds of work to compile."""


def rehearse(training: Training, session: Session, graphs: StepGraphs) -> None:
    """Compile every kind of work that is to come, and leave all as it was."""
    recipe, first = session.recipe, training.step
    last = min(first + _REHEARSED, recipe.steps)
    kinds = {session.loss.variant(step): step for step in reversed(range(first, last))}
    generators = training.data, training.noise
    states = [generator.get_state() for generator in generators]
    for variant, step in kinds.items():
        training.step = step
        terms = loss_of_a_batch(training, recipe, session.loss, session.pool)
        terms.total.backward()  # type: ignore[no-untyped-call]
        graphs.rehearsed((variant, False))
    for learner in (training.student, training.critic):
        for leaf in learner.leaves() if learner else ():
            leaf.grad = None
    for generator, state in zip(generators, states, strict=True):
        generator.set_state(state)
    training.step = first
    graphs.finish()


def is_balanced(training: Training, recipe: Recipe, phase: str) -> bool:
    """Return whether the balance of gradients is measured in this iteration."""
    every = recipe.balance_every
    return phase == "student" and every > 0 and training.student.updates % every == 0


def descend(training: Training, recipe: Recipe, loss: Any, pool: Pool) -> LossTerms:
    """Take a step of whoever learns in this iteration, on the mean loss of its batches."""
    critic = training.critic if loss.phase(training.step) == "critic" else None
    learner = critic or training.student
    learner.optimizer.zero_grad(set_to_none=True)
    parts = []
    for _ in range(recipe.accumulate):
        terms = loss_of_a_batch(training, recipe, loss, pool)
        if len(terms.parts) > 1 and is_balanced(training, recipe, "student"):
            balance = gradient_balance(terms.parts, learner.leaves())
            terms = terms._replace(terms=terms.terms | balance)
        terms = terms._replace(parts={})
        (terms.total / recipe.accumulate).backward()  # type: ignore[no-untyped-call]
        learner.collect()
        parts.append(terms._replace(total=terms.total.detach()))
    learner.descend()
    if len(parts) == 1:
        return parts[0]
    means = {key: torch.stack([p.terms[key] for p in parts]).mean(0) for key in parts[0].terms}
    return LossTerms(parts[-1].total, means, torch.stack([p.nonfinite for p in parts]).sum())


def loss_of_a_batch(training: Training, recipe: Recipe, loss: Any, pool: Pool) -> LossTerms:
    """Return the loss of whoever learns in this iteration on a fresh batch."""
    x0, tokens = pool.batch(recipe.batch_size, training.data)
    batch = Batch(x0, tokens, torch.full_like(tokens, NULL), tuple(x0.shape), training.clock)
    student = training.student.denoiser
    critic = training.critic.denoiser if training.critic else None
    rng, step = training.noise, training.step
    terms: LossTerms
    if loss.phase(step) == "critic":
        terms = loss.critic_loss(student, critic, batch, rng=rng, step=step)
    else:
        terms = loss(student, training.teacher, critic, batch, rng=rng, step=step)
    return terms
