"use strict";
// Features of the images in two dimensions, and one image with every model's answer.

const MOST_LINES = 2000, MOST_NAMED = 20;
const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c510a", "#762a83", "#4d4d4d",
  "#9acd32"];
const classColour = label => label < PALETTE.length && classes.length <= PALETTE.length ? PALETTE[label]
  : `hsl(${label * 137.508 % 360} ${55 + label % 3 * 20}% ${30 + label % 4 * 9}%)`;
const colourOf = row => state.colour === "set" ? COLOURS[setOf(row)]
  : classColour(state.colour === "label" ? data.label[row] : answer("a", row));

views.push(function mapView(rows) {
  const points = {x: [], y: [], color: [], fill: [], marker: [], row: []}, moves = [];
  const placed = rows.filter(row => data.place.has(row)).reverse();  // the first set, to forget, comes on top
  for (const row of placed) {
    const color = colourOf(row), place = data.place.get(row), ends = {};
    for (const side of ["b", "a"]) {
      const [x, y] = ends[side] = position(state[side], place);
      if (state.shown !== "both" && state.shown !== side) continue;
      points.x.push(x); points.y.push(y); points.color.push(color); points.row.push(row);
      points.fill.push(side === "a" ? color : null); points.marker.push(side === "a" ? "circle" : "triangle");
    }
    moves.push([...ends.b, ...ends.a]);
  }
  const length = ([x0, y0, x1, y1]) => Math.hypot(x1 - x0, y1 - y0);
  const lines = state.lines ? moves.sort((one, other) => length(other) - length(one)).slice(0, MOST_LINES) : [];
  feed("map_lines", Object.fromEntries(["x0", "y0", "x1", "y1"].map((name, at) => [name, lines.map(line => line[at])])));
  feed("map_points", points);
  const left = rows.length - placed.length, many = state.lines && moves.length > lines.length;
  byId("map_note").textContent = `${{pca: "The first two principal components", tsne: "t-SNE", umap: "UMAP"}[content.map]} `
    + "of the inputs of the last layer, one map for all models; each model's features are rotated towards the first "
    + "model's. Filled circles: A. Hollow triangles: B. "
    + `${placed.length.toLocaleString("en")} images` + (left ? `, ${left.toLocaleString("en")} others are not placed` : "")
    + (many ? `; lines of the ${lines.length.toLocaleString("en")} that moved farthest` : "")
    + ". The tool with a box selects images for all views.";
  mapKey();
});

function mapKey() {
  const known = state.colour === "set" ? sets.map(({name}) => [name, COLOURS[name]])
    : classes.slice(0, MOST_NAMED).map((name, label) => [name, classColour(label)]);
  byId("map_key").replaceChildren(...known.map(([name, colour]) => {
    const made = element("span", undefined, {class: "map-key"}), key = element("span", undefined, {class: "key"});
    key.style.background = colour;
    made.append(key, name);
    return made;
  }), state.colour !== "set" && classes.length > MOST_NAMED ? `and ${classes.length - MOST_NAMED} more classes` : "");
}

function showImage(row) {
  const panel = byId("panel"), place = data.place.get(row);
  const rows = models.map((model, at) => {
    const found = data.models[at];
    return [model.name, classes[found.predicted[row]], percent(share(found.confidence[row])),
      percent(share(found.margin[row]))];
  });
  panel.replaceChildren(tile(row, 128), element("p", `${setOf(row)} image ${data.number[row]}: `
    + `class ${classes[data.label[row]]}`), element("table", undefined, {id: "answers", "aria-label": "Answers of all models"}));
  fill("answers", ["model", "answer", "its %", "true class %"], rows);
  const spots = place === undefined ? [] : models.map((_, at) => position(at, place));
  const [start, ends] = [spots[state.b], spots.filter((_, at) => at !== state.b)];
  feed("map_near", {x0: ends.map(() => start[0]), y0: ends.map(() => start[1]), x1: ends.map(([x]) => x),
    y1: ends.map(([, y]) => y)});
  feed("map_ends", {x: spots.map(([x]) => x), y: spots.map(([, y]) => y),
    marker: spots.map((_, at) => at === state.a ? "circle" : at === state.b ? "triangle" : "square"),
    name: spots.map((_, at) => models[at].name)});
}

function startMap() {
  const source = figures.map_points, ends = values => values.reduce(
    ([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  feed("map_corners", {x: ends(data.x), y: ends(data.y)});
  source.inspect.connect(() => {
    const [at] = source.inspected.indices;
    if (at !== undefined) showImage(source.data.row[at]);
  });
  onTap("map_points", chosen => {
    const rows = new Set(chosen.map(at => source.data.row[at]));
    forgetTaps("map_points");
    if (rows.size === 1) showImage([...rows][0]);
    else set("selected", rows);
  });
  byId("unselect").addEventListener("click", () => set("selected", null));
}
