// Selectors: entries that facets tell apart, one of them shown. Used by the report and by TensorBoard's tab.
// Text from outside only ever becomes text nodes and attributes, never markup.
globalThis.GardenSelectors = (() => {
  "use strict";

  // An element with attributes and children; children may be strings.
  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else if (value === true) made.setAttribute(key, "");
      else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
    }
    made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
    return made;
  }

  // What is shown, out of entries: objects with a text for each facet. Facets are ordered: the values on offer of one
  // are those of the entries that agree with the shown one in all facets before.
  class Choice {
    constructor(entries, facets) {
      this.entries = entries;
      this.facets = facets;
      this.current = entries[0];
      this.listeners = [];
    }

    onChange(listener) {
      this.listeners.push(listener);
    }

    show(entry) {
      if (entry === this.current) return;
      this.current = entry;
      for (const listener of this.listeners) listener(entry);
    }

    values(facet) {
      const before = this.facets.slice(0, this.facets.indexOf(facet));
      const agreeing = this.entries.filter((entry) => before.every((name) => entry[name] === this.current[name]));
      return [...new Set(agreeing.map((entry) => entry[facet]))];
    }

    // The entry with this value that keeps as many of the other facets as there are, earlier ones first.
    choose(facet, value) {
      const place = this.facets.indexOf(facet);
      let left = this.entries.filter(
        (entry) =>
          entry[facet] === value &&
          this.facets.slice(0, place).every((name) => entry[name] === this.current[name]),
      );
      if (!left.length) return;
      for (const name of this.facets.slice(place + 1)) {
        const kept = left.filter((entry) => entry[name] === this.current[name]);
        if (kept.length) left = kept;
      }
      this.show(left[0]);
    }

    // The next value of a facet, or the one before; from the last to the first.
    move(facet, by) {
      const values = this.values(facet);
      const place = values.indexOf(this.current[facet]);
      this.choose(facet, values[(place + by + values.length) % values.length]);
    }

    address() {
      const named = this.facets.filter((facet) => this.current[facet] !== "");
      return new URLSearchParams(named.map((facet) => [facet, this.current[facet]])).toString();
    }

    // The entry that an address names; undefined where there is none.
    at(address) {
      const wanted = new URLSearchParams(address);
      if (!this.facets.some((facet) => wanted.has(facet))) return undefined;
      const score = (entry) =>
        this.facets.reduce((sum, facet) => sum * 2 + ((wanted.get(facet) ?? "") === entry[facet] ? 1 : 0), 0);
      return this.entries.reduce((best, entry) => (score(entry) > score(best) ? entry : best));
    }
  }

  // One drop-down list for each facet, with buttons for the next and the one before. Facets without a choice hide.
  // `names`: what a facet is called. `text(facet, value)`: what a value is called. `group(facet, value)`: its heading.
  function bar(choice, { names, text = (_, value) => value, group = () => "" }) {
    const parts = choice.facets.map((facet) => {
      const id = `choose-${facet}`;
      const select = element("select", { id, onchange: () => choice.choose(facet, select.value) });
      const step = (by, sign, word) =>
        element(
          "button",
          {
            type: "button",
            class: "step",
            title: `${word} ${names[facet].toLowerCase()}`,
            "aria-label": `${word} ${names[facet].toLowerCase()}`,
            onclick: () => choice.move(facet, by),
          },
          sign,
        );
      const whole = element(
        "div",
        { class: "selector" },
        element("label", { for: id }, names[facet]),
        element("div", { class: "steps" }, step(-1, "‹", "Previous"), select, step(1, "›", "Next")),
      );
      return { facet, select, whole };
    });

    function update() {
      for (const { facet, select, whole } of parts) {
        const values = choice.values(facet);
        whole.hidden = values.length === 1 && values[0] === "";
        for (const button of whole.querySelectorAll("button")) button.disabled = values.length < 2;
        const groups = new Map();
        for (const value of values) {
          const heading = group(facet, value);
          if (!groups.has(heading)) groups.set(heading, []);
          groups.get(heading).push(element("option", { value }, text(facet, value)));
        }
        select.replaceChildren(
          ...[...groups].flatMap(([heading, options]) =>
            heading ? [element("optgroup", { label: heading }, options)] : options,
          ),
        );
        select.value = choice.current[facet];
      }
    }

    choice.onChange(update);
    update();
    return element("div", { class: "selectors", role: "group", "aria-label": "What is shown" }, ...parts.map((part) => part.whole));
  }

  // Keys, and the facet that each moves through.
  const MOVES = {
    ArrowLeft: ["method", -1],
    ArrowRight: ["method", 1],
    ArrowUp: ["image", -1],
    ArrowDown: ["image", 1],
    "[": ["layer", -1],
    "]": ["layer", 1],
    ",": ["unit", -1],
    ".": ["unit", 1],
  };

  // Move through facets by keys; not while something else takes them.
  function keys(choice, isActive = () => true) {
    document.addEventListener("keydown", (event) => {
      const busy = event.target.closest?.("input, select, textarea, [data-keys]");
      if (busy || event.ctrlKey || event.metaKey || event.altKey || !(event.key in MOVES) || !isActive()) return;
      event.preventDefault();
      choice.move(...MOVES[event.key]);
    });
  }

  return { Choice, bar, element, keys };
})();
