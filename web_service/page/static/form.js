// The form: its values as the contract's fields, and each problem beside the field that it is about.

const controls = (form) => form.querySelectorAll("[name]");

export function read(form) {
  const customer = {};
  for (const control of controls(form)) {
    const value = valueOf(control);
    if (value !== null) customer[control.name] = value;
  }
  return customer;
}

function valueOf(control) {
  if (control.validity.badInput) return "not a number"; // the browser hides what was typed; the service names the field
  const text = control.value.trim();
  if (text === "") return null;
  switch (control.dataset.type) {
    case "number":
    case "integer":
      return Number(text);
    case "boolean":
      return text === "true";
    default:
      return text;
  }
}

export function fill(form, customer) {
  for (const control of controls(form)) {
    if (control.name !== "customer_id") control.value = String(customer[control.name] ?? "");
  }
}

export function clearProblems(form) {
  form.querySelector("#problem").textContent = "";
  for (const control of form.querySelectorAll("[aria-invalid]")) {
    control.removeAttribute("aria-invalid");
    document.getElementById(`${control.id}-error`).textContent = "";
  }
}

export function showProblem(form, problem) {
  const wrong = (problem.errors ?? []).filter((error) => mark(named(form, error.field), `Expected ${error.expected}.`));
  const locked = [401, 403].includes(problem.status) && mark(document.getElementById("api-key"), aboutKey(problem));
  const first = form.querySelector("[aria-invalid]");
  const message = form.querySelector("#problem");
  message.textContent = wrong.length ? count(wrong.length) : locked ? "" : problem.detail;
  (first ?? message).focus();
}

export const named = (form, name) => form.querySelector(`[name="${CSS.escape(name)}"]`);

function mark(control, message) {
  if (!control) return false;
  control.setAttribute("aria-invalid", "true");
  document.getElementById(`${control.id}-error`).textContent = message;
  return true;
}

function aboutKey(problem) {
  const given = document.getElementById("api-key").value;
  return problem.status === 401 && given ? "This key is not known." : `${problem.title}.`;
}

const count = (wrong) => (wrong === 1 ? "One field needs mending." : `${wrong} fields need mending.`);
