// Scores records with an artifact, by docs/artifact.md alone:  node artifact_score.mjs model.json < records.json
// Prints one probability for each record of the list, or null for one that must be refused.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

const INVALID = Symbol("wrong"), UNKNOWN = Symbol("unknown");

export function load(bytes) {
  const end = bytes.indexOf(10) + 1;
  const artifact = JSON.parse(bytes.toString("utf8"));
  if (artifact.format !== "churnwatch-artifact" || artifact.version !== 1) throw new Error("no artifact of version 1");
  if (createHash("sha256").update(bytes.subarray(end)).digest("hex") !== artifact.sha256) throw new Error("altered");
  return artifact;
}

export function probability(artifact, record) {
  const columns = [];
  for (const feature of artifact.features) {
    const value = cleaned(feature, named(artifact, record)[feature.name], artifact.missing_spellings);
    if (value === INVALID) return null;
    if (value === null && feature.required) return null;
    if (value === UNKNOWN && feature.strict) return null;
    columns.push(...encoded(feature, value === UNKNOWN ? null : value));
  }
  const row = Float32Array.from(columns);
  let score = artifact.model.kind === "linear" ? linear(artifact.model, row) : trees(artifact.model, row);
  if (artifact.model.link === "probability") {
    const p = Math.min(Math.max(score, 1e-9), 1 - 1e-9);
    score = Math.log(p / (1 - p));
  }
  return 1 / (1 + Math.exp(-(artifact.calibration.slope * score + artifact.calibration.intercept)));
}

function named(artifact, record) {
  if (!artifact.positional.length || !("data" in record)) return record;
  const found = { ...record };
  artifact.positional.forEach((place, i) => {
    const number = record.data[i];
    const feature = artifact.features.find((one) => one.name === place);
    if (feature) found[place] = feature.type === "category" ? feature.levels[number] : number;
    else if (number === 1) found[place.slice(0, place.indexOf("="))] = place.slice(place.indexOf("=") + 1);
  });
  return found;
}

function cleaned(feature, value, missing) {
  if (value === undefined || value === null) return null;
  const text = typeof value === "string" ? value.trim() : undefined;
  if (feature.type === "number" || feature.type === "integer") {
    if (text !== undefined && missing.includes(text)) return null;
    if (typeof value !== "number") return INVALID;
    const inside = value >= (feature.minimum ?? -3e38) && value <= (feature.maximum ?? 3e38);
    return inside && (feature.type === "number" || Number.isInteger(value)) ? value : INVALID;
  }
  if (feature.type === "boolean") {
    if (value === true || value === 1) return 1;
    if (value === false || value === 0) return 0;
    const spelled = { true: true, false: false, ...feature.spellings };
    if (text !== undefined && Object.hasOwn(spelled, text)) return spelled[text] ? 1 : 0;
    return text !== undefined && missing.includes(text) ? null : INVALID;
  }
  if (text !== undefined) {
    for (const one of [value, text]) {
      const level = Object.hasOwn(feature.spellings, one) ? feature.spellings[one] : one;
      if (feature.levels.includes(level)) return feature.levels.indexOf(level);
    }
    return missing.includes(text) ? null : UNKNOWN;
  }
  const isIndex = feature.type === "ordinal" && Number.isInteger(value) && value >= 0 && value < feature.levels.length;
  return isIndex ? value : INVALID;
}

function encoded(feature, value) {
  if (feature.type === "category") return feature.levels.map((_, i) => (i === value ? 1 : 0));
  return [value === null ? NaN : value];
}

function linear(model, row) {
  let score = model.intercept;
  row.forEach((x, i) => { if (!Number.isNaN(x)) score += (model.weight[i] * (x - model.mean[i])) / model.scale[i]; });
  return score;
}

function trees(model, row) {
  let score = model.base;
  for (let node of model.roots) {
    while (model.left[node] !== -1) {
      const x = row[model.feature[node]];
      const goesLeft = Number.isNaN(x) ? model.missing_left[node] === 1 : x <= model.threshold[node];
      node = goesLeft ? model.left[node] : model.right[node];
    }
    score += model.value[node];
  }
  return score;
}

const artifact = load(readFileSync(process.argv[2]));
const records = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(records.map((record) => probability(artifact, record))));
