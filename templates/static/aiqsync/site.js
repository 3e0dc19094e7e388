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

// A discount's preview follows what is typed.
document.addEventListener("DOMContentLoaded", () => {
  const preview = document.querySelector("[data-preview]");
  if (!preview) return;
  const field = (name) => document.querySelector(`[name="${name}"]`);
  const draw = () => {
    const value = (name) => field(name)?.value.trim() || "";
    const off = value("kind") === "percent" ? `${value("percent") || "…"}% off` : `$${value("amount") || "…"} off`;
    preview.querySelector("[data-preview-name]").textContent = value("name") || off;
    preview.querySelector("[data-preview-text]").textContent = value("description") || off;
    const points = Number(value("points"));
    preview.querySelector("[data-preview-points]").textContent = points ? `${points.toLocaleString("en")} points` : "No points";
  };
  document.addEventListener("input", draw);
  document.addEventListener("change", draw);
  if (field("name")) draw();
});
