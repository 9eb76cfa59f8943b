// Keeps a page up to date while somebody looks at it, and makes its times relative. Without this
// script the pages say the same, as of when they were asked for.
"use strict";

const main = () => document.getElementById("content");
const silence = document.getElementById("silence");
let heardAt = new Date();

const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });

function inWords(at) {
  const seconds = (at - Date.now()) / 1000;
  const [unit, length] = UNITS.find(([, each]) => Math.abs(seconds) >= each) || UNITS.at(-1);
  return relative.format(Math.trunc(seconds / length), unit);
}

function dress() {
  for (const time of document.querySelectorAll("time[datetime]:not([data-clock])")) {
    const words = inWords(new Date(time.dateTime));
    if (time.textContent !== words) time.textContent = words;
  }
  // Browsers have no clipboard for pages over plain HTTP of another host.
  if (!navigator.clipboard) return;
  for (const button of document.querySelectorAll("[data-copy][hidden]")) button.hidden = false;
}

function refresh() {
  const busy = document.activeElement?.closest?.("main form");
  if (document.visibilityState === "visible" && !busy) htmx.trigger(main(), "refresh");
}

function heard(event) {
  const status = event.detail?.ctx?.response?.status;
  if (status && status < 500) {
    heardAt = new Date();
    silence.hidden = true;
    dress();
  } else {
    lost();
  }
}

function lost() {
  const time = silence.querySelector("time");
  time.dateTime = heardAt.toISOString();
  time.title = heardAt.toISOString();
  silence.hidden = false;
  dress();
}

document.addEventListener("htmx:after:swap", heard);
document.addEventListener("htmx:error", lost);
document.addEventListener("htmx:response:error", lost);
document.addEventListener("visibilitychange", refresh);
document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy);
  button.textContent = "Copied";
});
(function again() {
  // The page says how soon: sooner while something is wrong.
  setTimeout(() => { refresh(); again(); }, Number(main().dataset.every) * 1000);
})();
setInterval(dress, 1000);
dress();
