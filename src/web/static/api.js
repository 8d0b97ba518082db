// The server's answers.

import { byId } from "./dom.js";

/** Show what went wrong at the top of the page; without a message, hide it. */
export function tell(message) {
  const place = byId("fault");
  place.hidden = !message;
  place.textContent = message ?? "";
}

async function answered(request) {
  let response;
  try {
    response = await request;
  } catch (error) {
    if (error.name !== "AbortError") tell("The server does not answer. Is `make draw` still running?");
    throw error;
  }
  if (response.ok) {
    tell();
    return response;
  }
  const told = await response.json().catch(() => ({}));
  tell(told.message ?? `The server answers ${response.status}.`);
  throw new Error(told.message ?? `status ${response.status}`);
}

export const get = async (path) => (await answered(fetch(path))).json();
export const remove = async (path) => (await answered(fetch(path, { method: "DELETE" }))).json();
export const post = async (path, body) => (await answered(posted(path, body))).json();

function posted(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal });
}

/** Read server-sent events and hand each on as (event, content). */
export async function listen(path, body, signal, handle) {
  const response = await answered(posted(path, body, signal));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const [, name, content] = event.match(/^event: (.*)\ndata: (.*)$/s);
      handle(name, JSON.parse(content));
    }
  }
}
