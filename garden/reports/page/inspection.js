// The inspection that the report holds: its panels, and what they are called.
globalThis.GardenInspection = (() => {
  "use strict";
  const { element } = GardenSelectors;
  const FACETS = ["image", "method", "layer", "unit"];
  const NAMES = { image: "Picture", method: "Method", layer: "Layer", unit: "Class or unit" };
  const GROUPS = {
    attribution: "What a picture's answer rests on",
    synthesis: "Pictures that the network makes",
    folder: "About a folder of pictures",
    network: "About the network",
  };
  const SIGNS = { good: "✓", bad: "✗" };

  const stored = (name) => JSON.parse(document.getElementById(name).textContent);
  const inspection = stored("inspection");
  const panels = inspection.panels;
  panels.forEach((panel, number) => (panel.number = number));
  const palettes = Object.fromEntries(
    Object.entries(inspection.palettes).map(([name, colours]) => [name, GardenMaps.bytes(colours)]),
  );

  const title = (method) => inspection.methods[method]?.title ?? method;
  const group = (method) => GROUPS[inspection.methods[method]?.group] ?? "";
  // Panels without a picture are about the network or a folder, as their methods are.
  const withoutPicture = [
    ...new Set(
      panels
        .filter((panel) => !panel.image)
        .map((panel) => (inspection.methods[panel.method]?.group === "folder" ? "the folder" : "the network")),
    ),
  ].join(" and ");
  const imageName = (image) => image || withoutPicture[0].toUpperCase() + withoutPicture.slice(1);
  const place = (panel) => [panel.layer, panel.unit].filter(Boolean).join(" · ");
  const name = (panel) => [title(panel.method), place(panel)].filter(Boolean).join(", ");

  // Pictures are read when they come into sight: hundreds of them would take seconds and memory.
  const inSight = new IntersectionObserver(
    (entries) => {
      for (const entry of entries.filter((seen) => seen.isIntersecting)) {
        entry.target.src = stored(entry.target.dataset.stored);
        inSight.unobserve(entry.target);
      }
    },
    { rootMargin: "400px" },
  );

  function lazyPicture(name, width, height) {
    const picture = element("img", { alt: "", "data-stored": name, width, height });
    inSight.observe(picture);
    return picture;
  }

  function badge(verdict) {
    return element(
      "span",
      { class: `badge ${verdict.tone}`, title: verdict.sentence },
      element("span", { "aria-hidden": "true" }, `${SIGNS[verdict.tone]} `),
      verdict.short,
    );
  }

  // The deletion check, and whatever else a map fails.
  const summary = (verdicts) =>
    verdicts.filter((verdict, place) => verdict.short && (place === 0 || verdict.tone === "bad"));

  return {
    FACETS, NAMES, badge, group, imageName, inspection, lazyPicture, name, palettes, panels, place, stored, summary, title,
  };
})();
