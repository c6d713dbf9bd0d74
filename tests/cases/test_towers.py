"""Models of several stacks: every one is drawn, in the model's order, under the name it is called.

What the figures say is read from their Axes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from matplotlib.figure import Figure

import ftdiff
from ftdiff import plots
from ftdiff.analyses.finding import Finding
from ftdiff.cli import ftdiff as door
from ftdiff.comparison.result import Diff
from ftdiff.errors import BadCall, UnknownName
from ftdiff.plots.elements.cells import OUTLINE, STILL
from ftdiff.reports.document import document
from ftdiff.reports.maps import maps
from ftdiff.reports.terminal import compare as terminal
from tests.cases import towers
from tests.plots.drawings import diff_of, mesh_of, numbers, rows, x_texts

SELF = [f"self {one}" for one in "qkvo"]
CROSS = [f"cross {one}" for one in "qkvo"]
OWN = [f"attn. {one}" for one in "qkvo"]
MLP = ["mlp. up", "mlp. down"]


def _text_encoders(first: int, second: int) -> list[str]:
    return [name.partition(".")[2] for name in towers.text_encoders(first, second)]


def _unet(folder: Path) -> Diff:
    tensors = towers.kohya(towers.unet())
    tensors |= towers.kohya(_text_encoders(6, 0), prefix="lora_te")
    return ftdiff.compare(None, towers.write(folder / "style.safetensors", tensors))


def _sdxl(folder: Path) -> Diff:
    tensors = towers.kohya(towers.unet({"down": (0, 2, 2), "mid": (4,), "up": (4, 1)}))
    tensors |= towers.kohya(_text_encoders(6, 0), prefix="lora_te1")
    tensors |= towers.kohya(_text_encoders(0, 10), prefix="lora_te2")
    return ftdiff.compare(None, towers.write(folder / "xl.safetensors", tensors))


def _flux(folder: Path) -> Diff:
    base = towers.write(folder / "base.safetensors", towers.weights(towers.flux()))
    lora = towers.write_lora(folder / "my-lora", towers.lora(towers.flux(), prefix="transformer."))
    return ftdiff.compare(base, lora)


def _flux_original(folder: Path) -> Diff:
    tensors = towers.kohya(towers.flux_original())
    return ftdiff.compare(None, towers.write(folder / "flux.safetensors", tensors))


def _full(modules: list[str], still: str = "-") -> Callable[[Path], Diff]:
    def made(folder: Path) -> Diff:
        base = towers.weights(modules)
        tuned = towers.moved(base, still=still)
        return ftdiff.compare(
            towers.write(folder / "base.safetensors", base),
            towers.write(folder / "tuned.safetensors", tuned),
        )

    return made


def _pair_of_text_encoders(folder: Path) -> Diff:
    tensors = towers.lora(towers.text_encoders())
    return ftdiff.compare(None, towers.write_lora(folder / "my-lora", tensors))


MODELS: dict[str, Callable[[Path], Diff]] = {
    "llama": _full(towers.llama()),
    "unet": _unet,
    "sdxl": _sdxl,
    "flux": _flux,
    "flux-original": _flux_original,
    "vision-language": _full(towers.vision_language()),
    "frozen-vision": _full(towers.vision_language(), still="vision_tower"),
    "text-encoders": _pair_of_text_encoders,
    "encoder-decoder": _full(towers.encoder_decoder()),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Diff]:
    made: dict[str, Diff] = {}

    def of(name: str) -> Diff:
        if name not in made:
            made[name] = MODELS[name](tmp_path_factory.mktemp(name))
        return made[name]

    return of


def facets(figure: Figure) -> dict[str, Any]:
    """The maps of a figure by what stands over them, in order."""
    axes = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    return {ax.get_title(): ax for ax in axes}


def bar(figure: Figure) -> Any:
    (found,) = [ax for ax in figure.axes if ax.get_label() == "<colorbar>"]
    return found


def row_texts(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.get_yticklabels()]


def words(ax: Any) -> str:
    return " ".join(f"{ax.get_title(loc='left')} {ax.get_xlabel()}".split())


UP = [f"up {block}.{attention}" for block in (1, 2, 3) for attention in (0, 1, 2)]
DOWN = [f"down {block}.{attention}" for block in (0, 1, 2) for attention in (0, 1)]


@pytest.mark.parametrize(
    ("name", "stacks", "rows", "columns"),
    [
        (
            "unet",
            ["down", "mid", "up", "text encoder"],
            [DOWN, ["mid 0"], UP, [*"012345"]],
            [[*SELF, *CROSS, *MLP]] * 3 + [[*SELF, *MLP]],
        ),
        (
            "sdxl",
            ["down", "mid", "up", "text encoder", "text encoder 2"],
            [
                ["down 1.0.0", "down 1.0.1", "down 1.1.0", "down 1.1.1", "down 2.0.0"],
                ["mid 0.0", "mid 0.1", "mid 0.2", "mid 0.3"],
                ["up 0.0.0", "up 0.0.1", "up 0.0.2", "up 0.0.3", "up 0.1.0"],
                [*"012345"],
                ["0", "3", "6", "9"],
            ],
            [[*SELF, *CROSS, *MLP]] * 3 + [[*SELF, *MLP]] * 2,
        ),
        (
            "flux",
            ["double", "single"],
            [[f"double {i}" for i in range(6)], [f"single {i}" for i in range(12)]],
            [[*OWN, *MLP], [*OWN[:3], "mlp. up", "mlp. o_down"]],
        ),
        (
            "flux-original",
            ["double", "single"],
            [[f"double {i}" for i in range(6)], [f"single {i}" for i in range(12)]],
            [
                ["attn. qkv", "attn. o", "attn. txt_qkv", "attn. txt_o", *MLP, "mlp. txt_up",
                 "mlp. txt_down"],
                ["attn. qkv_mlp", "mlp. o_down"],
            ],
        ),
        (
            "vision-language",
            ["vision", "language"],
            [[*"012345"], ["0", "3", "6", "9"]],
            [[*OWN, *MLP], [*OWN, *MLP, "mlp. gate"]],
        ),
        (
            "text-encoders",
            ["text encoder", "text encoder 2"],
            [[*"012345"], ["0", "3", "6", "9"]],
            [[*OWN, *MLP]] * 2,
        ),
        (
            "encoder-decoder",
            ["encoder", "decoder"],
            [[*"012345"], [*"012345"]],
            [[*SELF, *MLP], [*SELF, *CROSS, *MLP]],
        ),
    ],
)  # fmt: skip
def test_every_stack_has_its_map_in_order_with_rows_and_columns_as_they_are_called(
    model: Callable[[str], Diff],
    name: str,
    stacks: list[str],
    rows: list[list[str]],
    columns: list[list[str]],
) -> None:
    figure = plots.draw(model(name))
    assert isinstance(figure, Figure)
    drawn = facets(figure)
    assert [*drawn] == stacks
    for ax, said, across in zip(drawn.values(), rows, columns, strict=True):
        assert row_texts(ax)[: len(said)] == said
        assert ax.get_ylim()[0] == 0  # the first layer is at the bottom
        assert x_texts(ax) == across
    limits = {mesh_of(ax).get_clim() for ax in drawn.values()}
    values = np.concatenate([numbers(ax).ravel() for ax in drawn.values()])
    assert len(limits) == 1 and limits.pop() == pytest.approx((values.min(), values.max()))
    low, high = values.min(), values.max()
    white = re.search(r"white: ([0-9.]+), the middle of the range, not 0", words(bar(figure)))
    assert white and float(white[1]) == pytest.approx((low + high) / 2, rel=0.01)
    figure.canvas.draw()
    boxes = [ax.get_window_extent() for ax in figure.axes]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    sizes = {round(box.height / len(numbers(ax)), 3) for ax, box in zip(drawn.values(), boxes)}  # noqa: B905
    assert len(sizes) == 1  # cells of one height


def test_names_beside_maps_do_not_touch(model: Callable[[str], Diff]) -> None:
    for name in ("unet", "flux"):
        figure = plots.towers(model(name))
        figure.canvas.draw()
        for ax in facets(figure).values():
            for labels in (ax.get_yticklabels(), ax.get_xticklabels()):
                boxes = [t.get_window_extent() for t in labels if t.get_rotation() in (0, 90)]
                assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
            rows = [t.get_window_extent() for t in ax.get_yticklabels()]
            others = [one for one in figure.axes if one is not ax]
            assert not any(r.overlaps(o.get_window_extent()) for r in rows for o in others)


def test_a_model_of_one_stack_stays_one_map(model: Callable[[str], Diff]) -> None:
    ax = plots.draw(model("llama"))
    assert ax.get_title() == "tuned against base"
    assert row_texts(ax) == ["0", "3", "6", "9", "12", "15"]
    assert x_texts(ax) == [*OWN, *MLP, "mlp. gate"]
    assert [*facets(plots.towers(model("llama")))] == [""]


def test_a_figure_says_what_against_what_and_how_much_moved(model: Callable[[str], Diff]) -> None:
    figure = plots.draw(model("flux"))
    assert figure.get_suptitle() == "my-lora against base"
    assert figure.get_supxlabel() == "one scale for all · 132 of 132 weights moved"
    assert plots.draw(model("unet")).get_suptitle() == "style, no base"
    assert plots.draw(model("flux"), title=False).get_suptitle() == ""
    assert plots.draw(model("flux"), title="mine").get_suptitle() == "mine"
    one = plots.draw(model("flux"), stack="single")
    assert one.get_title() == "my-lora against base · single"
    assert "also: stack='double'" in " ".join(one.get_xlabel().split())
    assert plots.heatmap(model("flux"), title=False).get_title() == ""


def test_without_a_base_a_metric_that_has_values_is_drawn(
    model: Callable[[str], Diff], tmp_path: Path
) -> None:
    diff = model("unet")
    assert bar(plots.draw(diff)).get_ylabel() == "RMS ΔW"
    for figure in (plots.heatmap, plots.profile, plots.towers):
        figure(diff)
    assert mesh_of(plots.heatmap(diff, style="importance")).colorbar is not None
    with pytest.raises(BadCall, match="without a base try metric='rms_change'"):
        plots.towers(diff, "relative_norm")
    small = towers.unet({"down": (1,), "mid": (1,), "up": (1,)})
    saved = towers.write(tmp_path / "style.safetensors", towers.kohya(small))
    done = CliRunner().invoke(door, ["compare", "-", str(saved), "-o", str(tmp_path / "out")])
    assert done.exit_code == 0 and "no heatmap" not in done.stderr
    assert (tmp_path / "out" / "heatmap.png").read_bytes().startswith(b"\x89PNG")


def test_what_did_not_move_says_so_instead_of_a_map(
    model: Callable[[str], Diff], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    figure = plots.draw(model("frozen-vision"))
    vision, language = facets(figure).values()
    assert [" ".join(t.get_text().split()) for t in vision.texts if t.get_gid() == STILL] == [
        "Nothing moved in this map: all 36 weights of it are the base's"
    ]
    assert not vision.collections and numbers(language).shape == (10, 7)
    terminal.show(model("frozen-vision"))
    printed = capsys.readouterr().out
    assert "vision · nothing moved: all 36 weights are the base's" in printed
    same = _full(towers.llama(3), still="model")(tmp_path)
    for ax in (plots.draw(same), plots.profile(same), plots.heatmap(same, style="importance")):
        assert not ax.collections
        assert "Nothing moved" in " ".join(t.get_text() for t in ax.texts)
        assert ax.get_title() == "tuned against base"
    assert "Nothing moved" in "".join(t.get_text() for t in plots.facets([same]).axes[0].texts)
    terminal.show(same)
    assert "nothing moved: all 21 weights are the base's." in capsys.readouterr().out


def test_an_outlying_cell_flattens_no_stack_and_is_said_on_the_bar(
    model: Callable[[str], Diff],
) -> None:
    diff = model("encoder-decoder")
    frame = diff.frame.copy()
    far = (frame["stack"] == "encoder") & (frame["layer"] == 2) & (frame["component"] == "attn.q")
    frame.loc[far, "delta_sq"] = frame.loc[far, "delta_sq"] * 1e4
    plain, figure = plots.towers(diff), plots.towers(Diff.of_frame(frame, diff.about))
    ends = [mesh_of(facets(one)["decoder"]).get_clim() for one in (plain, figure)]
    assert ends[0] == pytest.approx(ends[1], rel=0.2)
    assert re.search(r"1 cell above, to \d", words(bar(figure)))
    assert "above" not in words(bar(plain))


def test_options_of_the_map_reach_every_stack(model: Callable[[str], Diff]) -> None:
    figure = plots.draw(model("flux"), vmin=0.0, vmax=0.5, cmap="viridis", annot=True, fmt=".3f")
    for ax in facets(figure).values():
        assert mesh_of(ax).get_clim() == (0.0, 0.5)
        assert mesh_of(ax).cmap.name == "viridis"
        assert [t.get_text() for t in ax.texts] == [f"{v:.3f}" for v in numbers(ax).ravel()]
    assert "white" not in words(bar(figure))
    with pytest.raises(UnknownName, match="did you mean 'annot'"):
        plots.draw(model("flux"), anot=True)
    with pytest.raises(UnknownName, match="did you mean 'viridis'"):
        plots.draw(model("flux"), cmap="virids")
    bare = plots.draw(model("flux"), bare=True)
    assert bare.get_suptitle() == "" and bare.get_supxlabel() == ""
    assert [*facets(bare)] == [""] and not any(x_texts(ax) for ax in bare.axes[:2])


def test_cells_are_framed_in_the_stack_that_has_them(model: Callable[[str], Diff]) -> None:
    spoken = Finding("x", "note", "x", {"stack": "unet.down_blocks"}, ((1, "attn.q"),))
    figure = plots.draw(model("unet"), outline=[("up 2.0", "cross q"), spoken])
    framed = {
        name: [patch.get_xy() for patch in ax.patches if patch.get_gid() == OUTLINE]
        for name, ax in facets(figure).items()
    }
    assert framed == {"down": [(0, 2)], "mid": [], "up": [(4, 3)], "text encoder": []}
    with pytest.raises(BadCall, match="no map has a cell at layer 'up 9'"):
        plots.draw(model("unet"), outline=[("up 9", "attn.q")])


def test_several_fine_tunes_have_a_line_of_maps_each(model: Callable[[str], Diff]) -> None:
    figure = plots.facets([model("flux"), model("flux")], titles=["one", "two"])
    drawn = facets(figure)
    assert [*drawn] == ["one · double", "one · single", "two · double", "two · single"]
    assert len({mesh_of(ax).get_clim() for ax in drawn.values()}) == 1
    heights = [ax.get_position().y0 for ax in drawn.values()]
    assert heights[0] == heights[1] > heights[2] == heights[3]
    limits = plots.limits([model("flux")])
    assert (limits["vmin"], limits["vmax"]) == pytest.approx(mesh_of(figure.axes[0]).get_clim())


def test_pages_tables_and_the_terminal_have_the_same_order_and_names(
    model: Callable[[str], Diff], capsys: pytest.CaptureFixture[str]
) -> None:
    diff = model("sdxl")
    drawn = maps(diff, ["rms_change"])
    assert [one.label for one in drawn] == ["down", "mid", "up", "text encoder", "text encoder 2"]
    assert drawn[2].layers[:2] == ("up 0.0.0", "up 0.0.1") and drawn[2].numbers[:2] == (0, 0)
    stacks = [*dict.fromkeys(row["stack"] for row in document(diff).layers)]
    assert stacks == [one.label for one in drawn]
    terminal.show(diff)
    lines = capsys.readouterr().out.splitlines()
    heads = [line.partition(" · ")[0] for line in lines if re.match(r"(down|mid|up|text)\b", line)]
    assert heads[:5] == [
        "down 1.0.0 to down 2.1.1", "mid 0.0 to mid 0.3", "up 0.0.0 to up 1.2.0", "text encoder",
        "text encoder 2",
    ]  # fmt: skip
    assert sum(line.startswith("RMS ΔW") for line in lines) == 1  # one scale
    assert sum(line.startswith("cross q") for line in lines) == 3


def test_a_file_of_very_many_stacks_stays_a_figure_and_says_what_is_left_out() -> None:
    many = [rows(2, ("attn.q",), stack=f"part_{k}", move=lambda i, j, k=k: 0.01 * (1 + k))
            for k in range(30)]  # fmt: skip
    figure = plots.draw(diff_of(*many))
    assert len(facets(figure)) == 24
    assert "6 more stacks moved less" in figure.get_supxlabel()


def test_a_stack_is_chosen_listed_and_completed(
    model: Callable[[str], Diff], tmp_path: Path
) -> None:
    path = model("sdxl").save(tmp_path / "diff.json")
    run = CliRunner().invoke
    listed = run(door, ["plot", str(path), "--stack", "list"])
    assert listed.output.splitlines() == [
        "down            'unet.down_blocks'     2 layers",
        "mid             'unet.mid_block'       1 layer",
        "up              'unet.up_blocks'       2 layers",
        "text encoder    'text'                 6 layers",
        "text encoder 2  'text_encoder_2.text'  10 layers",
    ]
    assert run(door, ["plot", str(path), "--stack", "upp"]).exception.args[0] == (  # type: ignore[union-attr]
        "no stack is called 'upp'; did you mean 'up'?"
    )
    shell = ShellComplete(door, {}, "ftdiff", "_FTDIFF_COMPLETE")
    for typed, wanted in (("", ["down", "mid", "up", "text encoder", "text encoder 2", "list"]),
                          ("u", ["up"])):  # fmt: skip
        found = shell.get_completions(["plot", str(path), "--stack"], typed)
        assert [one.value for one in found] == wanted
    assert shell.get_completions(["plot", "nowhere.json", "--stack"], "") == []
    for stack in ("up", "unet.up_blocks"):
        done = run(door, ["plot", str(path), "--stack", stack, "-o", str(tmp_path / "a.svg")])
        assert done.exit_code == 0
    assert plots.scatter(model("flux"), stack="double").get_title().endswith("· double")
