// All panels of the report at once: for each picture, a card for each method.
globalThis.GardenOverview = (() => {
  "use strict";
  const { element } = GardenSelectors;
  const { FACETS, badge, imageName, inspection, lazyPicture, name, panels, place, summary, title } = GardenInspection;

  function card(found, open) {
    const panel = found[0];
    const graded = found.filter((one) => one.verdicts.length);
    const follow = (event) => {
      // With these keys a browser opens a tab or a window of its own.
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      open(panel);
    };
    const address = new URLSearchParams(FACETS.filter((facet) => panel[facet]).map((facet) => [facet, panel[facet]]));
    return element(
      "a",
      { class: "card", href: `#${address}`, onclick: follow, "data-words": words(found) },
      element(
        "div",
        { class: "thumbnail" },
        lazyPicture(`thumbnail-${panel.number}`, panel.width, panel.height),
        panel.moving ? element("span", { class: "mark" }, "moves") : null,
        found.length > 1 ? element("span", { class: "mark more" }, `${found.length} pictures`) : null,
      ),
      element("b", {}, title(panel.method)),
      element("span", { class: "place" }, found.length > 1 ? "" : place(panel)),
      // Of several graded pictures none speaks for the others.
      graded.length === 1 ? element("span", { class: "badges" }, ...summary(graded[0].verdicts).map(badge)) : null,
    );
  }

  const words = (found) =>
    found.map((panel) => `${panel.image} ${panel.method} ${name(panel)} ${panel.caption}`).join(" ").toLowerCase();

  // `open(panel)` is called where one is chosen.
  function draw(open) {
    const overview = element("main", { class: "overview" });
    const filter = element("input", {
      type: "search",
      id: "filter",
      placeholder: "method, layer, class …",
      oninput: () => {
        const wanted = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
        for (const found of overview.querySelectorAll(".card")) {
          found.hidden = !wanted.every((word) => found.dataset.words.includes(word));
        }
        for (const section of overview.querySelectorAll("section")) {
          section.hidden = !section.querySelector(".card:not([hidden])");
        }
      },
    });
    const sections = [...new Set(panels.map((panel) => panel.image))].map((image) => {
      const own = panels.filter((panel) => panel.image === image);
      const shown = own.find((panel) => panel.input !== null);
      const byMethod = new Map();
      for (const panel of own) byMethod.set(panel.method, [...(byMethod.get(panel.method) ?? []), panel]);
      return element(
        "section",
        {},
        element(
          "h2",
          {},
          shown && image ? lazyPicture(`input-${shown.input}`) : null,
          element("span", {}, imageName(image), element("small", {}, ` ${byMethod.size} ${byMethod.size === 1 ? "method" : "methods"}`)),
        ),
        element("div", { class: "cards" }, ...[...byMethod.values()].map((found) => card(found, open))),
      );
    });
    const facts = Object.entries(inspection.facts).map(([key, value]) =>
      element("div", {}, element("dt", {}, key), element("dd", {}, value)),
    );
    overview.replaceChildren(
      element("dl", { class: "facts" }, ...facts),
      element("div", { class: "filter" }, element("label", { for: "filter" }, "Find"), filter),
      ...sections,
    );
    return overview;
  }

  return { draw };
})();
