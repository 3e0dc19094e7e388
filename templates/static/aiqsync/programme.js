// Settings that belong to one choice only are shown with it; a change's figures and progress come by themselves.
document.querySelectorAll("[data-shown-when]").forEach((row) => {
  const [name, value] = row.dataset.shownWhen.split("=");
  const control = document.querySelector(`[name="${name}"]`);
  if (control) control.addEventListener("change", () => { row.hidden = control.value !== value; });
});

// A long page was refused: the first sentence is brought into view, with its field ready.
const wrong = document.querySelector(".iq-error");
if (wrong) {
  wrong.scrollIntoView({ block: "center" });
  wrong.parentElement.querySelector("input:not([type=hidden]), select")?.focus({ preventScroll: true });
}

const part = document.getElementById("change-part");
if (part) {
  const look = async () => {
    if (!part.querySelector("[data-live]")) return;
    try {
      const answer = await fetch(part.dataset.poll, { headers: { "X-Requested-With": "fetch" } });
      if (answer.ok && !answer.redirected) part.innerHTML = await answer.text();
    } catch { /* the next look finds it */ }
    setTimeout(look, 1500);
  };
  setTimeout(look, 1000);
}
