"use strict";
// What was measured: plain content, and typed arrays.

const content = JSON.parse(document.getElementById("content").textContent);
const {models, classes} = content;
const TYPES = {uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array};
const EVERY = -1;  // of a choice: no choice
const views = [];  // functions that draw what is shown
let data;  // arrays by name

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
  data.tile = new Map(Array.from(data.pictured, (row, place) => [row, place]));
  data.sheet = URL.createObjectURL(new Blob([bytesOf("sheet")], {type: "image/webp"}));
}

const share = logit => 1 / (1 + Math.exp(-logit));  // a probability from its logit
const percent = value => Number.isFinite(value) ? (100 * value).toFixed(2) : "-";
