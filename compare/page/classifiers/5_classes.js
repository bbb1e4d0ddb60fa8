"use strict";
// Accuracy per class and set, A beside B.

const MOST_CLASSES = 60;

function perClass(rows) {  // by class: by set: [right in A, right in B, images]
  const found = new Map();
  for (const row of rows) {
    const label = data.label[row];
    if (!found.has(label)) found.set(label, sets.map(() => [0, 0, 0]));
    const cell = found.get(label)[data.set[row]];
    cell[0] += right(state.a, row);
    cell[1] += right(state.b, row);
    cell[2] += 1;
  }
  return new Map([...found].sort(([one], [other]) => one - other));
}

const gapOf = cells => Math.max(...cells.map(([a, b, n]) => n ? Math.abs(a - b) / n : 0));

let lastRows = [];
views.push(function classView(rows) {
  lastRows = rows;
  const found = perClass(rows);
  let shown = [...found.keys()];
  if (shown.length > MOST_CLASSES) {
    shown = shown.sort((one, other) => gapOf(found.get(other)) - gapOf(found.get(one))).slice(0, MOST_CLASSES);
    shown.sort((one, other) => one - other);
  }
  const points = {x: [], y: [], color: [], fill: [], marker: [], class: [], set: [], model: [], count: [], label: []};
  const gaps = {x: [], from: [], to: [], color: []};
  const present = sets.filter((_, at) => state.sets.has(at));
  shown.forEach((label, at) => {
    found.get(label).forEach(([a, b, n], set) => {
      if (!n) return;
      const place = present.indexOf(sets[set]), x = at + (place - (present.length - 1) / 2) * 0.7 / present.length;
      const color = COLOURS[sets[set].name];
      gaps.x.push(x); gaps.from.push(100 * b / n); gaps.to.push(100 * a / n); gaps.color.push(color);
      for (const [side, hits] of [["a", a], ["b", b]]) {
        const values = {x, y: 100 * hits / n, color, fill: side === "a" ? color : "#fff", class: classes[label],
          marker: side === "a" ? "circle" : "triangle", set: sets[set].name, model: models[state[side]].name, count: n,
          label};
        for (const [name, value] of Object.entries(values)) points[name].push(value);
      }
    });
  });
  nameTicks("classes_axis", shown.map(label => classes[label]));
  span(figures.classes.x_range, -0.5, Math.max(shown.length, 1) - 0.5);
  feed("class_gaps", gaps);
  feed("class_points", points);
  byId("classes_note").textContent = `Filled: A, ${models[state.a].name}. Hollow: B, ${models[state.b].name}. `
    + (found.size > shown.length ? `The ${shown.length} of ${found.size} classes with the widest gaps. ` : "")
    + "A click on a point shows that class alone in all views.";
  if (byId("classes_details").open) classTable(rows);
});

function classTable(rows) {
  const present = [...sets.keys()].filter(at => state.sets.has(at));
  const head = ["class", ...present.flatMap(at => [`${sets[at].name} n`, `${sets[at].name} A`, `${sets[at].name} B`,
    `${sets[at].name} A − B`])];
  fill("class_table", head, [...perClass(rows)].map(([label, cells]) => [classes[label],
    ...present.flatMap(at => {
      const [a, b, n] = cells[at];
      return [n.toLocaleString("en"), percent(a / n), percent(b / n), percent((a - b) / n)];
    })]));
}

function startClasses() {
  byId("classes_details").addEventListener("toggle", () => classTable(lastRows));
  onTap("class_points", ([at]) => {
    const label = figures.class_points.data.label[at];
    forgetTaps("class_points");
    set("label", label);
  });
}
