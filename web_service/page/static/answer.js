// The answer in the contract's words: verdict, gauge, and what was missing; then the reasons.
import { named } from "./form.js";
import { drawGauge, percent } from "./gauge.js";
import { drawReasons } from "./reasons.js";

const part = (id) => document.getElementById(id);
const section = part("answer");

export function showAnswer(answer) {
  part("waiting").hidden = true;
  part("answered").hidden = false;
  part("stale").hidden = true;
  part("reasons").hidden = true;
  part("reasons-problem").textContent = "";
  section.dataset.verdict = answer.churn ? "positive" : "negative";
  const label = answer.churn ? section.dataset.positive : section.dataset.negative;
  part("verdict").textContent = label.charAt(0).toUpperCase() + label.slice(1);
  part("sentence").textContent = `${answer.churn ? "Reaches" : "Below"} the threshold of ${percent(answer.threshold)}.`;
  drawGauge(part("gauge"), answer.churn_probability, answer.threshold, section.dataset.positive);
  part("notes").textContent = notes(answer);
  part("prediction-id").textContent = answer.prediction_id;
  part("model").textContent = answer.model_run_id.slice(0, 8);
  part("model").title = answer.model_run_id;
  reveal();
}

export function showReasons(explanation, answer) {
  part("reasons").hidden = false;
  const from = `From the average customer's ${percent(explanation.base_probability)}`;
  part("base").textContent = `${from}, each bar moves the answer by so many log-odds.`;
  drawReasons(part("bars"), explanation.contributions);
  reveal(); // again: only now is the page long enough
  if (explanation.model_run_id !== answer.model_run_id) {
    showReasonsProblem(`A new model (${explanation.model_run_id.slice(0, 8)}) has come in meanwhile: the reasons are its own.`);
  }
}

export function showReasonsProblem(detail) {
  part("reasons-problem").textContent = detail;
}

export function markStale() {
  part("stale").hidden = false;
}

// Where the answer is not beside the form, or scrolled past, its top is brought into view.
function reveal() {
  const { top } = section.getBoundingClientRect();
  if (top < 0 || top > window.innerHeight / 3) section.scrollIntoView({ block: "start" });
}

function notes(answer) {
  const said = [];
  if (answer.missing.length) said.push(`Not known: ${answer.missing.map(label).join(", ")}.`);
  if (answer.unknown.length) said.push(`Of an unknown level: ${answer.unknown.map(label).join(", ")}.`);
  return said.join(" ");
}

const label = (name) => named(part("form"), name)?.labels[0].firstChild.textContent ?? name;
