"""README.md, docs/*.md and CONTRIBUTING.md: what they include, link to, and say can be typed."""

import ast
import copy
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign import Toy
from torch import nn

from paper.readme import blocks, filled, pages
from ppcd import paths
from ppcd.training.profiles import PROFILES
from ppcd.training.recipes import RECIPES, get_recipe

ROOT = paths.repository()
PAGES = {str(path.relative_to(ROOT)): path.read_text() for path in (*pages(ROOT), ROOT / "CONTRIBUTING.md")}
MAKEFILE = (ROOT / "Makefile").read_text()
EVERYTHING = "\n".join(PAGES.values())


def without_code(text: str) -> str:
    return re.sub(r"`[^`]*`", "", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def test_readme_is_short_and_names_every_page() -> None:
    assert len(PAGES["README.md"].encode()) <= 10_240
    assert {name for name in PAGES if f"]({name})" not in PAGES["README.md"]} == {"README.md"}


# ------------------------------------------------------------ includes


@pytest.mark.parametrize("name", PAGES)
def test_every_block_is_up_to_date(name: str) -> None:
    for block in blocks(PAGES[name]):
        assert block.shown == block.content(ROOT.joinpath), block.title
    assert len(list(blocks(PAGES[name]))) == len(re.findall("<!-- (?!end)", without_code(PAGES[name]))), (
        "a block that nothing fills"
    )


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
    for folder in ("tools", "docs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "tools" / "readme.py").write_text((ROOT / "tools" / "readme.py").read_text())
    (tmp_path / "README.md").write_text("nothing to include\n")
    (tmp_path / "docs" / "page.md").write_text("<!-- include table.md -->\n<!-- end -->\n")
    return tmp_path / "tools" / "readme.py"


def call(script: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_the_tool_checks_and_writes(copy_of_the_tool: Path, tmp_path: Path) -> None:
    page = tmp_path / "docs" / "page.md"
    before = page.read_text()
    code, error = call(copy_of_the_tool)
    assert code == 1 and "table.md" in error and error.count("\n") == 1
    (tmp_path / "table.md").write_text("| 1 |\n")
    code, error = call(copy_of_the_tool, "--check")
    assert code == 1 and "docs/page.md differs" in error and error.count("\n") == 1
    assert page.read_text() == before
    assert call(copy_of_the_tool) == (0, "")
    assert "| 1 |" in page.read_text()


# ------------------------------------------------------------ links and names


def targets(text: str) -> list[str]:
    """What links and images of this repository point at."""
    found = re.findall(r"\]\(([^)\s]+)\)", without_code(text)) + re.findall(r"(?:src|href)=\"([^\"]+)\"", text)
    return [target.split("#")[0] for target in found if not re.match(r"[a-z]+:|#", target)]


def missing(text: str, page: str) -> list[str]:
    """Relative targets that do not exist."""
    return [target for target in targets(text) if not (ROOT / page).parent.joinpath(target).exists()]


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    assert missing(PAGES[name], name) == []


def test_a_link_that_leads_nowhere_is_seen() -> None:
    assert {"figures/mnist/headline.png", "docs/results.md"} <= set(targets(PAGES["README.md"]))
    assert missing("see [this](nothing.md) and ![that](../README.md)", "docs/results.md") == ["nothing.md"]


def named_files(text: str) -> set[str]:
    """Names in backticks that look like files of this repository."""
    folders = r"(?:ppcd|paper|tools|tests|notebooks|docs|results|figures|\.ci)/[\w./-]+"
    return set(re.findall(rf"`({folders}|[A-Z][\w.]+\.(?:cff|md))`", text)) | {
        f"{package}/__main__.py" for package in re.findall(r"-m (ppcd|paper) ", text)
    }


def test_every_file_and_module_named_exists() -> None:
    names = named_files(EVERYTHING)
    assert {
        "ppcd/method/masks.py",
        "paper/questions.py",
        "docs/distillation.md",
        "CITATION.cff",
    } <= names
    made = {"results/mnist/report.html"}  # by make reproduce
    assert {name for name in names - made if not (ROOT / name).exists()} == set()
    assert named_files("`ppcd/nothing.py`, `python -m paper verify`") == {"ppcd/nothing.py", "paper/__main__.py"}


def test_every_notebook_is_named_and_exists() -> None:
    there = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert first_cells("notebook", "README.md") == sorted(there)
    assert set(re.findall(r"\b([01]\d_[a-z_]+)\b", EVERYTHING)) == there


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
    calls = [call for text in PAGES.values() for call in make_calls(text)]
    assert {"reproduce", "test", "smoke", "lint", "lab", "verify"} <= {target for target, _ in calls}
    alone = {name for name in re.findall(r"`([A-Z_]+)=", EVERYTHING)}
    assert {"PROFILE", "SEEDS"} <= {name for _, variables in calls for name in variables}
    for target, variables in calls:
        assert target in rules, target
        assert set(variables) <= known, variables
    assert alone - known == set()
    assert make_calls('`make reprdouce SEDS="0 1"`') == [("reprdouce", ["SEDS"])]


def first_cells(heading: str, page: str) -> list[str]:
    """The names in the first column of the table that begins with this heading."""
    (table,) = re.findall(rf"^\| {heading} \|.*\n\|[-| ]+\n((?:\|.*\n)+)", PAGES[page], re.MULTILINE)
    return [name for row in table.splitlines() for name in re.findall(r"`([^`]+)`", row.split("|")[1])]


def test_every_profile_and_recipe_is_described_and_exists() -> None:
    assert first_cells("profile", "docs/recipes.md") == list(PROFILES)
    assert first_cells("recipe", "docs/recipes.md") == list(RECIPES)


def test_profiles_and_recipes_that_can_be_typed_exist() -> None:
    for profile in re.findall(r"(?:PROFILE=|--profile |`results/|figures/)([a-z0-9-]+)", EVERYTHING):
        assert profile in {*PROFILES, "bench", "judges"}, profile
    for recipe in re.findall(r"--recipe ([a-z][\w.-]+)|`(ppcd-[\w.-]+)`", EVERYTHING):
        get_recipe("".join(recipe))


def test_the_recipe_that_is_added_could_be() -> None:
    (line,) = re.findall(r"^    (Recipe\(.*\)),$", PAGES["docs/recipes.md"], re.MULTILINE)
    names = {"Recipe": type(RECIPES["ppcd"]), "ALPHA": 0.7}
    recipe = eval(line, names)
    assert recipe.name not in RECIPES and recipe.lambda_cd == 5.0


def test_python_options_exist() -> None:
    found = re.findall(r"-m (ppcd|paper) ([a-z-]+)([^`|\n]*)", EVERYTHING)
    assert found
    for package, command, rest in found:
        module, *_ = import_module(f"{package}.__main__").COMMANDS[command]
        source = Path(str(import_module(module).__file__)).read_text()
        for option in re.findall(r"--[a-z-]+", rest):
            assert f'"{option}"' in source, (module, option)


def test_the_code_example_runs() -> None:
    """As it is in README.md, with a loop of 40 iterations around it, on a network that is none of ours."""
    (example,) = re.findall(r"```python\n(.*?)```", PAGES["README.md"], re.DOTALL)
    torch.manual_seed(0)
    teacher = Toy()
    teacher.blocks.append(copy.deepcopy(teacher.blocks[0]))
    discriminator = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 1))
    noise = [torch.randn(4, 6) for _ in range(40)]
    names: dict[str, Any] = {
        "teacher": teacher,
        "loader": [(torch.zeros(4, 3, 32, 32), torch.arange(4) % 3) for _ in noise],
        "discriminator": lambda images, y: discriminator(images),
        "adversarial": lambda scores: -scores.mean(),
        "z": noise[0],
    }
    setup, loop = example.replace("20_000", "40").split("for real, y in loader:")
    exec(compile(ast.parse(setup), "README.md", "exec"), names)
    names["optimizer"] = torch.optim.Adam(names["student"].parameters(), 1e-3)
    exec(compile(ast.parse("for real, y in loader:" + loop), "README.md", "exec"), names)
    small, student = names["small"], names["student"].eval()
    y = torch.arange(4) % 3
    torch.testing.assert_close(small(noise[1], y), student(noise[1], y), rtol=0, atol=1e-4)
    assert type(small) is Toy and small.blocks[0].conv1.out_channels == 2
