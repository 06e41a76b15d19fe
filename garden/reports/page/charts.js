// Curves as one chart, drawn as SVG, with the values where one points.
globalThis.GardenCharts = (() => {
  "use strict";
  const { element } = GardenSelectors;
  const { number } = GardenMaps;
  const WIDTH = 360;
  const HEIGHT = 220;
  const EDGE = { left: 44, right: 10, top: 10, bottom: 26 };
  // Told apart without colours, too.
  const DASHES = ["", "6 4", "2 3", "9 3 2 3", "12 4", "1 5"];

  function svg(name, attributes, ...children) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  // Round numbers within a range, about as many as wanted.
  function ticks(low, high, wanted) {
    const rough = (high - low) / wanted;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((times) => times * power >= rough);
    const found = [];
    for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + step * 1e-9; tick += step) {
      found.push(Math.abs(tick) < step * 1e-9 ? 0 : tick);
    }
    return found;
  }

  function range(numbers) {
    const finite = numbers.filter((value) => value !== null);
    if (!finite.length) return [0, 1];
    const low = finite.reduce((best, value) => Math.min(best, value));
    const high = finite.reduce((best, value) => Math.max(best, value));
    return low === high ? [low - 0.5, high + 0.5] : [low, high];
  }

  // Curves: [{name, x: [...], y: [...]}], null where there is no number.
  function chart(curves) {
    const [left, right] = range(curves.flatMap((curve) => curve.x));
    let [low, high] = range(curves.flatMap((curve) => curve.y));
    if (low > 0 && low < high / 2) low = 0;
    // Probabilities are compared on one scale.
    if (low >= 0 && high <= 1 && high > 0.5) [low, high] = [0, 1];
    const across = (x) => EDGE.left + ((x - left) / (right - left)) * (WIDTH - EDGE.left - EDGE.right);
    const up = (y) => HEIGHT - EDGE.bottom - ((y - low) / (high - low)) * (HEIGHT - EDGE.top - EDGE.bottom);
    const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img" });
    drawing.append(svg("title", {}, `Curves: ${curves.map((curve) => curve.name).join(", ")}`));
    for (const tick of ticks(low, high, 4)) {
      drawing.append(
        svg("line", { class: "grid", x1: EDGE.left, x2: WIDTH - EDGE.right, y1: up(tick), y2: up(tick) }),
        svg("text", { class: "tick", x: EDGE.left - 6, y: up(tick) + 4, "text-anchor": "end" }, number(tick)),
      );
    }
    for (const tick of ticks(left, right, 5)) {
      drawing.append(
        svg("text", { class: "tick", x: across(tick), y: HEIGHT - 8, "text-anchor": "middle" }, number(tick)),
      );
    }
    curves.forEach((curve, place) => {
      let path = "";
      let pen = "M";
      curve.x.forEach((x, point) => {
        const y = curve.y[point];
        if (x === null || y === null || y === undefined) {
          pen = "M";
          return;
        }
        path += `${pen}${across(x).toFixed(2)} ${up(y).toFixed(2)}`;
        pen = "L";
      });
      drawing.append(
        svg("path", { class: `curve tint-${place % 6}`, d: path, "stroke-dasharray": DASHES[place % 6] }),
      );
    });
    const ruler = svg("line", { class: "ruler", y1: EDGE.top, y2: HEIGHT - EDGE.bottom, visibility: "hidden" });
    drawing.append(ruler);
    const readings = curves.map(() => element("span", { class: "reading" }));
    const legend = element(
      "ul",
      { class: "legend" },
      ...curves.map((curve, place) =>
        element(
          "li",
          {},
          svg(
            "svg",
            { viewBox: "0 0 28 8", class: "key", "aria-hidden": "true" },
            svg("path", { class: `curve tint-${place % 6}`, d: "M0 4H28", "stroke-dasharray": DASHES[place % 6] }),
          ),
          element("span", {}, curve.name),
          readings[place],
        ),
      ),
    );
    const nearest = (curve, x) => {
      let best = -1;
      curve.x.forEach((at, point) => {
        if (at !== null && (best < 0 || Math.abs(at - x) < Math.abs(curve.x[best] - x))) best = point;
      });
      return best;
    };
    drawing.addEventListener("pointermove", (event) => {
      const area = drawing.getBoundingClientRect();
      const inside = ((event.clientX - area.left) / area.width) * WIDTH;
      const x = left + ((inside - EDGE.left) / (WIDTH - EDGE.left - EDGE.right)) * (right - left);
      const at = Math.min(right, Math.max(left, x));
      ruler.setAttribute("x1", across(at));
      ruler.setAttribute("x2", across(at));
      ruler.setAttribute("visibility", "visible");
      curves.forEach((curve, place) => {
        const point = nearest(curve, at);
        const y = point < 0 ? null : curve.y[point];
        readings[place].textContent = y === null ? "–" : `${number(y)} at ${number(curve.x[point])}`;
      });
    });
    drawing.addEventListener("pointerleave", () => {
      ruler.setAttribute("visibility", "hidden");
      for (const reading of readings) reading.textContent = "";
    });
    return element("div", { class: "curves" }, drawing, legend);
  }

  return { chart };
})();
