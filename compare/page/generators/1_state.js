"use strict";
// What is asked for, and the judge's answers. Rows are pictures, all generators' one behind another.

const NONE = classes.length;  // the answer "none of them"
const answers = [...classes, "none"];
const GONE = new Set(content.gone);
const VERDICTS = {  // what the judge says of a picture
  all: ["all", () => true],
  asked: ["taken for their class", row => data.answer[row] === data.label[row]],
  other: ["taken for another class", row => data.answer[row] !== data.label[row] && data.answer[row] !== NONE],
  none: ["taken for none", row => data.answer[row] === NONE],
};
const initial = () => ({chosen: new Set(models.keys()), label: EVERY, each: 5, verdict: "all", limit: 30, everything: false});
const state = {...initial(), a: content.first[0], b: content.first[1]};

let rowsOf = [];  // by model: by class: its pictures
let countsOf = [];  // by model: pictures by class * (classes + 1) + answer
function readPictures() {
  rowsOf = models.map(() => new Map());
  countsOf = models.map(() => new Map());
  data.label.forEach((label, row) => {
    const model = data.model[row], key = label * answers.length + data.answer[row];
    if (!rowsOf[model].has(label)) rowsOf[model].set(label, []);
    rowsOf[model].get(label).push(row);
    countsOf[model].set(key, (countsOf[model].get(key) ?? 0) + 1);
  });
}

const shownModels = () => [...models.keys()].filter(at => state.chosen.has(at));
const pictures = (model, label) => rowsOf[model].get(label) ?? [];
const counted = (model, label, answer) => countsOf[model].get(label * answers.length + answer) ?? 0;
const className = label => GONE.has(label) ? `${classes[label]} (forgotten)` : classes[label];

// The classes to show, what is forgotten first.
function shownClasses() {
  const drawn = [...classes.keys()].filter(label => rowsOf.some(rows => rows.has(label)));
  if (state.label !== EVERY) return drawn.filter(label => label === state.label);
  return [...drawn.filter(label => GONE.has(label)), ...drawn.filter(label => !GONE.has(label))];
}

function redraw() {
  for (const view of views) view();
  const total = shownModels().reduce((sum, model) => sum
    + shownClasses().reduce((part, label) => part + pictures(model, label).length, 0), 0);
  byId("status").textContent = `${total.toLocaleString("en")} of ${data.label.length.toLocaleString("en")} pictures`;
}

function set(name, value) {
  state[name] = value;
  showControls();
  redraw();
}
