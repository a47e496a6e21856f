"""A tea shop: plain Flask, that is WSGI, with the cart in the session's signed cookie."""

import os
from dataclasses import dataclass
from itertools import count

from flask import Flask, abort, flash, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response

app = Flask(__name__)
app.config.update(
    # All worker processes need the same, and so does the next deployment.
    SECRET_KEY=os.environ.get("SHOP_SECRET_KEY", "only for development"),
    SESSION_COOKIE_SAMESITE="Lax",  # a form of another site cannot fill the cart
)


@dataclass(frozen=True)
class Tea:
    """Something to buy; the price is in cents for 100 g."""

    name: str
    origin: str
    cents: int


TEAS = {
    "assam": Tea("Assam", "India: malty, strong enough for milk", 590),
    "sencha": Tea("Sencha", "Japan: green, fresh as grass", 840),
    "oolong": Tea("Oolong", "Taiwan: half-way, flowery", 1250),
    "rooibos": Tea("Rooibos", "South Africa: no tea at all, and mild", 420),
}
MOST = 20
"""Packets of one kind in a cart."""


@app.template_filter()
def euros(cents: int) -> str:
    """Show an amount as people write it."""
    return f"€ {cents / 100:.2f}"


@app.template_filter("packets")
def count_packets(number: int) -> str:
    """Show how many packets as people say it."""
    return f"{number} packet" if number == 1 else f"{number} packets"


@app.get("/")
def shop() -> str:
    """Show what there is, and the cart."""
    cart: dict[str, int] = session.get("cart", {})
    lines = [(TEAS[key], packets) for key, packets in cart.items() if key in TEAS]
    total = sum(tea.cents * packets for tea, packets in lines)
    return render_template("shop.html", teas=TEAS, lines=lines, total=total)


@app.post("/cart/<key>")
def add(key: str) -> Response:
    """Put packets of one tea into the cart."""
    packets = request.form.get("packets", type=int)
    if key not in TEAS or packets is None or not 1 <= packets <= MOST:
        abort(400)
    cart = dict(session.get("cart", {}))
    cart[key] = min(MOST, cart.get(key, 0) + packets)
    session["cart"] = cart
    return redirect(url_for("shop"), 303)


@app.post("/order")
def order() -> Response:
    """Empty the cart, as if somebody packed it."""
    packets = sum(session.pop("cart", {}).values())
    flash(f"Thank you! On the way: {count_packets(packets)}." if packets else "The cart is empty.")
    return redirect(url_for("shop"), 303)


@app.get("/prices.csv")
def prices() -> Response:
    """Stream the list of prices, a line at a time."""
    numbers = count(1)
    lines = (f"{next(numbers)},{tea.name},{tea.cents}\n" for tea in TEAS.values())
    return app.response_class(lines, mimetype="text/csv")
