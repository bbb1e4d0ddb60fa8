"use strict";
// How far each class's pictures lie from real ones.

const MOST_CLASSES = 60;
const distanceOf = (model, label, what = "distance") => models[model][what][label] ?? null;

views.push(function distancesView() {
  const labels = shownClasses(), gap = label => Math.abs((distanceOf(state.a, label) ?? 0) - (distanceOf(state.b, label) ?? 0));
  const some = labels.toSorted((one, other) => gap(other) - gap(one)).slice(0, MOST_CLASSES).sort((one, other) => one - other);
  const points = {x: [], y: [], color: [], fill: [], marker: [], class: [], model: [], label: []};
  const gaps = {x: [], from: [], to: []};
  some.forEach((label, x) => {
    const [a, b] = [distanceOf(state.a, label), distanceOf(state.b, label)];
    const marks = [[a, "#0072b2", "#0072b2", "circle", models[state.a].name],
      [b, "#d55e00", "#fff", "triangle", models[state.b].name], [distanceOf(state.a, label, "floor"), "#111", "#111", "dash", "floor"]];
    for (const [y, color, fill, marker, model] of marks) {
      if (y === null || y <= 0) continue;
      const entry = {x, y, color, fill, marker, class: classes[label], model, label};
      for (const [name, value] of Object.entries(entry)) points[name].push(value);
    }
    if (a > 0 && b > 0) { gaps.x.push(x); gaps.from.push(b); gaps.to.push(a); }
  });
  nameTicks("class_distances_axis", some.map(label => classes[label]));
  span(figures.class_distances.x_range, -0.5, Math.max(some.length, 1) - 0.5);
  if (points.y.length) span(figures.class_distances.y_range, 0.8 * Math.min(...points.y), 1.25 * Math.max(...points.y));
  feed("class_distances_gaps", gaps);
  feed("class_distances_points", points);
  byId("class_note").textContent = `Filled circles: A, ${models[state.a].name}. Hollow triangles: B, ${models[state.b].name}. `
    + "Dashes: floor. The axis is logarithmic."
    + (some.length < labels.length ? ` The ${some.length} of ${labels.length} classes with the widest gaps.` : "")
    + " A click on a point shows that class alone in all views.";
  const shown = shownModels(), known = value => value === null ? "-" : value.toFixed(2);
  fill("class_table", ["class", "floor", ...shown.map(at => models[at].name)], labels.map(label => [className(label),
    known(distanceOf(state.a, label, "floor")), ...shown.map(model => known(distanceOf(model, label)))]));
});

function startDistances() {
  onTap("class_distances_points", ([at]) => {
    const label = figures.class_distances_points.data.label[at];
    forgetTaps("class_distances_points");
    set("label", label);
  });
}
