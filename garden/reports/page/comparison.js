// Two pictures compared: side by side, with a border to move between them, or one fading into the other.
globalThis.GardenComparison = (() => {
  "use strict";
  const { element } = GardenSelectors;
  const MODES = { side: "Side by side", wipe: "Wipe", fade: "Fade" };

  // `onPoint({x, y})` gets where one points, as shares of the picture; null when one leaves.
  function create({ onPoint = () => {} } = {}) {
    let pictures = null;
    let mode = "side";
    // Where the slider was left, by mode; fading starts where the pictures say.
    const places = { wipe: 50, fade: null };
    const stage = element("div", { class: "stage" });
    const slider = element("input", { type: "range", min: 0, max: 100, class: "between" });
    const sliderLabel = element("label", { class: "between-label" }, element("span"), slider);
    const buttons = Object.entries(MODES).map(([name, text]) =>
      element("button", { type: "button", "data-mode": name, onclick: () => setMode(name) }, text),
    );
    const modes = element("div", { class: "modes", role: "group", "aria-label": "How to compare" }, ...buttons);
    const whole = element("div", { class: "comparison" }, modes, stage, sliderLabel);

    slider.addEventListener("input", () => {
      places[mode] = Number(slider.value);
      place();
    });

    function setMode(name) {
      mode = name;
      draw();
    }

    // `left` and `right`: {node(): element, label, width, height}; `left` may be null. `fade`, if given:
    // {lower(), upper(), start, label} for pictures that fade otherwise than into each other.
    function show(shown) {
      const keep = pictures && pictures.fade && shown.fade && places.fade !== null;
      pictures = shown;
      if (!keep) places.fade = shown.fade ? shown.fade.start : 100;
      draw();
    }

    // Pictures of one shape and about one size can lie on each other; a sheet of many small ones is much larger.
    function alike() {
      const { left, right } = pictures;
      if (left === null) return false;
      const wider = Math.max(right.width / left.width, left.width / right.width);
      return wider < 2 && Math.abs((left.width * right.height) / (left.height * right.width) - 1) < 0.01;
    }

    function draw() {
      if (!pictures) return;
      const { left, right } = pictures;
      const layered = alike();
      const used = layered ? mode : "side";
      modes.hidden = left === null;
      for (const button of buttons) {
        const name = button.dataset.mode;
        button.disabled = name !== "side" && !layered;
        button.title = button.disabled ? "Only for pictures of one shape and size" : "";
        button.setAttribute("aria-pressed", String(name === used));
      }
      stage.dataset.mode = used;
      stage.classList.toggle("unequal", left !== null && !layered);
      sliderLabel.hidden = used === "side";
      if (used === "side") {
        const shown = left ? [frame(left.label, left, left.node())] : [];
        stage.replaceChildren(...shown, frame(right.label, right, right.node()));
        return;
      }
      const fade = used === "fade" && pictures.fade;
      const lower = fade ? fade.lower() : left.node();
      const upper = fade ? fade.upper() : right.node();
      upper.classList.add("upper");
      const label = fade ? fade.label : `${left.label} | ${right.label}`;
      const line = used === "wipe" ? element("div", { class: "border" }) : null;
      stage.replaceChildren(frame(label, right, lower, upper, line));
      slider.value = places[used];
      sliderLabel.firstChild.textContent = used === "wipe" ? "Border" : (fade && fade.slider) || "Opacity";
      place();
    }

    function place() {
      const upper = stage.querySelector(".upper");
      if (!upper) return;
      const share = Number(slider.value);
      if (stage.dataset.mode === "wipe") {
        upper.style.clipPath = `inset(0 0 0 ${share}%)`;
        stage.querySelector(".border").style.left = `${share}%`;
      } else {
        upper.style.opacity = share / 100;
      }
      slider.setAttribute("aria-valuetext", `${share} %`);
    }

    function frame(label, size, ...layers) {
      const cross = [element("div", { class: "cross across" }), element("div", { class: "cross down" })];
      const box = element(
        "div",
        {
          class: "frame",
          tabindex: 0,
          role: "img",
          "aria-label": `${label}. Arrow keys move the point whose value is shown.`,
          "data-keys": "",
        },
        ...layers,
        ...cross,
      );
      box.style.aspectRatio = `${size.width} / ${size.height}`;
      // All of it in sight at once, and small ones not blown up without end.
      box.style.maxWidth = `min(${(78 * size.width) / size.height}vh, ${Math.max(8 * size.width, 320)}px)`;
      box.classList.toggle("coarse", Math.max(size.width, size.height) < 128);
      let at = { x: 0.5, y: 0.5 };
      const point = (to) => {
        at = to;
        mark(to);
        onPoint(to);
      };
      const leave = () => {
        mark(null);
        onPoint(null);
      };
      const clamp = (share) => Math.min(1 - 1e-9, Math.max(0, share));
      const pointer = (event) => {
        const area = box.getBoundingClientRect();
        point({ x: clamp((event.clientX - area.left) / area.width), y: clamp((event.clientY - area.top) / area.height) });
      };
      let dragged = false;
      box.addEventListener("pointermove", (event) => {
        pointer(event);
        if (dragged && stage.dataset.mode === "wipe") drag();
      });
      box.addEventListener("pointerdown", (event) => {
        pointer(event);
        dragged = stage.dataset.mode === "wipe";
        if (dragged) {
          box.setPointerCapture(event.pointerId);
          drag();
        }
      });
      box.addEventListener("pointerup", () => (dragged = false));
      box.addEventListener("pointerleave", leave);
      box.addEventListener("blur", leave);
      function drag() {
        places.wipe = Math.round(at.x * 100);
        slider.value = places.wipe;
        place();
      }
      box.addEventListener("keydown", (event) => {
        const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
        if (!by) return;
        event.preventDefault();
        const far = event.shiftKey ? 10 : 1;
        point({ x: clamp(at.x + (far * by[0]) / size.width), y: clamp(at.y + (far * by[1]) / size.height) });
      });
      return element("figure", {}, box, element("figcaption", {}, label));
    }

    // A cross at the same place of every picture that has this place.
    function mark(at) {
      for (const box of stage.querySelectorAll(".frame")) {
        box.classList.toggle("pointed", at !== null && (!stage.classList.contains("unequal") || box.matches(":hover, :focus")));
        if (at === null) continue;
        box.querySelector(".across").style.top = `${at.y * 100}%`;
        box.querySelector(".down").style.left = `${at.x * 100}%`;
      }
    }

    return { element: whole, show, setMode };
  }

  return { create };
})();
