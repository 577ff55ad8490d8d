// Live updates: replaces the sections of the page that differ, by patches of an event stream at the page's own URL.
// There is no stream while the tab is hidden. Without this script the page is complete and changes by reload.

const main = document.querySelector("main[data-live]");
const RETRY_MS = 5000;
let source = null;
let over = false;

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
  source?.close();
  source = null;
}

function open() {
  if (over || source !== null || document.hidden) return;
  source = new EventSource(location.href);
  source.addEventListener("patch", (event) => {
    patch(event.data);
    const asof = document.getElementById("asof");
    if (asof !== null) asof.textContent = "as of " + new Date().toISOString().slice(0, 19).replace("T", " ") + "Z";
  });
  source.addEventListener("end", () => {
    over = true;
    close();
  });
  source.addEventListener("error", () => {
    // A refused stream is not opened again by the browser.
    close();
    setTimeout(open, RETRY_MS);
  });
}

document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
addEventListener("pagehide", close);
addEventListener("pageshow", open);
open();
