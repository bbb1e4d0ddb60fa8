"use strict";
// The controls, and the start.

const CONTROLS = {a: "a", b: "b", label: "label", answerA: "answer_a", answerB: "answer_b", outcome: "outcome",
  signal: "signal", attack: "attack", colour: "colour", shown: "shown"};  // what of the state, and whose select
const NUMBERS = new Set(["a", "b", "label", "answerA", "answerB"]);

function set(name, value) {
  state[name] = value;
  if (name === "signal" || name === "a" || name === "b") state.threshold = null;
  showControls();
  redraw();
}

function showControls() {
  for (const [name, id] of Object.entries(CONTROLS)) byId(id).value = state[name];
  for (const box of byId("sets").querySelectorAll("input")) box.checked = state.sets.has(Number(box.value));
  byId("lines").checked = state.lines;
}

function options(id, names, every) {
  if (every) byId(id).append(element("option", every, {value: EVERY}));
  names.forEach((name, value) => byId(id).append(element("option", name, {value})));
}

function startControls() {
  for (const id of ["a", "b"]) options(id, models.map(({name}) => name));
  for (const id of ["label", "answer_a", "answer_b"]) options(id, classes, id === "label" ? "all" : "anything");
  for (const [value, [says]] of Object.entries(OUTCOMES)) byId("outcome").append(element("option", says, {value}));
  sets.forEach(({name}, value) => {
    const label = element("label"), key = element("span", undefined, {class: "key"});
    key.style.background = COLOURS[name];
    label.append(element("input", undefined, {type: "checkbox", value, id: `set_${name}`}), key, name);
    byId("sets").append(label);
  });
  byId("sets").addEventListener("change", () => {
    const chosen = [...byId("sets").querySelectorAll("input:checked")].map(box => Number(box.value));
    set("sets", new Set(chosen));
  });
  for (const [name, id] of Object.entries(CONTROLS)) {
    byId(id).addEventListener("change", ({target}) => set(name, NUMBERS.has(name) ? Number(target.value) : target.value));
  }
  byId("lines").addEventListener("change", ({target}) => set("lines", target.checked));
  byId("clear").addEventListener("click", () => { Object.assign(state, initial()); showControls(); redraw(); });
  for (const form of document.forms) form.addEventListener("submit", event => event.preventDefault());
}

(async () => {
  try {
    await readArrays();
    startControls();
    await drawFigures();
    fillCommands();
    fillLayers();
    startClasses();
    startMatrices();
    startAttack();
    startMap();
    startImages();
    showControls();
    redraw();
    document.documentElement.dataset.ready = "yes";
  } catch (error) {
    document.body.prepend(element("p", `This page needs a newer browser, or its file is damaged (${error.message}).`,
      {class: "broken", role: "alert"}));
    throw error;
  }
})();
