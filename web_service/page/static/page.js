// Wires the form to the service: predict, then explain, then show both.
import { showAnswer, showReasons, showReasonsProblem, markStale } from "./answer.js";
import { post, Refused } from "./api.js";
import { clearProblems, fill, read, showProblem } from "./form.js";

const form = document.getElementById("form");
const key = document.getElementById("api-key");
const button = form.querySelector("[type=submit]");
const examples = JSON.parse(form.dataset.examples);
const KEY = "churnwatch-api-key";

if (key) {
  key.value = sessionStorage.getItem(KEY) ?? "";
  key.addEventListener("change", () => sessionStorage.setItem(KEY, key.value));
}
for (const choice of form.querySelectorAll("[data-example]")) {
  choice.addEventListener("click", () => {
    clearProblems(form);
    fill(form, examples[choice.dataset.example]);
    markStale();
  });
}
form.addEventListener("input", markStale);
form.addEventListener("reset", () => {
  clearProblems(form);
  const kept = key?.value;
  setTimeout(() => { if (key) key.value = kept; });
  markStale();
});
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (button.ariaDisabled === "true") return;
  clearProblems(form);
  button.ariaDisabled = "true";
  try {
    await ask(read(form));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    showProblem(form, error.problem);
  } finally {
    button.ariaDisabled = "false";
  }
});

async function ask(customer) {
  const answer = await post("predict", customer, key?.value);
  showAnswer(answer);
  try {
    showReasons(await post("explain", customer, key?.value), answer);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    showReasonsProblem(error.problem.detail);
  }
}
