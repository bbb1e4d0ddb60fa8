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
  showSelects(CONTROLS, state);
  showBoxes("sets", state.sets);
  byId("lines").checked = state.lines;
}

function startControls() {
  for (const id of ["a", "b"]) options(id, models.map(({name}) => name));
  for (const id of ["label", "answer_a", "answer_b"]) options(id, classes, id === "label" ? "all" : "anything");
  for (const [value, [says]] of Object.entries(OUTCOMES)) byId("outcome").append(element("option", says, {value}));
  boxes("sets", sets.map(({name}) => ({id: `set_${name}`, name, colour: COLOURS[name]})), chosen => set("sets", chosen));
  bind(CONTROLS, NUMBERS, set);
  byId("lines").addEventListener("change", ({target}) => set("lines", target.checked));
  byId("clear").addEventListener("click", () => { Object.assign(state, initial()); showControls(); redraw(); });
}

begin(() => {
  readModels();
  startControls();
  fillCommands();
  fillLayers();
  startClasses();
  startMatrices();
  startAttack();
  startMap();
  startImages();
  showControls();
  redraw();
});
