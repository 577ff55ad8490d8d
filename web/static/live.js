// Live updates: replaces the sections of the page that differ, by patches of an event stream at the page's own URL.
// There is no stream while the tab is hidden. Without this script the page is complete and changes by reload. A page
// that does not hear that it is the present one says since when.

const main = document.querySelector("main[data-live]");
const stale = document.getElementById("stale");
const RETRY_MS = 5000;
// After a stream that has worked: it has a longest time.
const REOPEN_MS = 200;
// The server sends an event every 4 seconds.
const SILENT_MAX_MS = 10000;
let source = null;
let over = false;
let retry = null;
// When the page was the present one last, when this stream was opened, and whether it has worked.
let heard = Date.now();
let opened = Date.now();
let works = false;

function utc(ms) {
  return new Date(ms).toISOString().slice(0, 19).replace("T", " ") + "Z";
}

function isLive() {
  heard = Date.now();
  works = true;
  stale.hidden = true;
  const asof = document.getElementById("asof");
  if (asof !== null) asof.textContent = "as of " + utc(heard);
}

function isStale() {
  if (!stale.hidden) return;
  document.getElementById("stale-since").textContent = utc(heard).slice(11);
  stale.hidden = false;
}

// A section in which the user is typing or about to press a button stays as it is until the next patch.
function isInUse(section) {
  const active = document.activeElement;
  return active !== null && active !== document.body && section.contains(active);
}

function patch(html) {
  const parsed = new DOMParser().parseFromString(html, "text/html").body;
  const next = [...parsed.children];
  const now = [...main.children];
  const same = next.length === now.length && next.every((section, at) => section.id === now[at].id);
  if (!same) {
    if (!isInUse(main)) main.replaceChildren(...next);
    return;
  }
  next.forEach((section, at) => {
    if (section.innerHTML !== now[at].innerHTML && !isInUse(now[at])) now[at].replaceWith(section);
  });
}

function close() {
  clearTimeout(retry);
  source?.close();
  source = null;
}

function open() {
  if (over || source !== null || document.hidden) return;
  opened = Date.now();
  works = false;
  source = new EventSource(location.href);
  source.addEventListener("patch", (event) => {
    patch(event.data);
    isLive();
  });
  source.addEventListener("alive", isLive);
  source.addEventListener("end", (event) => {
    over = true;
    close();
    // A page that changes no more ends without a reason.
    if (event.data !== "") isStale();
  });
  source.addEventListener("error", () => {
    // A refused stream is not opened again by the browser.
    close();
    if (!works) isStale();
    retry = setTimeout(open, works ? REOPEN_MS : RETRY_MS);
  });
}

setInterval(() => {
  if (source !== null && Date.now() - Math.max(heard, opened) > SILENT_MAX_MS) isStale();
}, 1000);

document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
addEventListener("pagehide", close);
addEventListener("pageshow", open);
open();
