// Settings > Integrations: search among cards, live progress, one click for one act. The pages work without it.
(() => {
  "use strict";

  // Times that stay right while the page is open; the same words as aiqsync/pages/standing.py.

  const ago = (iso, now = Date.now()) => {
    const seconds = (now - Date.parse(iso)) / 1000;
    if (Math.abs(seconds) < 5) return seconds > 0 ? "just now" : "now";
    const size = Math.abs(seconds);
    const [unit, length] = [["days", 86400], ["h", 3600], ["min", 60], ["s", 1]].find(([, long]) => size >= long);
    const count = Math.floor(size / length);
    const text = `${count} ${unit === "days" && count === 1 ? "day" : unit}`;
    return seconds > 0 ? `${text} ago` : `in ${text}`;
  };
  let skew = 0; // server's clock minus ours: a till's tablet may be minutes off
  const tick = () => {
    for (const time of document.querySelectorAll(".iq-cards time[datetime]")) {
      if (!time.dateTime) continue;
      const now = Date.now() + skew;
      // What was to come and has come is "now", never "12 s ago": the next answer brings the next time.
      time.textContent = ago(time.dateTime, time.closest("[data-next]") ? Math.min(now, Date.parse(time.dateTime)) : now);
    }
  };

  // The admin's frame stays hidden until its own scripts have run, and a browser gives no focus to what is hidden.
  const wrong = document.querySelector(".iq-cards [autofocus]");
  const focus = (tries) => {
    if (wrong.offsetParent) return wrong.focus();
    if (tries) setTimeout(focus, 50, tries - 1);
  };
  if (wrong) focus(60);

  // Search

  const search = document.querySelector("[data-card-search]");
  if (search) {
    const items = [...document.querySelectorAll("[data-cards] > li")];
    const none = document.querySelector("[data-no-cards]");
    const count = document.querySelector("[data-card-count]");
    const shown = () => items.filter((item) => !item.hidden);
    const filter = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const item of items) item.hidden = !words.every((word) => item.dataset.name.includes(word));
      const left = shown().length;
      none.hidden = left > 0;
      count.textContent = words.length ? `${left} ${left === 1 ? "card" : "cards"} found` : "";
    };
    search.addEventListener("input", filter);
    search.addEventListener("keydown", (event) => {
      if (event.key === "Escape") (search.value = ""), filter();
      const first = shown()[0]?.querySelector("a");
      if (event.key === "Enter" && search.value) event.preventDefault(), first?.click();
      if (event.key === "ArrowDown") event.preventDefault(), first?.focus();
    });
    document.querySelector("[data-cards]").addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const links = shown().map((item) => item.querySelector("a"));
      const next = links.indexOf(document.activeElement) + step;
      next < 0 ? search.focus() : links[next]?.focus();
    });
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName)) return;
      event.preventDefault();
      search.focus();
    });
    filter();
  }

  // Long lists of boxes: search among them, and say at the top what is chosen.

  for (const group of document.querySelectorAll("[data-filtered]")) {
    const choices = [...group.querySelectorAll("[data-choice]")];
    const heads = [...group.querySelectorAll(".iq-boxes-head")];
    const box = group.querySelector("[data-filter]");
    box?.addEventListener("input", () => {
      const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const choice of choices) choice.hidden = !words.every((word) => choice.dataset.choice.includes(word));
      for (const head of heads) head.hidden = words.length > 0;
    });
    box?.addEventListener("keydown", (event) => {
      if (event.key === "Enter") event.preventDefault();
    });
    const said = group.closest("details").querySelector("[data-many-said]");
    group.addEventListener("change", () => {
      const chosen = choices.filter((choice) => choice.querySelector("input").checked);
      said.textContent = chosen.map((choice) => choice.textContent.trim()).join(", ") || said.dataset.empty;
    });
  }

  // One click, one act: the button says what it is doing, a second click does nothing.

  const rest = (form) => {
    delete form.dataset.sent;
    for (const button of form.ownerDocument.querySelectorAll("[data-was]")) {
      const label = button.querySelector("[data-busy-label]") || button;
      label.textContent = button.dataset.was;
      delete button.dataset.was;
      button.removeAttribute("aria-busy");
    }
  };
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("[data-busy-form]")) return;
    if (form.dataset.sent) return event.preventDefault();
    form.dataset.sent = "1";
    const button = event.submitter;
    if (!button?.dataset.busy) return;
    const label = button.querySelector("[data-busy-label]") || button;
    button.dataset.was = label.textContent;
    button.setAttribute("aria-busy", "true");
    label.textContent = button.dataset.busy;
  });
  addEventListener("pageshow", () => document.querySelectorAll("[data-busy-form][data-sent]").forEach(rest));

  // Progress

  const flows = document.querySelector("[data-progress]");
  const pill = document.querySelector("[data-pill]");
  const lost = document.querySelector("[data-lost]");
  let failures = 0;
  let timer = 0;
  let asking = false;

  const put = (node, text) => {
    if (node.textContent !== text) node.textContent = text;
  };
  const putTime = (holder, moment) => {
    holder.hidden = !moment;
    if (!moment) return;
    const time = holder.querySelector("time");
    time.dateTime = moment.at;
    time.title = moment.exact;
    put(time, moment.text);
  };
  const draw = (stream) => {
    const row = flows.querySelector(`[data-flow="${stream.key}"]`);
    if (!row) return false;
    const before = row.dataset.status;
    row.dataset.status = stream.status;
    put(row.querySelector("[data-text]"), stream.text);
    put(row.querySelector("[data-note]"), stream.note);
    put(row.querySelector("[data-figures]"), stream.figures);
    const known = stream.percent !== null && stream.percent !== undefined;
    put(row.querySelector("[data-percent]"), known && stream.status === "running" ? `${stream.percent} %` : "");
    const bar = row.querySelector("[data-bar]");
    known ? bar.setAttribute("aria-valuenow", stream.percent) : bar.removeAttribute("aria-valuenow");
    bar.firstElementChild.style.width = `${known ? stream.percent : 0}%`;
    putTime(row.querySelector("[data-fresh]"), stream.fresh);
    putTime(row.querySelector("[data-next]"), stream.next);
    // Said aloud: beginnings and ends, not every percent.
    if (before !== stream.status && stream.status !== "ready") say(`${stream.title}: ${stream.text}`);
    if (before === "running" && stream.status === "ready") say(`${stream.title}: read`);
    return true;
  };
  const say = (text) => {
    const said = document.querySelector("[data-said]");
    if (said) said.textContent = text;
  };

  const touched = (field) =>
    field.options ? [...field.options].some((one) => one.selected !== one.defaultSelected) : field.value !== field.defaultValue;

  // The rest of the page is read again when there is something new in it; open rows stay open, forms stay as they are.
  const swap = async () => {
    const answer = await fetch(location.href, { credentials: "same-origin" });
    if (!answer.ok || answer.redirected) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of document.querySelectorAll("[data-swap]")) {
      const next = fresh.getElementById(old.id);
      if (!next || old.contains(document.activeElement) || old.querySelector("details[open]")) continue;
      if ([...old.querySelectorAll("select, input:not([type=hidden])")].some(touched)) continue;
      old.replaceWith(document.importNode(next, true));
    }
    if (fresh.querySelectorAll("[data-flow]").length !== flows.querySelectorAll("[data-flow]").length) location.reload();
  };

  const out = (text, link) => {
    lost.hidden = false;
    const place = lost.querySelector("[data-lost-text]");
    place.textContent = text;
    if (link) {
      const anchor = document.createElement("a");
      anchor.href = link;
      anchor.textContent = "Log in again";
      place.append(" ", anchor);
    }
  };

  const ask = async () => {
    if (asking) return;
    asking = true;
    const abort = new AbortController();
    const limit = setTimeout(() => abort.abort(), 8000);
    let wait = 5000;
    try {
      const answer = await fetch(flows.dataset.progress, { credentials: "same-origin", signal: abort.signal, headers: { Accept: "application/json" } });
      if (answer.redirected || answer.status === 403) {
        out("You were logged out, so this page no longer updates.", flows.dataset.login);
        return;
      }
      if (!answer.ok) throw new Error(answer.status);
      const found = await answer.json();
      const served = Date.parse(answer.headers.get("Date") || "");
      if (served && Math.abs(served - Date.now()) > 5000) skew = served - Date.now();
      failures = 0;
      lost.hidden = true;
      pill.className = `iq-pill${found.pill.tone ? ` iq-pill-${found.pill.tone}` : ""}`;
      put(pill, found.pill.label);
      const all = found.streams.map(draw).every(Boolean);
      if (!all || found.stamp !== flows.dataset.stamp) {
        flows.dataset.stamp = found.stamp;
        await swap();
      }
      wait = found.again_ms;
    } catch {
      failures += 1;
      wait = Math.min(1000 * 2 ** (failures - 1), 8000);
      // One missed answer is nothing; the sync itself goes on without this page.
      if (failures > 1) out("No answer from the server. Trying again; syncing goes on without this page.");
    } finally {
      clearTimeout(limit);
      asking = false;
    }
    clearTimeout(timer);
    timer = setTimeout(ask, document.hidden ? Math.max(wait, 15000) : wait);
  };

  if (flows) {
    timer = setTimeout(ask, 800);
    document.addEventListener("visibilitychange", () => {
      if (document.hidden || lost.querySelector("a")) return;
      clearTimeout(timer);
      ask();
    });
  }
  setInterval(tick, 1000);

  // A part of the page that is at work: asked for again until it says that it has come to an end.
  const follow = async (name) => {
    const part = document.getElementById(name);
    if (!part || !part.dataset.part) return;
    try {
      const answer = await fetch(part.dataset.part, { credentials: "same-origin" });
      if (answer.redirected || answer.status === 403) return;
      if (answer.ok) part.outerHTML = await answer.text();
    } catch {
      // the next look tries again
    }
    setTimeout(() => follow(name), 1000);
  };
  setTimeout(() => follow("rehearsal"), 600);
})();
