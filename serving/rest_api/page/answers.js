// What a model answered → something to look at.

const MOST_BARS = 10;
const MOST_TEXT = 20000;

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// The outputs of an answer by alias, whichever of the four forms it came in.
export function outputsOf(answer, aliases) {
  const value = "outputs" in answer ? answer.outputs : answer.predictions?.length === 1 ? answer.predictions[0] : null;
  if (value === null || value === undefined) return null;
  if (aliases.length === 1) return { [aliases[0]]: value };
  return typeof value === "object" && !Array.isArray(value) ? value : null;
}

// [{name, score}, …], best first, where the outputs say that; else null.
export function scoresOf(outputs) {
  if (!outputs) return null;
  const row = (value) => (Array.isArray(value) && Array.isArray(value[0]) && value.length === 1 ? value[0] : value);
  const scores = row(outputs.scores ?? outputs.probabilities ?? outputs.predictions);
  const classes = row(outputs.classes ?? outputs.labels);
  const isNumbers = Array.isArray(scores) && scores.length > 0 && scores.every((score) => typeof score === "number");
  if (!isNumbers) return null;
  const hasNames = Array.isArray(classes) && classes.length === scores.length;
  return scores
    .map((score, index) => ({ name: hasNames ? String(classes[index]) : `class ${index}`, score }))
    .sort((a, b) => b.score - a.score)
    .slice(0, MOST_BARS);
}

export function showAnswer(place, { answer, aliases, milliseconds, version, requestBytes }) {
  const facts = [`${milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms there and back`];
  if (version) facts.unshift(`Version ${version} answered`);
  facts.push(`${size(requestBytes)} sent`);
  place.replaceChildren(element("p", { className: "facts" }, facts.join(" · ")));
  const scores = scoresOf(outputsOf(answer, aliases));
  const text = JSON.stringify(answer, null, 1);
  const cut = text.length > MOST_TEXT ? `${text.slice(0, MOST_TEXT)}\n… ${size(text.length)} in all` : text;
  const raw = element("pre", { tabIndex: 0, ariaLabel: "Answer as JSON" }, cut);
  if (!scores) {
    place.append(raw);
    return;
  }
  // Logits and the like have no fixed scale; the best one is as long as the bar.
  const most = Math.max(...scores.map(({ score }) => score));
  const full = most <= 1 && scores.every(({ score }) => score >= 0) ? 1 : Math.max(most, 1e-9);
  const bars = scores.map(({ name, score }) =>
    element(
      "li",
      { className: "score" },
      element("span", { className: "class" }, name),
      element("meter", { min: 0, max: full, value: Math.max(0, score), ariaHidden: "true" }),
      element("span", { className: "number" }, full === 1 ? `${(100 * score).toFixed(1)} %` : score.toPrecision(4)),
    ),
  );
  place.append(
    element("ol", { className: "scores" }, ...bars),
    element("details", {}, element("summary", {}, "Answer as JSON"), raw),
  );
}

export function showProblem(place, sentence) {
  place.replaceChildren(element("p", { className: "problem", role: "alert" }, sentence));
}

function size(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  return bytes < 1e6 ? `${(bytes / 1000).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
