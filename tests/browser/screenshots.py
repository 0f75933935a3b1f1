"""`python -m tests.browser.screenshots`: take screenshots of the dashboard for the README and write them to docs/.

The app runs in an emulator with orders of the last 30 days. They are random but the same in every run.
"""

import random
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, expect

from infrastructure.package import package
from localcloud.emulator import Emulator
from localcloud.servers import PROJECT
from localcloud.stack import Stack, deploy
from tests.browser import chromium

DOCS = PROJECT / "docs"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
WEIGHTS = {
    "Notebook": 40,
    "Fountain pen": 28,
    "Ink, midnight blue": 22,
    "A5 dot grid pad": 17,
    "Pencil 2B": 14,
    "Eraser": 9,
    "Washi tape": 8,
    "Ruler 30 cm": 6,
    "Desk lamp": 4,
    "Leather cover": 3,
}
DAYS = 30


def orders(now: datetime) -> Iterator[dict[str, Any]]:
    """Yield items for OrdersTable, more on working days than at weekends, and most around noon."""
    chance = random.Random(4)
    for back in range(DAYS):
        day = now - timedelta(days=back)
        for number in range(chance.randint(20, 36) if day.weekday() < 5 else chance.randint(6, 12)):
            hour = min(23, max(0, round(chance.gauss(13, 3.5))))
            placed_at = day.replace(hour=hour, minute=chance.randrange(60), second=0, microsecond=0)
            (product,) = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
            quantity = chance.choice([1, 1, 2, 2, 3, 5, 10, 12])
            if placed_at <= now:
                yield {
                    "OrderID": {"S": f"order-{back}-{number}"},
                    "Product": {"S": product},
                    "Quantity": {"N": str(quantity)},
                    "PlacedAt": {"S": placed_at.isoformat()},
                }


def seed(stack: Stack) -> int:
    """Write the orders to OrdersTable and return their number."""
    puts = [{"PutRequest": {"Item": item}} for item in orders(datetime.now(UTC))]
    for start in range(0, len(puts), 25):
        batch = {stack.tables["OrdersTable"]: puts[start : start + 25]}
        stack.emulator.client("dynamodb").batch_write_item(RequestItems=batch)
    return len(puts)


def wait_until_counted(stack: Stack, expected: int) -> None:
    """Wait until the totals include `number` orders."""
    counted = -1
    while counted < expected:
        time.sleep(0.2)
        totals = stack.emulator.client("dynamodb").scan(TableName=stack.tables["AggregateTable"])["Items"]
        counted = sum(int(item["orderCount"]["N"]) for item in totals)


def take(browser: Browser, url: str, scheme: Literal["light", "dark"], path: Path) -> None:
    """Place an order in the page and take a screenshot of it."""
    context = browser.new_context(viewport={"width": 1180, "height": 760}, color_scheme=scheme, device_scale_factor=1.5)
    page = context.new_page()
    page.goto(url)
    expect(page.locator("#bars li")).to_have_count(len(WEIGHTS))
    page.get_by_label("Product", exact=True).fill("Fountain pen")
    page.get_by_label("Quantity", exact=True).fill("12")
    page.get_by_role("button", name="Place order").click()
    expect(page.locator("#placed li").first).to_contain_text("Counted after")
    expect(page.locator("#bars .gain")).to_have_text("+12")
    page.get_by_label("Product", exact=True).blur()
    page.mouse.move(0, 0)
    page.screenshot(path=path, full_page=True)
    context.close()
    print(path.relative_to(PROJECT))


def main() -> None:
    """Take all screenshots."""
    DOCS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Emulator() as emulator:
        build = Path(folder) / "build"
        package("local", build)
        stack = deploy(emulator, build)
        wait_until_counted(stack, seed(stack))
        with chromium.running(chromium.find_or_install()) as browser:
            for scheme in SCHEMES:
                take(browser, f"{stack.api_host_url}/", scheme, DOCS / f"dashboard-{scheme}.png")


if __name__ == "__main__":
    main()
