"use strict";
// Small parts of views: elements, tables, tiles, and the figures that Bokeh has drawn.

const byId = id => document.getElementById(id);

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// Replace head and body of a table; the first cell of a row names it. A cell is text, a number of words, or an element.
function fill(id, head, rows) {
  const table = byId(id), top = element("tr"), body = element("tbody");
  for (const title of head) {
    top.append(title instanceof Node ? title : element("th", title, {scope: "col"}));
  }
  for (const row of rows) {
    const line = element("tr");
    row.forEach((cell, place) => {
      const made = element(place ? "td" : "th", undefined, place ? {} : {scope: "row"});
      made.append(cell);
      line.append(made);
    });
    body.append(line);
  }
  table.tHead?.remove();
  for (const old of [...table.tBodies]) old.remove();
  const heading = table.createTHead();
  heading.append(top);
  table.append(body);
}

// A picture from the sheet, `scale` times its size; words where an image has none.
function tile(row, side, tag = "span") {
  const place = data.tile.get(row), {columns} = content.sheet;
  if (place === undefined) return element(tag, "no picture");
  const made = element(tag, undefined, {class: content.sheet.side < 32 ? "tile pixels" : "tile"});
  const [x, y] = [place % columns * side, Math.floor(place / columns) * side];
  made.style.cssText = `width:${side}px;height:${side}px;background-image:url(${data.sheet});`
    + `background-position:-${x}px -${y}px;background-size:${columns * side}px auto`;
  return made;
}

const figures = {};  // models of Bokeh by name
const waiting = new Map();  // documents of the figures that are not drawn yet, by the id of their place

// Read the figures without drawing them, so that each is drawn once, with its numbers in it.
async function readFigures() {
  document.head.append(element("script", await unpack("library").text()));  // runs at once
  const {Document} = Bokeh.require("document/index");
  for (const {doc, target_id: id} of JSON.parse(byId("figures").textContent)) {
    const read = Document.from_json(doc);
    for (const model of read._all_models.values()) if (model.name) figures[model.name] = model;
    byId(id).style.minHeight = `${figures[id].height}px`;  // so that nothing moves when it is drawn
    waiting.set(id, read);
  }
}

async function drawFigure(id) {
  const read = waiting.get(id);
  waiting.delete(id);
  await Bokeh.embed.add_document_standalone(read, byId(id));
}

// Draw what can be seen; the rest follows one by one when the browser has time.
async function drawFigures() {
  for (const id of [...waiting.keys()]) if (byId(id).getBoundingClientRect().top < innerHeight) await drawFigure(id);
  const later = window.requestIdleCallback ?? setTimeout;
  later(async function next() {
    for (const [id] of waiting) {
      await drawFigure(id);
      return later(next);
    }
    document.documentElement.dataset.drawn = "yes";
  });
}

const feed = (name, columns) => { figures[name].data = columns; };

// Put names to the whole numbers of an axis; where there are many, only some.
function nameTicks(axis, names, most = 40) {
  const every = Math.ceil(names.length / most), ticks = names.map((_, at) => at).filter(at => at % every === 0);
  figures[axis].major_label_overrides = new Map(ticks.map(at => [at, shortened(names[at])]));
  figures[axis].ticker.ticks = ticks;
}

// Let an axis go from start to end, also when it is reset.
const span = (range, start, end) => range.setv({start, end, reset_start: start, reset_end: end});

const shortened = name => name.length > 14 ? name.slice(0, 13) + "…" : name;

// What happens when glyphs are chosen: the function gets their places in the source.
function onTap(name, act) {
  const source = figures[name];
  source.selected.properties.indices.change.connect(() => {
    const chosen = [...source.selected.indices];
    if (chosen.length) act(chosen);
  });
}

const forgetTaps = name => { figures[name].selected.indices = []; };

function fillCommands() {
  for (const model of models) {
    byId("commands").append(element("dt", `${model.name} (${model.arch})`), element("dd", model.command || "not kept"));
  }
}
