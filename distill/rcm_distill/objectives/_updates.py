"""Who learns when: the host-side schedule of two networks that take turns."""

from dataclasses import dataclass

from rcm_distill.objectives.protocol import Phase


@dataclass(frozen=True, kw_only=True, slots=True)
class Turns:
    """The student learns alone for ``warm_up`` iterations, then in every ``frequency``-th.

    Attributes:
        warm_up: Iterations before the critic starts.
        frequency: Afterwards the student learns in one of so many iterations.
    """

    warm_up: int
    frequency: int

    def phase(self, step: int) -> Phase:
        """Return who learns in an iteration."""
        alone = step < self.warm_up
        return "student" if alone or (step - self.warm_up) % self.frequency == 0 else "critic"

    def variant(self, step: int, num_steps_max: int) -> tuple[Phase, int]:
        """Return who learns, and how many steps are simulated: 1..num_steps_max in turn."""
        phase = self.phase(step)
        return phase, self.num_steps(step, num_steps_max, phase)

    def num_steps(self, step: int, num_steps_max: int, phase: Phase) -> int:
        """Return how many steps are simulated for who learns: 1..num_steps_max in turn."""
        updates = self.student_updates(step) if phase == "student" else self.critic_updates(step)
        return updates % num_steps_max + 1

    def student_updates(self, step: int) -> int:
        """Return how many updates the student has had before this iteration."""
        if step < self.warm_up:
            return step
        return self.warm_up + -(-(step - self.warm_up) // self.frequency)

    def critic_updates(self, step: int) -> int:
        """Return how many updates the critic has had before this iteration."""
        return step - self.student_updates(step)
