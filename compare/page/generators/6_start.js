"use strict";
// The controls, and the start.

const CONTROLS = {a: "a", b: "b", label: "label", each: "each", verdict: "verdict"};  // what of the state, and whose select
const NUMBERS = new Set(["a", "b", "label", "each"]);
const COUNTS = [1, 3, 5, 10, 20];

function showControls() {
  showSelects(CONTROLS, state);
  showBoxes("chosen", state.chosen);
}

function startControls() {
  for (const id of ["a", "b"]) options(id, models.map(({name}) => name));
  const most = Math.max(...rowsOf.flatMap(rows => [...rows.values()]).map(rows => rows.filter(row => data.tile.has(row)).length));
  options("label", classes.map((_, label) => className(label)), "all");
  const counts = [...COUNTS.filter(count => count < most), most];
  for (const count of counts) byId("each").append(element("option", String(count), {value: count}));
  for (const [value, [says]] of Object.entries(VERDICTS)) byId("verdict").append(element("option", says, {value}));
  state.each = Math.min(state.each, most);
  boxes("chosen", models.map(({name}, at) => ({id: `model_${at}`, name})), chosen => set("chosen", chosen));
  bind(CONTROLS, NUMBERS, set);
  byId("clear").addEventListener("click", () => {
    Object.assign(state, {...initial(), each: state.each});
    showControls();
    redraw();
  });
}

begin(() => {
  readPictures();
  startControls();
  fillCommands();
  startOverview();
  startPictures();
  startAnswers();
  startDistances();
  showControls();
  redraw();
});
