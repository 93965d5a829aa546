"""The report in a real browser: on a phone and on a desk, by day and by night."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from hostile_names import HOSTILE
from markupsafe import Markup

from autovid.report.filmstrip import SIDE, VideoExample
from autovid.report.markup import document, section, tag
from autovid.report.page import write_report
from autovid.report.runs import Confusion

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium here: apt-get install chromium, or another that is called so"
    ),
]
PHONE, DESK = (390, 844), (1280, 900)
WIDER = """(() => {
  const room = document.documentElement.clientWidth, scrolls = e => e && (
    getComputedStyle(e).overflowX == "auto" || scrolls(e.parentElement));
  return [...document.querySelectorAll("body *")].filter(
    e => e.getBoundingClientRect().right > room + 1 && !scrolls(e)).map(e => e.outerHTML.slice(0, 99)); })()"""

LEFT_EDGES = """[...document.querySelectorAll(".line")].map(line => {
  const found = [], walk = document.createTreeWalker(line, NodeFilter.SHOW_TEXT), range = document.createRange();
  while (walk.nextNode()) { range.selectNode(walk.currentNode); found.push(range.getBoundingClientRect().left); }
  return found; })"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def report(runs: dict[str, Path], hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All there is on one page."""
    out = tmp_path_factory.mktemp("report") / "report.html"
    write_report([*runs.values(), hostile], out)
    return out


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_it_opens_without_a_complaint_and_nothing_overflows(
    browser: Browser, report: Path, tmp_path: Path, size: tuple[int, int], dark: bool
) -> None:
    browser.open(report, *size, dark=dark)
    assert browser.complaints() == []
    assert [address for address in browser.requests() if not address.startswith("data:")] == [report.as_uri()]
    wide, room = browser.run("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert room == size[0]
    assert wide <= room
    assert browser.run(WIDER) == []
    channels = browser.run("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)")
    assert (max(channels) < 64) if dark else (min(channels) > 224)
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 20_000


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_every_link_leads_to_its_section(browser: Browser, report: Path, size: tuple[int, int]) -> None:
    browser.open(report, *size)
    anchors = browser.run("[...document.querySelectorAll('nav a')].map(a => a.getAttribute('href'))")
    assert len(anchors) > 7
    browser.run("document.documentElement.style.scrollBehavior = 'auto'")
    for anchor in anchors:
        top = browser.run(
            f"document.querySelector('nav a[href=\"{anchor}\"]').click(),"
            f"document.querySelector('{anchor}').getBoundingClientRect().top"
        )
        at_the_end = browser.run("innerHeight + scrollY >= document.documentElement.scrollHeight - 2")
        assert abs(top) < 2 or (at_the_end and 0 < top < size[1]), anchor


def test_pictures_are_seen_and_text_in_them_is_not_tiny_on_a_phone(browser: Browser, report: Path) -> None:
    browser.open(report, *PHONE)
    assert browser.run("[...document.images].every(i => i.complete && i.naturalWidth > 50)")
    smallest = browser.run(
        "Math.min(...[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height))"
    )
    assert smallest > 8
    broken = "e => e.getBoundingClientRect().height > 3 * parseFloat(getComputedStyle(e).lineHeight)"
    assert browser.run(f"[...document.querySelectorAll('th')].filter({broken}).map(e => e.textContent)") == []
    drawn = browser.run("[...document.querySelectorAll('svg')].every(s => s.getBoundingClientRect().width > 40)")
    assert drawn


def test_what_does_not_fit_a_phone_scrolls_and_shows_it_and_commands_are_whole(browser: Browser, report: Path) -> None:
    browser.open(report, *PHONE)
    table = "document.querySelector('#compare .scroll')"
    assert browser.run(f"{table}.scrollWidth > {table}.clientWidth + 100")
    assert browser.run(f"getComputedStyle({table}).backgroundImage.split('linear-gradient').length") == 5
    commands = browser.run("[...document.querySelectorAll('.command')].map(e => [e.scrollWidth, e.clientWidth])")
    assert len(commands) == 4
    assert all(wide <= room for wide, room in commands)
    assert browser.run("getComputedStyle(document.querySelector('.pointer')).display") == "none"  # a finger cannot


def test_what_is_pointed_at_has_a_title(browser: Browser, report: Path) -> None:
    browser.open(report, *DESK)
    titles = browser.run("[...document.querySelectorAll('.drawing g')].map(g => g.querySelector('title').textContent)")
    assert any("prior of expansion" in title for title in titles)
    assert all("MMACs" in title for title in titles)


@pytest.mark.parametrize("name", [HOSTILE[2], "\u05e9\u05dc\u05d5\u05dd"], ids=["hostile", "hebrew"])
def test_a_name_that_is_written_from_the_right_leaves_what_is_around_it_in_its_place(
    browser: Browser, tmp_path: Path, name: str
) -> None:
    example = VideoExample(name, f"{name} ", 0.25, f"val/{name}/1.mp4", "data:,", "data:,", 8)
    confusion = section("confusion", one=Confusion(name, name, 1, 2), example=None)
    lines = [tag("div", line, class_="line") for line in (confusion, section("strip", example=example, side=SIDE))]
    (tmp_path / "a.html").write_text(document("names", Markup().join(lines)), encoding="utf-8")
    browser.open(tmp_path / "a.html", *DESK)
    edges = browser.run(LEFT_EDGES)
    assert [len(line) for line in edges] == [4, 7]
    assert all(line == sorted(line) for line in edges), edges
