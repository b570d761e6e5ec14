"""The committed JSON Schema is current, and shipped suites can be read."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rcm_bench.schema import schema_text
from rcm_bench.shipped import shipped
from rcm_bench.suite_load import load_suite


def test_the_committed_schema_is_current():
    committed = (shipped("suites") / "schema.json").read_text(encoding="utf-8")
    assert json.loads(committed) == json.loads(schema_text()), (
        'write it again: python -c "from rcm_bench.schema import schema_text; '
        "print(schema_text(), end='')\" > suites/schema.json"
    )


@pytest.mark.parametrize("name", sorted(p.stem for p in shipped("suites").glob("*.yaml")))
def test_shipped_suites_can_be_read(name):
    loaded = load_suite(name, {})
    assert loaded.suite.suite == name
    assert loaded.suite.about


def test_the_receipt_says_how_to_run_again():
    """A shipped suite by its name, wherever it is; any other by its path, quoted for a shell."""
    from rcm_bench.manifest import _command

    assert _command(Path("suites/quickstart.yaml").resolve()).endswith(" run quickstart")
    assert _command(Path("my suites/quickstart.yaml")).endswith(" run 'my suites/quickstart.yaml'")


def test_a_plan_is_made_without_torch():
    """It is looked at often, and on machines without a GPU."""
    code = "import sys, rcm_bench; rcm_bench.plan('quickstart'); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
