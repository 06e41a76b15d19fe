// The report: one panel in detail, and the views of the page.
(() => {
  "use strict";
  const { Choice, bar, element, keys } = GardenSelectors;
  const { FACETS, NAMES, badge, group, imageName, inspection, lazyPicture, name, palettes, panels, place, stored, title } =
    GardenInspection;
  const page = document.getElementById("page");

  const choice = panels.length ? new Choice(panels, FACETS) : null;
  let pinned = null;

  // ---- one panel in detail ------------------------------------------------------------------------------------

  const detail = element("main", { class: "detail" });
  const readout = element("output", { class: "readout", "aria-live": "off" });
  let shownMap = null;
  let shownBar = null;
  let shownPanel = null;

  const comparison = GardenComparison.create({
    onPoint(point) {
      if (!shownPanel) return;
      if (point === null) {
        readout.textContent = hint();
        shownBar?.mark(null);
        return;
      }
      const x = Math.floor(point.x * shownPanel.width);
      const y = Math.floor(point.y * shownPanel.height);
      if (!shownMap) {
        readout.textContent = `x ${x}, y ${y}`;
        return;
      }
      const found = GardenMaps.valueAt(shownMap, point);
      const coarse = shownMap.width !== shownPanel.width || shownMap.height !== shownPanel.height;
      const cell = coarse ? ` (row ${found.row}, column ${found.column} of the map)` : "";
      readout.replaceChildren(`x ${x}, y ${y}${cell}: `, element("b", {}, GardenMaps.number(found.value)));
      shownBar?.mark(found.value);
    },
  });

  const hint = () =>
    shownMap ? "Point at the picture to read the map's values." : "Point at the picture to read positions.";

  // What moves can be stopped, and stands still for those who asked their system for that.
  let still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const stillButton = element("button", {
    type: "button",
    onclick: () => {
      still = !still;
      drawDetail(choice.current);
    },
  });

  function picture(panel, address) {
    if (panel.moving && still) address = stored(`thumbnail-${panel.number}`);
    return element("img", { src: address, alt: `${name(panel)}: ${panel.caption}` });
  }

  function layer(panel, heavy) {
    const address = (heavy ?? stored(`detail-${panel.number}`)).picture;
    return { node: () => picture(panel, address), label: name(panel), width: panel.width, height: panel.height };
  }

  function inputLayer(panel) {
    if (panel.input === null) return null;
    const address = stored(`input-${panel.input}`);
    const size = inspection.inputs[panel.input];
    return {
      node: () => element("img", { src: address, alt: `Input: ${imageName(panel.image)}` }),
      label: "Input",
      width: size.width,
      height: size.height,
      address,
    };
  }

  function drawDetail(panel) {
    const heavy = stored(`detail-${panel.number}`);
    shownPanel = panel;
    shownMap = heavy.map ? GardenMaps.decode(heavy.map) : null;
    const scale = { palette: palettes[panel.signed ? "signed" : "unsigned"], signed: panel.signed, limit: panel.limit };
    shownBar = shownMap && panel.drawing !== "picture" ? GardenMaps.colourBar(scale) : null;
    const input = inputLayer(panel);
    const left = pinned && pinned !== panel ? { ...layer(pinned), label: `Pinned: ${name(pinned)}` } : input;
    const fade =
      panel.drawing === "overlay" && left === input && input
        ? {
            lower: () => GardenMaps.gray(input.address, panel.width, panel.height),
            upper: () => GardenMaps.colours(shownMap, scale, panel.width, panel.height),
            start: 60,
            label: `${name(panel)}, over the input`,
            slider: "Opacity of the map",
          }
        : null;
    comparison.show({ left, right: layer(panel, heavy), fade });
    readout.textContent = hint();
    about.replaceChildren(...aboutPanel(panel, heavy));
    barPlace.replaceChildren(...(shownBar ? [shownBar.element] : []));
    if (shownBar && panel.drawing === "overlay") {
      barPlace.append(element("p", { class: "faint small" }, "The picture mixes these colours 60 to 40 with the gray input; Fade shows other mixtures."));
    }
    // The strips are made anew: who steps through them by keyboard stays where they are.
    const focused = [...strips.children].findIndex((section) => section.contains(document.activeElement));
    const heading = strips.children[focused]?.firstChild.textContent;
    strips.replaceChildren(
      strip("Layers, classes and units of this method", siblings(panel, ["image", "method"]), (other) => place(other)),
      strip(`All methods for ${imageName(panel.image)}`, first(siblings(panel, ["image"])), (other) => title(other.method)),
      strip(`${title(panel.method)} for all pictures`, firstOfImages(panel), (other) => imageName(other.image)),
    );
    for (const section of strips.querySelectorAll("section")) {
      const current = section.querySelector("[aria-current]");
      const list = section.querySelector("ul");
      if (current) list.scrollLeft = current.offsetLeft - list.offsetLeft - list.clientWidth / 2 + current.clientWidth / 2;
      if (current && section.firstChild.textContent === heading) current.focus({ preventScroll: true });
    }
    stillButton.hidden = !panel.moving;
    stillButton.textContent = still ? "Play" : "Pause";
    pinButton.setAttribute("aria-pressed", String(pinned === panel));
    pinButton.textContent = pinned === panel ? "Unpin" : pinned ? "Pin this instead" : "Pin to compare";
    unpinButton.hidden = !pinned || pinned === panel;
    position.textContent = `${panels.indexOf(panel) + 1} of ${panels.length}`;
  }

  const siblings = (panel, facets) => panels.filter((other) => facets.every((facet) => other[facet] === panel[facet]));

  function first(found) {
    const seen = new Map();
    for (const panel of found) if (!seen.has(panel.method)) seen.set(panel.method, panel);
    // The shown panel stands for its method.
    if (found.includes(choice.current)) seen.set(choice.current.method, choice.current);
    return [...seen.values()];
  }

  function firstOfImages(panel) {
    const seen = new Map([[panel.image, panel]]);
    for (const other of siblings(panel, ["method"])) if (!seen.has(other.image)) seen.set(other.image, other);
    return panels.filter((other) => seen.get(other.image) === other);
  }

  function strip(heading, found, text) {
    if (found.length < 2) return "";
    return element(
      "section",
      { class: "strip" },
      element("h2", {}, heading),
      element(
        "ul",
        {},
        ...found.map((panel) =>
          element(
            "li",
            {},
            element(
              "button",
              {
                type: "button",
                "aria-current": panel === choice.current ? "true" : false,
                onclick: () => choice.show(panel),
              },
              lazyPicture(`thumbnail-${panel.number}`),
              element("span", {}, text(panel) || title(panel.method)),
            ),
          ),
        ),
      ),
    );
  }

  function aboutPanel(panel, heavy) {
    const method = inspection.methods[panel.method];
    const parts = [
      element("h1", {}, title(panel.method)),
      element("p", { class: "place" }, [imageName(panel.image), place(panel)].filter(Boolean).join(" · ")),
      element("p", { class: "caption" }, panel.caption),
    ];
    if (panel.note) {
      parts.push(element("p", { class: "note", role: "note" }, element("b", {}, "Note: "), panel.note));
    }
    if (panel.verdicts.length) {
      parts.push(
        element("h2", {}, "How far it can be trusted"),
        element(
          "table",
          { class: "grades" },
          element(
            "tbody",
            {},
            ...panel.verdicts.map((verdict) =>
              element(
                "tr",
                {},
                element("th", { scope: "row" }, verdict.name, element("div", { class: "figure" }, verdict.figure)),
                element("td", {}, verdict.short ? badge(verdict) : null, element("p", {}, verdict.sentence)),
              ),
            ),
          ),
        ),
      );
    }
    if (heavy.curves) parts.push(element("h2", {}, "Curves"), GardenCharts.chart(heavy.curves));
    if (method) {
      parts.push(element("h2", {}, "About this method"), element("p", {}, method.about), source(method.source));
    }
    const shapes = Object.entries(heavy.shapes).map(([key, shape]) => `${key} (${shape.join(" × ") || "one number"})`);
    parts.push(
      element("h2", {}, "Files"),
      element("p", { class: "files" }, ...panel.files.flatMap((file) => [element("code", {}, file), " "])),
    );
    if (shapes.length) parts.push(element("p", { class: "faint" }, `Raw values: ${shapes.join(", ")}.`));
    return parts;
  }

  // A paper with its addresses as links.
  function source(text) {
    const parts = text.split(/(https:\/\/[^\s;,]+)/);
    const link = (address) => element("a", { href: address, rel: "noopener noreferrer", target: "_blank" }, address);
    return element("p", { class: "faint" }, ...parts.map((part, place) => (place % 2 ? link(part) : part)));
  }

  const about = element("aside", { class: "about", "aria-live": "polite" });
  const barPlace = element("div", { class: "bar-place" });
  const strips = element("div", { class: "strips" });
  const position = element("span", { class: "faint" });
  const pinButton = element("button", { type: "button", onclick: () => pin(pinned === choice.current ? null : choice.current) });
  const unpinButton = element("button", { type: "button", onclick: () => pin(null) }, "Unpin");

  function pin(panel) {
    pinned = panel;
    drawDetail(choice.current);
  }

  // ---- the page -------------------------------------------------------------------------------------------------

  let view = "overview";
  const overview = GardenOverview.draw((panel) => {
    choice.show(panel);
    showView("detail");
  });

  function showView(wanted, { remember = true } = {}) {
    const before = view;
    view = wanted;
    overview.hidden = view !== "overview";
    detail.hidden = view !== "detail";
    for (const tab of tabs) tab.setAttribute("aria-pressed", String(tab.dataset.view === view));
    if (view === "detail") drawDetail(choice.current);
    if (before !== view) window.scrollTo(0, 0);
    if (remember) writeAddress(before !== view);
  }

  // The address names what is shown, so that it can be sent to others; only views are steps to go back to.
  function writeAddress(isStep) {
    const address = view === "overview" ? "#" : `#${choice.address()}`;
    if ((location.hash || "#") === address) return;
    if (isStep) history.pushState(null, "", address);
    else history.replaceState(null, "", address);
  }

  function readAddress() {
    const named = choice.at(location.hash.slice(1));
    if (named) choice.show(named);
    showView(named ? "detail" : "overview", { remember: false });
  }

  const tabs = ["overview", "detail"].map((wanted) =>
    element(
      "button",
      { type: "button", "data-view": wanted, onclick: () => showView(wanted) },
      wanted === "overview" ? "Overview" : "Detail",
    ),
  );

  const header = element(
    "header",
    {},
    element("div", { class: "title" }, inspection.title),
    element("nav", { class: "modes", "aria-label": "View" }, ...tabs),
  );
  page.replaceChildren(header, overview, detail);
  if (!choice) {
    overview.replaceChildren(element("p", {}, "This inspection has no pictures."));
    return;
  }
  const selectors = bar(choice, {
    names: NAMES,
    text: (facet, value) => (facet === "method" ? title(value) : facet === "image" ? imageName(value) : value || "overall"),
    group: (facet, value) => (facet === "method" ? group(value) : ""),
  });
  detail.replaceChildren(
    selectors,
    element(
      "div",
      { class: "columns" },
      element(
        "div",
        { class: "pictures" },
        element("div", { class: "tools" }, comparison.element.firstChild, stillButton, pinButton, unpinButton, position),
        comparison.element,
        readout,
        barPlace,
      ),
      about,
      strips,
    ),
    element(
      "p",
      { class: "faint keys" },
      "Keys: ← → methods, ↑ ↓ pictures, [ ] layers, , . classes and units, o overview. Arrows in a picture move the point.",
    ),
  );
  choice.onChange(() => {
    if (view !== "detail") return;
    drawDetail(choice.current);
    writeAddress(false);
  });
  keys(choice, () => view === "detail");
  document.addEventListener("keydown", (event) => {
    if (event.key === "o" && !event.target.closest("input, select") && !event.ctrlKey && !event.metaKey) {
      showView(view === "overview" ? "detail" : "overview");
    }
  });
  window.addEventListener("popstate", readAddress);
  window.addEventListener("hashchange", readAddress);
  readAddress();
})();
