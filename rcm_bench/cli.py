"""The command line: one function for each verb, nothing heavy imported before a verb runs."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ParamSpec

import typer

from rcm_bench.exit_codes import explain

P = ParamSpec("P")

app = typer.Typer(
    name="rcm-bench",
    help="How close is a few-step diffusion model to its teacher? Every number has an interval.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
kernels = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(
    kernels, name="kernels", help="Hold the attention kernels to a budget of error; time them."
)

SuiteArgument = Annotated[str, typer.Argument(help="Path of a suite, or name of a shipped one.")]
RunArgument = Annotated[Path, typer.Argument(help="A run folder.")]
MarginOption = Annotated[
    list[str] | None,
    typer.Option(help="METRIC=MARGIN in place of the suite's gates; may be repeated."),
]
PickleOption = Annotated[
    list[str] | None,
    typer.Option(metavar="SHA256", help="Read weights in a pickle with this digest; repeatable."),
]


def guarded(verb: Callable[P, int]) -> Callable[P, None]:
    """Turn what a verb returns or raises into an exit code and, for faults, one message."""

    @functools.wraps(verb)
    def command(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            code = verb(*args, **kwargs)
        except (KeyboardInterrupt, Exception) as fault:
            said = explain(fault)
            sys.stderr.write(f"{said.message}\n")
            code = said.code
        raise typer.Exit(code)

    return command


@app.command()
@guarded
def run(
    suite: SuiteArgument,
    out: Annotated[Path | None, typer.Option(help="Run folder [runs/<suite>-<hash>].")] = None,
    limit: Annotated[int | None, typer.Option(help="Only N prompts, stratified by task.")] = None,
    allow_pickle: PickleOption = None,
) -> int:
    """Plan, sample, score, aggregate and report; resumes what is there."""
    from rcm_bench.printing import print_outcome
    from rcm_bench.verbs.run import run as verb

    return print_outcome(verb(suite, out, limit, allow_pickle or ()))


@app.command()
@guarded
def plan(suite: SuiteArgument, allow_pickle: PickleOption = None) -> int:
    """Show what a run would do and cost, and what is missing for it."""
    from rcm_bench.printing import print_plan
    from rcm_bench.verbs.plan import plan as verb

    return print_plan(verb(suite, allow_pickle or ()))


@app.command()
@guarded
def status(run: RunArgument) -> int:
    """Show what of a run is done, failed and still to do."""
    from rcm_bench.printing import print_status
    from rcm_bench.verbs.status import status as verb

    return print_status(verb(run))


@app.command()
@guarded
def score(run: RunArgument) -> int:
    """Score again from the stored samples."""
    from rcm_bench.printing import print_outcome
    from rcm_bench.verbs.score import score as verb

    return print_outcome(verb(run))


@app.command()
@guarded
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; the first has the teacher.")],
    format: Annotated[  # noqa: A002
        str, typer.Option(help="html, markdown, latex, csv or json.")
    ] = "html",
    out: Annotated[
        Path | None, typer.Option(help="Folder of pages, or file of a document [the run; stdout].")
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="One suite over time, from its runs.")
    ] = False,
) -> int:
    """Write tables, plots and the page again from the stored scores, or print a document."""
    from rcm_bench.printing import print_outcome
    from rcm_bench.verbs import report as verb

    verb.check_call(len(runs), format, out, history=history)
    if history and out is not None:
        typer.echo(verb.history(runs, out))
    elif format == "html" and out is None:
        return print_outcome(verb.report(runs[0]))
    elif format == "html" and out is not None:
        typer.echo(verb.pages(runs, out))
    elif out is not None:
        typer.echo(verb.write_text(out, verb.document(runs, format)))
    else:
        sys.stdout.write(verb.document(runs, format))
    return 0


@app.command()
@guarded
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders or baseline files.")],
    reference: Annotated[
        str | None, typer.Option(help="MODEL or MODEL@STEPS of the first run, for all of the rest.")
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Published numbers beside the first run's.")
    ] = False,
) -> int:
    """Show what makes runs incomparable, then paired differences to the first."""
    from rcm_bench.printing_verdicts import print_compared
    from rcm_bench.verbs.compare import compare as verb

    return print_compared(verb(*runs, reference=reference, published=published))


@app.command()
@guarded
def gate(
    run: RunArgument,
    baseline: Annotated[
        Path | None, typer.Option(help="Baseline file or run folder [the run's own teacher].")
    ] = None,
    margin: MarginOption = None,
    junit: Annotated[Path | None, typer.Option(help="File for JUnit XML.")] = None,
    summary: Annotated[Path | None, typer.Option(help="File for a Markdown summary.")] = None,
) -> int:
    """Judge a run: pass (0), fail (1) or inconclusive (3)."""
    from rcm_bench.gates import parse_margins
    from rcm_bench.printing_verdicts import print_judged
    from rcm_bench.verbs.gate import gate as verb

    return print_judged(verb(run, baseline, parse_margins(margin or []), junit, summary))


@app.command()
@guarded
def baseline(run: RunArgument, out: Annotated[Path, typer.Option(help="File to write.")]) -> int:
    """Write a run's numbers as a small file that later runs are gated against."""
    from rcm_bench.verbs.baseline import baseline as verb

    typer.echo(verb(run, out))
    return 0


@app.command()
@guarded
def power(
    suite: SuiteArgument,
    pilot: Annotated[
        Path | None, typer.Option(help="Run folder or baseline file to take variances from.")
    ] = None,
    margin: MarginOption = None,
) -> int:
    """Show how many prompts and seeds a wished margin needs."""
    from rcm_bench.gates import parse_margins
    from rcm_bench.printing_verdicts import print_power
    from rcm_bench.verbs.power import power as verb

    return print_power(verb(suite, pilot, parse_margins(margin or [])))


@app.command()
@guarded
def prompts(
    benchmark: Annotated[str, typer.Argument(help="Name of a prompt set: geneval, lab, vbench.")],
    out: Annotated[Path, typer.Option(help="Folder to write into.")],
) -> int:
    """Write a benchmark's prompt set in its official format."""
    from rcm_bench.verbs.prompts import prompts as verb

    for path in verb(benchmark, out):
        typer.echo(path)
    return 0


@app.command()
@guarded
def distill(
    recipe: Annotated[str, typer.Argument(help="Path of a recipe, or name of a shipped one.")],
    out: Annotated[Path | None, typer.Option(help="Folder of state and weights.")] = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="Stop after so long; run again to go on.")
    ] = None,
) -> int:
    """Train a teacher or a student from a recipe; resumes what is there."""
    from rcm_bench.verbs.distill import distill as verb

    typer.echo(verb(recipe, out, max_seconds))
    return 0


@app.command()
@guarded
def doctor() -> int:
    """Show what works on this machine and what is missing, with the command that mends it."""
    from rcm_bench.printing import print_checks
    from rcm_bench.verbs.doctor import doctor as verb

    return print_checks(verb())


@kernels.command("check")
@guarded
def kernels_check(
    json: Annotated[Path | None, typer.Option(help="File for every number.")] = None,
    junit: Annotated[Path | None, typer.Option(help="File for JUnit XML.")] = None,
    seed: Annotated[int | None, typer.Option(help="Inputs of an earlier check.")] = None,
) -> int:
    """Hold every attention path to its error budget; on a CPU Triton is interpreted."""
    from rcm_bench.printing_kernels import print_checked
    from rcm_bench.verbs.kernels_check import kernels_check as verb

    return print_checked(verb(json, junit, seed))


@kernels.command("bench")
@guarded
def kernels_bench(
    out: Annotated[
        Path | None, typer.Option(help="Folder of rows and plot [runs/kernels__<gpu>__<date>].")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Earlier rows; slower than these is exit code 1.")
    ] = None,
    rcm: Annotated[
        Path | None, typer.Option(help="rCM's flash_attention_jvp_triton.py, timed too.")
    ] = None,
) -> int:
    """Time attention with its tangent and its peers side by side; needs a green check first."""
    from rcm_bench.printing_kernels import print_benched
    from rcm_bench.verbs.kernels_bench import kernels_bench as verb

    return print_benched(verb(out, against, rcm))


def main() -> None:
    """Run the command line."""
    app()
