"""Reports: what they say, how they say it, and that hostile content stays content."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest

from conformance.characteristics import Characteristics
from conformance.history import History
from conformance.reporting.markdown import escape, fenced
from conformance.reporting.publish import render
from conformance.reporting.reading import Source
from conformance.reporting.report import Report, assemble
from conformance.reporting.terminal import account, benchmark_table, verdict_table
from conformance.results import Run
from conformance.verdict import Evidence, Finding, Verdict
from tests import sample_runs as sample

HOSTILE = "<script>alert(1)</script>\x00\x1b[31m\u202e\"'`|[x](javascript:y)\n# {{ 7*7 }}"
VOID = {"br", "hr", "img", "input", "link", "meta", "wbr"}


def report_of(*runs: Run) -> Report:
    return assemble([Source(run, sample.EVIDENCE) for run in runs])


@pytest.fixture(scope="module")
def report() -> Report:
    return report_of(sample.run())


@pytest.fixture(scope="module")
def files(report: Report) -> dict[str, str]:
    return render(report)


class Page(HTMLParser):
    """Collects what the tests ask of a page; fails on tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = io.StringIO()
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.write(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def words(self) -> list[str]:
        return self.text.getvalue().split()

    def ids(self) -> list[str]:
        return [a["id"] for _, a in self.tags if a.get("id")]  # type: ignore[misc]


# -- the site ---------------------------------------------------------------------


def test_the_same_results_give_the_same_bytes(report: Report, files: dict[str, str]) -> None:
    assert render(report_of(sample.run())) == files


def test_pages_are_well_formed_and_say_their_language(files: dict[str, str]) -> None:
    for path, text in files.items():
        if path.endswith(".html"):
            page = Page(text)
            assert page.all("html") == [{"lang": "en"}]
            assert len(page.all("h1")) == 1
            assert all(th.get("scope") for th in page.all("th"))
            assert len(page.ids()) == len(set(page.ids()))


def test_pages_need_nothing_from_anywhere_else(files: dict[str, str]) -> None:
    for path, text in files.items():
        if path.endswith(".html"):
            page = Page(text)
            assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in page.tags}
            assert "url(#" in text
            assert not re.search(r"url\((?!#)|@import|https?:", text)


def test_every_link_leads_somewhere(files: dict[str, str]) -> None:
    for path, text in files.items():
        if not path.endswith(".html"):
            continue
        page = Page(text)
        for link in page.all("a"):
            target = link["href"]
            assert target
            if target.startswith("#"):
                assert target[1:] in page.ids()
            else:
                assert target.removeprefix("../") in files


def test_headings_come_in_the_order_a_reader_needs(files: dict[str, str]) -> None:
    headings = re.findall(r"<h2[^>]*>([^<]*)", files["index.html"])
    assert headings == [
        "Characteristics",
        "Behaviour that every driver owes",
        "What the words mean",
        "file",
        "ipc",
        "zake",
        "Benchmarks",
        "The run",
    ]


def test_the_matrix_has_all_characteristics_in_the_order_of_the_contract(
    files: dict[str, str],
) -> None:
    matrix = files["index.html"].split('id="behaviours"')[0].replace("<wbr>", "")
    rows = re.findall(r'<th scope="row"><span class="name">(\w+)', matrix)
    assert rows == [member.name for member in Characteristics]


@pytest.mark.parametrize(
    ("backend", "about", "said"),
    [
        ("file", "LINEARIZABLE", ["✓ held claimed", "78 trials, 6,114 operations"]),
        ("ipc", "NON_TIMEOUT_BASED", ["✗ falsified claimed", "evidence"]),
        ("ipc", "CAUSAL", ["✓ held not claimed"]),
        ("zake", "DISTRIBUTED_ACROSS_PROCESSES", ["✗ falsified not claimed", "evidence"]),
        ("zake", "LINEARIZABLE", ["✓ held claimed", "not claimed at processes ✗ falsified"]),
        ("ipc", "SERIALIZABLE", ["? inconclusive not claimed", "200,000 states"]),
        ("file", "NON_TIMEOUT_BASED", ["! error claimed", "did not start within 30 s"]),
        ("file", "SAME_VIEW_ACROSS_CLIENTS", ["– not exercised not claimed"]),
    ],
)
def test_a_cell_says(files: dict[str, str], backend: str, about: str, said: list[str]) -> None:
    section = files["index.html"].split('id="characteristics"')[1].split('id="behaviours"')[0]
    (row,) = [r for r in section.replace("<wbr>", "").split("<tr>") if f">{about}<" in r]
    column = ["file", "ipc", "zake"].index(backend)
    text = " ".join(Page(f"<td>{row.split('<td>')[1 + column].split('</td>')[0]}</td>").words())
    for words in said:
        assert words in text


def test_a_reason_that_all_share_stands_once_in_the_row(files: dict[str, str]) -> None:
    section = files["index.html"].split('id="characteristics"')[1].split('id="behaviours"')[0]
    (row,) = [r for r in section.replace("<wbr>", "").split("<tr>") if ">SAME_VIEW_ACROSS" in r]
    assert "Not exercised:" in row.split("<td>")[0]
    assert row.count("single server") == 1


def test_a_seed_level_command_and_reason_stand_beside_each_test(files: dict[str, str]) -> None:
    for result in sample.run().scenarios:
        assert result.command in files["index.html"]
        assert result.reason in files["index.html"]


def test_an_invalid_figure_is_never_shown_as_a_number() -> None:
    figures = {"grants per second": 987_654.0, "jain index": 0.4321}
    times = {"wait": sample.measure(123_456_000.0), "hand-off": sample.measure(321_000.0)}
    alone = msgspec.structs.replace(
        sample.contended("file", "threads", 1, 1.0),
        times=times,
        ratio=56.7,
        invalid="not exclusive",
    )
    several = msgspec.structs.replace(
        sample.contended("file", "threads", 4, 1.0),
        times=times,
        figures=figures,
        invalid="not exclusive",
    )
    run = sample.run(scenarios=[], benchmarks=[alone, several])
    texts = [*render(report_of(run)).values(), benchmark_table(run.benchmarks, 120)]
    for text in texts:
        assert not re.search(r"987|0\.432|123 ms|321 µs|56\.7", text)
    for text in (texts[0], texts[-1]):
        assert text.count("INVALID") >= 2
        assert "not exclusive" in text


def test_figures_say_which_run_they_are_from() -> None:
    first = sample.run(id="one", started="2026-11-24T01:00:00Z", benchmarks=[])
    second = sample.run(id="two", started="2026-11-24T02:00:00Z", scenarios=[])
    index = render(report_of(first, second))["index.html"]
    assert "Run 1: verdicts of file, ipc, zake" in index
    assert "Run 2: benchmarks of file, ipc, zake" in index
    assert index.count('<a href="#run-1">run 1</a>') >= 6
    assert index.count('<a href="#run-2">2</a>') == len(second.benchmarks)


def test_implementations_are_told_apart_where_there_are_several() -> None:
    first = sample.run(id="one", benchmarks=[])
    subjects = [sample.subject("file", implementation="tooz")]
    second = sample.run(
        id="two", subjects=subjects, scenarios=[sample.result("file", "CAUSAL")], benchmarks=[]
    )
    files = render(report_of(first, second))
    for text in (files["index.html"], files["README.md"]):
        assert "file, reference" in text
        assert "file, tooz" in text


def test_implementations_that_were_measured_in_turns_stand_side_by_side() -> None:
    files = render(report_of(sample.side_by_side()))
    readme, index = files["README.md"], files["index.html"]
    rows = [line for line in readme.splitlines() if line.startswith("| file, tooz |")]
    assert "| file, reference | 42.7 µs | 128 µs | – | – |" in readme
    assert "| file, tooz | 42.7 µs | 128 µs | – | 4.32 × |" in rows
    assert "| zake, tooz | INVALID: tooz has no driver of it |" in readme
    assert any("| threads | 4 |" in row and "4.32 ×" in row for row in rows)
    Page(index)
    assert index.count("4.32 ×") == 8
    assert index.count("tooz has no driver of it") == 5
    data = msgspec.json.decode(files["data.json"])
    assert {(b["implementation"], b["figures"]["relative"]) for b in data["benchmarks"]} == {
        ("reference", None), ("tooz", 4.32), ("tooz", None),
    }  # fmt: skip


def test_without_others_beside_there_is_nothing_to_compare(files: dict[str, str]) -> None:
    assert "relative" not in files["index.html"]
    assert "## Side by side" not in files["README.md"]


def test_a_violation_that_a_benchmark_met_is_evidence_too() -> None:
    (path,) = [path for path in sample.EVIDENCE if "crowded" in path]
    benchmark = msgspec.structs.replace(
        sample.contended("zake", "processes", 8, 5.0), invalid="not exclusive", evidence=[path]
    )
    files = render(report_of(sample.run(scenarios=[], benchmarks=[benchmark])))
    (page,) = [path for path in files if path.startswith("evidence/")]
    assert f'href="{page}"' in files["index.html"]
    assert "<dt>claimed</dt><dd>no</dd>" in files[page]


def held_later(started: str, number: int, **changes: object) -> Run:
    """Return a run in which the lock of ipc whose holder is paused was not taken."""
    results = [
        sample.result("ipc", "NON_TIMEOUT_BASED", level="processes"),
        sample.result("ipc", "contract"),
    ]
    return sample.run(
        id=f"later-{number}", started=started, subjects=[sample.subject("ipc")],
        scenarios=results, benchmarks=[], **changes,
    )  # fmt: skip


def test_a_violation_that_later_runs_did_not_see_stays_and_says_so() -> None:
    first = sample.run(id="one", started="2026-11-24T01:00:00Z", benchmarks=[])
    later = [held_later(f"2026-11-25T0{n}:00:00Z", n) for n in (1, 2)]
    report = report_of(first, *later)
    files = render(report)
    note = (
        "falsified in run 1 of 2026-11-24, held in later ones: "
        "leave that run out if the driver has been mended since"
    )
    (column,) = [column for column in report.columns if column.subject.backend == "ipc"]
    found = column.cell("NON_TIMEOUT_BASED")
    assert found.verdict is Verdict.FALSIFIED
    (exhibit,) = report.evidence_for(column, found)
    assert exhibit.run is first
    assert files["index.html"].count(note) == 2
    (row,) = [r for r in files["README.md"].splitlines() if r.startswith("| `NON_TIMEOUT_BASED`")]
    assert note in row
    (cell,) = [
        cell
        for driver in msgspec.json.decode(files["data.json"])["drivers"]
        for cell in driver["cells"]
        if cell["notes"]
    ]
    assert (cell["verdict"], cell["notes"]) == ("falsified", [note])


def test_the_runs_say_how_much_of_each_is_shown() -> None:
    first = sample.run(id="one", started="2026-11-24T01:00:00Z", benchmarks=[])
    later = [held_later(f"2026-11-25T0{n}:00:00Z", n) for n in (1, 2)]
    files = render(report_of(first, *later))
    count = sum(result.backend == "ipc" for result in first.scenarios)
    for text in (files["index.html"], files["README.md"]):
        assert f"verdicts of file, ipc ({count - 1} of its {count}), zake" in text.replace("\\", "")
        assert "verdicts of ipc (1 of its 2)" in text
        assert "nothing, other runs decide" in text
    assert "<br>runs 1, 3 |" in files["README.md"]


def test_an_enumeration_of_implementations_has_no_commas_of_their_own() -> None:
    first = sample.run(id="one", subjects=[sample.subject("file"), sample.subject("ipc")],
        scenarios=[sample.result("file", "CAUSAL"), sample.result("ipc", "CAUSAL")],
        benchmarks=[],
    )  # fmt: skip
    second = sample.run(
        id="two", subjects=[sample.subject("file", implementation="tooz")],
        scenarios=[sample.result("file", "CAUSAL")], benchmarks=[],
    )  # fmt: skip
    index = render(report_of(first, second))["index.html"]
    assert "Run 1: verdicts of reference on file, reference on ipc<" in index
    assert "Run 2: verdicts of tooz on file<" in index


def test_the_runs_say_how_each_ended() -> None:
    cut_off = held_later("2026-11-25T01:00:00Z", 1, ended_early="interrupted", exit_status=2)
    whole = sample.run(exit_status=1, started="2026-11-24T01:00:00Z")
    files = render(report_of(whole, cut_off))
    assert "<dd>ended, exit status 1</dd>" in files["index.html"]
    assert "<dd>ended early (interrupted), exit status 2</dd>" in files["index.html"]
    assert "\n- ended early (interrupted), exit status 2\n" in files["README.md"]


def test_a_run_that_later_ones_replace_is_listed_as_such() -> None:
    first = sample.run(id="one", started="2026-11-24T01:00:00Z")
    second = sample.run(id="two", started="2026-11-24T02:00:00Z")
    index = render(report_of(first, second))["index.html"]
    assert "Run 1: nothing, other runs decide" in index


def test_the_evidence_page_has_timeline_witness_plan_faults_and_command(
    files: dict[str, str],
) -> None:
    (path,) = [path for path in files if path.startswith("evidence/ipc")]
    page = files[path]
    evidence = sample.paused_holder()
    assert '<svg class="timeline"' in page
    assert evidence.finding.reason in page
    assert evidence.command in page
    assert "after 0.02 s: pause client 0 for 3 s" in page
    assert "3,022.000" in page
    assert "clients 0 and 1 both hold ledger for 447 ms" in page


def test_a_close_up_comes_with_an_overview(files: dict[str, str]) -> None:
    (path,) = [path for path in files if path.startswith("evidence/zake-distributed")]
    assert files[path].count('id="close-up-title"') == 1
    assert files[path].count('id="overview-title"') == 1


def test_evidence_without_history_or_witness_has_a_page() -> None:
    bare = sample.evidence(History([]), Finding(Verdict.FALSIFIED, "contract", "wrong result"))
    run = sample.run(
        scenarios=[sample.result("ipc", "contract", Verdict.FALSIFIED, evidence=["bare"])]
    )
    files = render(assemble([Source(run, {"bare": bare})]))
    (page,) = [text for path, text in files.items() if path.startswith("evidence/")]
    assert "No operation was recorded" in page
    assert "wrong result" in files["index.html"]


def test_a_report_without_verdicts_says_so() -> None:
    files = render(report_of(sample.run(scenarios=[], benchmarks=[])))
    assert "These runs have no verdicts." in files["index.html"]
    assert "No verdicts." in files["README.md"]


def hostile_report() -> Report:
    operation = sample.operation(
        0, HOSTILE, 0, 1, HOSTILE, target=HOSTILE.encode() + b"\xff", argument=HOSTILE
    )
    history = History.of([operation], [sample.fault(HOSTILE, 0, 0, 1)])
    evidence = Evidence(
        scenario=HOSTILE,
        backend=HOSTILE,
        implementation=HOSTILE,
        level=HOSTILE,
        plan=HOSTILE,
        history=history,
        finding=Finding(Verdict.FALSIFIED, HOSTILE, HOSTILE, [operation]),
        command=HOSTILE,
    )
    result = msgspec.structs.replace(
        sample.result("file", HOSTILE, Verdict.FALSIFIED, reason=HOSTILE, level=HOSTILE),
        backend=HOSTILE,
        summary=HOSTILE,
        command=HOSTILE,
        evidence=["e"],
    )
    benchmark = msgspec.structs.replace(
        sample.contended(HOSTILE, HOSTILE, 2, 5.0), what=HOSTILE, invalid=HOSTILE
    )
    names: dict[str, Any] = dict.fromkeys(("implementation", "driver", "url", "server"), HOSTILE)
    run = sample.run(
        id=HOSTILE,
        command=HOSTILE,
        settings={HOSTILE: HOSTILE, "profile": HOSTILE},
        subjects=[sample.subject(HOSTILE, variant=HOSTILE, claims=[HOSTILE], **names)],
        scenarios=[result],
        benchmarks=[benchmark],
    )
    return assemble([Source(run, {"e": evidence})])


def test_hostile_content_stays_content_in_pages() -> None:
    for path, text in render(hostile_report()).items():
        if path.endswith(".html"):
            page = Page(text)
            assert "script" not in {tag for tag, _ in page.tags}
            assert "{{ 7*7 }}" in page.text.getvalue()
            assert not re.search("[\x00\x1b\u202e]", text)


def test_hostile_content_stays_content_in_markdown() -> None:
    text = render(hostile_report())["README.md"]
    outside_of_code = re.sub(r"(?ms)^(`{3,})$.*?^\1$", "", text)
    assert not re.search("[\x00\x1b\u202e]", text)
    assert "<script>" not in outside_of_code
    assert "[x](" not in outside_of_code
    rows = [line for line in outside_of_code.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3}


def test_hostile_content_names_no_file_outside() -> None:
    for path in render(hostile_report()):
        assert re.fullmatch(r"(evidence/)?[\w.-]+", path)


def test_hostile_content_does_not_steer_the_terminal() -> None:
    report = hostile_report()
    run = report.runs[0]
    (exhibit,) = report.exhibits.values()
    for text in (
        verdict_table(run.subjects, run.scenarios, 100),
        benchmark_table(run.benchmarks, 100),
        account(exhibit.evidence, 100),
    ):
        assert not re.search("[\x00\x1b\u202e]", text)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_enough_contrast(files: dict[str, str], theme: str) -> None:
    css = files["index.html"].split("<style>")[1]
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#\w{6})", part)) for part in css.split("@media", 2)[:2]
    )
    colours = light if theme == "light" else light | dark
    pairs = [(text, "ground") for text in ("text", "quiet", "link", "good", "bad", "doubt")]
    pairs += [(text, "raised") for text in ("text", "quiet")]
    pairs += [(text, f"{text}-ground") for text in ("good", "bad", "doubt")]
    pairs += [("bar-text", "bar"), ("text", "hold"), ("text", "lane"), ("fault", "lane")]
    for text, ground in pairs:
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours (WCAG 2.2, 1.4.3)."""
    darker, lighter = sorted(map(luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# -- Markdown and JSON ------------------------------------------------------------


def test_the_readme_links_to_the_index_and_to_each_piece_of_evidence(
    report: Report, files: dict[str, str]
) -> None:
    readme = files["README.md"]
    assert "(index.html)" in readme
    for exhibit in report.exhibits.values():
        assert f"(evidence/{exhibit.slug}.html)" in readme
        assert exhibit.evidence.command in readme


def test_the_readme_tells_claimed_from_not_claimed(files: dict[str, str]) -> None:
    (row,) = [r for r in files["README.md"].splitlines() if r.startswith("| `NON_TIMEOUT_BASED`")]
    _, file, ipc, zake = row.strip("| ").split(" | ")
    assert file.startswith("**! error**<br>113 trials<br>")
    assert ipc.startswith("**✗ falsified**<br>")
    assert zake.startswith("✓ held<br>")


def test_a_block_of_code_cannot_be_closed_by_its_content() -> None:
    assert fenced("a\n````\nb") == "`````\na\n````\nb\n`````"


def test_markdown_shows_text_as_it_is() -> None:
    assert escape("a|b_c*`<d>`\n[e]") == r"a\|b\_c\*\`&lt;d&gt;\`\\n\[e\]"


def test_the_data_has_every_cell_of_every_driver(report: Report, files: dict[str, str]) -> None:
    data = msgspec.json.decode(files["data.json"])
    assert [driver["subject"]["backend"] for driver in data["drivers"]] == ["file", "ipc", "zake"]
    for driver in data["drivers"]:
        assert [found["about"] for found in driver["cells"]] == report.rows
    (found,) = [c for c in data["drivers"][1]["cells"] if c["about"] == "NON_TIMEOUT_BASED"]
    assert (found["claimed"], found["verdict"]) == (True, "falsified")
    assert found["evidence"][0] in files
