"""The tables of workflow/docs/real-models.md, from results written by hand."""

import polars as pl
from real_models import circuits, costs


def test_tables_are_those_of_the_results(tmp_path):
    gold = {"task": "ioi", "method": "nap", "pairs": 30, "right_above_wrong": 0.9667}
    gold |= {"logit_diff": 4.444, "cpr": 1.006, "cpr_half_width": 0.123}
    gold |= {
        "cpr_exaggerates": True,
        "cmd": 0.1,
        "cmd_half_width": 0.05,
        "right_above_wrong_area": 0.7,
        "right_above_wrong_area_half_width": 0.02,
        "random-rankings_cpr": 0.4,
        "random-rankings_cmd": 0.6,
        "random-rankings_right_above_wrong_area": 0.5,
        "top_heads": "a1.h2",
    }
    (tmp_path / "tables/gold").mkdir(parents=True)
    pl.DataFrame([gold]).write_csv(tmp_path / "tables/gold/tiny.csv")
    *_, row = circuits(tmp_path, "tiny").splitlines()
    assert row == (
        "| ioi | `nap` | 30 | 0.97 | 4.44 | 1.01 ± 0.12▲ | 0.10 ± 0.05 | 0.70 ± 0.02 "
        "| 0.40 / 0.60 / 0.50 | a1.h2 |"
    )

    for name, seconds, memory in (
        ("attribute_nodes/tiny/ioi/nap", 60.4, "1500.0"),
        ("attribute_nodes/tiny/mcqa/nap", 30.2, "2500.0"),
        ("summarise_models", 0.2, "NA"),
    ):
        file = tmp_path / f"benchmarks/{name}.tsv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"s\tmax_rss\n{seconds}\t{memory}\n")
    assert costs(tmp_path).splitlines()[2:] == [
        "| `attribute_nodes` | 2 | 91 | 2.5 GB |",
        "| all others | 1 | 0 | - |",
    ]
