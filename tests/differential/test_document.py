"""docs/compatibility.md lists what the tests allow, and nothing else."""

import re
from pathlib import Path

from tests.differential.differences.all import SECTIONS
from tests.differential.exchanges.all import EXCHANGES

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENT = (ROOT / "docs" / "compatibility.md").read_text()


def test_tables_show_the_differences_as_the_tests_allow_them() -> None:
    shown = {
        heading: re.findall(r"^\| (\S+) \| (.*?) \| (.*?) \| (.*?) \|$", text, re.M)[1:]
        for heading, text in re.findall(r"^### (.*?)\n(.*?)(?=^##|\Z)", DOCUMENT, re.M | re.S)
    }
    allowed = {
        heading: [(one.name, one.uvicorn, one.gateway, one.why) for one in listed]
        for heading, listed in SECTIONS.items()
    }
    assert shown == allowed


def test_number_of_exchanges_is_as_documented() -> None:
    assert f"{len(EXCHANGES)} exchanges" in DOCUMENT
