"""The page in a real browser: `make test-serve` installs one."""

import re
import shutil
import sys
import time

import pytest
from support.served import build_arm, build_base
from support.servers import free_port, started

from hf_prosocial import Preference
from hf_prosocial.session import ChatSession, stream

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("Debian's chromium is not installed", allow_module_level=True)

PROSOCIAL = "from hf_prosocial.cli import app; app()"
TOKENS = 40
NAMES = ("empathy", "sensitivity", "non_judgmental", "truthfulness", "helpfulness")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    base = build_base(folder / "base", "llama")
    return str(base), str(build_arm(folder / "arm", base, "llama"))


@pytest.fixture(scope="module")
def address(made, tmp_path_factory):
    port = free_port()
    options = ["--base", made[0], "--arm", made[1], "--port", str(port), "--max-new-tokens", str(TOKENS)]
    command = [sys.executable, "-c", PROSOCIAL, "app", *options]
    log = tmp_path_factory.mktemp("log") / "log"
    with started(command, port, log, path="/config", GRADIO_ANALYTICS_ENABLED="False"):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield found
        found.close()


@pytest.fixture
def opened(browser, address):
    """Opens the page for as many visitors as are asked for; none may see an error in its console."""
    visits, errors = [], []

    def visit(**options):
        context = browser.new_context(**options)
        page = context.new_page()
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(address)
        page.locator("#message textarea").wait_for()
        visits.append(context)
        return page

    yield visit
    for context in visits:
        context.close()
    assert errors == []


def weights(page):
    return [float(page.locator(f"#weight-{name} input[type=number]").input_value()) for name in NAMES]


def move(page, name, value):
    """By the keyboard, as by hand."""
    field = page.locator(f"#weight-{name} input[type=number]")
    field.fill(str(value))
    field.press("Tab")
    wait(lambda: abs(sum(weights(page)) - 1) < 1e-9 and weights(page)[NAMES.index(name)] == value)


def wait(holds, seconds=60):
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def send(page, text):
    page.locator("#message textarea").fill(text)
    page.locator("#send").click()


def reply(page, chat="guided"):
    bubbles = page.locator(f"#{chat} .bot .md, #{chat} .bot .prose")
    return bubbles.last.inner_text() if bubbles.count() else ""


def done(page):
    """Text of the guided reply once it is whole: the marks count each of its tokens."""
    wait(lambda: page.locator("#changes").inner_text().strip() != "")
    last = None
    while (now := page.locator("#changes").inner_text()) != last:
        last = now
        time.sleep(1)
    return page.locator("#changes .changes").text_content()


def expected(made, asked, preference, beta=1.0):
    session = ChatSession.load(*made, None)
    steps = list(stream(session, [{"role": "user", "content": asked}], preference, beta, TOKENS))
    return steps, "".join(step.text for step in steps)


def without_notes(page):
    """The marked reply without the probabilities that its marks hold, and the signs of tokens that have no text."""
    text = page.evaluate(
        "() => { const found = document.querySelector('#changes .changes').cloneNode(true);"
        "found.querySelectorAll('details span').forEach(one => one.remove()); return found.textContent; }"
    )
    return text.replace("·", "")


def test_a_reply_streams_and_is_that_of_the_sliders(opened, made):
    page = opened()
    assert sum(weights(page)) == pytest.approx(1)
    move(page, "empathy", 0.75)
    move(page, "empathy", 1)
    assert weights(page) == [1, 0, 0, 0, 0]
    page.evaluate(
        "() => { const chat = document.querySelector('#guided'); window.seen = new Set();"
        "new MutationObserver(() => window.seen.add(chat.textContent))"
        ".observe(chat, {childList: true, subtree: true, characterData: true}); }"
    )
    send(page, "a b c")
    done(page)
    assert page.evaluate("() => window.seen.size") > 2  # The question, parts of the reply, the whole.
    steps, text = expected(made, "a b c", Preference.one_hot("empathy"))
    assert without_notes(page) == text
    changed = sum(step.instead is not None for step in steps)
    assert f"Guidance changed {changed} of {len(steps)} tokens" in page.locator("#changes").inner_text()
    assert page.locator("#changes summary").count() == changed
    mark = page.locator("#changes summary").first
    note = page.locator("#changes details span").first
    assert not note.is_visible()
    mark.focus()
    page.keyboard.press("Enter")
    note.wait_for()
    first = next(step for step in steps if step.instead is not None)
    assert note.inner_text().startswith(f"guided {first.guided:.0%}, base {first.base:.0%}")
    mark.click()
    wait(lambda: not note.is_visible())


def test_guidance_is_off_until_a_slider_is_moved(opened, made):
    page = opened()
    strength = page.locator("#beta input[type=number]")
    assert strength.input_value() == "0"
    send(page, "a b c")
    done(page)
    steps, plain = expected(made, "a b c", None, 0.0)
    assert without_notes(page) == plain
    assert f"Guidance changed 0 of {len(steps)} tokens" in page.locator("#changes").inner_text()
    move(page, "empathy", 1)
    assert strength.input_value() == "1"
    strength.fill("0.5")
    strength.press("Tab")
    move(page, "empathy", 0.75)
    assert strength.input_value() == "0.5"


def test_the_base_stands_beside_it(opened, made):
    page = opened()
    assert not page.locator("#base").is_visible()
    page.locator("#compare input").check()
    page.locator("#base").wait_for()
    move(page, "truthfulness", 1)
    send(page, "c d")
    done(page)
    _, plain = expected(made, "c d", None, 0.0)
    _, guided = expected(made, "c d", Preference.one_hot("truthfulness"))
    assert plain != guided
    squeezed = re.sub(r"\s+", "", plain)
    wait(lambda: squeezed[:20] in re.sub(r"\s+", "", page.locator("#base").inner_text()))


def test_two_visitors_at_once_have_their_own_preferences(opened, made):
    first, second = opened(), opened()
    move(first, "empathy", 1)
    move(second, "helpfulness", 1)
    send(first, "a b")
    send(second, "a b")
    done(first)
    done(second)
    texts = [expected(made, "a b", Preference.one_hot(name))[1] for name in ("empathy", "helpfulness")]
    assert texts[0] != texts[1]
    assert [without_notes(first), without_notes(second)] == texts


def test_a_reload_forgets_the_chat(opened):
    page = opened()
    move(page, "empathy", 1)
    send(page, "a b")
    done(page)
    page.reload()
    page.locator("#message textarea").wait_for()
    wait(lambda: weights(page) == [0.2] * 5)
    assert page.locator("#changes").inner_text().strip() == ""
    assert page.locator("#guided .bot").count() == 0


def test_an_empty_message_says_so_and_a_new_chat_empties_the_page(opened):
    page = opened()
    page.locator("#send").click()
    page.get_by_text("Write a message first.").wait_for()
    send(page, "a b")
    done(page)
    page.locator("#guided").get_by_label("Clear").click()  # The chat's own button forgets as much as "New chat".
    wait(lambda: page.locator("#guided .bot").count() == 0)
    wait(lambda: page.locator("#changes").inner_text().strip() == "")
    send(page, "a b")
    done(page)
    page.locator("#clear").click()
    wait(lambda: page.locator("#guided .bot").count() == 0)
    assert page.locator("#changes").inner_text().strip() == ""


def test_help_is_in_sight_and_a_phone_needs_no_scrolling_sideways(opened):
    page = opened(viewport={"width": 380, "height": 740}, has_touch=True, is_mobile=True)
    page.get_by_text("findahelpline.com").wait_for()
    page.get_by_text("emergency number").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.locator("#message textarea").fill("a b")
    page.locator("#message textarea").press("Enter")
    done(page)
