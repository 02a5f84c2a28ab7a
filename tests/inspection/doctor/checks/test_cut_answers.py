from doctor_cases import opened, row

FILL = "a ship at sea "


def test_an_answer_is_lost_if_only_the_cut_part_holds_it(tmp_path, minilm):
    far = FILL * 8
    rows = [
        row("where is it", [f"{far} in Paris"], ["no"], answers=["Paris"]),
        row("where was it", [f"in Rome {far}"], ["no"], answers=["rome"]),
        row("where else", ["a short text of Oslo"], ["no"], answers=["Oslo", "Bergen"]),
        row("where not", [far], ["no"], answers=["Bonn"]),
    ]
    module = opened(tmp_path, minilm, {"set": rows})

    diagnosis = module.diagnose()

    cut = diagnosis["datasets"]["set"]["cut"]
    assert (cut["positives"], cut["positives_cut"], cut["share_cut"]) == (4, 3, 0.75)
    assert (cut["positives_with_answer"], cut["answers_behind_cut"]) == (3, 1)
    assert [(one["line"], one["text"]) for one in cut["examples"]] == [(1, "where is it")]
    assert "1 of 3 that hold an answer lose it" in " ".join(str(diagnosis).split())
