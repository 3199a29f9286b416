"""README.md, docs/*.md and CONTRIBUTING.md: what they include, link to, and say can be typed."""

import ast
import copy
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
import torch
from foreign import Toy
from torch import nn

from paper.readme import BLOCK, address, filled, pages
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


@pytest.mark.parametrize("name", PAGES)
def test_every_block_is_up_to_date(name: str) -> None:
    assert filled(PAGES[name], ROOT) == PAGES[name]
    assert len(BLOCK.findall(PAGES[name])) == len(re.findall("<!-- (?!end)", without_code(PAGES[name]))), (
        "a block that nothing fills"
    )


def test_includes_are_filled_and_refilled(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("| 1 \\1 |\n")
    (tmp_path / "b.md").write_text("b\n")
    page = "before\n<!-- include a.md -->{}<!-- end -->\nbetween\n<!-- include b.md -->{}<!-- end -->\nafter\n"
    expected = page.format("\n\n| 1 \\1 |\n\n", "\n\nb\n\n")
    assert filled(page.format("\nold\n", "\n"), tmp_path) == filled(expected, tmp_path) == expected


def test_badges_and_colabs_first_cell_have_the_address_of_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text('[project.urls]\nRepository = "https://github.com/owner/name"\n')
    badges = filled("<!-- badges a.ipynb -->\n<!-- end -->", tmp_path)
    assert "colab.research.google.com/github/owner/name/blob/main/a.ipynb" in badges
    assert "mybinder.org/v2/gh/owner/name/main?labpath=a.ipynb" in badges
    cells = nbformat.read(ROOT / "notebooks" / "00_playground.ipynb", 4).cells
    source, commands = cells[1].source, []
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(" ".join(command)))
    monkeypatch.setattr(sys, "path", list(sys.path))
    names: dict[str, Any] = {}
    exec(source, names)
    assert not commands and names["address"] == address(ROOT)
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    exec(source, names)
    assert len(commands) == 2 and commands[1].endswith("pip install -q -e ppcd[data,metrics]")


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    found = re.findall(r"\]\(([^)\s]+)\)", without_code(PAGES[name]))
    found += re.findall(r"(?:src|href)=\"([^\"]+)\"", PAGES[name])
    here = [target.split("#")[0] for target in found if not re.match(r"[a-z]+:|#", target)]
    assert [target for target in here if not (ROOT / name).parent.joinpath(target).exists()] == []


def test_every_file_and_module_named_exists() -> None:
    folders = r"(?:ppcd|paper|tools|tests|notebooks|docs|results|figures|\.ci)/[\w./-]+"
    names = set(re.findall(rf"`({folders}|[A-Z][\w.]+\.(?:cff|md))`", EVERYTHING))
    assert {"ppcd/method/masks.py", "docs/distillation.md", "CITATION.cff"} <= names
    made = {"results/mnist/report.html"}  # by make reproduce
    assert {name for name in names - made if not (ROOT / name).exists()} == set()


def test_every_notebook_is_named_and_exists() -> None:
    there = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert first_cells("notebook", "README.md") == sorted(there)
    assert set(re.findall(r"\b([01]\d_[a-z_]+)\b", EVERYTHING)) == there


def test_every_make_target_and_variable_exists() -> None:
    rules = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    known = set(re.findall(r"^([A-Z_]+)\s*\?=", MAKEFILE, re.MULTILINE))
    code = "\n".join(re.findall(r"```.*?```|`[^`]*`", EVERYTHING, re.DOTALL)).replace("`", "")
    calls = re.findall(r"^\s*make\b([^#\n]*)", code, re.MULTILINE)
    targets = {word for call in calls for word in re.sub(r"[A-Z_]+=(\"[^\"]*\"|\S*)", "", call).split()}
    assert {"reproduce", "test", "smoke", "lint", "lab", "verify"} <= targets <= rules
    variables = {name for call in calls for name in re.findall(r"\b([A-Z_]+)=", call)}
    assert {"PROFILE", "SEEDS"} <= variables | set(re.findall(r"`([A-Z_]+)=", EVERYTHING)) <= known


def first_cells(heading: str, page: str) -> list[str]:
    """The names in the first column of the table that begins with this heading."""
    (table,) = re.findall(rf"^\| {heading} \|.*\n\|[-| ]+\n((?:\|.*\n)+)", PAGES[page], re.MULTILINE)
    return [name for row in table.splitlines() for name in re.findall(r"`([^`]+)`", row.split("|")[1])]


def test_profiles_and_recipes_are_described_and_those_that_can_be_typed_exist() -> None:
    assert first_cells("profile", "docs/recipes.md") == list(PROFILES)
    assert first_cells("recipe", "docs/recipes.md") == list(RECIPES)
    for profile in re.findall(r"(?:PROFILE=|--profile |`results/|figures/)([a-z0-9-]+)(?![\w.-]*\.toml)", EVERYTHING):
        assert profile in {*PROFILES, "bench", "judges"}, profile
    for recipe in re.findall(r"--recipe ([a-z][\w-]+)(?![\w.-]*\.toml)|`(ppcd-[\w.-]+)`", EVERYTHING):
        get_recipe(re.sub(r"-s\d+-[0-9a-f]{8}$", "", "".join(recipe)))  # of a run: its recipe
    (added,) = re.findall(r"^    (Recipe\(.*\)),$", PAGES["docs/recipes.md"], re.MULTILINE)
    recipe = eval(added, {"Recipe": type(RECIPES["ppcd"]), "ALPHA": 0.7})
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
