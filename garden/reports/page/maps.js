// Maps: numbers of every pixel, their colours, and the bar that says what colours mean.
globalThis.GardenMaps = (() => {
  "use strict";
  const { element } = GardenSelectors;

  function bytes(base64) {
    return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  }

  function half(bits) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 0x1f;
    const fraction = bits & 0x3ff;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }

  // {height, width, step, scale, data} as the report stores it, with its numbers.
  function decode(stored) {
    const raw = bytes(stored.data);
    const view = new DataView(raw.buffer);
    const values = new Float32Array(raw.length / 2);
    for (let place = 0; place < values.length; place++) values[place] = half(view.getUint16(2 * place, true)) * stored.scale;
    const rows = Math.ceil(stored.height / stored.step);
    const columns = Math.ceil(stored.width / stored.step);
    return { ...stored, values, rows, columns };
  }

  // The value where one points, with its row and column in the whole map.
  function valueAt(map, point) {
    const row = Math.min(map.rows - 1, Math.floor((point.y * map.height) / map.step));
    const column = Math.min(map.columns - 1, Math.floor((point.x * map.width) / map.step));
    return { row: row * map.step, column: column * map.step, value: map.values[row * map.columns + column] };
  }

  function number(value) {
    if (!Number.isFinite(value)) return String(value);
    if (value === 0) return "0";
    const size = Math.abs(value);
    return size >= 1e-3 && size < 1e5 ? String(Number(value.toPrecision(4))) : value.toExponential(2);
  }

  // A canvas of the map's colours, values smoothly enlarged to the size of the picture.
  function colours(map, { palette, signed, limit }, width, height) {
    const canvas = element("canvas", { width, height });
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    const along = (count, size) =>
      Array.from({ length: size }, (_, place) => {
        const at = Math.min(count - 1, Math.max(0, ((place + 0.5) * count) / size - 0.5));
        const first = Math.min(Math.floor(at), count - 1);
        return [first, Math.min(first + 1, count - 1), at - first];
      });
    const downwards = along(map.rows, height);
    const across = along(map.columns, width);
    const share = (place) => {
      const relative = limit > 0 ? map.values[place] / limit : 0;
      return Math.min(1, Math.max(0, signed ? 0.5 + relative / 2 : relative));
    };
    const shares = Float32Array.from(map.values, (_, place) => share(place));
    let target = 0;
    for (const [top, bottom, down] of downwards) {
      for (const [left, right, over] of across) {
        const above = shares[top * map.columns + left] * (1 - over) + shares[top * map.columns + right] * over;
        const below = shares[bottom * map.columns + left] * (1 - over) + shares[bottom * map.columns + right] * over;
        const colour = 3 * Math.round(255 * (above * (1 - down) + below * down));
        image.data[target++] = palette[colour];
        image.data[target++] = palette[colour + 1];
        image.data[target++] = palette[colour + 2];
        image.data[target++] = 255;
      }
    }
    context.putImageData(image, 0, 0);
    return canvas;
  }

  // A picture in gray, so that its colours are not taken for the map's.
  function gray(address, width, height) {
    const canvas = element("canvas", { width, height });
    const picture = new Image();
    picture.addEventListener("load", () => {
      const context = canvas.getContext("2d");
      context.drawImage(picture, 0, 0, width, height);
      const image = context.getImageData(0, 0, width, height);
      for (let place = 0; place < image.data.length; place += 4) {
        const mean = (image.data[place] + image.data[place + 1] + image.data[place + 2]) / 3;
        image.data.fill(mean, place, place + 3);
      }
      context.putImageData(image, 0, 0);
    });
    picture.src = address;
    return canvas;
  }

  // What the colours mean, with a mark that `mark(value)` moves.
  function colourBar({ palette, signed, limit }) {
    const canvas = element("canvas", { width: 256, height: 1, class: "gradient" });
    const context = canvas.getContext("2d");
    const image = context.createImageData(256, 1);
    for (let place = 0; place < 256; place++) {
      image.data.set([palette[3 * place], palette[3 * place + 1], palette[3 * place + 2], 255], 4 * place);
    }
    context.putImageData(image, 0, 0);
    const pointer = element("div", { class: "pointer" });
    pointer.hidden = true;
    const ends = signed
      ? [`≤ −${number(limit)}`, "0", `≥ ${number(limit)}`]
      : ["0", number(limit / 2), `≥ ${number(limit)}`];
    const bar = element(
      "div",
      { class: "colour-bar", role: "img", "aria-label": `Colours from ${ends[0]} to ${ends[2]}` },
      element("div", { class: "track" }, canvas, pointer),
      element("div", { class: "ends" }, ...ends.map((text) => element("span", {}, text))),
    );
    function mark(value) {
      pointer.hidden = value === null || !Number.isFinite(value) || !(limit > 0);
      if (pointer.hidden) return;
      const relative = signed ? 0.5 + value / limit / 2 : value / limit;
      pointer.style.left = `${100 * Math.min(1, Math.max(0, relative))}%`;
    }
    return { element: bar, mark };
  }

  return { bytes, colourBar, colours, decode, gray, number, valueAt };
})();
