// TensorBoard's tab "Garden". TensorBoard calls `render` in a frame of its own; everything comes from this server.
import "./selectors.js";
import "./comparison.js";

const FACETS = ["run", "image", "method", "layer", "unit"];
const NAMES = { run: "Run", image: "Picture", method: "Method", layer: "Layer", unit: "Class or unit" };
const B = "compared";

export async function render() {
  const { Choice, bar, element, keys } = globalThis.GardenSelectors;
  const styles = ["base.css", "tab.css"].map((name) =>
    element("link", { rel: "stylesheet", href: new URL(name, import.meta.url).href }),
  );
  document.head.append(...styles);
  const main = element("main", {}, element("p", { class: "faint" }, "Reading …"));
  document.body.append(main);

  const ask = async (route, parameters = {}) => {
    const answer = await fetch(`${new URL(route, import.meta.url).pathname}?${new URLSearchParams(parameters)}`);
    if (!answer.ok) throw new Error(`${route} answered ${answer.status}.`);
    return answer.json();
  };

  let series = [];
  try {
    series = await ask("series");
  } catch (error) {
    main.replaceChildren(element("p", { role: "alert" }, String(error.message)));
    return;
  }
  if (!series.length) {
    main.replaceChildren(
      element("p", {}, "No picture has a tag that starts with “garden/”. `garden inspect` writes some."),
    );
    return;
  }
  // The pictures that were looked at come first of each image; to open with, a result says more.
  const choice = new Choice(series, FACETS);
  const opening = series.find((entry) => entry.method !== "input");
  if (opening) choice.show(opening);
  const other = { entry: null };

  const text = (facet, value) => value || { image: "The network itself", run: "." }[facet] || "overall";
  const steps = new Map();
  const stepsOf = (entry) => {
    const key = JSON.stringify([entry.run, entry.tag]);
    if (!steps.has(key)) steps.set(key, ask("steps", { run: entry.run, tag: entry.tag }));
    return steps.get(key);
  };
  const inputOf = (entry) =>
    series.find((found) => found.run === entry.run && found.image === entry.image && found.method === "input");
  const label = (entry) =>
    [entry.run !== choice.current.run ? entry.run : "", entry.image, entry.method, entry.layer, entry.unit]
      .filter(Boolean)
      .join(" · ");

  const comparison = globalThis.GardenComparison.create();
  const about = element("div", { class: "description", "aria-live": "polite" });
  // The last step, unless one was chosen.
  let stepPlace = Infinity;
  const stepSlider = element("input", {
    type: "range",
    min: 0,
    step: 1,
    oninput: () => {
      stepPlace = Number(stepSlider.value);
      draw();
    },
  });
  const stepText = element("output", {});
  const stepRow = element("label", { class: "between-label" }, element("span", {}, "Step"), stepSlider, stepText);
  const pin = element("button", { type: "button", onclick: () => compare(choice.current) }, "Pin this to compare");
  const unpin = element("button", { type: "button", onclick: () => compare(null) }, "Compare with the input");

  function compare(entry) {
    other.entry = entry;
    draw();
  }

  // A picture of a tag at a step, or the last one before; its size is known when it is there.
  async function load(entry, step) {
    const all = await stepsOf(entry);
    const at = all.filter((found) => found.step <= step).pop() ?? all[0];
    const picture = new Image();
    picture.src = `${new URL("picture", import.meta.url).pathname}?${new URLSearchParams({ key: at.key })}`;
    picture.alt = label(entry);
    await picture.decode();
    const node = () => element("img", { src: picture.src, alt: picture.alt });
    return { node, label: label(entry), width: picture.naturalWidth, height: picture.naturalHeight };
  }

  let drawing = 0;
  async function draw() {
    const own = ++drawing;
    const entry = choice.current;
    try {
      const all = await stepsOf(entry);
      if (own !== drawing) return;
      stepRow.hidden = all.length < 2;
      stepSlider.max = all.length - 1;
      const place = Math.min(all.length - 1, stepPlace);
      stepSlider.value = place;
      const step = all[place].step;
      stepText.textContent = String(step);
      const beside = other.entry ?? inputOf(entry);
      const [right, left] = await Promise.all([
        load(entry, step),
        beside && beside !== entry ? load(beside, step) : null,
      ]);
      // Another choice was made while these came.
      if (own !== drawing) return;
      comparison.show({ left: left && { ...left, label: other.entry ? `${left.label} (${B})` : "Input" }, right });
      // TensorBoard has made this HTML from Markdown, with all that could run taken out.
      about.innerHTML = entry.description;
      pin.disabled = other.entry === entry;
      unpin.hidden = !other.entry;
    } catch (error) {
      if (own === drawing) about.textContent = `This picture cannot be shown: ${error.message}`;
    }
  }

  choice.onChange(() => {
    stepPlace = Infinity;
    draw();
  });
  keys(choice);
  main.replaceChildren(
    bar(choice, { names: NAMES, text }),
    element("div", { class: "tools" }, comparison.element.firstChild, pin, unpin),
    comparison.element,
    stepRow,
    about,
    element("p", { class: "faint" }, "Keys: ← → methods, ↑ ↓ pictures, [ ] layers, , . classes and units."),
  );
  await draw();
}
