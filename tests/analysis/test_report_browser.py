"""The report in headless Chromium: it is quiet, sorts, filters, fits a phone and prints.

`make test-slow` runs these. RL_REQUIRE_BROWSER=1 makes a missing browser a failure.
"""

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from analysis import report
from analysis.verdicts import Verdict
from rl.config.schema import read_yaml
from tests.browser import Browser, Page, contrast, find, luminance
from tests.report_parts import words

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = """<script>window.acted = 1</script><img src="x:y" onerror="window.acted = 1">"""
PLANNED = "98-planned"
COLUMNS = {"Experiment": 1, "Claim": 2, "Verdict": 3, "Effect": 4, "p": 5, "Seeds": 6, "Power": 7}
# The ids of the rows that are to be seen, from top to bottom; one without evidence has none.
SHOWN = """
Array.from(document.querySelectorAll("#table tbody tr"))
    .filter((row) => row.getBoundingClientRect().height > 0)
    .map((row) => row.querySelector(".claim")?.getAttribute("href").slice(1) ?? "none")
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = find()
    if program is None:
        told = "no Chromium here: run tools/browser.sh, or as root apt-get install chromium"
        if os.environ.get("RL_REQUIRE_BROWSER") == "1":
            pytest.fail(told)
        pytest.skip(told)
    with Browser(program) as started:
        yield started


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is committed here, and an experiment with no evidence and ill-meant text. Read only."""
    root = tmp_path_factory.mktemp("repository")
    for name in ("experiments", "analysis"):
        shutil.copytree(ROOT / name, root / name)
    for name in ("CITATION.cff", "README.md"):
        shutil.copy(ROOT / name, root)
    (source,) = (ROOT / "experiments").glob("03-*")
    planned = root / "experiments" / PLANNED
    planned.mkdir()
    config = read_yaml(source / "config.yaml")
    config |= {"number": 98, "name": "planned", "question": f"Does it act? {HOSTILE}"}
    (planned / "config.yaml").write_text(json.dumps(config))
    (planned / "README.md").write_text(f"# Title\n\n{HOSTILE}\n")
    shutil.copy(source / "claims.yaml", planned)
    return root


@pytest.fixture(scope="module")
def url(repository: Path) -> str:
    path = repository / "report" / "index.html"
    report.write(repository, path)
    return path.as_uri()


@pytest.fixture(scope="module")
def committed(repository: Path) -> list[tuple[str, Verdict]]:
    """Every row of the table that has a verdict, in the page's order: its id and the verdict."""
    return [
        (f"{file.parents[1].name}--{record['claim']}", Verdict(**record))
        for file in sorted(repository.glob("experiments/*/artifacts/verdicts.json"))
        for record in json.loads(file.read_text())["verdicts"]
    ]


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """The page on a desk, which must have been quiet whatever a test did with it."""
    with browser.page(url) as opened:
        yield opened
        assert opened.faults() == []


def header(column: str) -> str:
    return f"#table th:nth-child({COLUMNS[column]}) button"


def expected(rows: Sequence[tuple[str, Verdict]], column: str, *, ascending: bool) -> list[str]:
    """Ids in the order of one column; equals stay in the page's order, nothing comes last."""
    key = {
        "Experiment": lambda row: row[0].partition("--")[0],
        "Claim": lambda row: words(f"{row[1].text} {row[1].role}; {row[1].source}").lower(),
        "Verdict": lambda row: report.VERDICTS.index(row[1].verdict),
        "Effect": lambda row: row[1].effect,
        "p": lambda row: row[1].p_holm,
        "Seeds": lambda row: row[1].n,
        "Power": lambda row: row[1].detectable,
    }[column]
    known = [row for row in rows if key(row) is not None]
    unknown = [row[0] for row in rows if key(row) is None]
    # `reverse` keeps equals in their order, as the page does.
    return [row[0] for row in sorted(known, key=key, reverse=not ascending)] + unknown


def test_it_opens_from_a_file_and_asks_for_nothing(page: Page, url: str) -> None:
    asked = page.requests()
    assert asked[0] == url
    assert {address[:5] for address in asked[1:]} == {"data:"}
    images = page.evaluate("Array.from(document.images, (image) => image.naturalWidth)")
    figures = {path.with_suffix("") for path in (ROOT / "analysis" / "figures").glob("exp_*/*")}
    assert len(images) == len(figures) > 0
    assert min(images) > 0
    assert page.evaluate("document.title") == page.evaluate(
        "document.querySelector('h1').innerText"
    )


def test_what_people_wrote_does_nothing(page: Page) -> None:
    assert page.evaluate("window.acted") is None
    assert page.evaluate(f"document.body.innerText.includes({json.dumps(HOSTILE)})")
    # Were it to slip through the escaping, the page's policy would stop it still.
    page.evaluate(
        """(() => {
            const script = document.createElement("script");
            script.textContent = "window.acted = 1";
            document.body.append(script);
        })()"""
    )
    assert page.evaluate("window.acted") is None
    faults = page.faults()
    assert faults
    assert all("Content Security Policy" in fault for fault in faults)
    page.forget()


@pytest.mark.parametrize("column", COLUMNS)
def test_headers_sort_both_ways(
    page: Page, committed: list[tuple[str, Verdict]], column: str
) -> None:
    for ascending in (True, False, True):
        page.click(header(column))
        shown = page.evaluate(SHOWN)
        planned = shown.index("none")
        shown.remove("none")
        assert shown == expected(committed, column, ascending=ascending)
        if column not in ("Experiment", "Claim", "Verdict"):
            assert planned == len(shown)  # without a number, it is last either way
        said = page.evaluate(
            "Array.from(document.querySelectorAll('#table th'), (th) => th.ariaSort)"
        )
        assert said[COLUMNS[column] - 1] == ("ascending" if ascending else "descending")
        assert sum(one is not None for one in said) == 1


def test_numbers_sort_as_numbers(committed: list[tuple[str, Verdict]]) -> None:
    """The data that the sorting is tried on must tell numbers from text."""
    effects = [v.effect for _, v in committed if v.effect is not None]
    assert sorted(effects) != sorted(effects, key=str)


def test_the_keyboard_sorts_and_filters(page: Page, committed: list[tuple[str, Verdict]]) -> None:
    page.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.evaluate(f"document.querySelector({json.dumps(header('Effect'))}).focus()")
    page.press("Enter")
    ascending = [*expected(committed, "Effect", ascending=True), "none"]
    assert page.evaluate(SHOWN) == ascending
    page.press("Space")
    assert page.evaluate(SHOWN) == [*expected(committed, "Effect", ascending=False), "none"]
    page.press("Tab")
    page.press("Enter")
    assert page.evaluate("document.querySelector('[aria-sort]').innerText") == "p (Holm)"
    page.evaluate("document.querySelector('[data-filter=contradicted]').focus()")
    page.press("Space")
    assert len(page.evaluate(SHOWN)) == sum(v.verdict == "contradicted" for _, v in committed)


def test_filters_by_verdict(page: Page, committed: list[tuple[str, Verdict]]) -> None:
    counts = {"": len(committed) + 1, **dict.fromkeys(report.VERDICTS, 0), "not yet run": 1}
    counts |= Counter(verdict.verdict for _, verdict in committed)
    assert sum(count > 0 for count in counts.values()) > 3  # no filter shows everything
    everything = page.evaluate(SHOWN)
    for verdict, count in counts.items():
        button = f'[data-filter="{verdict}"]'
        page.click(button)
        assert page.evaluate(f"document.querySelector('{button} .count').innerText") == str(count)
        shown = page.evaluate(SHOWN)
        wanted = [name for name, v in committed if verdict in ("", v.verdict)]
        assert shown == wanted + ["none"] * (verdict in ("", "not yet run"))
        pressed = page.evaluate(
            "Array.from(document.querySelectorAll('[aria-pressed=true]'), (b) => b.dataset.filter)"
        )
        assert pressed == [verdict]
        status = f"Showing {count} of {counts['']}." if verdict else ""
        assert page.evaluate("document.getElementById('status').innerText") == status
    page.click('[data-filter=""]')
    assert page.evaluate(SHOWN) == everything


def test_filters_by_words_and_keeps_the_order(
    page: Page, committed: list[tuple[str, Verdict]]
) -> None:
    page.click("#search")
    page.type("groups SAME")
    matching = [
        (name, v)
        for name, v in committed
        for text in [f"{name.partition('--')[0]} {v.text} {v.role} {v.source}".lower()]
        if "groups" in text and "same" in text
    ]
    assert 1 < len(matching) < len(committed)
    assert page.evaluate(SHOWN) == [name for name, _ in matching]
    page.click(header("Effect"))
    assert page.evaluate(SHOWN) == expected(matching, "Effect", ascending=True)
    page.click("[data-filter=reproduced]")
    both = [(name, v) for name, v in matching if v.verdict == "reproduced"]
    assert both
    assert page.evaluate(SHOWN) == expected(both, "Effect", ascending=True)
    page.click("#search")
    page.type(" nowhere to be found")
    assert page.evaluate(SHOWN) == []


def test_a_claim_leads_to_its_place(page: Page, committed: list[tuple[str, Verdict]]) -> None:
    page.click("#table .claim")
    assert page.evaluate("decodeURIComponent(location.hash)") == f"#{committed[0][0]}"
    targets = page.evaluate(
        """Array.from(document.querySelectorAll('a[href^="#"]'),
            (link) => document.getElementById(link.getAttribute("href").slice(1)) !== null)"""
    )
    assert len(targets) > len(committed)
    assert all(targets)


@pytest.mark.parametrize("script", [True, False])
def test_a_phone_scrolls_down_only(browser: Browser, url: str, script: bool) -> None:
    with browser.page(url, width=375, mobile=True, script=script) as page:
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
        width, inner = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert inner == 375
        assert width <= inner
        # Nothing is cut off instead: what is wider lies in a box that scrolls.
        cut = page.evaluate(
            """Array.from(document.querySelectorAll("body *"))
                .filter((e) => e.getBoundingClientRect().right > innerWidth && !e.closest(".box"))
                .map((e) => e.outerHTML.slice(0, 80))"""
        )
        assert cut == []
        boxes = page.evaluate(
            """Array.from(document.querySelectorAll(".box"))
                .filter((box) => box.scrollWidth > box.clientWidth)
                .map((box) => [getComputedStyle(box).overflowX, box.tabIndex])"""
        )
        assert boxes
        assert {tuple(box) for box in boxes} == {("auto", 0)}
        assert page.faults() == []


@pytest.mark.parametrize("width", [375, 1280])
def test_without_scripts_all_is_shown(
    browser: Browser, url: str, committed: list[tuple[str, Verdict]], width: int
) -> None:
    with browser.page(url, width=width, script=False) as page:
        assert page.evaluate(SHOWN) == [*(name for name, _ in committed), "none"]
        assert not page.evaluate("document.getElementById('controls').checkVisibility()")
        assert page.evaluate("document.querySelectorAll('#table th button').length") == 0


INSIDE = "details .runs tbody tr, details .prose p"
VISIBLE = f"""
Array.from(document.querySelectorAll("{INSIDE}"))
    .map((e) => e.checkVisibility({{contentVisibilityAuto: true, visibilityProperty: true}})
        && e.getBoundingClientRect().height > 0)
"""


def test_paper_shows_what_is_folded_and_no_controls(page: Page) -> None:
    assert not any(page.evaluate(VISIBLE))
    assert page.evaluate("document.getElementById('controls').checkVisibility()")
    page.media("print")
    page.until(f"({VISIBLE}).every(Boolean)")
    assert len(page.evaluate(VISIBLE)) > 20
    assert not page.evaluate("document.getElementById('controls').checkVisibility()")
    arrows = page.evaluate(
        """Array.from(document.querySelectorAll("#table th button"),
            (button) => getComputedStyle(button, "::after").content)"""
    )
    assert set(arrows) == {"none"}
    cuttable = page.evaluate(
        """Array.from(document.querySelectorAll("figure"))
            .filter((figure) => getComputedStyle(figure).breakInside !== "avoid").length"""
    )
    assert cuttable == 0


def pages(pdf: bytes) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


def test_it_prints(page: Page) -> None:
    whole = page.pdf()
    assert whole.startswith(b"%PDF-")
    assert page.evaluate("document.querySelectorAll('details[open]').length") == 0
    page.evaluate("document.querySelectorAll('details').forEach((one) => one.remove())")
    assert pages(whole) > pages(page.pdf()) > 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_verdicts_can_be_read_in_either_scheme(page: Page, scheme: str) -> None:
    """WCAG's contrast of text, 4.5 to 1; and no two verdicts look alike but for their colour."""
    page.media("screen", scheme)
    # Badges of every verdict, whether the evidence has it or not.
    colours = page.evaluate(
        f"""{json.dumps(report.VERDICTS)}.map((verdict) => {{
            const badge = document.createElement("span");
            badge.className = `badge ${{verdict.replaceAll(" ", "-")}}`;
            document.getElementById("table").after(badge);
            return getComputedStyle(badge).color;
        }}).concat([".source", ".legend", "#table a", "summary"].map(
            (selector) => getComputedStyle(document.querySelector(selector)).color))"""
    )
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (luminance(ground) > 0.5) == (scheme == "light")
    for colour in colours:
        assert contrast(colour, ground) >= 4.5, f"{colour} on {ground}"
    symbols = page.evaluate(
        """Array.from(document.querySelectorAll("[data-filter] .symbol"), (e) => e.innerText)"""
    )
    assert len(set(symbols)) == len(symbols) == len(report.VERDICTS)
    shown = page.evaluate(
        """Array.from(document.querySelectorAll("#table .badge"), (badge) => badge.innerText)"""
    )
    words_of = dict(zip(report.VERDICTS, symbols, strict=True))
    assert {words(badge).replace(" ", "") for badge in shown} <= {
        f"{symbol}{verdict}".replace(" ", "") for verdict, symbol in words_of.items()
    }
