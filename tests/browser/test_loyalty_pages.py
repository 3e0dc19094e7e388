"""Every page of the menu and every loyalty page behind one, in a real browser at three widths, by keyboard.

No complaint of the browser, nothing wider than the screen, nothing from elsewhere, no error status; each control has a
name and is reached by Tab with a focus one sees.
"""

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from aiqsync.accounts.roles import Role
from aiqsync.accounts.tenancy import acting_in
from integrations.kit.records import CustomerRecord, SaleRecord
from integrations.models import Sale
from integrations.sink import Batch, sink
from loyalty import audiences, changes, consent, jobs, ledger, merging
from loyalty.models import Audience, Job, Message, Modifier, Persona, Programme
from stores.models import StoreMapping
from tests.factories import make_account, make_discount, make_store, make_user
from tests.records import customer, land_customers, land_sales, line, make_origin, refund, sale

from . import test_login

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
browser, page = test_login.browser, test_login.page
WIDTHS = (1280, 820, 390)

# What is wrong with a page as it stands: names, references, width. Runs in the page.
LOOK = r"""
() => {
  const wrong = [];
  const seen = (el) => el.checkVisibility({ visibilityProperty: true }) && el.getClientRects().length > 0;
  const words = (el) => {
    let said = "";
    const walker = document.createTreeWalker(el, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const one = walker.currentNode.parentElement;
      if (seen(one) && !one.closest(".material-symbols-outlined, [aria-hidden=true]")) said += walker.currentNode.data;
    }
    return said.trim() || [...el.querySelectorAll("[alt], [title]")].map((one) => one.alt || one.title).join("");
  };
  const tell = (el) => el.outerHTML.replace(/\s+/g, " ").slice(0, 160);
  const named = (el, more) => {
    const ids = (el.getAttribute("aria-labelledby") || "").split(" ");
    const pointed = ids.map((id) => document.getElementById(id)?.textContent || "").join("");
    return (el.getAttribute("aria-label") || pointed || more || el.title || "").trim();
  };
  if (!document.title.trim() || !document.documentElement.lang) wrong.push("no title or no language");
  for (const el of document.querySelectorAll("input:not([type=hidden]), select, textarea")) {
    const label = [...(el.labels || [])].map((one) => one.textContent).join("");
    if (seen(el) && !named(el, label)) wrong.push(`no label: ${tell(el)}`);
  }
  for (const el of document.querySelectorAll("button, a[href], summary, [role=button]")) {
    if (seen(el) && el.tabIndex >= 0 && !named(el, words(el))) wrong.push(`no name: ${tell(el)}`);
  }
  for (const el of document.querySelectorAll("img:not([alt])")) wrong.push(`no alt: ${tell(el)}`);
  for (const el of document.querySelectorAll("label[for]")) {
    if (seen(el) && !document.getElementById(el.htmlFor)) wrong.push(`label of nothing: ${tell(el)}`);
  }
  // Django's calendar and clock are links that a script handles.
  for (const el of document.querySelectorAll("a[href='#'], a[href='']")) {
    if (seen(el) && !/^(calendar|clock)link/.test(el.id)) wrong.push(`leads nowhere: ${tell(el)}`);
  }
  for (const el of document.querySelectorAll("a[href^='#']")) {
    if (el.hash.length > 1 && !document.getElementById(el.hash.slice(1))) wrong.push(`no such place: ${tell(el)}`);
  }
  const ids = [...document.querySelectorAll("[id]")].filter(seen).map((el) => el.id);
  new Set(ids.filter((id, n) => ids.indexOf(id) !== n)).forEach((id) => wrong.push(`twice the id ${id}`));
  return wrong;
}"""

# Opens what is folded, notes what Tab should reach, and how each looks without the focus. Answers how many there are.
READY = r"""
() => {
  const still = new CSSStyleSheet();
  still.replaceSync("* { transition: none !important; animation: none !important; }");
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, still];
  document.querySelectorAll("main details, #content details, .iq-page details").forEach((one) => { one.open = true; });
  const look = (el) => {
    const at = (one) => {
      const s = getComputedStyle(one);
      const outline = s.outlineStyle === "none" ? "" : s.outlineWidth + s.outlineColor;
      return [outline, s.boxShadow, s.borderColor, s.backgroundColor, s.textDecorationLine].join("|");
    };
    return [el, el.parentElement, el.nextElementSibling, ...(el.labels || [])].filter(Boolean).map(at).join("/");
  };
  const seen = (el) => el.checkVisibility({ visibilityProperty: true }) && el.getClientRects().length > 0;
  const more = "[tabindex]:not([tabindex='-1'])";
  const controls = `a[href], button, input:not([type=hidden]), select, textarea, summary, ${more}`;
  const usable = (el) => seen(el) && !el.disabled && !el.closest("[inert]");
  const all = [...document.querySelectorAll(controls)].filter(usable);
  // Of a group of radio buttons Tab stops at one; arrows do the rest.
  const another = (el) => [...document.getElementsByName(el.name)].some((one) => one.checked && one !== el);
  const wanted = all.filter((el) => el.type !== "radio" || el.checked || !another(el));
  document.activeElement?.blur();
  window.walk = { wanted, plain: new Map(wanted.map((el) => [el, look(el)])), reached: new Set(), unseen: [] };
  document.addEventListener("focusin", (event) => {
    const el = event.target;
    if (walk.reached.has(el)) return;
    walk.reached.add(el);
    if (walk.plain.has(el) && walk.plain.get(el) === look(el)) walk.unseen.push(el);
  });
  // A day or an hour takes a Tab for each of its parts.
  return wanted.length + 4 * wanted.filter((el) => ["date", "time"].includes(el.type)).length + 4;
}"""

WALKED = r"""
() => {
  const tell = (el) => el.outerHTML.replace(/\s+/g, " ").slice(0, 160);
  return [
    ...walk.wanted.filter((el) => !walk.reached.has(el)).map((el) => `Tab does not reach: ${tell(el)}`),
    ...walk.unseen.map((el) => `no visible focus: ${tell(el)}`),
  ];
}"""


@pytest.fixture
def shop():
    """A company with something on every page: members and one who is none, sales, a refund, redemptions, a question."""
    account, now = make_account(), timezone.now()
    account.user = make_user(account, name="Mara Owner")
    origin = make_origin(account)
    place = origin.locations(manager="unscoped").get()
    StoreMapping.unscoped.create(account=account, location=place, store=make_store(account, "Main Street"))

    def land(kind, rows) -> None:
        landed = (land_customers if kind is CustomerRecord else land_sales)(origin, *rows)
        sink().landed(Batch(account.pk, origin.pk, kind, landed.new, landed.changed, now))

    land(CustomerRecord, [
        customer(f"c{n}", first_name=f"Ada{n}", phone=f"+1604555014{n}", email=f"ada{n}@example.test") for n in range(5)
    ])  # fmt: skip
    account.people = list(Persona.unscoped.filter(account=account).order_by("phone"))
    first = now.date() - timedelta(days=90)
    Persona.unscoped.filter(pk__in=[one.pk for one in account.people[:4]]).update(member_from=first)
    goods = (
        line(1, 6000, brand="Moss", category="Flower > Sativa", sku="M1", name="Moss 3.5 g"),
        line(2, 4000, brand="Fern"),
    )
    land(SaleRecord, [
        *[sale(f"s{n}{m}", customer_id=f"c{n}", lines=goods, sold_at=now - timedelta(days=m + 2))
          for n in range(5) for m in range(2)],
        sale("nobody", sold_at=now - timedelta(hours=1)),
        refund("r", of="s00", customer_id="c0", sold_at=now - timedelta(hours=1)),
    ])  # fmt: skip
    account.discount = make_discount(account, name="$5 off", points=50, cents=500)
    make_discount(account, name="$10 off", points=60, cents=1000, min_spend_cents=2000)
    for n, persona in enumerate(account.people[:2]):
        ledger.redeem(
            account_id=account.pk, persona_id=persona.pk, discount_id=account.discount.pk, n=0, channel="till",
            transaction=f"T-{n}", now=now - timedelta(hours=3),
        )  # fmt: skip
    ids = {"account_id": account.pk, "user": account.user, "now": now}
    with acting_in(account.pk):
        merging.merge(one_id=account.people[0].pk, other_id=account.people[3].pk, why="manual", **ids)
        account.audience = Audience.objects.create(name="Friends", by_rules=False)
        audiences.add(
            account_id=account.pk, audience_id=account.audience.pk, persona_ids=[account.people[0].pk], now=now
        )
        account.modifier = Modifier.objects.create(name="Double Moss", brands=["Moss", "Gone"])
        asked = consent.ask(
            channel="sms", address=account.people[4].phone, persona_id=account.people[4].pk, source="staff",
            enrols=True, **ids,
        )  # fmt: skip
        account.message = asked
        Message.objects.filter(pk=asked.pk).update(state="sent", sent_at=now)
        # A change that waits for its confirmation.
        changes.save(values={"programme": {"points_per_100": "200"}}, enqueue=lambda job: None, **ids)
        while jobs.run_slice(Job.objects.get().pk):
            pass
    return account


def enter(page, live_server, user) -> None:
    client = Client()
    client.force_login(user)
    page.context.add_cookies([
        {"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}
    ])  # fmt: skip


def menu(page) -> list[str]:
    links = page.eval_on_selector_all("#nav-sidebar a, aside a, nav a", "all => all.map((one) => one.pathname)")
    return list(dict.fromkeys(path for path in links if path.startswith("/admin/") and "logout" not in path))


def behind(shop) -> list[str]:
    """Pages no menu leads to."""
    ada, other, stranger = (reverse("admin:persona", args=[shop.people[n].contact_id]) for n in (0, 1, 4))
    nobodys = Sale.unscoped.get(account=shop, external_id="nobody").pk
    return [
        ada, f"{ada}?tab=profile", other, stranger, f"{stranger}?tab=profile", f"{ada}remove/",
        reverse("admin:programme-change"), reverse("admin:modifier-new"),
        reverse("admin:modifier", args=[shop.modifier.pk]),
        "/admin/loyalty/discount/add/", f"/admin/loyalty/discount/{shop.discount.pk}/change/",
        "/admin/loyalty/audience/add/", f"/admin/loyalty/audience/{shop.audience.pk}/change/",
        "/admin/loyalty/persona/?q=nobody+at+all", f"/admin/why/?q={shop.people[0].phone[1:]}",
        f"/admin/why/?q={shop.people[4].phone[1:]}", "/admin/why/?q=IN-nobody",
        reverse("admin:receipt-attach", args=[nobodys]),
        f"/admin/integrations/sale/{nobodys}/change/", reverse("admin:loyalty_message_answer", args=[shop.message.pk]),
    ]  # fmt: skip


class Visit:
    """Goes through pages and keeps what was wrong, with where."""

    def __init__(self, page, live_server):
        self.page, self.url, self.wrong = page, live_server.url, []
        self.at = ""
        from playwright.sync_api import TimeoutError  # its absence skips the test before this

        self.too_late = TimeoutError
        page.on("console", lambda said: said.type == "error" and self.note(1280, f"console: {said.text}"))
        page.on("pageerror", lambda error: self.note(1280, f"script: {error}"))
        page.on("request", self._asked)
        page.on("response", lambda got: got.status >= 400 and self.note(1280, f"{got.status} {got.url}"))

    def note(self, width, what) -> None:
        self.wrong.append(f"{self.at} at {width}: {what}")

    def _asked(self, request) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.note(1280, f"asks elsewhere: {request.url}")

    def pages(self, paths) -> None:
        for self.at in paths:
            self.page.set_viewport_size({"width": WIDTHS[0], "height": 900})
            self.page.goto(self.url + self.at)
            self.page.wait_for_load_state("load")
            stops = self.page.evaluate(READY)
            for width in WIDTHS:
                self.page.set_viewport_size({"width": width, "height": 900})
                try:  # a chart draws itself anew first
                    self.page.wait_for_function("document.documentElement.scrollWidth <= innerWidth", timeout=15_000)
                except self.too_late:
                    over = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
                    self.note(width, f"wider than the screen by {over}")
                for what in self.page.evaluate(LOOK):
                    self.note(width, what)
            self.page.set_viewport_size({"width": WIDTHS[0], "height": 900})
            for n in range(stops):
                self.page.keyboard.press("Tab")
                if n % 20 == 19 and self.page.evaluate("walk.wanted.every((el) => walk.reached.has(el))"):
                    break
            for what in self.page.evaluate(WALKED):
                self.note(WIDTHS[0], what)


def test_every_page_of_an_owner(page, live_server, shop):
    enter(page, live_server, shop.user)
    page.goto(f"{live_server.url}/admin/")
    paths = menu(page)
    assert len(paths) > 20, paths
    visit = Visit(page, live_server)
    visit.pages([*paths, *behind(shop)])
    assert not visit.wrong, "\n".join(visit.wrong)


def test_every_page_of_a_budtender(page, live_server, shop):
    Programme.unscoped.filter(account=shop).update(pin_to_redeem=True, staff_may_adjust=True)
    enter(page, live_server, make_user(shop, Role.STAFF))
    page.goto(f"{live_server.url}/admin/")
    paths = menu(page)
    visit = Visit(page, live_server)
    ada = reverse("admin:persona", args=[shop.people[0].contact_id])
    visit.pages([*paths, ada, f"{ada}?tab=profile", f"/admin/why/?q={shop.people[4].phone[1:]}"])
    assert not visit.wrong, "\n".join(visit.wrong)
