"use strict";
// What every model says of every image. Rows are images, all sets in one order.

const {sets} = content;
const COLOURS = {forget: "#d55e00", retain: "#0072b2", test: "#009e73", forget_test: "#e69f00", val: "#cc79a7"};

function readModels() {
  data.models = models.map((_, number) => ofModel(number));
  data.count = data.label.length;
  data.place = new Map(Array.from(data.mapped, (row, place) => [row, place]));
}

// Confidence is the margin where the answer is right; the others are stored.
function ofModel(number) {
  const [predicted, margin, entropy, others] = ["predicted", "margin", "entropy", "confidence"].map(
    name => data[name + number]);
  const confidence = Float64Array.from(margin);
  let next = 0;
  for (let row = 0; row < margin.length; row++) if (predicted[row] !== data.label[row]) confidence[row] = others[next++];
  return {predicted, margin, entropy, confidence};
}

const setOf = row => sets[data.set[row]].name;
const right = (model, row) => data.models[model].predicted[row] === data.label[row];
const position = (model, place) => [data.x[model * data.mapped.length + place], data.y[model * data.mapped.length + place]];
