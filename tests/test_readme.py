"""README.md: what it includes, links to, and says can be typed."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from paper.readme import Block, blocks, filled
from ppcd import paths
from ppcd.training.profiles import PROFILES
from ppcd.training.recipes import RECIPES, get_recipe

ROOT = paths.repository()
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
INCLUDED = re.findall(r"<!-- include (\S+) -->", README)
COMPARED = "results/mnist/tables/table3.md"


def without_code(text: str) -> str:
    return re.sub(r"`[^`]*`", "", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


# ------------------------------------------------------------ includes


def test_the_ablation_is_included() -> None:
    assert COMPARED in INCLUDED


@pytest.mark.parametrize("name", INCLUDED)
def test_an_included_block_is_its_file(name: str) -> None:
    if not (ROOT / name).is_file():
        pytest.skip(f"{name} has not been made yet: `make reproduce`")
    (block,) = re.findall(rf"<!-- include {re.escape(name)} -->\n(.*?)<!-- end -->", README, re.DOTALL)
    assert block.strip() == (ROOT / name).read_text().strip()


BESIDE = [block for block in blocks(README) if block.kind == "beside"]


@pytest.mark.parametrize("block", BESIDE, ids=lambda block: block.title)
def test_profiles_beside_each_other_are_their_tables(block: Block) -> None:
    assert block.shown == block.content(ROOT.joinpath)


def test_includes_are_filled_and_refilled(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a.md").write_text("| a |\n|---|\n| 1 \\1 |\n")
    (tmp_path / "results" / "b.md").write_text("b\n")
    text = "before\n<!-- include results/a.md -->\nold\n<!-- end -->\nbetween\n"
    text += "<!-- include results/b.md -->\n<!-- end -->\nafter\n"
    rendered = filled(text, tmp_path)
    assert rendered == (
        "before\n<!-- include results/a.md -->\n\n| a |\n|---|\n| 1 \\1 |\n\n<!-- end -->\nbetween\n"
        "<!-- include results/b.md -->\n\nb\n\n<!-- end -->\nafter\n"
    )
    assert filled(rendered, tmp_path) == rendered


@pytest.fixture
def copy_of_the_tool(tmp_path: Path) -> Path:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "readme.py").write_text((ROOT / "tools" / "readme.py").read_text())
    (tmp_path / "README.md").write_text("<!-- include table.md -->\n<!-- end -->\n")
    return tmp_path / "tools" / "readme.py"


def call(script: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-I", str(script), *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_the_tool_checks_and_writes(copy_of_the_tool: Path, tmp_path: Path) -> None:
    before = (tmp_path / "README.md").read_text()
    code, error = call(copy_of_the_tool, "--check")
    assert code == 1 and "table.md" in error and error.count("\n") == 1
    (tmp_path / "table.md").write_text("| 1 |\n")
    code, error = call(copy_of_the_tool, "--check")
    assert code == 1 and "differs" in error and error.count("\n") == 1
    assert (tmp_path / "README.md").read_text() == before
    assert call(copy_of_the_tool) == (0, "")
    assert call(copy_of_the_tool, "--check") == (0, "")
    assert "| 1 |" in (tmp_path / "README.md").read_text()


# ------------------------------------------------------------ links and names


def targets(text: str) -> list[str]:
    """What links and images of this repository point at."""
    found = re.findall(r"\]\(([^)\s]+)\)", without_code(text)) + re.findall(r"(?:src|href)=\"([^\"]+)\"", text)
    return [target.split("#")[0] for target in found if not re.match(r"[a-z]+:|#", target)]


def missing(text: str) -> list[str]:
    """Relative targets that do not exist; figures of a profile may not have been made yet."""
    unmade = not (ROOT / COMPARED).is_file()
    return [
        target
        for target in targets(text)
        if not (ROOT / target).exists() and not (unmade and re.match(r"(figures|results)/", target))
    ]


def test_every_link_leads_somewhere() -> None:
    assert "figures/mnist/fig4.png" in targets(README)
    assert missing(README) == []
    assert missing("see [this](docs/nothing.md) and ![that](README.md)") == ["docs/nothing.md"]


def named_files(text: str) -> set[str]:
    """Names in backticks that look like files of this repository."""
    return set(re.findall(r"`((?:ppcd|tools|tests|notebooks)/[\w./-]+|[A-Z][\w.]+\.(?:cff|md))`", text))


def test_every_file_named_exists() -> None:
    names = named_files(README)
    assert {"ppcd/masks.py", "ppcd/rule.py", "ppcd/trainer.py", "CITATION.cff"} <= names
    assert {name for name in names if not (ROOT / name).exists()} == set()


def test_every_notebook_named_exists() -> None:
    names = set(re.findall(r"\b(0\d_[a-z_]+)\b", README))
    assert {"01_train", "02_evaluate", "03_ablation", "09_report"} <= names
    assert {name for name in names if not (ROOT / "notebooks" / f"{name}.ipynb").is_file()} == set()


def make_calls(text: str) -> list[tuple[str, list[str]]]:
    """Targets of `make ...` in code, each with its variables."""
    code = re.findall(r"```.*?```|`[^`]*`", text, re.DOTALL)
    found = []
    for line in "\n".join(code).replace("`", "").splitlines():
        match = re.match(r"\s*make\b([^#\n]*)", line)
        if match:
            variables = re.findall(r"\b([A-Z_]+)=", match[1])
            rest = re.sub(r"[A-Z_]+=(\"[^\"]*\"|\S*)", "", match[1]).split()
            found += [(target, variables) for target in (rest or [""])]
    return found


def test_every_make_target_and_variable_exists() -> None:
    rules = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE)) | {""}
    known = set(re.findall(r"^([A-Z_]+)\s*\?=", MAKEFILE, re.MULTILINE))
    calls = make_calls(README)
    assert {"reproduce", "test", "smoke", "lint", "lab"} <= {target for target, _ in calls}
    assert {"PROFILE", "SEEDS"} <= {name for _, variables in calls for name in variables}
    for target, variables in calls:
        assert target in rules, target
        assert set(variables) <= known, variables
    assert make_calls('`make reprdouce SEDS="0 1"`') == [("reprdouce", ["SEDS"])]


def first_cells(heading: str) -> list[str]:
    """The names in the first column of the table that begins with this heading."""
    (table,) = re.findall(rf"^\| {heading} \|.*\n\|[-| ]+\n((?:\|.*\n)+)", README, re.MULTILINE)
    return [name for row in table.splitlines() for name in re.findall(r"`([^`]+)`", row.split("|")[1])]


def test_every_profile_and_recipe_is_described_and_exists() -> None:
    assert first_cells("profile") == list(PROFILES)
    assert first_cells("recipe") == list(RECIPES)


def test_profiles_and_recipes_that_can_be_typed_exist() -> None:
    for profile in re.findall(r"(?:PROFILE=|--profile |`results/|figures/)([a-z0-9-]+)", README):
        assert profile in {*PROFILES, "bench", "judges"}, profile
    for recipe in re.findall(r"--recipe ([\w.-]+)|`(ppcd-[\w.-]+)`", README):
        get_recipe("".join(recipe))


def test_python_options_exist() -> None:
    for module, rest in re.findall(r"-m (ppcd\.\w+)([^`|\n]*)", README):
        source = (ROOT / f"{module.replace('.', '/')}.py").read_text()
        for option in re.findall(r"--[a-z-]+", rest):
            assert f'"{option}"' in source, (module, option)


def test_the_code_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands there, in an empty directory."""
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(ast.parse(example), "README.md", "exec"), names)
    assert (tmp_path / "slim.safetensors").is_file()
    assert list(names["images"].shape) == [4, 3, 32, 32]  # type: ignore[attr-defined]
