// One way to the service: JSON there and back; whatever goes wrong is a problem document (RFC 9457).

export class Refused extends Error {
  constructor(problem) {
    super(problem.detail);
    this.problem = problem;
  }
}

export async function post(route, body, key) {
  const headers = { "Content-Type": "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  let response;
  try {
    response = await fetch(route, { method: "POST", headers, body: JSON.stringify(body) });
  } catch {
    throw new Refused({ status: 0, detail: "The service cannot be reached. Try again in a moment." });
  }
  const document = await response.json().catch(() => null);
  if (response.ok && document) return document;
  throw new Refused(document ?? { status: response.status, detail: `The service answered ${response.status}.` });
}
