"""The words that events are made of: JSON fragments with PostHog's property names, computed once a process.

A fragment is a piece of an object without braces that ends in a comma, so that pieces can follow each other or be empty.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from itertools import product
from random import Random
from typing import Any

VARIANTS = 512  # of each kind of custom content


def fragment(members: Mapping[str, Any], escaped: bool = False) -> bytes:
    r"""Return members as JSON without braces, with a trailing comma.

    Args:
        members: names and values.
        escaped: write non-ASCII characters as `\uXXXX`, as Python's clients do.
    """
    if not members:
        return b""
    return json.dumps(members, ensure_ascii=escaped, separators=(",", ":"))[1:-1].encode() + b","


_SYSTEMS = (
    ("Windows", "10", "Desktop", (1920, 1080)),
    ("Windows", "11", "Desktop", (2560, 1440)),
    ("Mac OS X", "10.15.7", "Desktop", (1512, 982)),
    ("iOS", "18.6", "Mobile", (393, 852)),
    ("Android", "15", "Mobile", (412, 915)),
    ("Linux", "", "Desktop", (1920, 1200)),
)
_BROWSERS = (("Chrome", 148), ("Chrome", 147), ("Safari", 18.6), ("Firefox", 151), ("Microsoft Edge", 148))
_LANGUAGES = ("en-US", "en-GB", "de-DE", "ja-JP")

_PAGES = (
    ("/", "Home"),
    ("/pricing", "Pricing – plans for every team"),
    ("/blog/42-things", "42 Dinge, die Größe zählen lässt"),
    ("/blog/launch", 'We\'re live 🎉 – "version 2" is here'),
    ("/docs/getting-started", "Getting started"),
    ("/docs/api/reference", "API reference"),
    ("/cart", "Warenkorb"),
    ("/checkout", "Checkout"),
    ("/account/settings", "Réglages du compte"),
    ("/produkte/schuhe", "Schuhe & Stiefel"),
    ("/商品/お茶", "お茶と茶器"),
    ("/search", "Search results"),
)
_QUERIES = ("", "", "", "?page=2", "?q=gr%C3%BCner+tee", "?utm_source=google&utm_medium=cpc&utm_campaign=spring_sale")
_DIRECT = {"$referrer": "$direct", "$referring_domain": "$direct"}
_REFERRERS: tuple[dict[str, Any], ...] = (
    *(_DIRECT, _DIRECT, _DIRECT, _DIRECT),
    {"$referrer": "https://www.google.com/", "$referring_domain": "www.google.com"},
    {
        "$referrer": "https://www.google.com/",
        "$referring_domain": "www.google.com",
        "utm_source": "google",
        "utm_medium": "cpc",
        "utm_campaign": "spring_sale",
        "gclid": "EAIaIQobChMIx9fz",
    },
    {"$referrer": "https://news.ycombinator.com/", "$referring_domain": "news.ycombinator.com"},
    {"$referrer": "https://t.co/", "$referring_domain": "t.co", "utm_source": "newsletter", "utm_medium": "email"},
)
_NAMES = (
    *("signed up", "trial started", "plan upgraded", "checkout started", "product viewed", "added to cart", "search performed"),
    *("video played", "file uploaded", "report exported", "invite sent", "filter applied", "coupon redeemed", "tour finished"),
    *("Größe gewählt", "お気に入り追加", "form_submitted", "experiment viewed", "rated ⭐⭐⭐⭐⭐", 'share "link" copied'),
)
_SERVER_NAMES = ("purchase", "subscription renewed", "invoice paid", "email delivered", "import finished", "api called")
_PRODUCTS = ("Grüner Tee 100 g", 'Teekanne "Kyoto"', "Schuh Größe 42", "Backpack 20L", "お茶セット", "Café crème")
_PLANS = ("free", "starter", "pro", "enterprise")


def _web_client(system: tuple[Any, ...], browser: tuple[str, Any], language: str) -> bytes:
    os, version, device, (width, height) = system
    name, number = browser
    members = {
        "$os": os,
        "$os_version": version,
        "$browser": name,
        "$browser_version": number,
        "$device_type": device,
        "$browser_language": language,
        "$screen_height": height,
        "$screen_width": width,
        "$lib": "web",
        "$lib_version": "1.449.2",
    }
    return fragment(members)


def _server_client(python: bool, version: str) -> bytes:
    common = {"$lib_version": version, "$geoip_disable": True, "$is_server": True}
    if not python:
        return fragment({"$lib": "posthog-node", **common})
    runtime = {"$python_runtime": "CPython", "$python_version": "3.11.7"}
    system = {"$os": "Linux", "$os_version": "12", "$os_distro": "Debian GNU/Linux"}
    return fragment({**runtime, **system, "$lib": "posthog-python", **common})


def _elements(number: int, draw: Callable[[int], int]) -> dict[str, Any]:
    text = ("Jetzt kaufen", "Sign up", "Add to cart", "もっと見る", 'Save "draft"', "Weiter →")[draw(6)]
    chain = (
        f'button.btn:attr__class="btn"attr__id="cta-{number}"nth-child="{1 + draw(9)}"nth-of-type="1"text="{text}";'
        f'div.card:attr__class="card"nth-child="{1 + draw(5)}"nth-of-type="2"'
    )
    return {"$event_type": "click", "$el_text": text, "$elements_chain": chain}


def _custom(number: int, draw: Callable[[int], int]) -> dict[str, Any]:
    members = {
        "product": _PRODUCTS[draw(len(_PRODUCTS))],
        "sku": f"SKU-{number:05d}",
        "price": draw(20_000) / 100,
        "quantity": 1 + draw(5),
        "in_stock": draw(4) > 0,
        "tags": ["sale", "new", "größe-m"][: draw(4)],
        "coupon": None,
        "query": "weißer tee, 200 g",
        "variant": {"name": "control" if draw(2) else "test", "id": draw(1000)},
        "plan": _PLANS[draw(4)],
        "position": draw(40),
        "duration_ms": draw(90_000),
    }
    names = list(members)
    return {name: members[name] for name in names[draw(4) : 4 + draw(7)]}


def _server_custom(number: int, draw: Callable[[int], int]) -> dict[str, Any]:
    items = [{"sku": f"SKU-{draw(9999):05d}", "name": _PRODUCTS[draw(len(_PRODUCTS))]} for _ in range(draw(8))]
    order = {"order_id": f"ord_{number:06x}", "amount": draw(100_000) / 100, "currency": "EUR"}
    return {**order, "items": items, **_custom(number, draw)}


def _flag(number: int, draw: Callable[[int], int]) -> dict[str, Any]:
    return {"$feature_flag": f"new-checkout-{number % 20}", "$feature_flag_response": ("control", "test", True, False)[draw(4)]}


def _pageleave(number: int, draw: Callable[[int], int]) -> dict[str, Any]:
    return {"$prev_pageview_duration": draw(90_000) / 1000, "$prev_pageview_max_scroll": draw(4000), "$prev_pageview_id": number}


def _exception(number: int, draw: Callable[[int], int]) -> dict[str, Any]:
    depth = 8 + draw(24)
    frames = [{"filename": f"app-{draw(50)}.js", "function": f"handle{draw(99)}", "lineno": draw(9000)} for _ in range(depth)]
    error = {"type": "TypeError", "value": f"undefined is not a function ({number})"}
    return {"$exception_list": [{**error, "stacktrace": {"type": "raw", "frames": frames}}], "$exception_level": "error"}


def _group(number: int, draw: Callable[[int], int]) -> dict[str, Any]:
    values = {"name": f"Firma Nº {number}", "plan": _PLANS[draw(4)], "seats": 1 + draw(500)}
    return {"$group_type": "company", "$group_key": f"company-{number}", "$group_set": values}


def _person(number: int, draw: Callable[[int], int]) -> dict[str, Any]:
    name = ("Jürgen", "Zoë", "田中", "Anna", 'O"Neil')[draw(5)]
    return {"plan": _PLANS[draw(4)], "name": name, "logins": number, "newsletter": draw(2) == 1}


Maker = Callable[[int, Callable[[int], int]], dict[str, Any]]


def _variants(name: str, make: Maker, wrap: str | None = None, escaped: bool = False) -> list[bytes]:
    """Return VARIANTS fragments of what `make` returns, or of that under the name `wrap`."""
    found = []
    for number in range(VARIANTS):
        members = make(number, _drawer(name, number))
        found.append(fragment({wrap: members} if wrap else members, escaped))
    return found


def _drawer(name: str, number: int) -> Callable[[int], int]:
    """Return a source of small random integers; words are the same for every seed."""
    return Random(f"{name} {number}").randrange


def _json_texts(texts: Iterable[str]) -> list[bytes]:
    return [json.dumps(text, ensure_ascii=False)[1:-1].encode() for text in texts]


class Vocabulary:
    """Hold the fragments, a list an aspect."""

    def __init__(self) -> None:
        self.web_clients = [_web_client(*each) for each in product(_SYSTEMS, _BROWSERS, _LANGUAGES)]
        self.server_clients = [_server_client(*each) for each in ((True, "7.91.1"), (True, "7.80.0"), (False, "5.70.0"))]
        self.paths = _json_texts(path + query for path, _ in _PAGES for query in _QUERIES)
        self.pages = [fragment({"$pathname": path, "title": title}) for path, title in _PAGES for _ in _QUERIES]
        self.referrers = [fragment(each) for each in _REFERRERS]
        self.names = _json_texts([*_NAMES * 12, "a very long event name " * 10])
        self.server_names = _json_texts(_SERVER_NAMES)
        self.elements = _variants("elements", _elements)
        self.custom = _variants("custom", _custom)
        self.server_custom = _variants("server", _server_custom, escaped=True)
        self.flags = _variants("flag", _flag)
        self.pageleaves = _variants("pageleave", _pageleave)
        self.exceptions = _variants("exception", _exception)
        self.groups = _variants("group", _group)
        self.sets = _variants("person", _person, "$set")
        self.set_onces = [fragment({"$set_once": {"$initial_referrer": "$direct", "first_plan": plan}}) for plan in _PLANS]
