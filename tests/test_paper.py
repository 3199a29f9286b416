"""The paper's numbers agree with each other and with what the paper says of them elsewhere."""

import pytest

from paper import numbers
from ppcd.training.recipes import ALPHA, RECIPES


@pytest.mark.parametrize("row", numbers.TABLES[1])
@pytest.mark.parametrize("column", ["#Par.", "MACs"])
def test_printed_factors_are_ratios_to_biggan(row: str, column: str) -> None:
    """A mistyped count would break its printed factor. One factor is wrong in the paper itself."""
    cell = numbers.published(1, row, column)
    ratio = numbers.published(1, "Big-GAN", column).value / cell.value
    as_printed = f"{ratio:.1f}" == f"{cell.factor:.1f}"
    assert as_printed != ((row, column) == ("SN-GAN", "MACs"))


def test_sentences_about_the_tables() -> None:
    """Abstract: 5.2x, 81% of the parameters; section 4.3: 13.3x, 92% of the MACs; section 4.4: the best."""
    ours, big = numbers.TABLES[1]["PPCD-GAN (alpha=0.7)"], numbers.TABLES[1]["Big-GAN"]
    assert round(100 * (1 - ours["#Par."].value / big["#Par."].value)) == 81
    # 92.5% is printed as 92%
    assert int(100 * (1 - ours["MACs"].value / big["MACs"].value)) == 92
    for column in ("IS", "FID", "LPIPS", "#Par.", "GPU"):
        assert numbers.published(2, "PPCD-GAN (alpha=0.7)", column).value == ours[column].value
    table3 = numbers.TABLES[3]
    assert max(table3, key=lambda row: table3[row]["IS"].value) == "PPCD-GAN w/o L_PP"
    assert min(table3, key=lambda row: table3[row]["FID"].value) == "PPCD-GAN w/o L_PP"


def test_rows_of_table_3_are_recipes() -> None:
    assert list(numbers.TABLE3_ROWS.values()) == list(numbers.TABLES[3])
    assert set(numbers.TABLE3_ROWS) <= set(RECIPES)


def test_settings_are_the_recipes_defaults() -> None:
    assert float(numbers.setting("alpha").value) == ALPHA == RECIPES["ppcd"].alpha
    assert float(numbers.setting("weight of L_PP").value) == RECIPES["ppcd"].lambda_pp
    assert float(numbers.setting("weight of L_CD").value) == RECIPES["ppcd"].lambda_cd
