// Settings that belong to one choice only are shown with it; a change's figures and progress come by themselves.
// `data-shown-when`: "name=value", several of them with " or " between; a switch that is on says "on".
const shownRows = [...document.querySelectorAll("[data-shown-when]")];
const holds = (condition) => {
  const [name, value] = condition.trim().split("=");
  const control = document.querySelector(`[name="${name}"]`);
  if (!control || control.closest("[hidden]")) return false;
  return (control.type === "checkbox" ? (control.checked ? "on" : "") : control.value) === value;
};
// Twice: a row may hang on another that is shown or hidden in the first round.
const showRows = () => [1, 2].forEach(() => shownRows.forEach((row) => { row.hidden = !row.dataset.shownWhen.split(" or ").some(holds); }));
if (shownRows.length) {
  document.addEventListener("change", showRows);
  addEventListener("pageshow", showRows);
  showRows();
}

// One word a line becomes words chosen one by one from what was sold; without this script the lines are typed.
document.querySelectorAll("[data-words]").forEach((row) => {
  const area = row.querySelector("textarea");
  const offered = document.getElementById(row.dataset.words);
  const known = new Map([...offered.options].map((one) => [one.value.toLowerCase(), one.label && one.label !== one.value ? `${one.label} (${one.value})` : one.value]));
  const chips = Object.assign(document.createElement("ul"), { className: "iq-chips" });
  const line = Object.assign(document.createElement("div"), { className: "iq-row" });
  const input = Object.assign(document.createElement("input"), { className: "iq-input", id: `${area.id}_one`, autocomplete: "off", placeholder: known.size ? "Choose or type" : "Type" });
  const add = Object.assign(document.createElement("button"), { type: "button", className: "iq-button", textContent: "Add" });
  const label = row.querySelector("label");
  const help = row.querySelector("[data-help]");
  if (help) help.textContent = help.textContent.replace("One a line. ", "");
  input.setAttribute("list", offered.id);
  input.setAttribute("maxlength", "200");
  label.htmlFor = input.id;
  add.setAttribute("aria-label", `Add to ${label.textContent.toLowerCase()}`);
  const words = () => area.value.split("\n").map((one) => one.trim()).filter(Boolean);
  const keep = (list) => { area.value = list.join("\n"); draw(); };
  const draw = () => {
    chips.replaceChildren(...words().map((word) => {
      const chip = document.createElement("li");
      const gone = Object.assign(document.createElement("button"), { type: "button", textContent: "×" });
      gone.setAttribute("aria-label", `Take ${word} off`);
      gone.addEventListener("click", () => { keep(words().filter((one) => one !== word)); input.focus(); });
      chip.append(known.get(word.toLowerCase()) || word);
      if (known.size && !known.has(word.toLowerCase())) {
        chip.className = "iq-chip-odd";
        chip.append(Object.assign(document.createElement("span"), { className: "iq-small", textContent: " not sold lately" }));
      }
      chip.append(gone);
      return chip;
    }));
    chips.hidden = !words().length;
  };
  const take = () => {
    const word = input.value.trim();
    if (!word) return;
    input.value = "";
    if (!words().some((one) => one.toLowerCase() === word.toLowerCase())) keep([...words(), word]);
  };
  add.addEventListener("click", () => { take(); input.focus(); });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault(); // it adds the word; it does not send the form
    take();
  });
  area.form.addEventListener("submit", take, true); // what stands in the field was meant
  area.hidden = true;
  line.append(input, add);
  area.before(chips, line);
  draw();
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
      if (answer.ok && !answer.redirected) {
        const text = await answer.text();
        const stops = () => [...part.querySelectorAll("a[href], button")];
        const at = stops().indexOf(document.activeElement);
        part.innerHTML = text;
        if (at >= 0) stops()[at]?.focus({ preventScroll: true }); // whoever is on a button stays on it
      }
    } catch { /* the next look finds it */ }
    setTimeout(look, 1500);
  };
  setTimeout(look, 1000);
}
