"""What is published: a source archive and a wheel, and the citation file."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def distributions(source_copy, tmp_path_factory):
    """(source archive, wheel), the wheel built from the archive."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out)]
    subprocess.run([*command, str(source_copy)], check=True, capture_output=True, timeout=300)
    return next(out.glob("*.tar.gz")), next(out.glob("*.whl"))


def contents(wheel):
    """The files of a wheel and their bytes, without the list of digests."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/RECORD")]
        return {name: archive.read(name) for name in names}


@pytest.mark.slow
def test_an_index_takes_both_and_shows_the_readme(distributions):
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *map(str, distributions)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.slow
def test_the_archive_makes_the_wheel_that_the_checkout_makes(distributions, wheel):
    archive, from_archive = distributions

    assert contents(from_archive) == contents(wheel)
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "conf/config.yaml"} <= names


def test_the_citation_names_this_package_and_what_it_builds_on():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert citation["cff-version"] == "1.2.0"
    assert {name: citation[name] for name in ("title", "version", "license")} == {
        "title": project["name"],
        "version": project["version"],
        "license": project["license"],
    }
    assert all(author["name"] for author in citation["authors"])
    assert "2310.07554" in citation["references"][0]["url"]
