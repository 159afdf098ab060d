// A half circle from 0 to 100 %, filled up to the probability, with the threshold marked.

const CENTER = { x: 110, y: 112 };
const INNER = 68;
const OUTER = 92;
const LABEL = 103;
const format = new Intl.NumberFormat("en", { maximumFractionDigits: 1, minimumFractionDigits: 1 });

export const percent = (share) => `${format.format(100 * share)} %`;

export function drawGauge(svg, probability, threshold, positive) {
  svg.setAttribute("aria-label", `${percent(probability)} likely to ${positive}; the threshold is ${percent(threshold)}`);
  svg.querySelector(".level").setAttribute("stroke-dasharray", `${100 * probability} 200`);
  svg.querySelector(".percent").textContent = percent(probability);
  const [x1, y1] = point(threshold, INNER);
  const [x2, y2] = point(threshold, OUTER);
  set(svg.querySelector(".mark line"), { x1, y1, x2, y2 });
  const [x, y] = point(threshold, LABEL);
  const text = svg.querySelector(".mark text");
  set(text, { x, y: y + 3 });
  text.textContent = `${Math.round(100 * threshold)} %`;
}

function point(share, radius) {
  const angle = Math.PI * (1 - share);
  return [CENTER.x + radius * Math.cos(angle), CENTER.y - radius * Math.sin(angle)];
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value.toFixed(2));
}
