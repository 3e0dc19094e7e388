// Small conveniences; every page works without them. No inline script anywhere (content policy).
document.addEventListener("click", async (event) => {
  for (const menu of document.querySelectorAll("details[data-menu][open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
  const copy = event.target.closest("[data-copy]");
  if (!copy) return;
  event.preventDefault();
  const label = copy.querySelector("[data-copy-label]") || copy;
  const before = label.textContent;
  try {
    await navigator.clipboard.writeText(copy.dataset.copy);
    label.textContent = "Copied";
  } catch {
    label.textContent = "Press Ctrl+C";
    const source = document.getElementById(copy.dataset.copyFrom || "");
    if (source) getSelection().selectAllChildren(source);
  }
  setTimeout(() => (label.textContent = before), 1600);
});

// The page is hidden until Alpine is up, and a browser does not focus what is hidden.
document.addEventListener("alpine:initialized", () => {
  if (document.activeElement === document.body) requestAnimationFrame(() => document.querySelector("[autofocus]")?.focus());
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details[data-menu][open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// A form marked so is sent once; the button says what happens.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("[data-once]")) return;
  if (form.dataset.sent) return event.preventDefault();
  form.dataset.sent = "1";
  for (const button of form.querySelectorAll("button")) setTimeout(() => (button.disabled = true));
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("[data-once][data-sent]")) {
    delete form.dataset.sent;
    for (const button of form.querySelectorAll("button")) button.disabled = false;
  }
});

// A discount's preview follows what is typed, ticked and chosen.
document.addEventListener("DOMContentLoaded", () => {
  const preview = document.querySelector("[data-preview]");
  if (!preview) return;
  const field = (name) => document.querySelector(`[name="${name}"]`);
  if (!field("name")) return;
  const part = (name) => preview.querySelector(`[data-preview-${name}]`);
  const value = (name) => field(name)?.value.trim() || "";
  const ticked = (name) => Boolean(field(name)?.checked);
  const show = (name, text) => {
    part(name).hidden = !text;
    if (typeof text === "string" && text) part(name).textContent = text;
  };
  const ends = () => {
    const [year, month, day] = value("ends_at_0").split("-").map(Number);
    if (!day) return "";
    const date = new Date(year, month - 1, day);
    if (isNaN(date)) return "";
    const said = date.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
    return `Ends on ${said}${value("ends_at_1") ? `, ${value("ends_at_1").slice(0, 5)}` : ""}`;
  };
  const draw = () => {
    const off = value("kind") === "percent" ? `${Number(value("percent")) || "…"}% off` : `$${value("amount") || "…"} off`;
    part("name").textContent = value("name") || off;
    part("text").textContent = value("description") || off;
    const points = Number(value("points"));
    part("points").textContent = points ? `${points.toLocaleString("en")} points` : "No points";
    show("place", ticked("in_store_only"));
    const spend = Number(value("min_spend"));
    show("spend", spend ? `From $${spend.toFixed(2)}` : "");
    show("once", !ticked("reusable") && value("reward") !== "tier");
    show("ends", ends());
    show("redeem", !ticked("hide_redeem"));
    show("ask", ticked("hide_redeem"));
  };
  // A picture as it will be: chosen here, or the one there is, or none.
  const before = { logo: part("logo").getAttribute("src"), cover: part("cover").hidden ? "" : part("cover").getAttribute("src") };
  const picture = (name) => {
    const put = (address) => {
      part(name).src = address || preview.dataset.none;
      part(name).hidden = name === "cover" && !address;
    };
    const [file] = field(name)?.files || [];
    if (!file) return put(ticked(`${name}-clear`) ? "" : before[name]);
    const reader = new FileReader();
    reader.onload = () => put(reader.result);
    reader.readAsDataURL(file);
  };
  for (const name of ["logo", "cover"]) {
    for (const input of [field(name), field(`${name}-clear`)]) input?.addEventListener("change", () => picture(name));
    part(name).addEventListener("error", () => {
      if (part(name).getAttribute("src") !== preview.dataset.none) part(name).src = preview.dataset.none; // no picture
    });
  }
  document.addEventListener("input", draw);
  document.addEventListener("change", draw);
  draw();
});
