"use strict";
// What was measured: plain content, and typed arrays with an entry per image. Rows are images, all sets in one order.

const content = JSON.parse(document.getElementById("content").textContent);
const {models, classes, sets} = content;
const COLOURS = {forget: "#d55e00", retain: "#0072b2", test: "#009e73", forget_test: "#e69f00", val: "#cc79a7"};
const TYPES = {uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array};
let data;  // arrays by name; those of a model also as data.models[number].margin

function bytesOf(id) {
  const text = atob(document.getElementById(id).textContent), bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return bytes;
}

function unpack(id) {
  return new Response(new Blob([bytesOf(id)]).stream().pipeThrough(new DecompressionStream("gzip")));
}

async function readArrays() {
  const buffer = await unpack("arrays").arrayBuffer();
  data = {};
  for (const [name, {type, start, length, low, step}] of Object.entries(content.arrays)) {
    const levels = new TYPES[type](buffer, start, length);
    data[name] = step === undefined ? levels : Float64Array.from(levels, level => low + level * step);
  }
  data.models = models.map((_, number) => ofModel(number));
  data.count = data.label.length;
  data.place = new Map(Array.from(data.mapped, (row, place) => [row, place]));
  data.tile = new Map(Array.from(data.pictured, (row, place) => [row, place]));
  data.sheet = URL.createObjectURL(new Blob([bytesOf("sheet")], {type: "image/webp"}));
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
const share = logit => 1 / (1 + Math.exp(-logit));  // a probability from its logit
const position = (model, place) => [data.x[model * data.mapped.length + place], data.y[model * data.mapped.length + place]];
const percent = value => Number.isFinite(value) ? (100 * value).toFixed(2) : "-";
