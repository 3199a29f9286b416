"""Profiles and recipes of a user's own, in TOML files."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from reference import refuses
from test_repository import make

from paper import notebook
from paper.reproduce import RECIPES as PLAN
from paper.reproduce import notebooks, plan
from paper.study import Study
from ppcd import paths
from ppcd.runs import evaluate, pool, train
from ppcd.training import profiles, recipes
from ppcd.training.config import run_config
from ppcd.training.methods import TinyGan
from ppcd.training.profiles import PROFILES, get_profile
from ppcd.training.recipes import RECIPES, get_recipe
from ppcd.training.toml import hand_over

DOCS = (paths.repository() / "docs" / "recipes.md").read_text()
EXAMPLES: dict[str, str] = dict(re.findall(r"```toml\n# (\S+)\n(.*?)```", DOCS, re.DOTALL))
Write = Callable[[str, str], str]


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """What a test makes known is unknown to the next."""
    yield
    _forget()


def _forget() -> None:
    for known, own in ((PROFILES, profiles.BUILT_IN), (RECIPES, recipes.BUILT_IN)):
        for name in set(known) - own:
            del known[name]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


@pytest.mark.usefixtures("few_batches")
def test_the_example_of_the_docs(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At smoke size. Another process trains what was asked for, and the files may have changed since."""
    text = re.sub(r'"mnist"|300', lambda found: '"smoke"' if found[0] == '"mnist"' else "12", EXAMPLES["short.toml"])
    short, strong = write("short.toml", text), write("strong.toml", EXAMPLES["strong.toml"])
    asked = {"profile": short, "seed": 0, "recipe": strong, "alpha": None, "train_missing": False, "device": "cpu"}
    settings = notebook.start(**asked)
    config = settings.study.config(str(settings.recipe), 0)
    assert (config.profile.iterations, config.recipe.lambda_cd, config.recipe.alpha) == (12, 5.0, 0.6)
    write("short.toml", text.replace("12", "13"))
    write("strong.toml", "lost")
    started: list[list[str]] = []
    monkeypatch.setattr(pool, "start_process", lambda command, **_: started.append(command))
    pool.Job(config).start("cpu")
    _forget()
    assert train.main(started[0][started[0].index("train") + 1 :]) == 0
    capsys.readouterr()
    assert (paths.results("short") / "runs" / config.id / "run.json").is_file() and config.id.startswith("strong-s0-")
    record = notebook.runs(settings, ["strong"])["strong"]
    assert record is not None and record["title"] == "PPCD-GAN, 5 L_CD"
    assert {each["recipe"] for each in settings.study.runs()} == {"biggan", "strong"}
    monkeypatch.delitem(RECIPES, "strong")
    assert record in settings.study.runs(), "also where nobody has asked for its recipe"
    assert run_config(short, config.recipe, 0).id != config.id
    _forget()
    assert evaluate.main(["short/strong"]) == 2
    assert capsys.readouterr().err == "ppcd: short/strong is of a profile of your own; add --profile short.toml\n"


def test_a_value_is_in_the_configuration_and_a_name_is_not(write: Write) -> None:
    same, ppcd = write("same.toml", 'extends = "smoke"'), write("mine.toml", 'extends = "ppcd"')
    plain = run_config("smoke", "ppcd", 0)
    assert run_config(same, "ppcd", 0).hash == run_config("smoke", ppcd, 0).hash == plain.hash
    for changed in ("iterations = 25", "flip = true", "lr_g_scale = 2", 'default_mask_rule = "scheduled"'):
        assert run_config(write("same.toml", f'extends = "smoke"\n{changed}'), "ppcd", 0).hash != plain.hash
    for changed in ("lambda_cd = 2", "alpha = 0.6", 'normalisation = "none"', 'select = "l1"', "masks_distil = false"):
        assert run_config("smoke", write("mine.toml", f'extends = "ppcd"\n{changed}'), 0).hash != plain.hash


def test_the_plan_is_the_usual_one(write: Write, tmp_path: Path) -> None:
    study = Study.of(write("own.toml", "\ufeff" + 'extends = "cifar10-lite"\ndataset = "mnist"\nbest_samples = "none"'))
    assert [config.recipe.name for config in plan(study)] == list(PLAN)
    assert study.profile.best_samples is None and study.results == tmp_path / "results" / "own"
    (given,) = {str(parameters["profile"]) for name, parameters in notebooks(study) if name not in ("08_paper_scale",)}
    assert get_profile(given) == study.profile
    assert study.at("own") == study


@pytest.mark.parametrize("name", [*PROFILES, *RECIPES])
def test_what_is_handed_over_is_what_it_was(name: str) -> None:
    known: Any = PROFILES.get(name) or RECIPES[name]
    own = replace(known, name=f"own-{name}-a0.55")
    get = get_profile if name in PROFILES else get_recipe
    assert get(hand_over(own)) == own == get(own.name)


def test_alpha_stands_in_the_name_of_an_own_recipe_too(write: Write) -> None:
    mine = write("mine.toml", 'extends = "ppcd"\nlambda_cd = 2')
    assert get_recipe(mine, 0.5) == get_recipe("mine-a0.5") == replace(get_recipe("mine"), name="mine-a0.5", alpha=0.5)
    assert get_recipe(recipes.asked(get_recipe("mine-a0.5"))) == get_recipe("mine-a0.5")
    table = '[baseline]\nwidth = 0.3\nkind = "output"'
    changed = get_recipe(write("small.toml", f'extends = "distill-only"\n{table}')).baseline
    assert changed == replace(get_recipe("distill-only").baseline, width=0.3)  # type: ignore[type-var]
    assert get_recipe(write("tiny.toml", EXAMPLES["tiny.toml"])).baseline == replace(TinyGan(), epochs=20)
    assert get_recipe(write("new.toml", f'generator = "sagan"\n{table}')).baseline == changed


SMOKE, PPCD, NAS = (f'extends = "{name}"\n' for name in ("smoke", "ppcd", "distill-nas"))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("own.toml", SMOKE + "iteration = 5", "unknown field iteration; did you mean iterations?"),
        ("own.toml", 'extend = "smoke"', "unknown field extend; did you mean extends?"),
        ("own.toml", SMOKE + "zzz = 5", "unknown field zzz; there are extends, name, purpose, dataset, "),
        ("own.toml", "iterations = 5", "without dataset, resolution, num_classes, teacher_width, "),
        ("own.toml", 'extends = "smok"', "unknown profile 'smok'; expected one of: smoke, mnist, "),
        ("own.toml", 'extends = "x.toml"', "extends must be a name of this project, no file; got 'x.toml'"),
        ("own.toml", SMOKE + 'name = "mnist"', "'mnist' is a profile of this project; give yours another name"),
        ("mnist.toml", SMOKE, "'mnist' is a profile of this project; give yours another name"),
        ("my own.toml", SMOKE, "a profile cannot be called 'my own': a folder gets its name; take letters, "),
        ("own.toml", SMOKE + "iterations = 0", "iterations must be a whole number above 0; got 0"),
        ("own.toml", SMOKE + "iterations = 1e3", "iterations must be a whole number above 0; got 1000.0"),
        ("own.toml", SMOKE + "best_samples = true", "best_samples must be a whole number above 0; got True"),
        ("own.toml", SMOKE + "classifier_epochs = -1", "classifier_epochs must be a whole number from 0 on; got -1"),
        ("own.toml", SMOKE + "ema_decay = 1.5", "ema_decay must be a number above 0, at most 1; got 1.5"),
        ("own.toml", SMOKE + "lr_d_scale = nan", "lr_d_scale must be a number above 0; got nan"),
        ("own.toml", SMOKE + 'flip = "no"', "flip must be true or false; got 'no'"),
        ("own.toml", SMOKE + "purpose = 3", "purpose must be text; got 3"),
        ("own.toml", SMOKE + "resolution = 48", "resolution must be one of 32, 64, 128; got 48"),
        ("own.toml", SMOKE + 'judge = "vgg"', "judge must be one of efficientnet-lite0, natural-classifier; got 'vgg'"),
        ("own.toml", "a = ", "{file} is not TOML: Invalid value (at "),
        ("own.toml", "a = 'ü'", "{file} is not UTF-8; save it in that encoding"),
        ("ppcd-a0.55.toml", PPCD, "'ppcd-a0.55' is a recipe of this project; give yours another name"),
        ("own.toml", PPCD + "lamda_cd = 5", "unknown field lamda_cd; did you mean lambda_cd?"),
        ("own.toml", PPCD + "lambda_cd = -5", "lambda_cd must be a number from 0 on; got -5"),
        ("own.toml", PPCD + "alpha = 1", "alpha must be a number in (0, 1), for example 0.7; got 1"),
        ("own.toml", PPCD + 'alpha = "none"', "recipe 'own' prunes and needs an alpha, for example 0.7"),
        ("own.toml", PPCD + 'generator = "tinygan"', "generator tinygan has no discriminator and no pruning; its "),
        ("own.toml", PPCD + 'normalisation = "all"', "normalisation must be one of teacher, statistics, none, both;"),
        ("own.toml", PPCD + 'mask_rule = "cosine"', "mask_rule must be one of gradual, scheduled, paper-adam, paper-"),
        ("own.toml", 'generator = "sagan"\ntwo_step = true', "recipe 'own' has two steps: masked for the first, "),
        ("own.toml", PPCD + "baseline = 3", "baseline must be a table; got 3"),
        ("own.toml", PPCD + '[baseline]\nkind = "l1"', "has a baseline, whose losses are its own, and masked, distil"),
        ("own.toml", PPCD + "[baseline]", "kind of baseline must be one of l1, output, tinygan, nas; got None"),
        ("own.toml", NAS + "[baseline]\npopulations = 3", "unknown field populations; did you mean population?"),
        ("own.toml", NAS + "[baseline]\nfractions = [2]", "fractions must be a list of numbers above 0, at most 1"),
        ("own.toml", NAS + "[baseline]\nfractions = 0.5", "fractions must be a list of numbers above 0, at most 1"),
        ("own.toml", NAS + "[baseline]\npopulation = 0.5", "population must be a whole number above 0; got 0.5"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(name: str, text: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(text.encode("latin-1"))
    get: Callable[[str], Any] = get_recipe if text.startswith((PPCD, NAS, "generator")) else get_profile
    refuses(str(file), get, str(file))
    refuses(expected.format(file=file), get, str(file))
    assert name.removesuffix(".toml") not in (PROFILES.keys() - profiles.BUILT_IN) | (RECIPES.keys() - recipes.BUILT_IN)


def test_what_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--profile", "smoke", "--recipe", "nowhere.toml"]) == 2
    assert capsys.readouterr().err == "ppcd: there is no file nowhere.toml\n"
    (tmp_path / "a.toml").mkdir()
    refuses("a.toml cannot be read (Is a directory)", get_profile, str(tmp_path / "a.toml"))
    refuses("or a file, *.toml", get_profile, "own")


def test_data_has_an_effect_where_the_profiles_images_may_be_others(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """make passes any file on, also one with blanks and names of profiles in it."""
    file = write("own.toml", 'extends = "mnist"')
    done = make("-n", "reproduce", f"PROFILE={tmp_path}/mnist copy/own.toml", "DATA=photos")
    assert done.stdout.splitlines()[-1].endswith(f'--profile "{tmp_path}/mnist copy/own.toml"')
    monkeypatch.setenv("PPCD_DATA", "photos")
    assert train.main(["--profile", file]) == 2
    assert f"PPCD_DATA (make: DATA=) has no effect at profile {file}" in capsys.readouterr().err
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PPCD_DATA")
    assert get_profile("~/own.toml").name == "own"
