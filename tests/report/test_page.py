"""The report: what stands in it follows from the runs, and nothing from outside becomes markup."""

import csv
import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hostile_names import HOSTILE
from markupsafe import Markup

from autovid.cli import main
from autovid.errors import RunError
from autovid.report import page as page_module
from autovid.report.accuracy import PUBLISHED
from autovid.report.markup import Axis, Bar, bars, spark, tag, thin, writable
from autovid.report.page import page, write_report
from autovid.report.runs import read_run, read_runs
from autovid.search import read_search
from autovid.space import load_architecture
from autovid.train.evaluate import read_evaluation

OPEN = {"meta", "link", "br", "img", "rect", "path", "line", "circle", "polygon"}


class Page(HTMLParser):
    """Elements, and all text by the section that it stands in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.sections: dict[str, str] = {}
        self.depth: list[str] = []
        self.section = ""
        self.feed(text)
        self.close()
        assert self.depth == [], "an element is not closed"

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attributes}
        self.tags.append((name, values))
        if name not in OPEN:
            self.depth.append(name)
        if name == "section":
            self.section = values["id"]
            self.sections[self.section] = ""

    def handle_startendtag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((name, {key: value or "" for key, value in attributes}))

    def handle_endtag(self, name: str) -> None:
        assert self.depth.pop() == name

    def handle_data(self, data: str) -> None:
        if self.section:
            self.sections[self.section] += data

    def of(self, name: str) -> list[dict[str, str]]:
        return [attributes for tag_name, attributes in self.tags if tag_name == name]


@pytest.fixture(scope="module")
def everything(runs: dict[str, Path]) -> Page:
    return Page(page(read_runs([*runs.values()])))


def addresses(text: str) -> Iterator[str]:
    """What a browser might fetch."""
    for name, attributes in Page(text).tags:
        yield from (attributes[key] for key in ("src", "href", "data", "action") if key in attributes)
        assert name not in ("script", "iframe", "object", "embed")
    yield from re.findall(r"url\((.*?)\)|@import (.*)", text)


def test_every_section_has_something_to_say_and_is_linked(everything: Page) -> None:
    names = ["summary", "compare", "architecture", "search", "decisions", "accuracy", "classes"]
    assert list(everything.sections)[: len(names)] == names
    assert list(everything.sections)[-1] == "cost"
    assert [link["href"] for link in everything.of("a")] == [f"#{name}" for name in everything.sections]
    assert all(len(text.strip()) > 40 for text in everything.sections.values())


def test_sections_without_data_are_left_out(runs: dict[str, Path]) -> None:
    assert list(Page(page([read_run(runs["search"])])).sections) == [
        "summary",
        "architecture",
        "search",
        "decisions",
        "cost",
    ]
    trained = Page(page([read_run(runs["train"])])).sections
    assert {"search", "decisions", "compare"}.isdisjoint(trained)
    assert {"summary", "architecture", "accuracy", "classes", "cost"} <= set(trained)
    assert {"architecture", "search", "classes", "maps"}.isdisjoint(Page(page([read_run(runs["random"])])).sections)


def test_the_figures_are_those_of_the_runs(runs: dict[str, Path], everything: Page) -> None:
    arch = load_architecture(runs["search"] / "architecture.yaml")
    evaluation = read_evaluation(runs["train"])
    assert evaluation is not None
    summary = everything.sections["summary"]
    assert f"{arch.macs() / 1e9:.4g} GFLOPs" in summary
    assert "inside the range asked for, 0.0075–0.008 GFLOPs" in summary
    assert f"classifies {evaluation.top1:.1f} % of 12 videos correctly (centre view)" in summary
    assert "2 random architectures of 0.0075–0.008 GFLOPs come to" in summary
    assert arch.hash in everything.sections["architecture"]
    assert f"{evaluation.top1:.2f}" in everything.sections["compare"]


def test_a_training_is_drawn_at_the_clips_that_it_was_trained_on(
    runs: dict[str, Path], tmp_path: Path, everything: Page
) -> None:
    evaluation, arch = read_evaluation(runs["train"]), load_architecture(runs["search"] / "architecture.yaml")
    assert evaluation is not None
    mine = f"{evaluation.gflops_per_view:.4g} GFLOPs at {evaluation.frames} × 16²"
    searched = f"{arch.macs() / 1e9:.4g} GFLOPs at {arch.reference.frames} × {arch.reference.crop}²"
    assert mine != searched
    assert mine in everything.sections["architecture"]
    assert searched in everything.sections["architecture"]
    assert main(["draw", str(runs["train"]), "-o", str(tmp_path / "a.svg")]) == 0
    assert mine in (tmp_path / "a.svg").read_text(encoding="utf-8")


def test_every_decision_says_what_won_and_by_how_much(runs: dict[str, Path], everything: Page) -> None:
    searched, arch = read_search(runs["search"]), load_architecture(runs["search"] / "architecture.yaml")
    cells = [attributes for attributes in everything.of("div") if attributes.get("class") == "decision"]
    decisions = [d for d in searched.space.decisions if len(d.candidates) > 1]
    assert len(cells) == len(decisions)
    labels = [attributes["aria-label"] for attributes in everything.of("svg")]
    assert all(f"{d.name} over time" in labels for d in decisions)
    name = "sparse.stage1.width"
    logp = dict(zip((d.name for d in searched.space.decisions), searched.log_probs(searched.space)))[name]
    taken = searched.space.candidates[name].index(arch.choices[name])
    lead = 100 * (np.exp(logp[taken]) - np.exp(np.delete(logp, taken)).max())
    text = re.sub(r"\s+", " ", everything.sections["decisions"])
    assert f"width {arch.choices[name]} {lead:+.0f}" in text


def test_what_is_taken_against_the_likelier_candidate_does_not_look_like_a_win(
    runs: dict[str, Path], everything: Page
) -> None:
    searched, arch = read_search(runs["search"]), load_architecture(runs["search"] / "architecture.yaml")
    behind = 0
    for decision, logp in zip(searched.space.decisions, searched.log_probs(searched.space)):
        taken = decision.candidates.index(arch.choices[decision.name])
        behind += len(logp) > 1 and logp[taken] < np.delete(logp, taken).max()
    assert behind > 0
    assert sum(span.get("class") == "against" for span in everything.of("span")) == behind
    said = "another one was more probable, and the race on held-out clips took this one"
    assert said in re.sub(r"\s+", " ", everything.sections["decisions"])
    name = "sparse.stage1.width"
    chances = dict(zip((d.name for d in searched.space.decisions), searched.log_probs(searched.space)))[name]
    named = ", ".join(f"{c}: {100 * np.exp(p):.0f} %" for c, p in zip(searched.space.candidates[name], chances))
    assert named in everything.sections["decisions"]  # said, not only for who points at it


def test_a_small_line_has_its_scale_and_names_that_are_text() -> None:
    drawn = spark([("<b>", [0.25, 0.75]), ("3", [0.75, 0.25])], 0, "x over time", "b")
    assert "<title>&lt;b&gt;</title>" in drawn
    assert ">100%<" in drawn
    assert "thick s-b" in drawn


def test_the_legend_tells_whose_a_point_is(everything: Page) -> None:
    accuracy = everything.sections["accuracy"]
    marks = [mark.get("class", "") for mark in everything.of("i")]
    for says, mark in (
        ("random: random", "b dot"),
        ("random: the searched one", "b star"),
        ("train: trained", "a diamond"),
    ):
        assert says in accuracy
        assert marks.count(f"bar-{mark}") == 1


def test_charts_of_a_search_share_their_steps(runs: dict[str, Path]) -> None:
    text = page([read_run(runs["search"])])
    section = text[text.index('id="search"') : text.index('id="decisions"')]
    starts = [re.findall(r'd="M([\d.]+) 16.0V186.0"', chart) for chart in section.split("<figure>")[1:]]
    assert len(starts) == 4
    assert starts[0] == starts[1] == starts[2] == starts[3]
    assert len(set(starts[0])) == 4  # where its parts and the joint phase begin


def test_nothing_is_drawn_of_a_bar_of_nothing() -> None:
    drawn = bars("t", [Bar("none", 0.0, ""), Bar("few", 0.25, ""), Bar("half", 50.0, "")])
    assert re.findall(r"width:([\d.]+)%", drawn) == ["0", "0.2", "50"]
    assert re.findall(r"<b>(.*?)</b>", drawn) == ["0 %", "&lt;1 %", "50 %"]


def test_published_networks_have_their_names(runs: dict[str, Path]) -> None:
    labels = re.findall(r">([^<]*)</text>", page([read_run(runs["train"])]))
    assert {one.name for one in PUBLISHED} <= set(labels)


def test_published_figures_are_marked_as_such(everything: Page) -> None:
    assert "published figures, not run here: Kinetics-400, 30 views" in everything.sections["accuracy"]
    assert "published: X3D-S, 73.3 %, 81 GFLOPs in 30 views" in everything.sections["accuracy"]


def test_confusions_and_frames_are_those_of_the_evaluation(runs: dict[str, Path], everything: Page) -> None:
    with (runs["train"] / "confusion-center.csv").open(newline="") as lines:
        head, *rows = list(csv.reader(lines))
    wrong = [(row[0], name) for row in rows for name, n in zip(head[1:], row[1:]) if int(n) and name != row[0]]
    assert wrong
    text = everything.sections["confusions"]
    assert sum(f"{actual} predicted as {name}: 1 of 1 videos" in text for actual, name in wrong) == min(6, len(wrong))
    images = everything.of("img")
    assert sum("frame" in image["alt"] for image in images) == len(images) >= 7  # of each a frame, and strips
    assert all(image["src"].startswith("data:image/jpeg;base64,/9j/") for image in images)


def test_it_says_what_it_cost_and_how_to_run_it_again(runs: dict[str, Path], everything: Page) -> None:
    cost = everything.sections["cost"]
    assert f"-o {runs['train']}" in cost
    assert "--resume" not in cost
    assert "seed: 0" in cost
    assert cost.count("by the clock where it ran") == len(runs)


def test_a_random_baseline_tells_what_its_trainings_tell(runs: dict[str, Path], everything: Page) -> None:
    run = read_run(runs["random"])
    logs = [read_run(path) for path in sorted(runs["random"].glob("*-*/")) if (path / "config.yaml").is_file()]
    assert len(logs) == len(run.trainings) == 3
    assert run.seconds == pytest.approx(sum(one.seconds for one in logs))  # the same three numbers
    assert run.begun == min(one.log[0][:19] for one in (run, *logs))
    cost = everything.sections["cost"]
    assert run.command
    assert {one.command for one in logs} == {run.command}
    assert f"-o {runs['random']}" in cost
    assert f"trainings3, {sum(len(one.records) for one in logs)} steps in all" in cost


def test_nothing_is_fetched_and_it_is_small(runs: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    assert main(["report", *map(str, runs.values()), "-o", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    assert {address.split(":")[0] for address in addresses(text) if not address.startswith("#")} == {"data"}
    assert "default-src &#x27;none&#x27;" in text or "default-src 'none'" in text
    assert out.stat().st_size < 3_000_000


def test_a_page_that_would_be_too_large_is_refused(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(page_module, "LARGEST", 1000)
    assert main(["report", str(runs["search"]), "-o", str(tmp_path / "a.html")]) == 2
    assert "more than a page should be; give fewer runs" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_no_name_becomes_markup(hostile: Path) -> None:
    text = page([read_run(hostile)])
    parsed = Page(text)
    assert {name for name, _ in parsed.tags}.isdisjoint({"u", "script"})
    assert all(not key.startswith("on") for _, attributes in parsed.tags for key in attributes)
    assert all(image["src"].startswith("data:") for image in parsed.of("img"))
    assert HOSTILE[0] in parsed.sections["classes"]
    assert HOSTILE[1].replace("\x1b", "\ufffd") in parsed.sections["classes"]
    assert re.sub("[\u202e\u2069]", "\ufffd", HOSTILE[2]) in parsed.sections["classes"]
    assert hostile.name in parsed.sections["summary"]
    assert not re.search("[\x1b\u202e\u2069]", text)


def test_a_plain_string_is_text_wherever_it_stands() -> None:
    assert tag("p", "<b>", tag("i", "&"), title='"<') == '<p title="&#34;&lt;">&lt;b&gt;<i>&amp;</i></p>'
    assert writable("\ud800\x00") == "\ufffd\ufffd"
    assert tag("p", Markup("<b/>")) == "<p><b/></p>"


def test_runs_of_one_name_are_told_apart(runs: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(runs["train"], tmp_path / "other" / "train")
    names = [run.name for run in read_runs([runs["train"], tmp_path / "other" / "train"])]
    assert names == [f"{runs['train'].parent.name}/train", "other/train"]


def test_a_search_that_has_only_begun_and_a_torn_log(runs: dict[str, Path], tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    shutil.copytree(runs["search"], begun)
    (begun / "architecture.yaml").unlink()
    with (begun / "metrics.jsonl").open("a") as log:
        log.write('{"step": 12, "lo')
    sections = Page(page([read_run(begun)])).sections
    assert "is not finished; it stands at step 12 of 12" in sections["summary"]
    shutil.rmtree(begun / "checkpoints")
    unsaved = Page(page([read_run(begun)])).sections
    assert "is not finished; it stands at step 12" in unsaved["summary"]
    assert "P(in range)" in unsaved["search"]
    for name in ("metrics.jsonl", "probabilities.jsonl"):
        (begun / name).unlink()
    assert "is not finished; it stands at step 0" in Page(page([read_run(begun)])).sections["summary"]


def test_a_search_that_was_stopped_shows_every_decision_that_it_has_come_to(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    stopped = tmp_path / "stopped"
    later = shutil.ignore_patterns("architecture.yaml", "step-000009", "step-000012")
    shutil.copytree(runs["search"], stopped, ignore=later)
    searched, parsed = read_search(stopped), Page(page([read_run(stopped)]))
    assert searched.step == 6  # of 12: what attention to take is still open
    cells = [attributes for attributes in parsed.of("div") if attributes.get("class") == "decision"]
    known = [d for d in searched.space.decisions if len(d.candidates) > 1 and not d.name.startswith("attention")]
    assert len(cells) == len(known) < len(searched.space.decisions)
    text = re.sub(r"\s+", " ", parsed.sections["decisions"])
    assert "in blue the most probable so far, with its lead over the next. The search is not finished: " in text
    logp = dict(zip((d.name for d in searched.space.decisions), searched.log_probs(searched.space)))
    name = "sparse.stage1.width"
    best, next_best = sorted(np.exp(logp[name]))[:-3:-1]
    width = searched.space.candidates[name][int(logp[name].argmax())]
    assert f"width {width} {100 * (best - next_best):+.0f}" in text


def test_data_that_is_gone_leaves_the_frames_out_and_says_so(
    hostile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = hostile.parent / "data"
    data.rename(hostile.parent / "gone")
    try:
        assert main(["report", str(hostile), "-o", str(tmp_path / "a.html")]) == 0
    finally:
        (hostile.parent / "gone").rename(data)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "no frames in the report: " in line
    assert "maps" not in Page((tmp_path / "a.html").read_text(encoding="utf-8")).sections


def test_a_ranking_is_told_and_drawn(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("autovid: 0.1.0\nkind: rank\ndata: {name: few}\n")
    assert "nothing is trained yet" in Page(page([read_run(tmp_path)])).sections["summary"]
    entry = {
        "hash": "a1",
        "macs": 9,
        "params": 8,
        "synaptic_flow": 1.5,
        "supernet": 12.5,
        "recalibrated": 25.0,
        "alone": 50.0,
    }
    unknown = {"value": None, "interval": [None, None]}
    known = {"value": 0.5, "interval": [-0.25, 0.75]}
    content = {
        "space": "tiny",
        "architectures": [entry, {**entry, "hash": "b2", "alone": None}],
        "correlations": {"supernet": {"Kendall's tau": known}, "recalibrated": {"Kendall's tau": unknown}},
    }
    (tmp_path / "rank.json").write_text(json.dumps(content))
    sections = Page(page([read_run(tmp_path)])).sections
    assert "ranks 1 architectures" in sections["summary"]
    assert "supernet: Kendall's tau 0.50 (-0.25 to 0.75)." in sections["summary"]
    for way in (12.5, 25):
        assert f"a1: {way:.2f} % in the supernet, 50.00 % trained from scratch" in sections["accuracy"]
    assert "b2" not in sections["accuracy"]
    evidence = "The supernet is at chance: held-out loss 2."
    (tmp_path / "rank.json").write_text(json.dumps(content | {"evidence": evidence}))
    assert f"{evidence} How the supernet of tiny ranks" in Page(page([read_run(tmp_path)])).sections["summary"]
    (tmp_path / "rank.json").write_text("{}")
    with pytest.raises(RunError, match=r"rank.json cannot be read"):
        read_run(tmp_path)


def test_breaks_between_two_starts_are_no_cost(runs: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs["search"], run)
    times = [0, 1, 2, 3, 1000, 1001]  # it was taken up again at step 4
    (run / "metrics.jsonl").write_text("".join(json.dumps({"step": i, "time": t}) + "\n" for i, t in enumerate(times)))
    (run / "log.txt").write_text("2026-01-01 00:00:00 step 4 of 9: starting\n")
    assert read_run(run).seconds == 6


@pytest.mark.parametrize(("what", "says"), [("missing", "does not exist"), ("random/arch-*", ""), (".", "config.yaml")])
def test_what_is_no_run_is_refused_in_one_line(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str, says: str
) -> None:
    folder = runs["random"].parent
    path = next(folder.glob(what)) if "*" in what else folder / what
    code = main(["report", str(path), "-o", str(tmp_path / "a.html")])
    assert code == (5 if says else 0)
    error = capsys.readouterr().err.strip()
    assert says in error
    assert "\n" not in error


def test_a_run_given_twice_is_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    assert main(["report", str(runs["train"]), str(runs["train"] / "."), "-o", str(tmp_path / "a.html")]) == 2


def test_the_default_place_is_in_the_run(runs: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(runs["search"], tmp_path / "run")
    assert main(["report", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_report_of_the_same_runs_is_the_same(runs: dict[str, Path], tmp_path: Path) -> None:
    for name in "ab":
        write_report([runs["search"]], tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("low", "high", "log", "ticks"),
    [
        (0, 1, False, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (3, 97, False, [20, 40, 60, 80]),
        (0.5, 30, True, [1, 3, 10, 30]),
        (1, 8, True, [1, 2, 3, 5, 7]),
        (2.3, 28.5, True, [5, 10, 20]),
        (0.0098, 0.0132, True, [0.01, 0.011, 0.012, 0.013]),
    ],
)
def test_ticks_are_round_and_inside(low: float, high: float, log: bool, ticks: list[float]) -> None:
    assert Axis(low, high, 0, 100, log).ticks() == pytest.approx(ticks)  # a product or two of Python's floats


def test_long_lines_are_thinned_to_means() -> None:
    thinned = thin([(float(i), float(i % 2)) for i in range(1000)], 100)
    assert len(thinned) == 100
    assert {y for _, y in thinned} == {0.5}


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["evolution", "random"])
def test_a_search_without_a_prior_shows_scores_and_no_probabilities(
    strategy: str, tiny_videos: Path, tmp_path: Path
) -> None:
    options = {
        "evolution": ["population=2", "sample=1", "rounds=2", "batch=1"],
        "random": ["architectures=2", "batch=1"],
    }
    words = ["search", "--space", "tiny", "--strategy", strategy, "--score", "supernet", "--data", str(tiny_videos)]
    words += ["--recipe", "proxy", "--steps", "1", "--flops", "0.0075:0.008", "-o", str(tmp_path / "run")]
    words += ["--device", "cpu", "--precision", "fp32", "--decoders", "0", "--crop", "16", "--jitter", "16:20"]
    words += ["--batch", "4"]
    for option in options[strategy]:
        words += ["--set", f"strategy.{option}"]
    assert main(words) == 0
    sections = Page(page([read_run(tmp_path / "run")])).sections
    assert "decisions" not in sections
    assert "prior" not in sections["summary"]
    assert "Its scores of architectures reflect noise, not accuracy." in sections["summary"]
    assert sections["summary"].count("M parameters") == 1
    assert "Log-likelihood of architectures" in sections["search"]
    assert "the prior moves" not in sections["search"]
    assert " %" not in sections["architecture"].partition("FLOPs by stage")[0]
