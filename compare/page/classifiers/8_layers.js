"use strict";
// How alike A and B are layer by layer, and all pairs in a table.

const MARKERS = {forget: "circle", retain: "square", test: "diamond", forget_test: "inverted_triangle"};

function drawLines(name, lines) {
  const paths = {xs: [], ys: [], color: [], dash: []}, points = {x: [], y: [], color: [], marker: [], what: [], layer: []};
  for (const {what, values, color, marker, dash} of lines) {
    const known = values.map((value, at) => [at, value]).filter(([, value]) => value !== null);
    paths.xs.push(known.map(([at]) => at)); paths.ys.push(known.map(([, value]) => value));
    paths.color.push(color); paths.dash.push(dash);
    for (const [at, value] of known) {
      points.x.push(at); points.y.push(value); points.color.push(color); points.marker.push(marker);
      points.what.push(what); points.layer.push(content.layers.names[at]);
    }
  }
  nameTicks(`${name}_axis`, content.layers.names);
  span(figures[name].x_range, -0.5, Math.max(content.layers.names.length, 1) - 0.5);
  span(figures[name].y_range, Math.min(0, ...points.y), 1.05 * Math.max(1, ...points.y));
  feed(`${name}_lines`, paths);
  feed(`${name}_points`, points);
}

const unordered = (a, b) => `${Math.min(a, b)},${Math.max(a, b)}`;
const ofPair = (values, key) => values?.[key] ?? content.layers.names.map(() => null);

views.push(function layersView() {
  const {cka, relative, changed, images, names} = content.layers, key = `${state.a},${state.b}`;
  const same = state.a === state.b, shown = sets.filter((set, at) => state.sets.has(at) && cka[set.name]);
  drawLines("cka", shown.map(({name}) => ({what: `${name} set`, color: COLOURS[name], marker: MARKERS[name], dash: "solid",
    values: same ? names.map(() => 1) : ofPair(cka[name], unordered(state.a, state.b))})));
  drawLines("weights", [
    {what: "relative to B's length", color: "#000", marker: "circle", dash: "solid", values: ofPair(relative, key)},
    {what: "share that differ", color: "#b35806", marker: "square", dash: "dashed", values: ofPair(changed, key)}]);
  const counts = Object.entries(images).map(([name, count]) => `${count} of the ${name} set`).join(", ");
  byId("layers_note").textContent = `CKA from images taken evenly: ${counts}. Of the filters only that of sets acts here. `
    + "Right: length of the weights' difference relative to B's (line), share of weights that differ (dashed)"
    + (relative[key] || same ? "." : "; none, as the architectures differ.");
});

function fillLayers() {
  const {cka, relative, changed, names} = content.layers, known = Object.keys(cka), rows = [];
  for (const a of models.keys()) {
    for (const b of models.keys()) {
      if (a >= b) continue;
      names.forEach((name, at) => rows.push([`${models[a].name}, ${models[b].name}`, name,
        ...known.map(set => ofPair(cka[set], `${a},${b}`)[at]?.toFixed(4) ?? "-"),
        ofPair(relative, `${a},${b}`)[at]?.toFixed(4) ?? "-", percent(ofPair(changed, `${a},${b}`)[at] ?? NaN)]));
    }
  }
  fill("layer_table", ["models", "layer", ...known.map(set => `CKA, ${set}`), "relative change", "weights that differ"],
    rows);
}
