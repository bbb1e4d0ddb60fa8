"use strict";
// What was measured: plain content, and typed arrays with an entry per image. Rows are images, all sets in one order.

const content = JSON.parse(document.getElementById("content").textContent);
const {models, classes, sets} = content;
const COLOURS = {forget: "#d55e00", retain: "#0072b2", test: "#009e73", val: "#cc79a7"};
const TYPES = {uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array};
let data;  // arrays by name; those of a model also as data.models[number].margin

function bytesOf(id) {
  const text = atob(document.getElementById(id).textContent), bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return bytes;
}

async function readArrays() {
  const packed = new Blob([bytesOf("arrays")]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(packed).arrayBuffer();
  data = {};
  for (const [name, {type, start, length, low, step}] of Object.entries(content.arrays)) {
    const levels = new TYPES[type](buffer, start, length);
    data[name] = step === undefined ? levels : Float64Array.from(levels, level => low + level * step);
  }
  data.models = models.map((_, number) => Object.fromEntries(
    ["predicted", "margin", "confidence", "entropy"].map(name => [name, data[name + number]])));
  data.count = data.label.length;
  data.place = new Map(Array.from(data.mapped, (row, place) => [row, place]));
  data.tile = new Map(Array.from(data.pictured, (row, place) => [row, place]));
  data.sheet = URL.createObjectURL(new Blob([bytesOf("sheet")], {type: "image/webp"}));
}

const setOf = row => sets[data.set[row]].name;
const right = (model, row) => data.models[model].predicted[row] === data.label[row];
const share = logit => 1 / (1 + Math.exp(-logit));  // a probability from its logit
const position = (model, place) => [data.x[model * data.mapped.length + place], data.y[model * data.mapped.length + place]];
const percent = value => Number.isFinite(value) ? (100 * value).toFixed(2) : "-";
