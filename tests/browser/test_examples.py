"""The pages of the examples, used by people in a real browser."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect
from tests.browser.tabs import TIMEOUT_MS, Tab
from tests.end_to_end.processes import Launcher

ROOT = Path(__file__).resolve().parents[2]

OpenTab = Callable[[str], Tab]


def serve(launch: Launcher, name: str, **env: str) -> str:
    """Run an example with two workers, and return its address."""
    options = ("--bind", "127.0.0.1:0", "--workers", "2", "--no-reload", "--app-dir", str(ROOT))
    command = launch.run("gateway-dev", f"examples.{name}.app:app", *options, **env)
    command.wait_ready()
    return command.urls[0]


def test_two_people_talk_in_the_chat(launch: Launcher, open_tab: OpenTab) -> None:
    url = serve(launch, "chat")
    tabs = {name: open_tab(url) for name in ("Ada", "Grace")}
    for name, tab in tabs.items():
        tab.page.get_by_label("Your name").fill(name)
        tab.page.get_by_role("button", name="Join", exact=True).click()
        tab.see("#status-text", f"Connected as {name}")
    for (name, tab), other in zip(tabs.items(), reversed(tabs.values()), strict=True):
        tab.page.get_by_label("Message", exact=True).fill(f"{name} says <b>good morning</b>")
        tab.page.keyboard.press("Enter")
        other.see("#log .say:not(.mine) .bubble", f"{name} says <b>good morning</b>")
    for tab in tabs.values():
        tab.see("#count", "2")
        assert tab.sockets() == {"opened": 1, "closes": []}


def test_two_people_talk_in_a_room_of_django_that_remembers(
    launch: Launcher, open_tab: OpenTab
) -> None:
    database = str(launch.folder / "chat.sqlite3")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAT_DATABASE", database)
        migrate = [sys.executable, "-m", "examples.django_chat.manage", "migrate"]
        subprocess.run(migrate, cwd=ROOT, check=True, capture_output=True, timeout=50)
    url = serve(launch, "django_chat", CHAT_DATABASE=database)

    def enter(name: str) -> Tab:
        tab = open_tab(url)
        tab.page.get_by_label("Your name").fill(name)
        tab.page.get_by_label("Room").fill("garden")
        tab.page.get_by_role("button", name="Enter").click()
        tab.see("#status", "connected")
        return tab

    tabs = [enter("Ada"), enter("Grace")]
    for number, tab in enumerate(tabs):
        tab.page.get_by_label("Your line").fill(f"line {number} <i>")
        tab.page.keyboard.press("Enter")
        for each in tabs:
            each.see("#lines", f"line {number} <i>")
    latecomer = enter("Hedy")
    expect(latecomer.page.locator("#lines li")).to_have_text(
        ["Adaline 0 <i>", "Graceline 1 <i>"], timeout=TIMEOUT_MS
    )


def test_what_one_draws_the_other_sees(launch: Launcher, open_tab: OpenTab) -> None:
    url = serve(launch, "consumers")
    tabs = [open_tab(url), open_tab(url)]
    for tab in tabs:
        tab.see("#status", "connected")
    box = tabs[0].page.locator("#board").bounding_box()
    assert box is not None
    mouse = tabs[0].page.mouse
    mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    mouse.down()
    mouse.move(box["x"] + box["width"] * 3 / 4, box["y"] + box["height"] / 2, steps=4)
    mouse.up()
    middle = (
        "document.getElementById('board').getContext('2d').getImageData(600, 375, 1, 1).data[3]"
    )
    for tab in tabs:
        tab.see("#status", "4 strokes")
        tab.wait_until(f"{middle} === 255")


def test_thumbnail_appears_and_a_press_orders_a_closer_one(
    launch: Launcher, open_tab: OpenTab
) -> None:
    shared = {"GATEWAY_REDIS": launch.layer[1], "GATEWAY_NAMESPACE": launch.namespace}
    painter = ("examples.background.app:app", "--channels", "thumbnails", "--app-dir", str(ROOT))
    launch.run("gateway-worker", *painter, **shared).wait_ready()
    tab = open_tab(serve(launch, "background", **shared))
    pictures = tab.page.locator("#gallery img")
    expect(pictures).to_have_count(1, timeout=TIMEOUT_MS)
    pictures.first.click(position={"x": 80, "y": 60})
    expect(pictures).to_have_count(2, timeout=TIMEOUT_MS)
    # The middle of the second is where the first was pressed, to the pixel.
    middle = re.findall(r"-?[0-9.]+", pictures.last.get_attribute("alt") or "")
    assert [float(number) for number in middle] == pytest.approx([-0.5, 0], abs=0.02)


def test_every_page_sees_an_upload_of_one(launch: Launcher, open_tab: OpenTab) -> None:
    url = serve(launch, "fastapi_stream")
    tabs = [open_tab(url), open_tab(url)]
    tabs[0].page.get_by_label("Files to send").set_input_files(
        {"name": "tape <1>", "mimeType": "application/octet-stream", "buffer": bytes(3_000_000)}
    )
    for tab in tabs:
        tab.see("#uploads", "tape <1>: done, 3.0 MB")


def test_push_is_shown_by_the_page_of_notifications(launch: Launcher, open_tab: OpenTab) -> None:
    shared = {"GATEWAY_REDIS": launch.layer[1], "GATEWAY_NAMESPACE": launch.namespace}
    tab = open_tab(serve(launch, "notifications", **shared))
    tab.see("#address", "!")
    words = ("group-send", "notifications", "to every <page>")
    assert launch.run("gateway-push", *words, **shared).process.wait(20) == 0
    tab.see("#shown", "to every <page>")


def test_tea_is_bought(launch: Launcher, open_tab: OpenTab) -> None:
    tab = open_tab(serve(launch, "flask_shop"))
    tab.page.get_by_label("Packets of Oolong").fill("2")
    tab.page.get_by_label("Packets of Oolong").press("Enter")
    tab.see("#total", "€ 25.00")
    tab.page.get_by_role("button", name="Order").click()
    tab.see(".notice", "2 packets")
