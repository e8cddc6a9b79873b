// Mainstay console: live fragments, ages that keep counting, and a question before what cannot be undone.
// Every page is complete without this module. It talks to this origin only and stores nothing.

const AGES_EVERY_MS = 1000;
const REFRESH_AT_MOST_EVERY_MS = 1500;
const WATCH_AGAIN_AFTER_MS = 15_000;

const sign = document.querySelector("[data-live-sign]");
const topics = (document.body.dataset.topics ?? "").split(" ").filter(Boolean);

/** @param {"on" | "lost"} state @param {string} words */
function say(state, words) {
  if (!sign) return;
  sign.hidden = false;
  sign.dataset.state = state;
  if (sign.textContent !== words) sign.textContent = words;
}

/** The same words as the server's `show::age`. */
function age(seconds) {
  if (seconds < 5) return "now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} days ago`;
}

// The server's clock, not this machine's, says what "now" is.
const serverAhead = Number(document.body.dataset.nowMs ?? Date.now()) - Date.now();

function countAges(root = document) {
  const now = Date.now() + serverAhead;
  for (const element of root.querySelectorAll("time[data-age]")) {
    const seconds = Math.floor((now - Date.parse(element.dateTime)) / 1000);
    if (seconds < 0) continue;
    const words = age(seconds);
    if (element.textContent !== words) element.textContent = words;
  }
}

/** Replaces each changed fragment, unless the reader is working in it. */
function swap(fresh) {
  // Both sides say the same ages, so that only real changes differ.
  countAges();
  countAges(fresh);
  for (const next of fresh.querySelectorAll("[data-live]")) {
    const now = document.getElementById(next.id);
    if (!now || now.innerHTML === next.innerHTML) continue;
    if (now.contains(document.activeElement) && document.activeElement !== document.body) continue;
    const open = new Set([...now.querySelectorAll("details[open][id]")].map((details) => details.id));
    now.replaceChildren(...next.childNodes);
    now.className = next.className;
    for (const details of now.querySelectorAll("details[id]")) details.open ||= open.has(details.id);
    now.classList.add("fresh");
    now.addEventListener("animationend", () => now.classList.remove("fresh"), { once: true });
  }
  const title = fresh.querySelector("title");
  if (title) document.title = title.textContent;
}

let fetching = false;
let again = false;
let lastFetch = 0;

async function refresh() {
  if (fetching) {
    again = true;
    return;
  }
  fetching = true;
  const wait = lastFetch + REFRESH_AT_MOST_EVERY_MS - Date.now();
  if (wait > 0) await new Promise((done) => setTimeout(done, wait));
  try {
    lastFetch = Date.now();
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "manual" });
    // A redirect means that the session ended: the next click will lead to the way in.
    if (answer.ok) swap(new DOMParser().parseFromString(await answer.text(), "text/html"));
    else say("lost", "Session ended, reload");
  } catch {
    say("lost", "Not live, retrying");
  } finally {
    fetching = false;
    if (again) {
      again = false;
      refresh();
    }
  }
}

function watch() {
  let seen = null;
  const source = new EventSource("/live");
  source.addEventListener("pulse", (event) => {
    const marks = JSON.parse(event.data).marks;
    const changed = seen !== null && topics.some((topic) => marks[topic] !== seen[topic]);
    seen = marks;
    say("on", "Live");
    if (changed) refresh();
  });
  source.addEventListener("error", () => {
    say("lost", "Not live, retrying");
    // A browser gives up on an answer that is not 200 (too many live pages, session ended); try again, slowly.
    if (source.readyState === EventSource.CLOSED) setTimeout(watch, WATCH_AGAIN_AFTER_MS);
  });
  addEventListener("pagehide", () => source.close(), { once: true });
}

document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.ask ?? event.target.dataset.ask;
  if (question && !confirm(question)) event.preventDefault();
});

// A page brought back from the history cache has no event source any more.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

if (document.querySelector("time[data-age]")) setInterval(() => countAges(), AGES_EVERY_MS);
if (topics.length > 0) watch();
