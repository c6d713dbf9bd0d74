from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot

import ftdiff
from ftdiff.cli import ftdiff as door
from ftdiff.errors import BadCall, BadFile
from ftdiff.reports import card
from ftdiff.reports.card import spliced
from ftdiff.reports.card_check import differing
from ftdiff.reports.document import document
from ftdiff.reports.front_matter import with_base
from ftdiff.reports.markup import WRITERS
from ftdiff.reports.section import section
from tests.conftest import FIXTURES

CARDS = Path(__file__).parent / "cards"
WRITTEN_BY = {"peft": FIXTURES / "lora" / "README.md", "trl": CARDS / "trl.md"}
BEGIN, END = "<!-- ftdiff:begin -->", "<!-- ftdiff:end -->"


@pytest.fixture(scope="module")
def lora() -> ftdiff.Diff:
    return ftdiff.compare(FIXTURES / "base", FIXTURES / "lora")


@pytest.fixture(scope="module")
def full() -> ftdiff.Diff:
    return ftdiff.compare(FIXTURES / "base", FIXTURES / "full")


@pytest.mark.parametrize("author", WRITTEN_BY)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_card_gains_a_section_and_keeps_every_other_byte(
    lora: ftdiff.Diff, full: ftdiff.Diff, tmp_path: Path, author: str, end: str
) -> None:
    before = WRITTEN_BY[author].read_text("utf-8").replace("\n", end).encode()
    readme = tmp_path / "README.md"
    readme.write_bytes(before)
    card.save(lora, readme)
    once = readme.read_bytes()
    assert once.startswith(before)
    assert (b"\n" in once.replace(b"\r\n", b"")) == (end == "\n")
    assert (tmp_path / "ftdiff" / "heatmap.png").read_bytes().startswith(b"\x89PNG")
    assert card.save(lora, readme).paths == ()  # a second time nothing differs
    assert pyplot.get_fignums() == []  # a notebook would show what is left open
    assert readme.read_bytes() == once
    card.save(full, readme)  # another diff takes the same place
    other = readme.read_bytes()
    assert other.startswith(before) and other != once and other.count(BEGIN.encode()) == 1
    card.save(lora, readme)
    assert readme.read_bytes() == once


@pytest.mark.parametrize("author", WRITTEN_BY)
def test_the_hub_reads_the_card_as_before_with_another_base(
    lora: ftdiff.Diff, tmp_path: Path, author: str
) -> None:
    readme = tmp_path / "README.md"
    shutil.copy(WRITTEN_BY[author], readme)
    before = ModelCard.load(readme)
    old = before.data.base_model
    done = card.save(lora, readme, base_model="org/base")
    assert done.said == f"base_model was {old}, and is org/base"
    after = ModelCard.load(readme)
    wanted = {**before.data.to_dict(), "base_model": "org/base", "base_model_relation": "adapter"}
    if author == "peft":  # which writes its base into a tag, too
        wanted["tags"] = [tag.replace(f":{old}", ":org/base") for tag in wanted["tags"]]
    assert after.data.to_dict() == wanted
    assert after.content.count(BEGIN) == 1
    once = readme.read_bytes()
    card.save(lora, readme, base_model="org/base")
    assert readme.read_bytes() == once


def test_peft_keeps_the_section_when_it_saves_the_adapter_again(
    lora: ftdiff.Diff, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    shutil.copytree(FIXTURES / "lora", tmp_path / "lora")
    card.save(lora, tmp_path / "lora" / "README.md")
    model = AutoModelForCausalLM.from_pretrained(FIXTURES / "base")
    tuned = PeftModel.from_pretrained(model, tmp_path / "lora")
    tuned.save_pretrained(tmp_path / "lora", save_embedding_layers=False)
    once = (tmp_path / "lora" / "README.md").read_text("utf-8")
    assert once.count(BEGIN) == once.count(END) == 1
    card.save(lora, tmp_path / "lora" / "README.md")
    assert (tmp_path / "lora" / "README.md").read_text("utf-8") == once


@given(st.text(), st.text(), st.sampled_from(["\n", "\r\n"]))
def test_splicing_twice_is_splicing_once_and_the_last_body_stays(
    text: str, body: str, end: str
) -> None:
    text = re.sub(r"[\r\n]", end, text)
    body = re.sub(r"\r", "", body)
    if "ftdiff:" in text or "ftdiff:" in body:
        return
    once = spliced(text, body)
    assert once.startswith(text)
    assert spliced(once, body) == once
    assert spliced(spliced(text, "another"), body) == once
    kept = "\r\n" if "\r\n" in once else "\n"
    after = once + f"more{kept}"
    assert spliced(after, "x" + body).endswith(f"{END}{kept}more{kept}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{BEGIN}\na\n{END}\n\n{BEGIN}\nb\n{END}\n", "line 1, end in line 3, begin in line 5"),
        (f"{BEGIN}\na\n", "found begin in line 1"),
        (f"a\r\n{END}\r\n", "found end in line 2"),
        (f"{END}\n{BEGIN}\n", "found end in line 1, begin in line 2"),
    ],
)
def test_markers_that_are_not_one_pair_are_refused_and_the_card_is_left(
    lora: ftdiff.Diff, tmp_path: Path, text: str, said: str
) -> None:
    readme = tmp_path / "README.md"
    readme.write_bytes(text.encode())
    with pytest.raises(BadFile, match=said):
        card.save(lora, readme)
    assert readme.read_bytes() == text.encode()
    assert not (tmp_path / "ftdiff").exists()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# A\n", {"base_model": "org/b", "base_model_relation": "finetune"}),
        ("---\n{}\n---\n# A\n", {"base_model": "org/b", "base_model_relation": "finetune"}),
        (
            "---\n# kept\nlicense: mit  # too\n---\n# A\n",
            {"license": "mit", "base_model": "org/b", "base_model_relation": "finetune"},
        ),
        (
            "---\r\nbase_model: [x/y]\r\n---\r\n# A\r\n",
            {"base_model": ["org/b"], "base_model_relation": "finetune"},
        ),
        (
            "---\nbase_model: x/y\nbase_model_relation: merge\n---\n",
            {"base_model": "org/b", "base_model_relation": "merge"},
        ),
        ("\ufeff---\ntags:\n- a\n---\n", None),
    ],
)
def test_front_matter_gains_only_what_it_lacks(
    tmp_path: Path, text: str, found: dict[str, object] | None
) -> None:
    after = with_base(text, "org/b", "full").text
    (tmp_path / "README.md").write_bytes(after.encode())
    data = ModelCard.load(tmp_path / "README.md").data.to_dict()
    wanted = found or {"tags": ["a"], "base_model": "org/b", "base_model_relation": "finetune"}
    assert data == wanted
    kept = [line for line in text.splitlines() if line not in ("{}", "\ufeff---")]
    assert all(line in after for line in kept if "x/y" not in line)
    assert with_base(after, "org/b", "full").text == after


def test_a_base_that_is_no_name_on_the_hub_is_refused() -> None:
    for wrong in ("/home/me/base", "a/b/c", "x: y", "", "a\nb: c", "../base"):
        with pytest.raises(BadCall, match="ORGANISATION/MODEL"):
            with_base("# A\n", wrong, "full")


def test_a_base_named_like_a_number_stays_a_text(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(with_base("", "123", "lora").text)
    assert ModelCard.load(tmp_path / "README.md").data.base_model == "123"


def test_a_card_that_is_no_text_or_a_folder_is_named(lora: ftdiff.Diff, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadFile, match="text in UTF-8"):
        card.save(lora, tmp_path / "README.md")
    with pytest.raises(BadFile, match="directory"):
        card.save(lora, tmp_path)


def test_a_section_says_the_numbers_and_no_path_of_this_machine(full: ftdiff.Diff) -> None:
    moved = ftdiff.Diff(
        full.frame, {**full.about, "base": "/home/me/secret/base", "tuned": "/x/t/"}
    )
    said = section(moved)
    assert f"‖ΔW‖/‖W‖ = {full.overall['relative_norm']:.4g}" in said.sentences[0]
    assert said.sentences[0].startswith("Compared with base, t (full) moved 338 of 338 tensors")
    table = full.by("component", param="weight").set_index("component")["relative_norm"]
    assert [row[1] for row in said.rows] == [f"{table[row[0]]:.4g}" for row in said.rows]
    largest = full.table().drop(columns=["norm.input", "norm.post_attention"]).stack()
    assert f"largest {largest.max():.3g} in layer {largest.idxmax()[0]}" in said.alt
    for write in WRITERS.values():
        assert "secret" not in write(said, "")


def test_without_a_base_a_section_has_absolute_norms() -> None:
    said = section(ftdiff.compare(None, FIXTURES / "lora"))
    assert said.columns[1] == "RMS ΔW"
    assert said.alt.startswith("Heatmap of RMS ΔW")


def test_hostile_names_stay_text_in_every_format() -> None:
    names = ["model.layers.0.<script>x|y.weight", f"model.layers.0.\n{END}\n![a](b).weight"]
    names += [r"model.layers.0.\input{/etc/passwd}%$_^&#~.weight"]
    base = dict.fromkeys(names, np.ones((2, 2)))
    said = section(ftdiff.compare(base, {name: 3 * W for name, W in base.items()}))
    written = {name: write(said, "f.png") for name, write in WRITERS.items()}
    assert "<script" not in written["markdown"] + written["html"]
    assert END not in written["markdown"] and "![a]" not in written["markdown"]
    rows = [line for line in written["markdown"].splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(names)
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {len(said.columns) + 1}
    assert r"\textbackslash{}input\{/etc/passwd\}\%\$\_\textasciicircum{}\&\#" in written["latex"]
    assert json.loads(written["json"])["rows"] == [list(row) for row in said.rows]
    page = _Tags()
    page.feed(written["html"])
    assert set(page.tags) <= {
        "h2",
        "p",
        "img",
        "table",
        "tr",
        "th",
        "td",
        "details",
        "summary",
        "ul",
        "li",
    }


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)


def test_the_commands_write_and_print(lora: ftdiff.Diff, tmp_path: Path) -> None:
    saved = lora.save(tmp_path / "diff.json")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ftdiff", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    done = run("report", saved, "-o", tmp_path / "page.html")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'page.html'}\n")
    assert "</html>" in (tmp_path / "page.html").read_text()
    readme = tmp_path / "README.md"
    done = run("card", saved, readme)
    assert done.stdout.splitlines() == [str(tmp_path / "ftdiff" / "heatmap.png"), str(readme)]
    assert "--base-model ID adds it" in done.stderr
    assert run("card", saved, readme).stdout == f"{readme}: nothing differs\n"
    assert json.loads(run("card", saved, "--to", "json").stdout) == json.loads(
        WRITERS["json"](section(lora), "")
    )
    for wrong in (("card", saved), ("card", saved, readme, "--to", "html")):
        done = run(*wrong)
        assert done.returncode == 2 and "one of them" in done.stderr


def wide(count: int) -> ftdiff.Diff:
    """Return a diff of so many components, of which each later one moved further."""
    base = {f"model.layers.0.part{i}.weight": np.ones((2, 2)) for i in range(count)}
    tuned = {name: W + 0.1 * (i + 1) for i, (name, W) in enumerate(base.items())}
    return ftdiff.compare(base, tuned)


def test_what_the_table_leaves_out_is_said(tmp_path: Path) -> None:
    diff = wide(20)
    said = section(diff)
    assert [row[0] for row in said.rows] == sorted(
        (f"part{i}" for i in range(6, 20)), key=[*diff.table().columns].index
    )
    assert said.cut == ("Shown are the 14 of 20 components with the largest share of the change.")
    for name, write in WRITERS.items():
        assert said.cut in write(said, ""), name
    assert section(wide(14)).cut == section(diff, rows=20).cut == section(diff, rows=None).cut == ""
    assert len(section(diff, rows=3).rows) == 3
    readme = tmp_path / "README.md"
    for rows in (3, 14, None):
        assert card.save(diff, readme, rows=rows).cut == section(diff, rows=rows).cut
        assert differing(readme, diff) == ""
    card.save(diff, readme, rows=14)
    text = readme.read_text()
    gone = next(line for line in text.splitlines() if line.startswith("| part9"))
    readme.write_text(text.replace(f"{gone}\n", ""))
    assert "'part9' is in the claim, and not in the card" in differing(readme, diff)


def test_a_section_says_rank_alpha_targets_scale_and_findings(lora: ftdiff.Diff) -> None:
    said = section(lora).sentences
    assert (
        "Its configuration says: rank 4, α 8, on down_proj, gate_proj, k_proj, o_proj, " in said[1]
    )
    assert said[2] == "It is scaled by α/r = 8/4, adapter_config.json (196 tensors)."
    found = [one.message for one in ftdiff.findings(lora) if one.rule == "contrast"]
    assert found and {*found} <= {*said}
    assert "100.0% of the parameters were compared" in said[0]


def test_findings_and_cautions_that_are_left_out_are_counted() -> None:
    base = {f"model.layers.{i}.mlp.up_proj.weight": np.ones((2, 2)) for i in range(30)}
    base |= {f"model.layers.{i}.mlp.down_proj.weight": np.ones((i + 1, 2)) for i in range(30)}
    tuned = {n: W[:1] if "down" in n else W * 1.5 for n, W in base.items()}
    diff = ftdiff.compare(base, tuned)
    report = document(diff)
    said = section(diff).sentences
    assert len(report.cautions) > 6
    assert said[-1] == f"And {len(report.cautions) - 6} more cautions, as ftdiff compare prints."


def test_an_adapter_whose_targets_are_a_pattern_is_told_so(lora: ftdiff.Diff) -> None:
    told = {**lora.about["adapter"], "target_modules": ".*\n|<b>_proj"}
    pattern = ftdiff.Diff(lora.frame, {**lora.about, "adapter": told})
    assert section(pattern).sentences[1].endswith("on what matches .*\\n|<b>_proj.")
    many = ftdiff.Diff(
        lora.frame, {**lora.about, "adapter": {"target_modules": [f"m{i}" for i in range(40)]}}
    )
    assert "m11 and 28 more." in section(many).sentences[1]


def test_the_command_says_what_it_replaced_and_left_out(lora: ftdiff.Diff, tmp_path: Path) -> None:
    saved = lora.save(tmp_path / "diff.json")
    readme = tmp_path / "README.md"
    readme.write_text("---\nbase_model: x/y # old\n---\n")

    def run(*more: object) -> Result:
        return CliRunner().invoke(door, ["card", *map(str, (saved, readme, *more))])

    done = run("--base-model", "org/b", "--rows", "3")
    assert (done.exit_code, readme.read_text().splitlines()[1]) == (0, "base_model: org/b # old")
    assert done.stderr.splitlines() == [
        f"{readme}: base_model was x/y, and is org/b",
        f"{readme}: Shown are the 3 of 7 components with the largest share of the change. "
        "--rows N shows more.",
    ]
    assert readme.read_text().count("| attn.") + readme.read_text().count("| mlp.") == 3
    readme.write_text("---\nbase_model: [x/y, z/z]\n---\n")
    error = run("--base-model", "org/b").exception
    assert isinstance(error, BadCall) and "names 2 bases, x/y, z/z" in str(error)
    assert readme.read_text() == "---\nbase_model: [x/y, z/z]\n---\n"
