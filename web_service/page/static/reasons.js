// A bar for each reason, the strongest first; what is left over is one bar more.

const SHOWN = 8;
const SVG = "http://www.w3.org/2000/svg";
const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });
const signed = new Intl.NumberFormat("en", { signDisplay: "exceptZero", minimumFractionDigits: 2, maximumFractionDigits: 2 });

export function drawReasons(list, contributions) {
  const rows = contributions.slice(0, SHOWN).map((part) => ({ words: words(part), value: told(part), log_odds: part.log_odds }));
  const rest = contributions.slice(SHOWN);
  if (rest.length) {
    const sum = rest.reduce((total, part) => total + part.log_odds, 0);
    rows.push({ words: rest.length === 1 ? "One other feature" : `${rest.length} other features`, value: "", log_odds: sum });
  }
  const longest = Math.max(...rows.map((row) => Math.abs(row.log_odds)), 1e-9);
  list.replaceChildren(...rows.map((row) => item(row, longest)));
}

const words = (part) => part.description || part.feature.replaceAll("_", " ");

function told(part) {
  if (part.value === null) return "not known";
  if (typeof part.value === "boolean") return part.value ? "yes" : "no";
  const value = typeof part.value === "number" ? number.format(part.value) : part.value;
  return part.unit ? `${value} ${part.unit}` : value;
}

function item(row, longest) {
  const element = document.createElement("li");
  element.className = row.log_odds < 0 ? "away" : "towards";
  element.append(text("words", row.words), text("value", row.value), text("amount", signed.format(row.log_odds).replace("-", "−")), bar(row.log_odds / longest));
  return element;
}

function text(name, content) {
  const span = document.createElement("span");
  span.className = name;
  span.textContent = content;
  return span;
}

function bar(share) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "-100 0 200 8");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const width = Math.max(Math.abs(share) * 100, 0.5);
  svg.append(shape("rect", { x: -100, y: 0, width: 200, height: 8, class: "ground" }));
  svg.append(shape("rect", { x: share < 0 ? -width : 0, y: 0, width, height: 8, class: "part" }));
  svg.append(shape("rect", { x: -0.4, y: 0, width: 0.8, height: 8, class: "zero" }));
  return svg;
}

function shape(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
  return element;
}
