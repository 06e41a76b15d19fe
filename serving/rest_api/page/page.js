import { element, showAnswer, showProblem } from "./answers.js";
import { pictureInput, pictureNote, pictureValue, shapeOf } from "./pictures.js";

const POLL_MILLISECONDS = 2000;
const STATES = {
  START: "found", LOADING: "loading", AVAILABLE: "available", UNLOADING: "unloading", END: "ended", UNKNOWN: "unknown",
};
const get = (id) => document.getElementById(id);

let models = [];
let shownModels = "";
let chosen = ""; // the model's name
let signatures = {};
let mode = "picture";
let lastFile = null;
let asked = 0;
let shownSignatures = "";

const token = { value: sessionStorage.getItem("token") ?? "" };

async function ask(path, options = {}) {
  const headers = token.value ? { Authorization: `Bearer ${token.value}` } : {};
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Error("The server cannot be reached.");
  }
  const text = await response.text();
  if (response.status === 401) {
    get("token-form").hidden = false;
    throw new Error(token.value ? "The server does not know this token." : "The server asks for a token.");
  }
  if (!response.ok) throw new Error(sentence(response.status, text));
  return { response, text };
}

function sentence(status, text) {
  try {
    return JSON.parse(text).error;
  } catch {
    return `The server answered with status ${status}${text ? `: ${text.slice(0, 300)}` : "."}`;
  }
}

// NaN and Infinity are numbers to the server and words to JavaScript.
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return JSON.parse(text.replace(/"(?:[^"\\]|\\.)*"|-?(?:NaN|Infinity)/g, (match) => (match[0] === '"' ? match : `"${match}"`)));
  }
}

async function refresh() {
  const pulse = get("pulse");
  try {
    const { text } = await ask("page/models");
    const answer = JSON.parse(text);
    models = answer.models;
    pulse.className = "pulse";
    pulse.textContent = answer.is_draining ? "The server is shutting down" : "Up to date";
    if (token.value) get("token-form").hidden = true;
    if (text !== shownModels) {
      shownModels = text;
      showModels();
    }
  } catch (error) {
    pulse.className = "pulse bad";
    pulse.textContent = error.message;
  }
}

async function poll() {
  if (document.visibilityState === "visible") await refresh();
  setTimeout(poll, POLL_MILLISECONDS);
}

function showModels() {
  const focused = document.activeElement?.dataset?.model;
  if (!models.some(({ name }) => name === chosen)) chosen = models[0]?.name ?? "";
  get("no-models").hidden = models.length > 0;
  get("models").replaceChildren(
    ...models.map((model) => {
      const button = element(
        "button",
        { type: "button", className: "model", "aria-current": String(model.name === chosen), "data-model": model.name },
        element("span", { className: "name" }, model.name),
        element("span", { className: "states" }, ...model.versions.slice(0, 4).map(stateBadge)),
      );
      button.addEventListener("click", () => choose(model.name));
      return element("li", {}, button);
    }),
  );
  if (focused) get("models").querySelector(`[data-model="${CSS.escape(focused)}"]`)?.focus();
  showModel();
}

function stateBadge({ version, state, error_code: code }) {
  const text = code ? "failed" : STATES[state] ?? state;
  return element("span", { className: `state ${code ? "failed" : state}` }, `${version} ${text}`);
}

function choose(name) {
  chosen = name;
  shownSignatures = "";
  signatures = {};
  get("signature").replaceChildren();
  get("answer").replaceChildren();
  showSignature();
  showModels();
}

function showModel() {
  const model = models.find(({ name }) => name === chosen);
  get("model").hidden = !model;
  if (!model) return;
  get("model-name").textContent = model.name;
  get("versions").tBodies[0].replaceChildren(
    ...model.versions.map((version) =>
      element(
        "tr",
        {},
        element("td", {}, version.version),
        element(
          "td",
          {},
          stateBadge({ ...version, version: "" }),
          ...(version.error_code ? [element("p", {}, `${version.error_code}: ${version.error_message}`)] : []),
        ),
        element("td", {}, ...version.labels.map((label) => element("span", { className: "label" }, label))),
      ),
    ),
  );
  const available = model.versions.filter(({ state }) => state === "AVAILABLE");
  get("try").hidden = available.length === 0;
  get("nothing-to-try").hidden = available.length > 0;
  if (available.length === 0) return;
  const select = get("version");
  const wanted = select.value;
  const options = [["", "the latest"], ...available.map(({ version }) => [version, version])];
  select.replaceChildren(...options.map(([value, text]) => element("option", { value }, text)));
  select.value = options.some(([value]) => value === wanted) ? wanted : "";
  showSignatures();
}

function modelPath() {
  const version = get("version").value;
  return `v1/models/${encodeURIComponent(chosen)}${version ? `/versions/${version}` : ""}`;
}

async function showSignatures() {
  const path = modelPath();
  // The latest version may be another one now.
  const key = `${path} ${get("version").value || get("version").options[1].value}`;
  if (key === shownSignatures) return;
  shownSignatures = key;
  try {
    const { text } = await ask(`${path}/metadata`);
    if (key !== shownSignatures) return;
    const all = parse(text).metadata.signature_def.signature_def;
    signatures = Object.fromEntries(Object.entries(all).filter(([name]) => !name.startsWith("__")));
  } catch (error) {
    if (key !== shownSignatures) return;
    shownSignatures = "";
    signatures = {};
    showProblem(get("answer"), error.message);
  }
  const names = Object.keys(signatures).sort(
    (a, b) => (b === "serving_default") - (a === "serving_default") || a.localeCompare(b),
  );
  const wanted = get("signature").value;
  get("signature").replaceChildren(...names.map((name) => element("option", { value: name }, name)));
  if (names.includes(wanted)) get("signature").value = wanted;
  showSignature();
}

function showSignature() {
  const signature = signatures[get("signature").value];
  const rows = [];
  for (const [kind, tensors] of [["in", signature?.inputs ?? {}], ["out", signature?.outputs ?? {}]]) {
    for (const [alias, tensor] of byName(tensors)) {
      const shape = shapeOf(tensor);
      const sizes = shape ? `[${shape.map((size) => (size < 0 ? "any" : size)).join(", ")}]` : "any";
      rows.push(
        element(
          "tr",
          {},
          element("td", {}, element("span", { className: "faint" }, `${kind} `), alias),
          element("td", {}, tensor.dtype.replace("DT_", "").toLowerCase()),
          element("td", {}, sizes),
        ),
      );
    }
  }
  get("tensors").tBodies[0].replaceChildren(...rows);
  const picture = signature ? pictureInput(signature) : null;
  get("modes").hidden = !picture;
  get("picture-note").textContent = picture ? pictureNote(picture) : "";
  get("body").value = signature ? template(get("signature").value, signature) : "";
  showMode(picture ? mode : "json");
}

function showMode(shown) {
  get("picture-pane").hidden = shown !== "picture";
  get("json-pane").hidden = shown !== "json";
  get("mode-picture").ariaPressed = String(shown === "picture");
  get("mode-json").ariaPressed = String(shown === "json");
}

// JSON's order of tensors is chance.
function byName(tensors) {
  return Object.entries(tensors).sort(([a], [b]) => a.localeCompare(b));
}

// A request that only lacks sensible values.
function template(name, signature) {
  const isExamples = /\/(classify|regress)$/.test(signature.method_name);
  if (isExamples) return JSON.stringify({ signature_name: name, examples: [{ feature: 0 }] }, null, 2);
  const inputs = {};
  for (const [alias, tensor] of byName(signature.inputs)) {
    const zero = tensor.dtype === "DT_STRING" ? "" : tensor.dtype === "DT_BOOL" ? false : 0;
    const sizes = (shapeOf(tensor) ?? [1]).map((size) => (size < 0 ? 1 : size));
    // Thousands of zeros help nobody.
    inputs[alias] = sizes.reduce((a, b) => a * b, 1) > 64 ? [] : sizes.reduceRight((value, size) => Array(size).fill(value), zero);
  }
  return JSON.stringify({ signature_name: name, inputs }, null, 2).replace(/\[[\s\d,"]*\]/g, (list) => list.replace(/\s+/g, " "));
}

async function predict(makeBody) {
  const place = get("answer");
  const number = ++asked;
  place.replaceChildren(element("p", { className: "facts busy" }, "Asking the model"));
  const signature = signatures[get("signature").value];
  if (!signature) return showProblem(place, "The signatures are not there yet; try again in a moment.");
  const verb = /\/(classify|regress)$/.exec(signature.method_name)?.[1];
  try {
    const body = await makeBody();
    const isExamples = verb && /"examples"\s*:/.test(body);
    const started = performance.now();
    const { response, text } = await ask(`${modelPath()}:${isExamples ? verb : "predict"}`, { method: "POST", body });
    const milliseconds = performance.now() - started;
    if (number !== asked) return;
    const version = response.headers.get("X-Model-Version");
    const requestBytes = new Blob([body]).size;
    showAnswer(place, { answer: parse(text), aliases: Object.keys(signature.outputs), milliseconds, version, requestBytes });
    place.scrollIntoView({ block: "nearest" });
  } catch (error) {
    if (number === asked) showProblem(place, error.message);
  }
}

function predictPicture(file) {
  const input = signatures[get("signature").value] && pictureInput(signatures[get("signature").value]);
  if (!input || !file) return;
  lastFile = file;
  const preview = get("preview");
  URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(file);
  preview.alt = file.name;
  preview.hidden = false;
  get("drop-text").textContent = `${file.name} — drop, choose or paste another`;
  predict(async () =>
    JSON.stringify({ signature_name: get("signature").value, inputs: { [input.alias]: await pictureValue(input, file) } }),
  );
}

get("host").textContent = location.host;
get("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token.value = get("token").value.trim();
  sessionStorage.setItem("token", token.value);
  get("answer").replaceChildren();
  shownModels = shownSignatures = "";
  refresh();
});
get("version").addEventListener("change", showSignatures);
get("signature").addEventListener("change", () => {
  get("answer").replaceChildren();
  showSignature();
  // The picture stays; what this signature says of it is one more question.
  if (!get("picture-pane").hidden && lastFile) predictPicture(lastFile);
});
for (const name of ["picture", "json"]) {
  get(`mode-${name}`).addEventListener("click", () => showMode((mode = name)));
}
get("json-pane").addEventListener("submit", (event) => {
  event.preventDefault();
  predict(async () => get("body").value);
});
get("file").addEventListener("change", () => {
  predictPicture(get("file").files[0]);
  get("file").value = ""; // the same file may be chosen again
});
preparePreview();
prepareDrop();
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && refresh());
poll();

function preparePreview() {
  get("preview").addEventListener("error", () => (get("preview").hidden = true));
}

function prepareDrop() {
  const isOverPane = () => !get("try").hidden && !get("picture-pane").hidden;
  document.addEventListener("dragover", (event) => {
    event.preventDefault(); // a file that misses the frame must not replace the page
    get("drop").classList.toggle("over", isOverPane());
  });
  document.addEventListener("dragleave", () => get("drop").classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    get("drop").classList.remove("over");
    if (isOverPane()) predictPicture(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find(({ type }) => type.startsWith("image/"));
    if (file && isOverPane()) predictPicture(file);
  });
}
